"""Read an expression's operands again, where that runs nothing of the user's."""

import ast
import contextlib
import operator
from collections.abc import Callable, Mapping
from types import FrameType, MemberDescriptorType, ModuleType
from typing import Any

import numpy as np

__all__ = ["Reader", "Unreadable", "operands"]

_LARGEST = 1 << 24  # elements that are computed again
_PLAIN = (int, float, complex, bool, str, bytes, type(None), type(Ellipsis))
_NUMBERS = (int, float, complex, bool)
_CONTAINERS = (list, tuple, dict)
_ARRAY_ATTRIBUTES = {"T", "mT", "real", "imag", "shape", "size", "ndim", "dtype", "nbytes"}
_ARRAY_METHODS = {
    "astype", "clip", "conj", "copy", "cumsum", "dot", "flatten", "max", "mean", "min", "prod",
    "ravel", "reshape", "squeeze", "std", "sum", "swapaxes", "transpose", "var",
}  # fmt: skip
_FUNCTIONS = {
    getattr(np, name)
    for name in (
        "amax", "amin", "arange", "array", "asarray", "atleast_1d", "atleast_2d", "broadcast_to",
        "clip", "concatenate", "cumsum", "dot", "einsum", "expand_dims", "eye", "full", "full_like",
        "inner", "linspace", "max", "mean", "min", "nan_to_num", "nanmax", "nansum", "ones",
        "ones_like", "outer", "prod", "ravel", "reshape", "squeeze", "stack", "std", "sum",
        "swapaxes", "tile", "transpose", "var", "where", "zeros", "zeros_like",
    )
} | {np.linalg.norm, len, abs, float, int, max, min, sum}  # fmt: skip
_OPERATORS: dict[type[ast.AST], Callable[..., Any]] = {
    ast.Add: operator.add, ast.Sub: operator.sub, ast.Mult: operator.mul,
    ast.Div: operator.truediv, ast.FloorDiv: operator.floordiv, ast.Mod: operator.mod,
    ast.Pow: operator.pow, ast.MatMult: operator.matmul, ast.USub: operator.neg,
    ast.UAdd: operator.pos, ast.Invert: operator.invert, ast.Not: operator.not_,
    ast.BitAnd: operator.and_, ast.BitOr: operator.or_, ast.Eq: operator.eq,
    ast.NotEq: operator.ne, ast.Lt: operator.lt, ast.LtE: operator.le, ast.Gt: operator.gt,
    ast.GtE: operator.ge,
}  # fmt: skip


class Unreadable(Exception):
    """Reading this expression again would run the user's code, or no longer gives what it gave."""


def operands(node: ast.AST) -> list[ast.expr]:
    """What an operation works on: both sides, or a call's object and arguments."""
    match node:
        case ast.BinOp(left=left, right=right):
            return [left, right]
        case ast.AugAssign(target=target, value=value):
            return [target, value]
        case ast.UnaryOp(operand=operand):
            return [operand]
        case ast.Compare(left=left, comparators=others):
            return [left, *others]
        case ast.Call(func=function, args=arguments):
            plain = [a for a in arguments if not isinstance(a, ast.Starred)]
            if isinstance(function, ast.Attribute) and not _names_a_module(function.value):
                return [function.value, *plain]
            return plain
        case (
            ast.Assign(value=value) | ast.Expr(value=value) | ast.Return(value=ast.expr() as value)
        ):
            return [value]
    return []


def _names_a_module(node: ast.expr) -> bool:
    while isinstance(node, ast.Attribute):
        node = node.value
    return isinstance(node, ast.Name) and node.id in _MODULES


_MODULES = {
    "np",
    "numpy",
    "math",
    "jnp",
    "jax",
    "torch",
    "scipy",
    "special",
    "F",
    "tf",
    "linalg",
    "xp",
}


class Reader:
    """Evaluate names, attributes, constants, subscripts, and pure functions of NumPy on them.

    Parameters
    ----------
    frame : frame
        Where the names are looked up.
    overwritten : set of str
        Names whose arrays the operation itself has written: what they held is gone.
    """

    def __init__(self, frame: FrameType, overwritten: set[str]) -> None:
        self._scopes: tuple[Mapping[str, Any], ...] = (
            frame.f_locals, frame.f_globals, frame.f_builtins,
        )  # fmt: skip
        self._overwritten = overwritten

    def read(self, node: ast.AST) -> Any:
        """Return the value of an expression; raise Unreadable where that is not safe."""
        with np.errstate(all="ignore"):
            try:
                return self._read(node)
            except Unreadable:
                raise
            except Exception as error:  # shapes that do not fit, a key that is gone
                raise Unreadable from error

    def _read(self, node: ast.AST) -> Any:
        match node:
            case ast.Constant(value=value):
                return value
            case ast.Name(id=name):
                return self._name(name)
            case ast.Attribute(value=base, attr=name):
                return _attribute(self._read(base), name)
            case ast.Subscript(value=base, slice=index):
                return self._subscript(self._read(base), self._read(index))
            case ast.Slice(lower=lower, upper=upper, step=step):
                return slice(*(part and self._read(part) for part in (lower, upper, step)))
            case ast.Tuple(elts=parts):
                return tuple(map(self._read, parts))
            case ast.List(elts=parts):
                return list(map(self._read, parts))
            case ast.BinOp(left=left, op=op, right=right):
                return _computed(_OPERATORS[type(op)], self._read(left), self._read(right))
            case ast.UnaryOp(op=op, operand=operand):
                return _computed(_OPERATORS[type(op)], self._read(operand))
            case ast.Compare(left=left, ops=[op], comparators=[right]) if type(op) in _OPERATORS:
                return _computed(_OPERATORS[type(op)], self._read(left), self._read(right))
            case ast.Call(func=function, args=arguments, keywords=keywords):
                named = {word.arg: self._read(word.value) for word in keywords if word.arg}
                if len(named) < len(keywords) or "out" in named:
                    raise Unreadable
                return self._call(function, list(map(self._read, arguments)), named)
        raise Unreadable

    def _name(self, name: str) -> Any:
        if name in self._overwritten:
            raise Unreadable
        for scope in self._scopes:
            if name in scope:
                return scope[name]
        raise Unreadable

    def _subscript(self, base: Any, index: Any) -> Any:
        parts = index if type(index) is tuple else (index,)
        if type(base) not in (*_CONTAINERS, np.ndarray) or not all(map(_is_plain, parts)):
            raise Unreadable
        return base[index]

    def _call(self, function: ast.expr, arguments: list[Any], named: dict[str, Any]) -> Any:
        if not all(map(_is_plain, [*arguments, *named.values()])):
            raise Unreadable
        if isinstance(function, ast.Attribute):
            base = self._read(function.value)
            if isinstance(base, np.ndarray | np.generic) and _is_plain(base):
                if function.attr not in _ARRAY_METHODS:
                    raise Unreadable
                return _computed(getattr(base, function.attr), *arguments, **named)
            if isinstance(base, np.ufunc) and function.attr in ("reduce", "accumulate", "outer"):
                return _computed(getattr(base, function.attr), *arguments, **named)
        called = self._read(function)
        if not isinstance(called, np.ufunc) and not _is_pure(called):
            raise Unreadable
        return _computed(called, *arguments, **named)


def _is_pure(function: Any) -> bool:
    try:
        return function in _FUNCTIONS or (
            isinstance(function, type) and issubclass(function, np.generic)
        )
    except TypeError:  # not hashable
        return False


def _is_plain(value: Any) -> bool:
    """Whether work on this value runs NumPy's code and Python's only."""
    kind = type(value)
    if kind in (list, tuple):
        return all(map(_is_plain, value))
    if kind is dict:
        return False
    if kind is np.ndarray:
        return bool(value.dtype != object)
    return kind in _PLAIN or kind is slice or isinstance(value, np.generic | np.dtype | type)


def _computed(function: Callable[..., Any], *arguments: Any, **named: Any) -> Any:
    if not all(map(_is_plain, arguments)):
        raise Unreadable
    sizes = [np.size(a) for a in arguments if isinstance(a, np.ndarray)]
    if max(sizes, default=0) > _LARGEST or any(
        type(a) is int and a.bit_length() > 64 for a in arguments
    ):
        raise Unreadable
    return function(*arguments, **named)


def _attribute(base: Any, name: str) -> Any:
    if isinstance(base, ModuleType):
        return vars(base)[name]
    if type(base) is np.ndarray and name in _ARRAY_ATTRIBUTES:
        return getattr(base, name)
    if isinstance(base, np.ufunc | np.ndarray | np.generic):
        raise Unreadable
    with contextlib.suppress(AttributeError):  # an object of slots alone has none
        fields = object.__getattribute__(base, "__dict__")
        if type(fields) is dict and name in fields:
            return fields[name]
    for kind in type(base).__mro__:
        slot = vars(kind).get(name)
        if isinstance(slot, MemberDescriptorType):
            return slot.__get__(base)
        if slot is not None:
            break
    raise Unreadable
