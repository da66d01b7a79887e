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
    function: Callable[..., Any], x: AnyArray, segments: Any = None, **options: Any
) -> AnyArray:
    """Compute softmax or log_softmax; NaN for a stray row."""
    xp = namespace(x)
    call = validate(xp, x, segments, **options)
    with quiet(x):
        rows, groups, _ = _normalise(call)
        y = function(rows, groups, xp=xp)
        if call.stray is not None:
            y = xp.where(call.stray[:, None], formulas.NAN, y)
        return xp.reshape(xp.astype(y, call.dtype), tuple(x.shape))


segment_softmax = partial(_mapping, formulas.softmax)
segment_log_softmax = partial(_mapping, formulas.log_softmax)


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
    xp, shape = call.xp, call.x.shape
    groups = Scatter(xp, call.ids, call.groups)
    rows = xp.reshape(call.x, (shape[0], prod(list(shape[1:]))))  # torch.compile follows a list
    if name_of(rows.dtype) not in INTEGERS:
        return xp.astype(rows, call.computed), groups, None
    top = groups.maximum(rows)
    below = less(rows, groups.gather(top), call.computed, xp)
    return below, groups, xp.astype(top, call.computed)
