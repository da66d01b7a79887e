"""The arguments of segment_softmax, segment_log_softmax and segment_logsumexp."""

from __future__ import annotations

import operator
from typing import Any, NamedTuple, NoReturn

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..arrays import as_array, floating

Array = NDArray[Any]

LIMIT = 2**48  # groups: more than any memory has room for, and far from overflow


class Arguments(NamedTuple):
    """What the caller asked for, all of it fit to be computed."""

    x: Array  # at least one axis, that of the groups
    segments: Array | None  # contiguous int32 or int64, one for each row of x, below num_segments
    indptr: Array | None  # contiguous int64, num_segments + 1 of them, ascending from 0 to len(x)
    num_segments: int
    dtype: np.dtype[Any]  # of the result; native


def validate(
    x: ArrayLike,
    segments: ArrayLike | None,
    indptr: ArrayLike | None,
    num_segments: int | None,
) -> Arguments:
    """Check the arguments of all three functions before anything is written."""
    x = as_array(x, "x")
    dtype = floating(x.dtype, "x")
    if x.ndim == 0:
        raise ValueError("x must have an axis along which the groups lie, got a scalar")
    if (segments is None) == (indptr is None):
        given = "neither" if segments is None else "both"
        raise TypeError(f"exactly one of segments and indptr must be given, got {given}")
    count = _count(num_segments)
    if indptr is not None:
        offsets = _offsets(indptr, len(x), count)
        return Arguments(x, None, offsets, len(offsets) - 1, dtype)
    ids = _integers(segments, "segments")
    if ids.shape != x.shape[:1]:
        raise ValueError(
            f"segments must have shape {x.shape[:1]}, an id for each row of x, got {ids.shape}"
        )
    native = _native(ids)
    largest = _largest(native)
    if largest >= (LIMIT if count is None else count):
        _refuse(ids, count)
    return Arguments(x, native, None, largest + 1 if count is None else count, dtype)


def _count(num_segments: int | None) -> int | None:
    if num_segments is None:
        return None
    try:
        count = operator.index(num_segments)
    except TypeError:
        count = None
    if count is None or isinstance(num_segments, bool | np.bool_):
        raise TypeError(f"num_segments must be an int or None, got {num_segments!r}")
    if not 0 <= count <= LIMIT:
        raise ValueError(f"num_segments must be from 0 to 2**48, got {count}")
    return count


def _integers(values: Any, name: str) -> Array:
    a = as_array(values, name)
    if a.size == 0 and isinstance(values, list | tuple):
        a = a.astype(np.int64)  # np.asarray([]) is float64
    if a.dtype.kind not in "iu":
        raise TypeError(f"{name} must be integers, got dtype {a.dtype}")
    return a


def _native(a: Array) -> Array:
    """Return it as the kernels' binding takes it: as it is, if it is already so."""
    dtype = np.int32 if a.dtype.kind == "i" and a.dtype.itemsize == 4 else np.int64
    return np.require(a, dtype, ["C", "A"])


def _largest(ids: Array) -> int:
    """Return the largest id, or -1 for none; more than any limit, if one is negative.

    Seen as unsigned numbers, negative ones are the largest: one sweep instead of two.
    """
    if ids.size == 0:
        return -1
    largest = int(ids.view(f"u{ids.itemsize}").max())
    return largest if largest <= np.iinfo(ids.dtype).max else 2 * LIMIT


def _refuse(ids: Array, count: int | None) -> NoReturn:
    limit, name = (LIMIT, "2**48") if count is None else (count, f"num_segments = {count}")
    first = int(np.argmax((ids < 0) | (ids >= limit)))
    raise ValueError(
        f"segments must be at least 0 and below {name}, got {ids[first]} at position {first}"
    )


def _offsets(indptr: ArrayLike, length: int, count: int | None) -> Array:
    a = _integers(indptr, "indptr")
    if a.ndim != 1 or a.size == 0:
        raise ValueError(f"indptr must be one-dimensional and not empty, got shape {a.shape}")
    if count is not None and count != a.size - 1:
        raise ValueError(f"num_segments must be len(indptr) - 1 = {a.size - 1}, got {count}")
    if a[0] != 0:
        raise ValueError(f"indptr must start at 0, got {a[0]} at position 0")
    falls = a[1:] < a[:-1]
    if falls.any():
        first = int(np.argmax(falls)) + 1
        raise ValueError(
            f"indptr must not decrease, got {a[first]} after {a[first - 1]} at position {first}"
        )
    if a[-1] != length:
        raise ValueError(
            f"indptr must end at {length}, the number of rows of x, got {a[-1]} "
            f"at position {a.size - 1}"
        )
    return np.require(a, np.int64, ["C", "A"])
