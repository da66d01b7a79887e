"""One pass over a module: its own statements, then each function once, with parameters unknown."""

import ast

from .environment import Class, Function, Scope, assigned_names
from .rulebook import CLEARED
from .rules import Rules
from .values import Value, Values
from .walking import Statements

__all__ = ["Reader"]

_Def = ast.FunctionDef | ast.AsyncFunctionDef


class Reader(Statements):
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
        self._instances: dict[ast.ClassDef, Class] = {}

    def read(self) -> None:
        """Read the whole module: its own statements, then the functions that wait."""
        scope = Scope()
        self.statements(self.tree.body, scope)
        while self.pending:
            self.function(self.pending.pop(0))

    def report(self, code: str, node: ast.AST) -> None:
        """Note where the rules found something, for the functions that are being read."""
        if self.quiet:
            return
        if self.inner_found:
            for found in self.inner_found:
                found.add((code, node))
        else:
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
        return {
            (code, node)
            for code, node in found
            if code.startswith("SMX") and self._stands(code, node)
        }

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


def _static(node: ast.AST) -> bool:
    return any(isinstance(d, ast.Name) and d.id == "staticmethod" for d in node.decorator_list)  # type: ignore[attr-defined]
