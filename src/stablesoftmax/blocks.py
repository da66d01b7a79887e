"""Rows along the last axis, a block at a time: what must be copied is never the whole array."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from . import rows

Array = NDArray[Any]
DType = np.dtype[Any]


def blocks(x: Array, dtype: DType, *, at_once: bool) -> Iterator[tuple[Any, ...]]:
    """Cut the batch of x, in C order, into blocks of about 1 MB, or of one longer row."""
    if at_once:
        yield (...,)
        return
    row = max(1, x.shape[-1] * dtype.itemsize)
    for index in rows.slices(x.shape[:-1], max(1, rows.BLOCK // row)):
        yield (*index, ...)  # or a[()] of 0 dimensions would be a scalar and no view


def readable(x: Array, dtype: DType) -> bool:
    """Whether a kernel can read rows of x as they are."""
    return rows.ready(x, dtype, 1)


def readied(x: Array, where: Array | None, dtype: DType) -> Array:
    """Return x, or its rows as `dtype`: exactly, but for a number taken off a row of integers."""
    if readable(x, dtype):
        return x
    place = np.empty(x.shape, dtype)
    rows.convert(x, where, place, 1)
    return place
