"""The segment functions for arrays of torch, JAX, CuPy and the array API."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from math import prod
from typing import Any

from .._arrays.tensors import INTEGERS, less, name_of, namespace, quiet
from .._arrays.typing import AnyArray
from . import formulas
from .scatter import Scatter
from .tensor_arguments import SegmentTensors, validate

__all__ = ["segment_log_softmax", "segment_logsumexp", "segment_softmax"]


def _mapping(
    function: Callable[..., Any],
    nothing: float,
    x: AnyArray,
    segments: Any = None,
    **options: Any,
) -> AnyArray:
    """Compute softmax or log_softmax; `nothing` for what takes no part, NaN for a stray row."""
    xp = namespace(x)
    call = validate(xp, x, segments, **options)
    with quiet(x):
        rows, groups, _ = _normalise(call)
        y = function(rows, groups, xp=xp)
        if call.where is not None:
            y = xp.where(_rows(call, call.where), y, nothing)
        if call.stray is not None:
            y = xp.where(call.stray[:, None], formulas.NAN, y)
        return xp.reshape(xp.astype(y, call.dtype), tuple(x.shape))


segment_softmax = partial(_mapping, formulas.softmax, 0.0)
segment_log_softmax = partial(_mapping, formulas.log_softmax, -formulas.INF)


def segment_logsumexp(x: AnyArray, segments: Any = None, **options: Any) -> AnyArray:
    """Compute logsumexp, in which a stray row takes no part."""
    xp = namespace(x)
    call = validate(xp, x, segments, **options)
    with quiet(x):
        rows, groups, shift = _normalise(call)
        value = formulas.logsumexp(rows, groups, xp=xp)
        value = value if shift is None else value + shift
        value = xp.astype(value, call.dtype)[: call.num_segments, :]
        return xp.reshape(value, (call.num_segments, *x.shape[1:]))


def _normalise(call: SegmentTensors) -> tuple[AnyArray, Scatter, AnyArray | None]:
    """Return x as rows, their groups, and what was taken off each group of integers."""
    xp, rows = call.xp, _rows(call, call.x)
    groups = Scatter(xp, call.ids, call.groups)
    where = None if call.where is None else _rows(call, call.where)

    def masked(a: AnyArray, nothing: Any) -> AnyArray:
        return a if where is None else xp.where(where, a, nothing)

    if name_of(rows.dtype) not in INTEGERS:
        return masked(xp.astype(rows, call.computed), -formulas.INF), groups, None
    top = groups.maximum(masked(rows, xp.iinfo(rows.dtype).min))
    below = less(rows, groups.gather(top), call.computed, xp)
    return masked(below, -formulas.INF), groups, xp.astype(top, call.computed)


def _rows(call: SegmentTensors, a: AnyArray) -> AnyArray:
    """See an array of x's shape as rows."""
    shape = a.shape
    rows: AnyArray = call.xp.reshape(a, (shape[0], prod(list(shape[1:]))))  # torch.compile follows
    return rows
