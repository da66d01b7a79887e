"""Checks of the arguments that several public functions take."""

from __future__ import annotations

import operator

import numpy as np
from numpy.exceptions import AxisError
from numpy.typing import ArrayLike, DTypeLike

from .dtypes import as_array, floating, is_floating, wider
from .typing import Array, DType

UNDEFINED = {"nan": 0, "zero": 1, "uniform": 2, "raise": 0}


def dtypes(x: DType, b: DType | None, dtype: DTypeLike | None) -> tuple[DType, DType]:
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


def broadcast(x: Array, b: Array | None) -> tuple[Array, Array | None]:
    """Return x and its weights in one shape."""
    if b is None:
        return x, None
    try:
        shape = np.broadcast_shapes(x.shape, b.shape)
    except ValueError:
        raise ValueError(
            f"b of shape {b.shape} does not broadcast with x of shape {x.shape}"
        ) from None
    return np.broadcast_to(x, shape), np.broadcast_to(b, shape)


def axes_of(axis: int | tuple[int, ...] | None, ndim: int) -> tuple[int, ...]:
    """Return the axes counted from the front, ascending."""
    if axis is None:
        return tuple(range(ndim))
    axes = [axis_of(i, ndim) for i in (axis if isinstance(axis, tuple) else (axis,))]
    if len(set(axes)) < len(axes):
        raise ValueError(f"axis={axis} names an axis twice, accepted are different axes")
    return tuple(sorted(axes)) if ndim else ()


def axis_of(axis: int, ndim: int) -> int:
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


def mask_of(where: ArrayLike | None, shape: tuple[int, ...]) -> Array | None:
    """Return `where` as a bool array of x's shape."""
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


def temperatures(temperature: ArrayLike, kept: tuple[int, ...]) -> Array | None:
    """Return float64 temperatures of shape `kept`, x's with the axis reduced to 1; None for 1."""
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


def output(out: Array | None, shape: tuple[int, ...], dtype: DType) -> Array | None:
    """Return `out`, if a result of this shape and dtype fits in."""
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


def real(dtype: DType, name: str) -> DType:
    """Return the dtype to compute in, which is the result's: float64 for integers."""
    computed = floating(dtype, name)
    if computed.kind == "c":
        raise TypeError(f"{name} has dtype {dtype}; accepted are integers and real floating-point")
    return computed


def one_axis(axis: int, ndim: int, name: str) -> int:
    """Return the axis of the classes."""
    if ndim == 0:
        raise ValueError(f"{name} must have at least 1 dimension, got a scalar")
    if axis is None or isinstance(axis, tuple):
        raise TypeError(f"axis must be an int, got {axis!r}")
    return axis_of(axis, ndim)
