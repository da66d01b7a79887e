"""The arguments of the public functions: checked here and nowhere else.

An error is one line that names the argument, what it was, and what is accepted.
"""

from __future__ import annotations

import operator
from typing import Any, NamedTuple

import numpy as np
from numpy.exceptions import AxisError
from numpy.typing import ArrayLike, DTypeLike, NDArray

from .arrays import as_array, floating, is_floating, wider

Array = NDArray[Any]
DType = np.dtype[Any]

UNDEFINED = {"nan": 0, "zero": 1, "uniform": 2, "raise": 0}


class Arguments(NamedTuple):
    """What the caller asked for, all of it fit to be computed."""

    x: Array
    axes: tuple[int, ...]  # not negative, ascending
    where: Array | None  # bool, of x's shape
    b: Array | None  # of x's shape
    temperature: Array | None  # float64, of x's shape with the axes reduced to 1
    out: Array | None
    shape: tuple[int, ...]  # of the result
    computed: DType  # native, at least as wide as the input and the result
    dtype: DType  # of the result
    sign_dtype: DType
    reduces: bool  # logsumexp: one number a row
    return_sign: bool
    undefined: int  # what stands for it: 0 NaN, 1 zero, 2 an even split
    refuse_undefined: bool


def validate(
    x: ArrayLike,
    axis: int | tuple[int, ...] | None,
    *,
    where: ArrayLike | None,
    out: Array | None,
    dtype: DTypeLike | None,
    temperature: ArrayLike = 1.0,
    undefined: str = "nan",
    b: ArrayLike | None = None,
    return_sign: bool = False,
    reduces: bool = False,
    keepdims: bool = False,
) -> Arguments:
    """Check the arguments of all three functions before anything is written."""
    x = as_array(x, "x")
    weak = type(b) in (int, float)  # as in NumPy, a plain number widens nothing
    b = None if b is None else as_array(b, "b")
    weights = None if b is None else x.dtype if weak else b.dtype
    computed, result = _dtypes(x.dtype, weights, dtype)
    sign_dtype = result
    if return_sign and result.kind == "c":
        result = np.empty(0, result).real.dtype
    x, b = _broadcast(x, b)
    axes = _axes(axis, x.ndim)
    kept = tuple(1 if i in axes else n for i, n in enumerate(x.shape))
    shape = x.shape
    if reduces:
        shape = kept if keepdims else tuple(n for i, n in enumerate(shape) if i not in axes)
    if not isinstance(undefined, str) or undefined not in UNDEFINED:
        raise ValueError(f"undefined must be one of {', '.join(UNDEFINED)}, got {undefined!r}")
    return Arguments(
        x=x,
        axes=axes,
        where=_where(where, x.shape),
        b=b,
        temperature=_temperature(temperature, kept),
        out=_out(out, shape, result),
        shape=shape,
        computed=computed,
        dtype=result,
        sign_dtype=sign_dtype,
        reduces=reduces,
        return_sign=return_sign,
        undefined=UNDEFINED[undefined],
        refuse_undefined=undefined == "raise",
    )


def _dtypes(x: DType, b: DType | None, dtype: DTypeLike | None) -> tuple[DType, DType]:
    """Return what to compute in, and the result's dtype."""
    result = floating(x, "x")
    computed = result
    if b is not None:
        result = wider(result, floating(b, "b"))
        computed = wider(result, np.dtype(np.float64))
    if dtype is None:
        return computed, result
    try:
        asked = np.dtype(dtype)
    except TypeError:
        raise TypeError(f"dtype must be a floating-point or complex dtype, got {dtype!r}") from None
    if not is_floating(asked):
        raise TypeError(f"dtype must be a floating-point or complex dtype, got {asked}")
    if result.kind == "c" and asked.kind != "c":
        raise TypeError(f"dtype must be complex for a complex x, got {asked}")
    asked = floating(asked, "dtype")
    return wider(computed, asked), asked


def _broadcast(x: Array, b: Array | None) -> tuple[Array, Array | None]:
    if b is None:
        return x, None
    try:
        shape = np.broadcast_shapes(x.shape, b.shape)
    except ValueError:
        raise ValueError(
            f"b of shape {b.shape} does not broadcast with x of shape {x.shape}"
        ) from None
    return np.broadcast_to(x, shape), np.broadcast_to(b, shape)


def _axes(axis: int | tuple[int, ...] | None, ndim: int) -> tuple[int, ...]:
    if axis is None:
        return tuple(range(ndim))
    axes = [_axis(i, ndim) for i in (axis if isinstance(axis, tuple) else (axis,))]
    if len(set(axes)) < len(axes):
        raise ValueError(f"axis={axis} names an axis twice, accepted are different axes")
    return tuple(sorted(axes)) if ndim else ()


def _axis(axis: int, ndim: int) -> int:
    """Return the axis counted from the front. A scalar has one, as in torch: softmax(3.0) is 1."""
    try:
        i = operator.index(axis)
    except TypeError:
        i = None
    if i is None or isinstance(axis, bool | np.bool_):
        raise TypeError(f"axis must be an int, a tuple of ints or None, got {axis!r}")
    if not -max(ndim, 1) <= i < max(ndim, 1):
        raise AxisError(i, ndim)
    return i % max(ndim, 1)


def _where(where: ArrayLike | None, shape: tuple[int, ...]) -> Array | None:
    if where is None:
        return None
    mask = as_array(where, "where")
    if mask.dtype != bool:
        raise TypeError(f"where must be bool, got dtype {mask.dtype}: pass where != 0")
    try:
        return np.broadcast_to(mask, shape)
    except ValueError:
        raise ValueError(
            f"where of shape {mask.shape} does not broadcast to x's shape {shape}"
        ) from None


def _temperature(temperature: ArrayLike, kept: tuple[int, ...]) -> Array | None:
    if type(temperature) is float and temperature == 1.0:
        return None
    t = as_array(temperature, "temperature")
    if t.dtype.kind not in "iu" and (not is_floating(t.dtype) or t.dtype.kind == "c"):
        raise TypeError(f"temperature must be a real number or an array of them, got {t.dtype}")
    with np.errstate(all="ignore"):
        t = np.require(t, np.float64, "A")
        valid = not t.size or t.min() >= 0  # NaN is the minimum of what has one
    if t.ndim == 0 and t == 1:
        return None
    if not valid:
        first = np.unravel_index(np.argmin(t >= 0), t.shape)
        at = f" at {tuple(int(i) for i in first)}" if t.ndim else ""
        raise ValueError(f"temperature must be 0, positive or inf, got {t[first]}{at}")
    try:
        return np.broadcast_to(t, kept)
    except ValueError:
        raise ValueError(
            f"temperature of shape {t.shape} does not broadcast to {kept}, "
            "x's shape with the axis reduced to 1"
        ) from None


def _out(out: Array | None, shape: tuple[int, ...], dtype: DType) -> Array | None:
    if out is None:
        return None
    if not isinstance(out, np.ndarray):
        raise TypeError(f"out must be a NumPy array, got {type(out).__name__}")
    if out.shape != shape:
        raise ValueError(f"out has shape {out.shape}, accepted is the result's shape {shape}")
    if not out.flags.writeable:
        raise ValueError("out is read-only, accepted is a writeable array")
    shared = (step == 0 and n > 1 for n, step in zip(out.shape, out.strides, strict=True))
    if out.size and any(shared):
        raise ValueError(f"out has strides {out.strides}, accepted are elements that lie apart")
    if not is_floating(out.dtype) or (dtype.kind == "c" and out.dtype.kind != "c"):
        raise TypeError(
            f"out has dtype {out.dtype}, which cannot hold a result of {dtype}, accepted are "
            f"{'complex' if dtype.kind == 'c' else 'floating-point'} dtypes"
        )
    return out
