"""Expressions as values."""

import ast
import builtins
from collections.abc import Callable
from typing import Any

from .environment import Function, Scope, dotted
from .idioms import FUNCTIONS, NAMESPACES, REDUCTIONS
from .rules import Rules
from .values import Value, Values, words

__all__ = ["OPERATORS", "Evaluator"]

OPERATORS: dict[type[ast.operator], str] = {
    ast.Add: "add", ast.Sub: "sub", ast.Mult: "mul", ast.Div: "div", ast.MatMult: "matmul",
    ast.Pow: "pow", ast.FloorDiv: "floordiv", ast.Mod: "mod",
}  # fmt: skip
_MODULES = words("xp np jnp torch tf numpy nn F K")  # names that are nothing else


class Evaluator:
    """Give each expression its value; tell the rules of divisions, logarithms, calls.

    Parameters
    ----------
    values : Values
        Where values are made.
    rules : Rules
        What is told of each operation.
    """

    def __init__(self, values: Values, rules: Rules) -> None:
        self.values = values
        self.make = values.make
        self.rules = rules
        self.functions: dict[ast.AST, Function] = {}
        self.pending: list[Function] = []
        """Functions that are read when the one that defines them has been."""
        self.imported: set[str] = set()
        self.starred = ""  # the last module of a `from ... import *`
        self._by_type: dict[type[ast.AST], Callable[[Any, Scope], Value]] = {
            ast.Name: self._name, ast.Constant: self._constant, ast.Attribute: self._attribute,
            ast.BinOp: self._binary, ast.UnaryOp: self._unary, ast.Subscript: self._subscript,
            ast.Call: self.call, ast.IfExp: self._conditional, ast.Tuple: self._tuple,
            ast.List: self._tuple, ast.NamedExpr: self._named, ast.Lambda: self._lambda,
            ast.ListComp: self._comprehension, ast.GeneratorExp: self._comprehension,
            ast.SetComp: self._comprehension, ast.DictComp: self._comprehension,
            ast.BoolOp: self._boolean, ast.Compare: self._compare, ast.Await: self._inner,
            ast.Starred: self._inner, ast.Slice: self._slice, ast.Dict: self._dict,
        }  # fmt: skip

    def value(self, node: ast.AST, scope: Scope) -> Value:
        """The value of an expression in a scope."""
        read = self._by_type.get(type(node))
        if read is not None:
            return read(node, scope)
        for child in ast.iter_child_nodes(node):  # a dict, an f-string, a yield
            if isinstance(child, ast.expr):
                self.value(child, scope)
        return self.values.fresh("unknown")

    def call(self, node: ast.Call, scope: Scope) -> Value:
        raise NotImplementedError

    def bind(self, target: ast.AST, value: Value, scope: Scope) -> None:
        raise NotImplementedError

    def _constant(self, node: ast.Constant, scope: Scope) -> Value:
        return self.values.const(node.value)

    def _name(self, node: ast.Name, scope: Scope) -> Value:
        value, name = scope.get(node.id), node.id
        if name in _MODULES and (value is None or value.op not in ("name", "instance", "layer")):
            # `xp = array_namespace(x)`, `torch = lazy("torch")`, `try: import torch`
            return self.make("name", data=(NAMESPACES[name],))
        if value is not None:
            return value
        if name in NAMESPACES:
            return self.make("name", data=(NAMESPACES[name],))
        if self.starred and (name in FUNCTIONS or name in REDUCTIONS):
            return self.make("name", data=(f"{self.starred}.{name}",))
        if hasattr(builtins, name):
            return self.make("name", data=(f"builtins.{name}",))
        return self.make("param", data=(name, None))

    def _attribute(self, node: ast.Attribute, scope: Scope) -> Value:
        name = dotted(node)
        if name is not None and (known := scope.get(name)) is not None:
            return known
        base = self.value(node.value, scope)
        return self.attribute(base, node.attr)

    def attribute(self, base: Value, name: str) -> Value:
        """An attribute of a value: a module's function, an object's field, `x.T`."""
        if base.op == "name":
            return self.make("name", data=(f"{base.data[0]}.{name}",))
        if base.op == "instance":
            known = base.data[0].attribute(name)
            return known or self.make("attribute", data=(name, base.data[0]))
        if name in ("T", "mT", "H"):
            return self.make("view", base, data=("transpose",))
        if name == "values" and base.op == "reduce":
            return base
        if name in ("values", "data", "value", "at"):
            return self.make("copy", base)
        return self.make("attribute", base, data=(name,))

    def _binary(self, node: ast.BinOp, scope: Scope) -> Value:
        left, right = self.value(node.left, scope), self.value(node.right, scope)
        return self.operation(OPERATORS.get(type(node.op), "other"), left, right, node)

    def operation(self, op: str, left: Value, right: Value, node: ast.AST) -> Value:
        """`left op right`, told to the rules."""
        if op == "mul":
            for factor, other in ((left, right), (right, left)):
                if factor.op == "div" and factor.args[0].data == (1,):  # e * (1 / s)
                    return self.operation("div", other, factor.args[1], node)
        value = self.make(op, left, right)
        if op == "div":
            self.rules.divided(value, node)
        elif op == "mul":
            self.rules.multiplied(value, node)
        elif op in ("add", "sub"):
            self.rules.combined(left, right)
        return value

    def _unary(self, node: ast.UnaryOp, scope: Scope) -> Value:
        inner = self.value(node.operand, scope)
        match node.op:
            case ast.USub() if inner.op == "const" and type(inner.data[0]) in (int, float):
                return self.values.const(-inner.data[0])
            case ast.USub():
                return inner.args[0] if inner.op == "neg" else self.make("neg", inner)
            case ast.UAdd():
                return inner
        return self.make("not", inner)

    def _subscript(self, node: ast.Subscript, scope: Scope) -> Value:
        name = dotted(node)
        if name is not None and (known := scope.get(name)) is not None:
            return known
        base = self.value(node.value, scope)
        index = node.slice
        if _adds_axes_alone(index):
            return self.make("view", base, data=("newaxis",))
        if isinstance(index, ast.Constant) and type(index.value) is int:
            if base.op == "tuple" and -len(base.args) <= index.value < len(base.args):
                return base.args[index.value]
            if base.op == "reduce" and base.data[3] == "pair":
                return base if index.value == 0 else self.values.fresh("unknown")
        return self.make("index", base, self.value(index, scope))

    def _slice(self, node: ast.Slice, scope: Scope) -> Value:
        bounds = (node.lower, node.upper, node.step)
        none = self.values.const(None)
        return self.make("slice", *(self.value(b, scope) if b else none for b in bounds))

    def _conditional(self, node: ast.IfExp, scope: Scope) -> Value:
        self.value(node.test, scope)
        return self.values.either(self.value(node.body, scope), self.value(node.orelse, scope))

    def _boolean(self, node: ast.BoolOp, scope: Scope) -> Value:
        return self.values.either(*(self.value(part, scope) for part in node.values))

    def _compare(self, node: ast.Compare, scope: Scope) -> Value:
        sides = [self.value(part, scope) for part in (node.left, *node.comparators)]
        return self.make("compare", *sides, data=tuple(type(op).__name__ for op in node.ops))

    def _tuple(self, node: ast.Tuple | ast.List, scope: Scope) -> Value:
        kind = "tuple" if isinstance(node, ast.Tuple) else "list"
        return self.make("tuple", *(self.value(e, scope) for e in node.elts), data=(kind,))

    def _dict(self, node: ast.Dict, scope: Scope) -> Value:
        for part in (*node.keys, *node.values):
            if part is not None:
                self.value(part, scope)
        # One without keys is filled later, as a buffer is.
        return self.values.fresh("unknown" if node.keys else "buffer", data=("",))

    def _named(self, node: ast.NamedExpr, scope: Scope) -> Value:
        value = self.value(node.value, scope)
        self.bind(node.target, value, scope)
        return value

    def _inner(self, node: ast.Await | ast.Starred, scope: Scope) -> Value:
        return self.value(node.value, scope)

    def _lambda(self, node: ast.Lambda, scope: Scope) -> Value:
        known = self.functions.setdefault(node, Function(node, scope))
        known.scope = scope
        self.pending.append(known)
        return self.make("function", data=(node,))

    def _comprehension(
        self, node: ast.ListComp | ast.GeneratorExp | ast.SetComp | ast.DictComp, scope: Scope
    ) -> Value:
        inner = Scope(scope, scope.function)
        for generator in node.generators:
            self.bind(generator.target, self.each(self.value(generator.iter, inner)), inner)
            for test in generator.ifs:
                self.value(test, inner)
        if isinstance(node, ast.DictComp):
            self.value(node.key, inner)
            return self.make("list", self.value(node.value, inner))
        return self.make("list", self.value(node.elt, inner))

    def each(self, iterable: Value) -> Value:
        """An element of what is iterated over."""
        if iterable.op == "list":
            return iterable.args[0]
        if iterable.op == "zipped":
            return self.make("tuple", *map(self.each, iterable.args), data=("tuple",))
        if iterable.op == "counted":
            element = self.each(iterable.args[0])
            return self.make(
                "tuple", self.values.fresh("loop", data=("i",)), element, data=("tuple",)
            )
        return self.make("each", iterable)


def _adds_axes_alone(index: ast.AST) -> bool:
    """Whether an index is made of `None`, `np.newaxis`, `...` and `:` alone, as in `[:, None]`."""
    parts = index.elts if isinstance(index, ast.Tuple) else [index]
    for part in parts:
        match part:
            case ast.Constant(value=value) if value is None or value is Ellipsis:
                continue
            case ast.Slice(lower=None, upper=None, step=None):
                continue
            case ast.Attribute(attr="newaxis") | ast.Name(id="newaxis"):
                continue
        return False
    return True
