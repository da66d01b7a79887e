"""The arguments of segment_softmax, segment_log_softmax and segment_logsumexp."""

from __future__ import annotations

import operator
from typing import Any, NamedTuple, NoReturn

import numpy as np
from numpy.typing import ArrayLike

from .._arrays.checks import mask_of
from .._arrays.dtypes import as_array, floating
from .._arrays.typing import Array

LIMIT = 2**48  # groups: more than any memory has room for, and far from overflow


class SegmentArguments(NamedTuple):
    """What the caller asked for, all of it fit to be computed."""

    x: Array  # at least one axis, that of the groups
    segments: Array | None  # contiguous int32 or int64, one for each row of x, below num_segments
    indptr: Array | None  # contiguous int64, num_segments + 1 of them, ascending from 0 to len(x)
    num_segments: int
    where: Array | None  # bool, of x's shape
    dtype: np.dtype[Any]  # of the result; native


def validate(
    x: ArrayLike,
    segments: ArrayLike | None,
    indptr: ArrayLike | None,
    num_segments: int | None,
    where: ArrayLike | None,
) -> SegmentArguments:
    """Check the arguments of all three functions before anything is written."""
    x = as_array(x, "x")
    dtype = floating(x.dtype, "x")
    has_groups(x.shape, segments, indptr)
    count, mask = count_of(num_segments), mask_of(where, x.shape)
    if indptr is not None:
        offsets = offsets_of(indptr, len(x), count)
        return SegmentArguments(x, None, offsets, len(offsets) - 1, mask, dtype)
    ids, count = ids_of(segments, x.shape, count)
    return SegmentArguments(x, ids, None, count, mask, dtype)


def has_groups(shape: tuple[int, ...], segments: Any, indptr: Any) -> None:
    """Raise unless x has an axis, and one argument says how it is divided."""
    if not shape:
        raise ValueError("x must have an axis along which the groups lie, got a scalar")
    if (segments is None) == (indptr is None):
        given = "neither" if segments is None else "both"
        raise TypeError(f"exactly one of segments and indptr must be given, got {given}")


def ids_of(segments: Any, shape: tuple[int, ...], count: int | None) -> tuple[Array, int]:
    """Return an id for each row of x, and the number of groups."""
    ids = _integers(segments, "segments")
    one_a_row(ids.shape, shape)
    native = _native(ids)
    largest = _largest(native)
    if largest >= (LIMIT if count is None else count):
        refuse_ids(ids, count)
    return native, largest + 1 if count is None else count


def one_a_row(ids: tuple[int, ...], shape: tuple[int, ...]) -> None:
    """Raise unless ids have this shape."""
    if ids != shape[:1]:
        raise ValueError(
            f"segments must have shape {shape[:1]}, an id for each row of x, got {ids}"
        )


def count_of(num_segments: int | None) -> int | None:
    """Return the number of groups that was asked for."""
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


def refuse_ids(ids: Array, count: int | None) -> NoReturn:
    """Raise for the first id that is out of range."""
    limit, name = (LIMIT, "2**48") if count is None else (count, f"num_segments = {count}")
    first = int(np.argmax((ids < 0) | (ids >= limit)))
    raise ValueError(
        f"segments must be at least 0 and below {name}, got {ids[first]} at position {first}"
    )


def offsets_of(indptr: ArrayLike, length: int, count: int | None) -> Array:
    """Return the offsets, num_segments + 1 of them."""
    a = _integers(indptr, "indptr")
    offset_shape(a.shape, count)
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


def offset_shape(shape: tuple[int, ...], count: int | None) -> None:
    """Raise unless offsets have a shape for so many groups."""
    if len(shape) != 1 or shape[0] == 0:
        raise ValueError(f"indptr must be one-dimensional and not empty, got shape {shape}")
    if count is not None and count != shape[0] - 1:
        raise ValueError(f"num_segments must be len(indptr) - 1 = {shape[0] - 1}, got {count}")
