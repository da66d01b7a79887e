"""How arrays are seen as groups of rows, and how the groups are computed."""

from __future__ import annotations

import itertools
from typing import NamedTuple

import numpy as np

from .. import _core
from .._arrays.blocks import below, bits, fits_exactly, merge, mergeable, ready
from .._arrays.dtypes import KernelName, kernel_name
from .._arrays.typing import Array
from ..functions import formulas as softmax_formulas
from .arguments import SegmentArguments


class Groups(NamedTuple):
    """A call, and where its result goes."""

    call: SegmentArguments
    out: Array  # x's trailing axes can be made one without a copy

    @property
    def columns(self) -> int:
        """The number of axes that hold independent columns."""
        return self.call.x.ndim - 1


def normalise(call: SegmentArguments, *, reduces: bool = False) -> Groups:
    """Allocate the result: one row a group if it is reduced, else laid out like x."""
    if reduces:
        return Groups(call, np.empty((call.num_segments, *call.x.shape[1:]), call.dtype))
    out = np.empty_like(call.x, call.dtype)
    if not mergeable(out, out.ndim - 1):
        out = np.empty(out.shape, call.dtype)
    return Groups(call, out)


def run(op: int, groups: Groups) -> None:
    """Compute the groups: by a kernel, or in plain NumPy where there is none."""
    name = kernel_name(groups.call.dtype)
    with np.errstate(all="ignore"):
        if name is None:
            _run_formulas(op, groups)
        else:
            _run_kernel(op, name, groups)


def wrap(groups: Groups) -> Array:
    """Return what the caller expects."""
    return groups.out


def _run_kernel(op: int, name: KernelName, groups: Groups) -> None:
    call, out = groups.call, groups.out
    x, shift = _stage(groups, place=None if op == _core.LOGSUMEXP else out)
    arrays = bits(merge(x, groups.columns)), bits(merge(out, groups.columns))
    if call.indptr is not None:
        _core.apply_indptr(op, name, *arrays, call.indptr)
    else:
        assert call.segments is not None
        _core.apply_segments(op, name, *arrays, call.segments, call.num_segments)
    if op != _core.LOGSUMEXP and call.where is not None:
        np.copyto(out, 0 if op == _core.SOFTMAX else -np.inf, where=~call.where)
    elif op == _core.LOGSUMEXP and shift is not None:
        np.add(out, shift, out=out)


def _stage(groups: Groups, place: Array | None) -> tuple[Array, Array | None]:
    """Return x as the kernels can read it, copied (to `place`) if it must be.

    What takes no part is -inf in the copy. The second is what was taken off each group, or None:
    as in `rows`, integers beyond 2**52 are replaced by their exact distance to the group's maximum.
    """
    call, x = groups.call, groups.call.x
    if call.where is None and ready(x, call.dtype, groups.columns):
        return x, None
    if place is None:
        place = np.empty(x.shape, call.dtype)
    shift = None
    if fits_exactly(x):
        np.copyto(place, x)
    else:
        shift = _distances(call, place)
    if call.where is not None:
        np.copyto(place, -np.inf, where=~call.where)
    return place, shift


def _distances(call: SegmentArguments, place: Array) -> Array:
    """Write large integers as their distance to the maximum of their group, which is returned."""
    x, group, info = call.x, _ids(call), np.iinfo(call.x.dtype)
    high = np.full((call.num_segments, *x.shape[1:]), info.min, info.dtype)
    low = np.full(high.shape, info.max, info.dtype)
    part = True if call.where is None else call.where
    np.maximum.at(high, group, np.where(part, x, info.dtype.type(info.min)))
    np.minimum.at(low, group, np.where(part, x, info.dtype.type(info.max)))
    return below(x, high, low, place, group)


def _ids(call: SegmentArguments) -> Array:
    if call.indptr is None:
        assert call.segments is not None
        return call.segments
    return np.repeat(np.arange(call.num_segments), np.diff(call.indptr))


def _run_formulas(op: int, groups: Groups) -> None:
    """Group by group, each as rows that lie along the last axis."""
    call = groups.call
    x, out = (merge(a, groups.columns) for a in (call.x, groups.out))
    where = None if call.where is None else merge(call.where, groups.columns)
    ids = _ids(call)
    order = np.argsort(ids, kind="stable")
    ends = np.cumsum(np.bincount(ids, minlength=call.num_segments))[: call.num_segments]
    for group, (start, stop) in enumerate(itertools.pairwise([0, *ends])):
        members = order[start:stop]
        rows = x[members].astype(call.dtype).T
        kept = None if where is None else where[members].T
        if op == _core.LOGSUMEXP:
            out[group] = softmax_formulas.logsumexp(rows, kept, None)
        else:
            name = "softmax" if op == _core.SOFTMAX else "log_softmax"
            out[members] = getattr(softmax_formulas, name)(rows, kept, None, 0).T
