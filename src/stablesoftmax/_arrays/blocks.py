"""Rows along the last axis, a block at a time: what must be copied is never the whole array."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from math import prod
from typing import Any

import numpy as np

from .dtypes import is_bfloat16
from .typing import Array, DType

EXACT = 2**52  # integers up to this, and their differences, are exact in float64
BLOCK = 2**20  # bytes copied at a time, where rows must be copied before they are computed


def blocks(x: Array, dtype: DType, *, at_once: bool) -> Iterator[tuple[Any, ...]]:
    """Cut the batch of x, in C order, into blocks of about 1 MB, or of one longer row."""
    if at_once:
        yield (...,)
        return
    row = max(1, x.shape[-1] * dtype.itemsize)
    for index in slices(x.shape[:-1], max(1, BLOCK // row)):
        yield (*index, ...)  # or a[()] of 0 dimensions would be a scalar and no view


def readable(x: Array, dtype: DType) -> bool:
    """Whether a kernel can read rows of x as they are."""
    return ready(x, dtype, 1)


def readied(x: Array, where: Array | None, dtype: DType) -> Array:
    """Return x, or its rows as `dtype`: exactly, but for a number taken off a row of integers."""
    if readable(x, dtype):
        return x
    place = np.empty(x.shape, dtype)
    convert(x, where, place, 1)
    return place


def slices(shape: tuple[int, ...], limit: int) -> Iterator[tuple[slice, ...]]:
    """Cut `shape`, in C order, into boxes of at most `limit` elements."""
    if not shape:
        yield ()
        return
    step = max(1, limit // max(1, prod(shape[1:])))
    for start in range(0, shape[0], step):
        for rest in slices(shape[1:], limit):
            yield (slice(start, start + step), *rest)


def convert(x: Array, where: Array | None, place: Array, axes: int) -> Array | None:
    """Copy x to `place` as floats, exactly; return what had to be taken off each row for that.

    Past 2**53 a float64 misses integers: 2**60 and 2**60 + 1 must not become a tie. The distance
    to the row's maximum is small where it matters, and is exact as an unsigned integer, even
    from -2**63 to 2**63 - 1.
    """
    if fits_exactly(x):
        np.copyto(place, x)
        return None
    row, info, part = tuple(range(-axes, 0)), np.iinfo(x.dtype), True if where is None else where
    high = np.max(x, axis=row, keepdims=True, where=part, initial=info.min)
    low = np.min(x, axis=row, keepdims=True, where=part, initial=info.max)
    return below(x, high, low, place).reshape(x.shape[: x.ndim - axes])


def fits_exactly(x: Array) -> bool:
    """Whether x and its differences are exact in floats."""
    return x.dtype.kind not in "iu" or not x.size or (x.max() <= EXACT and x.min() >= -EXACT)


def below(x: Array, high: Array, low: Array, place: Array, at: Any = ...) -> Array:
    """Write to `place` x, less what is returned: the maximum of each row that has large integers.

    `high[at]` is the maximum of the row that each element of x is in, and so with the minimum.
    """
    shifted = (high > EXACT) | (low < -EXACT)
    np.subtract(high[at], x, out=place, dtype=np.uint64, casting="unsafe")
    np.subtract(np.where(shifted, 0, high)[at], place, out=place)
    return np.where(shifted, high, 0)


def ready(a: Array, dtype: np.dtype[Any], axes: int) -> bool:
    """Whether a kernel can read or write `a`: its dtype, native, aligned, a row on one axis."""
    return a.dtype == dtype and a.flags.aligned and mergeable(a, axes)


def mergeable(a: Array, axes: int) -> bool:
    """Whether the last `axes` axes are one axis without a copy."""
    if axes < 2 or not a.size:
        return True
    last = zip(a.shape[-axes:], a.strides[-axes:], strict=True)
    long = [(n, step) for n, step in last if n != 1]
    return all(outer == n * inner for (_, outer), (n, inner) in itertools.pairwise(long))


def merge(a: Array, axes: int) -> Array:
    """Make one axis of the last `axes`: a view, if they are mergeable."""
    if axes == 1:
        return a
    batch = a.ndim - axes
    return a.reshape(*a.shape[:batch], prod(a.shape[batch:]))


def bits(a: Array) -> Array:
    """See bfloat16, which the kernels' binding cannot name, as the uint16 that it is stored in."""
    return a.view(np.uint16) if is_bfloat16(a.dtype) else a
