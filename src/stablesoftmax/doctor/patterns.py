"""What an expression means: exp, sum and maximum however they are spelled, through names.

A name stands for what was last assigned to it above, in the same function.
"""

import ast
from collections.abc import Iterator

from .expressions import operands
from .sources import Module

__all__ = ["Meaning"]

_SPELLINGS = {
    "exp": {"exp", "exp2", "expm1"},
    "log": {"log", "log2", "log10", "log1p"},
    "sum": {"sum", "nansum", "reduce_sum", "fsum", "einsum"},
    "max": {"max", "amax", "nanmax", "reduce_max"},
    "min": {"min", "amin", "nanmin", "reduce_min"},
    "mean": {"mean", "average", "nanmean", "reduce_mean", "median"},
    "softmax": {"softmax", "soft_max", "Softmax"},
    "log_softmax": {"log_softmax", "LogSoftmax", "logsoftmax"},
    "logsumexp": {"logsumexp", "reduce_logsumexp", "logaddexp"},
    "hide": {"nan_to_num", "nansum", "nanmean"},
    "clip": {"clip", "clamp", "clip_by_value"},
}
_MEANING = {name: meaning for meaning, names in _SPELLINGS.items() for name in names}
_REDUCTIONS = {"add": "sum", "maximum": "max", "minimum": "min", "logaddexp": "logsumexp"}
_SAME_VALUES = {
    "asarray", "array", "astype", "atleast_1d", "atleast_2d", "copy", "expand_dims", "float",
    "ravel", "flatten", "reshape", "squeeze", "transpose", "broadcast_to", "view",
    "float32", "float64",
}  # fmt: skip


class Meaning:
    """Read the expressions of one module.

    Parameters
    ----------
    module : Module
        The parsed file.
    """

    def __init__(self, module: Module) -> None:
        self.module = module
        self._expressions: dict[ast.AugAssign, ast.BinOp] = {}

    def resolved(self, node: ast.AST, depth: int = 8) -> ast.AST:
        """The expression behind names, subscripts, and calls that keep the values."""
        while depth:
            depth -= 1
            if isinstance(node, ast.Name):
                value = self.definition(node)
                if value is None:
                    return node
                node = value
            elif isinstance(node, ast.Subscript):
                node = node.value
            elif isinstance(node, ast.Call) and self.spelled(node) in _SAME_VALUES:
                inner = self.arguments(node)
                if not inner:
                    return node
                node = inner[0]
            else:
                return node
        return node

    def definition(self, name: ast.Name) -> ast.AST | None:
        """What was last assigned to a name above this use of it, in the same function."""
        scope, found = self.module.scope(name), None
        use = self.module.statement(name)
        for node in ast.walk(scope):
            if self.module.scope(node) is not scope or node is use:
                continue
            value = self._assigned(node, name.id)
            line = getattr(node, "lineno", 0)
            if value is not None and line <= use.lineno and (found is None or line >= found[0]):
                found = (line, value)
        return found[1] if found else None

    def _assigned(self, node: ast.AST, name: str) -> ast.expr | None:
        """The value that a node assigns to a name, if it does."""
        match node:
            case ast.Assign(targets=targets, value=value):
                for target in targets:
                    if isinstance(target, ast.Name) and target.id == name:
                        return value
                    if isinstance(target, ast.Tuple) and isinstance(value, ast.Tuple):
                        for part, assigned in zip(target.elts, value.elts, strict=False):
                            if isinstance(part, ast.Name) and part.id == name:
                                return assigned
            case ast.AnnAssign(target=ast.Name(id=target)) if target == name:
                return node.value
            case ast.NamedExpr(target=ast.Name(id=target), value=value) if target == name:
                return value
            case ast.AugAssign(target=ast.Name(id=target)) if target == name:
                return self._augmented(node)
        return None

    def _augmented(self, node: ast.AugAssign) -> ast.BinOp:
        """`x -= y` as the expression `x - y`, which stands where the statement stands."""
        if node not in self._expressions:
            left = ast.copy_location(ast.Name(_root(node.target), ast.Load()), node.target)
            value = ast.copy_location(ast.BinOp(left, node.op, node.value), node)
            self.module.parents[left] = value
            self.module.parents[value] = node
            self._expressions[node] = value
        return self._expressions[node]

    def spelled(self, call: ast.Call) -> str:
        match call.func:
            case ast.Attribute(value=ast.Attribute(attr=ufunc), attr="reduce") if (
                ufunc in _REDUCTIONS
            ):
                return _REDUCTIONS[ufunc]
            case ast.Attribute(attr=name) | ast.Name(id=name):
                return name
        return ""

    def of(self, node: ast.AST) -> str:
        """The meaning of a call, such as "exp", "sum", "softmax"; "" for all else."""
        if not isinstance(node, ast.Call):
            return ""
        name = self.spelled(node)
        if meaning := _MEANING.get(name):
            return meaning
        lowered = name.lower()
        if "softmax" in lowered and "cross" not in lowered and "loss" not in lowered:
            return "log_softmax" if "log" in lowered else "softmax"
        return ""

    def arguments(self, call: ast.Call) -> list[ast.expr]:
        """The arrays that a call takes, a method's own object first."""
        return operands(call)

    def contains(self, node: ast.AST, meaning: str, depth: int = 4) -> ast.Call | None:
        """The first call of this meaning in an expression, looked up through names."""
        for part in ast.walk(node):
            if self.of(part) == meaning:
                assert isinstance(part, ast.Call)
                return part
        if depth:
            for part in ast.walk(node):
                if isinstance(part, ast.Name) and isinstance(part.ctx, ast.Load):
                    value = self.definition(part)
                    if value is not None and (found := self.contains(value, meaning, depth - 1)):
                        return found
        return None

    def is_probabilities(self, node: ast.AST) -> bool:
        """Whether an expression is a softmax: called by name, or exp over a sum of exp."""
        node = self.resolved(node)
        if self.of(node) == "softmax":
            return True
        if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Div):
            return self.exponential(node.left) is not None and self.is_sum_of_exp(node.right)
        return False

    def is_sum_of_exp(self, node: ast.AST) -> bool:
        node = self.resolved(node)
        if self.of(node) != "sum":
            return False
        assert isinstance(node, ast.Call)
        return any(self.exponential(part) is not None for part in self.arguments(node))

    def exponential(self, node: ast.AST) -> ast.Call | None:
        """The exp that an expression is, perhaps times a mask or plus an epsilon."""
        node = self.resolved(node)
        if self.of(node) == "exp":
            assert isinstance(node, ast.Call)
            return node
        if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Mult | ast.Add | ast.MatMult):
            return self.exponential(node.left) or self.exponential(node.right)
        return None

    def shift(self, exp: ast.Call) -> tuple[str, ast.Call | None]:
        """What exp's argument was shifted by: "none", "max", "min", "mean", "constant", "other"."""
        inner = self.resolved(self.arguments(exp)[0]) if self.arguments(exp) else exp
        while isinstance(inner, ast.BinOp) and isinstance(inner.op, ast.Div | ast.Mult):
            inner = self.resolved(inner.left)
        if not (isinstance(inner, ast.BinOp) and isinstance(inner.op, ast.Sub)):
            return "none", None
        if isinstance(self.resolved(inner.right), ast.Constant):
            return "constant", None
        for meaning in ("max", "min", "mean"):
            if call := self.contains(inner.right, meaning):
                return meaning, call
        return "other", None

    def used_in(self, node: ast.AST) -> list[tuple[ast.AST, ast.AST]]:
        """Each operation that takes this value, with the operand that carries it there.

        A name that the value was assigned to is followed through the rest of the function.
        """
        carriers, uses, seen = [node], [], set()
        while carriers:
            carrier = carriers.pop()
            parent = self.module.parents.get(carrier)
            if parent is None or carrier in seen:
                continue
            seen.add(carrier)
            match parent:
                case ast.Subscript() | ast.keyword() | ast.Starred() | ast.NamedExpr():
                    carriers.append(parent)
                case (
                    ast.Assign(targets=[ast.Name(id=name)])
                    | ast.AnnAssign(target=ast.Name(id=name))
                ):
                    carriers.extend(self._loads(name, parent))
                case ast.Attribute() if isinstance(self.module.parents.get(parent), ast.Call):
                    uses.append((self.module.parents[parent], carrier))
                    carriers.append(self.module.parents[parent])
                case _:
                    uses.append((parent, carrier))
                    if _divides(parent, carrier):  # x / inf is 0, and goes no further
                        continue
                    if isinstance(parent, ast.BinOp | ast.UnaryOp) or self.of(parent) in (
                        "sum",
                        "mean",
                    ):
                        carriers.append(parent)
        return uses

    def _loads(self, name: str, after: ast.stmt) -> Iterator[ast.Name]:
        scope = self.module.scope(after)
        for node in ast.walk(scope):
            if not (isinstance(node, ast.Name) and node.id == name):
                continue
            read = isinstance(node.ctx, ast.Load) and node.lineno > after.lineno
            if read and self.definition(node) is not None:
                yield node

    def updates_itself(self, loop: ast.AST) -> Iterator[tuple[str, type[ast.operator]]]:
        """The names that a loop computes from themselves, and by which operation."""
        for node in ast.walk(loop):
            match node:
                case ast.AugAssign(target=target, op=op):
                    yield _root(target), type(op)
                case ast.Assign(targets=[target], value=ast.BinOp(op=op) as value):
                    names = {n.id for n in ast.walk(value) if isinstance(n, ast.Name)}
                    if _root(target) in names:
                        yield _root(target), type(op)


def _divides(operation: ast.AST, carrier: ast.AST) -> bool:
    return (
        isinstance(operation, ast.BinOp)
        and isinstance(operation.op, ast.Div)
        and carrier is operation.right
    )


def _root(node: ast.AST) -> str:
    while isinstance(node, ast.Subscript | ast.Attribute):
        node = node.value
    return node.id if isinstance(node, ast.Name) else ""
