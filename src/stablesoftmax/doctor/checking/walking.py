"""Statements: each branch by itself, what a loop changes unknown when it begins."""

import ast
from collections.abc import Iterable, Sequence

from .calling import Calls
from .environment import Scope, assigned_names, dotted
from .evaluating import OPERATORS
from .idioms import NAMESPACES
from .values import Value

__all__ = ["Statements"]


class Statements(Calls):
    """Walk statements in order, and bind what they assign to."""

    quiet = 0
    """Above 0 nothing is reported: what is read is read again later."""
    unseen = 0
    """Above 0 nothing is noted: what is read runs for arrays without elements alone."""

    def define(self, node: ast.FunctionDef | ast.AsyncFunctionDef, scope: Scope) -> None:
        """A function is defined here."""
        raise NotImplementedError

    def define_class(self, node: ast.ClassDef, scope: Scope) -> None:
        """A class is defined here."""
        raise NotImplementedError

    def statements(self, body: Sequence[ast.stmt], scope: Scope) -> None:
        for statement in body:
            if scope.returned:
                break
            try:
                self.statement(statement, scope)
            except RecursionError:  # an expression of a thousand operators
                if self._depth:
                    raise

    def statement(self, node: ast.stmt, scope: Scope) -> None:
        match node:
            case ast.Expr(value=value):
                if not isinstance(value, ast.Constant):
                    self.value(value, scope)
            case ast.Assign(targets=targets, value=value):
                made = self.value(value, scope)
                for target in targets:
                    self.bind(target, made, scope)
            case ast.AnnAssign(target=target, value=value) if value is not None:
                self.bind(target, self.value(value, scope), scope)
            case ast.AugAssign():
                self._augmented(node, scope)
            case ast.Return(value=value):
                if value is not None:
                    scope.returns.append(self.value(value, scope))
                scope.returned = True
            case ast.If(test=test, body=body, orelse=orelse):
                self.value(test, scope)
                self._branches([body, orelse], scope, unseen=_is_of_nothing(test))
            case ast.For(target=target, iter=iterable) | ast.AsyncFor(target=target, iter=iterable):
                self._loop(node, self.each(self.value(iterable, scope)), target, scope)
            case ast.While(test=test):
                self.value(test, scope)
                self._loop(node, None, None, scope)
            case ast.With(items=items, body=body) | ast.AsyncWith(items=items, body=body):
                for item in items:
                    entered = self.value(item.context_expr, scope)
                    if item.optional_vars is not None:
                        self.bind(item.optional_vars, entered, scope)
                self.statements(body, scope)
            case ast.Try() | ast.TryStar():
                self._try(node, scope)
            case ast.Match(subject=subject, cases=cases):
                self.value(subject, scope)
                self._branches([*(case.body for case in cases), []], scope)
            case ast.Raise() | ast.Continue() | ast.Break():
                scope.returned = True
            case ast.Import() | ast.ImportFrom():
                self._import(node, scope)
            case ast.FunctionDef() | ast.AsyncFunctionDef():
                self.define(node, scope)
            case ast.ClassDef():
                self.define_class(node, scope)
            case ast.Assert(test=test):
                self.value(test, scope)

    def _branches(
        self, bodies: Iterable[Sequence[ast.stmt]], scope: Scope, unseen: bool = False
    ) -> None:
        """Each body by itself; of the first, nothing is reported where it is unseen."""
        before, ends = scope.names, []
        for i, body in enumerate(bodies):
            scope.names, scope.returned = dict(before), False
            self.unseen += unseen and i == 0
            self.statements(body, scope)
            self.unseen -= unseen and i == 0
            ends.append((scope.names, scope.returned))
        scope.names = before
        scope.join(ends, self.values)

    def _loop(
        self, node: ast.stmt, element: Value | None, target: ast.AST | None, scope: Scope
    ) -> None:
        body: list[ast.stmt] = node.body  # type: ignore[attr-defined]
        before = dict(scope.names)
        for name in assigned_names(body):
            start = scope.get(name)
            if start is not None and start.op not in ("instance", "layer", "function", "class"):
                scope.names[name] = self.values.fresh("loop", start, data=(name,))
        if target is not None and element is not None:
            self.bind(target, element, scope)
        inside = scope.names
        self.statements(body, scope)
        scope.returned = False
        for name, value in list(scope.names.items()):
            start = before.get(name)
            if value.op == "loop" and inside.get(name) is value and start is not None:
                scope.names[name] = start  # it was not assigned after all
            elif start is not None and value is not start and not _is_empty(start):
                scope.names[name] = self.make("looped", start, value)
        self.statements(node.orelse, scope)  # type: ignore[attr-defined]

    def _try(self, node: ast.Try | ast.TryStar, scope: Scope) -> None:
        before = dict(scope.names)
        self.statements([*node.body, *node.orelse], scope)
        ends = [(scope.names, scope.returned)]
        for handler in node.handlers:
            scope.names, scope.returned = dict(before), False
            self.statements(handler.body, scope)
            ends.append((scope.names, scope.returned))
        scope.names = before
        scope.join(ends, self.values)
        ended, scope.returned = scope.returned, False
        self.statements(node.finalbody, scope)
        scope.returned = scope.returned or ended

    def _import(self, node: ast.Import | ast.ImportFrom, scope: Scope) -> None:
        if isinstance(node, ast.Import):
            for alias in node.names:
                self.imported.add(alias.name.partition(".")[0])
                name = alias.name if alias.asname else alias.name.partition(".")[0]
                scope.set(alias.asname or name, self.make("name", data=(name,)))
            return
        module = "." * node.level + (node.module or "")
        self.imported.add(module.partition(".")[0])
        for alias in node.names:
            bound = alias.asname or alias.name
            name = f"{module}.{alias.name}"
            if bound == "*":
                self.starred = module
            if node.level and bound in NAMESPACES:  # a library's own `from .. import numpy as jnp`
                name = NAMESPACES[bound]
            scope.names[bound] = self.make("name", data=(name,))

    # Names and items

    def bind(self, target: ast.AST, value: Value, scope: Scope) -> None:
        """Bind what is assigned to: a name, an attribute, several names, an item."""
        match target:
            case ast.Name() | ast.Attribute():
                if (name := dotted(target)) is not None:
                    value.called.add(name)
                    scope.set(name, value)
            case ast.Tuple(elts=elements) | ast.List(elts=elements):
                self._unpack(elements, value, scope)
            case ast.Starred(value=inner):
                self.bind(inner, self.values.fresh("unknown"), scope)
            case ast.Subscript():
                self._store(target, value, scope)

    def _unpack(self, elements: Sequence[ast.expr], value: Value, scope: Scope) -> None:
        for i, element in enumerate(elements):
            if value.op == "tuple" and len(value.args) == len(elements):
                part = value.args[i]
            elif value.op == "reduce" and value.data[3] == "pair":
                part = value if i == 0 else self.values.fresh("unknown")
            else:
                part = self.make("item", value, data=(i,))
            self.bind(element, part, scope)

    def _store(self, target: ast.Subscript, value: Value, scope: Scope) -> None:
        if (key := dotted(target)) is not None:
            scope.put(key, value)
            return
        old = self.value(target.value, scope)
        index = self.value(target.slice, scope)
        self.rules.stored(old, index, value, target)
        match target.slice:
            case ast.Constant(value=v) if v is Ellipsis:
                new = value
            case ast.Slice(lower=None, upper=None, step=None):
                new = value
            case _ if old.op == "buffer" or (old.op in ("loop", "tuple") and _is_empty(old)):
                new = self.make("filled", value)
            case _:
                new = self.make("updated", old, value)
        self.rules.written(old, new, target)
        self.rebind(target.value, new, scope)

    def rebind(self, target: ast.AST, value: Value, scope: Scope) -> None:
        """An array was written to in place: its name stands for the new numbers."""
        while isinstance(target, ast.Subscript) and dotted(target) is None:
            target = target.value
        if (name := dotted(target)) is not None and "." not in name.removeprefix("self."):
            scope.set(name, value)

    def _augmented(self, node: ast.AugAssign, scope: Scope) -> None:
        left, right = self.value(node.target, scope), self.value(node.value, scope)
        op = OPERATORS.get(type(node.op), "other")
        if (
            op == "add"
            and left.op == "loop"
            and left.args
            and left.args[0].data[:1] in ((0,), (0.0,))
        ):
            made = self.make(
                "reduce", self.make("list", right), data=("sum", None, True, "builtin")
            )
        elif op == "add" and _is_empty(left) and right.op in ("list", "tuple"):
            made = right  # a list that is added to one without elements
        else:
            made = self.operation(op, left, right, node)
        self.rules.augmented(left, made, node)
        self.bind(node.target, made, scope)


def _is_of_nothing(test: ast.expr) -> bool:
    """Whether a branch is for arrays without elements: `if x.size == 0`, `if x.numel() == 0`."""
    match test:
        case ast.Compare(left=left, ops=[ast.Eq()], comparators=[ast.Constant(value=0)]):
            inner = left.func if isinstance(left, ast.Call) else left
            name = inner.attr if isinstance(inner, ast.Attribute) else getattr(inner, "id", "")
            return name in ("size", "numel", "len")
    return False


def _is_empty(value: Value) -> bool:
    """Whether a loop fills it: a buffer, an empty list, 0."""
    if value.op == "loop":
        return bool(value.args) and _is_empty(value.args[0])
    if value.op in ("buffer", "unknown", "tuple"):
        return True
    return value.op == "const"
