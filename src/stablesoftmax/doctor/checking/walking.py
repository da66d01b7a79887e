"""One pass over a module: its statements in order, each function once, each branch by itself."""

import ast
from collections.abc import Iterable, Sequence

from .calling import Calls
from .environment import Class, Function, Scope, assigned_names, dotted
from .evaluating import _OPERATORS
from .idioms import NAMESPACES
from .rules import Rules
from .values import Value, Values

__all__ = ["Reader"]

_Def = ast.FunctionDef | ast.AsyncFunctionDef


class Reader(Calls):
    """Read a module, and report what its rules find.

    Parameters
    ----------
    tree : ast.Module
        The parsed source.
    """

    def __init__(self, tree: ast.Module) -> None:
        values = Values()
        super().__init__(values, Rules(values, self))
        self.tree = tree
        self.direct: dict[ast.AST | None, set[tuple[str, ast.AST]]] = {}
        self._reading: ast.AST | None = None
        self._quiet = 0
        self._instances: dict[ast.ClassDef, Class] = {}

    def read(self) -> None:
        """Read the whole module: its own statements, then the functions that wait."""
        scope = Scope()
        self.statements(self.tree.body, scope)
        while self.pending:
            self.function(self.pending.pop(0))

    def report(self, code: str, node: ast.AST) -> None:
        """Note where the rules found something, for the functions that are being read."""
        if self._quiet:
            return
        if self.inner_found:
            for found in self.inner_found:
                found.add((code, node))
        else:
            self.direct.setdefault(self._reading, set()).add((code, node))

    def findings(self) -> set[tuple[str, ast.AST]]:
        """What was found, without what no caller in the module lets happen."""
        found = set().union(*self.direct.values())
        for function in self.functions.values():
            for of_call in function.calls:
                found |= of_call
        return {(code, node) for code, node in found if code != "?" and self._stands(code, node)}

    def _stands(self, code: str, node: ast.AST) -> bool:
        """Whether a finding holds: in a helper that all its callers shield, it does not."""
        found_in = [function for function, found in self.direct.items() if (code, node) in found]
        for function_node in found_in:
            function = self.functions.get(function_node) if function_node else None
            if function is None or not function.calls:
                return True
            unknown = ("?", function.node)
            if any((code, node) in found or unknown in found for found in function.calls):
                return True
        return not found_in  # in a helper, with what a caller in the module gives it

    # Functions and classes

    def function(self, function: Function) -> None:
        """Read a function with parameters of which nothing is known."""
        outer, self._reading = self._reading, function.node
        names, inner = function.node.args, self._parameters(function)
        if function.method_of is not None and names.args:
            inner.names[names.args[0].arg] = self.make("instance", data=(function.method_of,))
        try:
            self._body(function, inner)
        finally:
            self._reading = outer

    def body(self, function: Function, inner: Scope) -> Value:
        """What the body returns for the parameters bound in `inner`."""
        return self._body(function, inner)

    def _body(self, function: Function, inner: Scope) -> Value:
        if isinstance(function.node, ast.Lambda):
            return self.value(function.node.body, inner)
        before, self.pending = self.pending, []
        self.statements(function.node.body, inner)
        nested, self.pending = self.pending, before
        if not self._depth:
            for waiting in nested:
                self.function(waiting)
        if not inner.returns:
            return self.values.const(None)
        return self.values.either(*inner.returns)

    def _class(self, node: ast.ClassDef, scope: Scope) -> None:
        known = Class(node)
        scope.set(node.name, self.make("class", data=(known,)))
        body = Scope(scope)
        for statement in node.body:
            if isinstance(statement, _Def):
                method = Function(statement, scope, None if _static(statement) else known)
                known.methods[statement.name] = method
                self.functions[statement] = method
            else:
                self.statement(statement, body)
        known.attributes.update(body.names)
        self._collect(known)
        self.pending.extend(known.methods.values())

    def _collect(self, known: Class) -> None:
        """What methods assign to attributes of self, before any of them is reported on."""
        self._quiet += 1
        pending, self.pending = self.pending, []
        for method in known.methods.values():
            node = method.node
            if method.method_of is None or not node.args.args or isinstance(node, ast.Lambda):
                continue
            me = node.args.args[0].arg
            prefix = f"{me}."
            wanted = {n for n in assigned_names(node.body) if n.startswith(prefix)}
            if not wanted:
                continue
            inner = self._parameters(method)
            inner.names[me] = self.make("instance", data=(known,))
            self.statements(node.body, inner)
            for name in wanted:
                value, key = inner.names.get(name), name.removeprefix(prefix)
                if value is None or "." in key or "[" in key:
                    continue
                if value.op == "const" and value.data[0] is None:
                    continue
                before = known.attributes.get(key)
                known.attributes[key] = self.values.either(before, value) if before else value
        self.pending = pending
        self._quiet -= 1

    def _parameters(self, function: Function) -> Scope:
        names, inner = function.node.args, Scope(function.scope, function.node)
        for argument in (
            *names.posonlyargs,
            *names.args,
            *names.kwonlyargs,
            names.vararg,
            names.kwarg,
        ):
            if argument is not None:
                inner.names[argument.arg] = self.make("param", data=(argument.arg, function.node))
        return inner

    # Statements

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
                self._branches([body, orelse], scope)
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
                known = self.functions.setdefault(node, Function(node, scope))
                known.scope = scope
                scope.set(node.name, self.make("function", data=(node,)))
                self.pending.append(known)
            case ast.ClassDef():
                self._class(node, scope)
            case ast.Assert(test=test):
                self.value(test, scope)

    def _branches(self, bodies: Iterable[Sequence[ast.stmt]], scope: Scope) -> None:
        before, ends = scope.names, []
        for body in bodies:
            scope.names, scope.returned = dict(before), False
            self.statements(body, scope)
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
                scope.names[name] = self.values.either(start, value)
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
        op = _OPERATORS.get(type(node.op), "other")
        if (
            op == "add"
            and left.op == "loop"
            and left.args
            and left.args[0].data[:1] in ((0,), (0.0,))
        ):
            made = self.make(
                "reduce", self.make("list", right), data=("sum", None, True, "builtin")
            )
        else:
            made = self.operation(op, left, right, node)
        self.rules.augmented(left, made, node)
        self.bind(node.target, made, scope)


def _is_empty(value: Value) -> bool:
    """Whether a loop fills it: a buffer, an empty list, 0."""
    if value.op == "loop":
        return bool(value.args) and _is_empty(value.args[0])
    if value.op in ("buffer", "unknown", "tuple"):
        return True
    return value.op == "const"


def _static(node: ast.AST) -> bool:
    return any(isinstance(d, ast.Name) and d.id == "staticmethod" for d in node.decorator_list)  # type: ignore[attr-defined]
