"""The arguments of the segment functions for arrays of torch, JAX, CuPy and the array API."""

from __future__ import annotations

import contextlib
from typing import Any, NamedTuple

from .._arrays.tensors import (
    COMPLEX,
    INTEGERS,
    beside,
    dtypes,
    from_numpy,
    host,
    indices,
    known,
    library,
    mask_of,
    name_of,
)
from .._arrays.typing import AnyArray
from .arguments import (
    LIMIT,
    count_of,
    has_groups,
    ids_of,
    offset_shape,
    offsets_of,
    one_a_row,
    refuse_ids,
)


class SegmentTensors(NamedTuple):
    """What the caller asked for, all of it fit to be computed."""

    xp: Any  # the namespace of x
    x: AnyArray  # at least one axis, that of the groups
    ids: AnyArray  # one for each row of x, below `groups`; of the dtype that indexes
    groups: int
    stray: (
        AnyArray | None
    )  # which rows are in no group of the caller's, but in one more; None: none
    num_segments: int
    where: AnyArray | None  # bool, of x's shape
    computed: Any  # at least as wide as the input
    dtype: Any  # of the result


def validate(
    xp: Any,
    x: AnyArray,
    segments: Any = None,
    *,
    indptr: Any = None,
    num_segments: Any = None,
    where: Any = None,
) -> SegmentTensors:
    """Check the arguments of all three functions before anything is computed.

    Of traced ids and offsets there is no value to be checked: a row that they send to no group is
    a stray.
    """
    computed, dtype = dtypes(xp, x, None, None)
    if name_of(x.dtype) in COMPLEX:
        raise TypeError(
            f"x has dtype {name_of(x.dtype)}; accepted are integers and real floating-point"
        )
    has_groups(tuple(x.shape), segments, indptr)
    count = count_of(num_segments)
    ids, count, checked = (
        _segments(xp, x, segments, count) if indptr is None else _offsets(xp, x, indptr, count)
    )
    stray = None
    if not checked:
        stray = (ids < 0) | (ids >= count)
        ids = xp.where(stray, count, ids)
    number, mask = count if checked else count + 1, mask_of(where, x, xp)
    return SegmentTensors(xp, x, ids, number, stray, count, mask, computed, dtype)


def _segments(xp: Any, x: AnyArray, segments: Any, count: int | None) -> tuple[AnyArray, int, bool]:
    """Return ids, the number of groups, and whether all of them are in range."""
    if not _is_tensor(segments, x):
        ids, count = ids_of(segments, tuple(x.shape), count)
        return indices(xp, from_numpy(ids, x, xp)), count, True
    _refuse_other_dtypes(segments, "segments")
    one_a_row(tuple(segments.shape), tuple(x.shape))
    if not x.shape[0]:
        return indices(xp, segments), count or 0, True
    with _eagerly(x):
        ids = indices(xp, segments)
        least, largest = known(xp.min(ids), int), known(xp.max(ids), int)
    if least is None or largest is None:
        if count is None:
            raise TypeError(
                "num_segments must be given with traced segments, whose values are not known"
            )
        return indices(xp, segments), count, False
    if least < 0 or largest >= (LIMIT if count is None else count):
        values = host(segments)
        assert values is not None
        refuse_ids(values, count)
    return ids, largest + 1 if count is None else count, True


def _offsets(xp: Any, x: AnyArray, indptr: Any, count: int | None) -> tuple[AnyArray, int, bool]:
    """Return the same for offsets: the id of a row is the number of offsets up to it, less 1."""
    held = indptr
    if _is_tensor(indptr, x):
        _refuse_other_dtypes(indptr, "indptr")
        held = host(indptr)
        offset_shape(tuple(indptr.shape), count)
    if held is not None:
        indptr = from_numpy(offsets_of(held, x.shape[0], count), x, xp)
    offsets = indices(xp, indptr)
    rows = indices(xp, xp.arange(x.shape[0], **beside(x, xp)))
    ids = indices(xp, xp.searchsorted(offsets, rows, side="right")) - 1
    return ids, offsets.shape[0] - 1, held is not None


def _is_tensor(a: Any, x: AnyArray) -> bool:
    return hasattr(a, "dtype") and library(a) == library(x)


def _refuse_other_dtypes(a: AnyArray, name: str) -> None:
    if name_of(a.dtype) not in INTEGERS:
        raise TypeError(f"{name} must be integers, got dtype {name_of(a.dtype)}")


def _eagerly(x: AnyArray) -> contextlib.AbstractContextManager[Any]:
    """Compute at once with what has values: under jax.jit, arrays from outside have."""
    if library(x) != "jax":
        return contextlib.nullcontext()
    import jax

    eager: contextlib.AbstractContextManager[Any] = jax.ensure_compile_time_eval()
    return eager
