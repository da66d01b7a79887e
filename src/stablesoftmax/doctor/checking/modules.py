"""One pass over a module: its own statements, then each function once, with parameters unknown."""

import ast
import re
from bisect import bisect_left, bisect_right

from .environment import Class, Function, Scope, assigned_names, is_static
from .rulebook import CLEARED
from .rules import Rules
from .values import Value, Values
from .walking import Statements

__all__ = ["Reader"]

_WORTH = re.compile(r"[sS]oftmax|logsumexp|\bexp2?_?\b|\blog(?:2|10)?\s*\(|isnan|nan_to_num")
_LOSS = re.compile(r"cross_?entropy|\r(?!\n)", re.IGNORECASE)
_Def = ast.FunctionDef | ast.AsyncFunctionDef


class Reader(Statements):
    """Read a module, and report what its rules find.

    Parameters
    ----------
    tree : ast.Module
        The parsed source.
    text : str
        The source itself, if it is at hand: functions in which nothing stands that the rules know
        are then passed over, which is most of them.
    """

    def __init__(self, tree: ast.Module, text: str = "") -> None:
        values = Values()
        super().__init__(values, Rules(values, self))
        self.tree = tree
        self._lines = text.split("\n")
        # A network is called in functions that name nothing: there every function is read.
        self._worth = None if not text or _LOSS.search(text) else _lines_of(_WORTH, text)
        self.direct: dict[ast.AST | None, set[tuple[str, ast.AST]]] = {}
        self._reading: ast.AST | None = None

    def read(self) -> None:
        """Read the whole module: its own statements, then the functions that wait."""
        scope = Scope()
        self.statements(self.tree.body, scope)
        waiting, self.pending = self.pending, []
        for function in self._worth_reading(waiting):
            self.function(function)

    def _worth_reading(self, functions: list[Function]) -> list[Function]:
        """Those that hold what the rules know, and those that call one of them."""
        if self._worth is None:
            return functions
        named = {f: self._is_worth(f.method_of.node if f.method_of else f.node) for f in functions}
        names = {getattr(f.node, "name", "") for f, worth in named.items() if worth} - {""}
        return [f for f in functions if named[f] or self._calls(f.node, names)]

    def _calls(self, node: ast.AST, names: set[str]) -> bool:
        """Whether a function's text names one of these before a bracket."""
        first, last = node.lineno, node.end_lineno  # type: ignore[attr-defined]
        text = "\n".join(self._lines[first - 1 : last])
        return any(f"{name}(" in text for name in names)

    def _is_worth(self, node: ast.AST) -> bool:
        return self._worth is None or _has_line(node, self._worth)

    def report(self, code: str, node: ast.AST) -> None:
        """Note where the rules found something, for the functions that are being read."""
        if self.unseen:
            return
        for found in self.inner_found:
            found.add((code, node))
        if not self.inner_found and not self.quiet:
            self.direct.setdefault(self._reading, set()).add((code, node))

    def retract(self, code: str, node: ast.AST) -> None:
        """Take a note back."""
        for found in (*self.inner_found, self.direct.get(self._reading, set())):
            found.discard((code, node))

    def findings(self) -> set[tuple[str, ast.AST]]:
        """What was found, without what no caller in the module lets happen."""
        found = set().union(*self.direct.values())
        for function in self.functions.values():
            for of_call in function.calls:
                found |= of_call
        stands = {
            (code, node)
            for code, node in found
            if code.startswith("SMX") and self._stands(code, node)
        }
        # Labels times a logarithm that is itself found to be a softmax's: once is enough.
        logs = {node for code, node in stands if code in ("SMX004", "SMX008")}
        products = {node for code, node in stands if code in ("SMX008", "SMX012")}
        told = {p for p in products if any(n in logs and n is not p for n in ast.walk(p))}
        return {(code, node) for code, node in stands if node not in told}

    def _stands(self, code: str, node: ast.AST) -> bool:
        """Whether a finding holds: in a helper that all its callers shield, it does not."""
        found_in = [function for function, found in self.direct.items() if (code, node) in found]
        for function_node in found_in:
            function = self.functions.get(function_node) if function_node else None
            if function is None or not function.calls:
                return True
            if code == "SMX022":  # a temporary of each caller's may be written to
                unknown = ("?", function.node)
                if any((code, node) in found or unknown in found for found in function.calls):
                    return True
            elif not all((CLEARED + code, node) in found for found in function.calls):
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

    def define(self, node: _Def, scope: Scope) -> None:
        """A function is defined here: it is read when the scope around it has been."""
        known = self.functions.setdefault(node, Function(node, scope))
        known.scope = scope
        scope.set(node.name, self.make("function", data=(node,)))
        self.pending.append(known)

    def define_class(self, node: ast.ClassDef, scope: Scope) -> None:
        bases = [self.value(base, scope) for base in node.bases]
        known = Class(node, bases=[base.data[0] for base in bases if base.op == "class"])
        scope.set(node.name, self.make("class", data=(known,)))
        body = Scope(scope)
        for statement in node.body:
            if isinstance(statement, _Def):
                method = Function(statement, scope, None if is_static(statement) else known)
                known.methods[statement.name] = method
                self.functions[statement] = method
            else:
                self.statement(statement, body)
        known.attributes.update(body.names)
        if self._is_worth(node):
            self._collect(known)
        self.pending.extend(known.methods.values())

    def _collect(self, known: Class) -> None:
        """What methods assign to attributes of self, before any of them is reported on."""
        self.quiet += 1
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
        self.quiet -= 1

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


def _lines_of(pattern: re.Pattern[str], text: str) -> list[int]:
    """The numbers of the lines in which a pattern is found, from 1."""
    lines, line, last = [], 1, 0
    for found in pattern.finditer(text):
        line += text.count("\n", last, found.start())
        last = found.start()
        lines.append(line)
    return lines


def _has_line(node: ast.AST, lines: list[int]) -> bool:
    first, last = node.lineno, node.end_lineno  # type: ignore[attr-defined]
    return bisect_left(lines, first) < bisect_right(lines, last)
