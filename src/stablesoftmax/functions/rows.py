"""How arrays are seen as rows, and how the rows are computed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from math import prod
from typing import Any, NamedTuple

import numpy as np

from .. import _core
from .._arrays.blocks import BLOCK, bits, convert, merge, mergeable, ready, slices
from .._arrays.dtypes import KernelName, kernel_name
from .._arrays.typing import Array
from ..errors import UndefinedSoftmaxError
from . import formulas
from .arguments import SoftmaxArguments

Index = tuple[Any, ...]


class Rows(NamedTuple):
    """A call seen as rows: views of shape (*batch, *reduced axes), nothing copied."""

    call: SoftmaxArguments
    x: Array
    out: Array  # (*batch,) for logsumexp, as are temperature and sign
    where: Array | None
    b: Array | None
    temperature: Array | None
    sign: Array | None
    result: Array  # out and sign in the shape of the result
    result_sign: Array | None

    @property
    def axes(self) -> int:
        """The number of axes that one row of x lies on."""
        return len(self.call.axes)

    @property
    def out_axes(self) -> int:
        return 0 if self.call.reduces else self.axes

    @property
    def batch(self) -> tuple[int, ...]:
        return self.x.shape[: self.x.ndim - self.axes]

    def part(self, index: Index) -> Rows:
        """Return the rows at `index` of the batch."""

        def cut(a: Array) -> Array:
            part: Array = a[index]
            return part

        return self._replace(
            x=cut(self.x),
            out=cut(self.out),
            where=_optional(cut, self.where),
            b=_optional(cut, self.b),
            temperature=_optional(cut, self.temperature),
            sign=_optional(cut, self.sign),
        )


def normalise(call: SoftmaxArguments) -> Rows:
    """See the arguments as rows: batch axes first, reduced axes last."""
    order = (*(i for i in range(call.x.ndim) if i not in call.axes), *call.axes)
    fits = call.out is not None and _apart(call.out, call)
    result = np.asarray(call.out) if fits else _fresh(call, order)
    sign = np.empty(call.shape, call.sign_dtype) if call.return_sign else None

    def spread(a: Array) -> Array:
        return a.transpose(order)

    def per_row(a: Array) -> Array:
        return a.squeeze(call.axes) if a.ndim == call.x.ndim else a

    return Rows(
        call=call,
        x=spread(call.x),
        out=per_row(result) if call.reduces else spread(result),
        where=_optional(spread, call.where),
        b=_optional(spread, call.b),
        temperature=_optional(per_row, call.temperature),
        sign=_optional(per_row, sign),
        result=result,
        result_sign=sign,
    )


def run(op: int, rows: Rows) -> None:
    """Compute the rows: all at once, or in blocks where something must be copied first."""
    call, name = rows.call, kernel_name(rows.call.computed)
    with np.errstate(all="ignore"):
        if call.refuse_undefined:
            _refuse_undefined(rows, name)
        writes = ready(rows.out, call.computed, rows.out_axes)
        copies = call.reduces and not ready(rows.x, call.computed, rows.axes)
        for block in _blocks(rows, at_once=_plain(rows, name) and writes and not copies):
            if name is None or (block.b is not None and not _run_weighted(name, block)):
                _run_formulas(op, block)
            elif block.b is None:
                _run_kernel(op, name, block)
        if call.out is not None and not np.may_share_memory(call.out, rows.result):
            np.copyto(call.out, rows.result, casting="unsafe")


def probabilities(rows: Rows) -> Iterator[tuple[Index, Array, Array | None]]:
    """Yield softmax(x) block by block: its place in the batch, itself, and its part of `where`.

    It is in the dtype computed in, and a row lies on one axis. The caller silences NumPy.
    """
    call, name = rows.call, kernel_name(rows.call.computed)
    for index in places(rows):
        block = rows.part(index)
        p = np.empty(block.x.shape, call.computed)
        x, where, _ = stage(block, place=p)
        p = merge(p, rows.axes)
        if name is None:
            p[...] = formulas.softmax(x, where, block.temperature, call.undefined)
        else:
            _core.apply(_core.SOFTMAX, name, x, p, where, block.temperature, call.undefined)
        yield index, p, where


def wrap(rows: Rows) -> Array:
    """Return what the caller expects: the given out, a scalar for 0-d, a pair with the sign."""
    value = rows.call.out if rows.call.out is not None else _scalar(rows.result)
    # The pair is logsumexp's, which declares no type; softmax's users are told of an array.
    return value if rows.result_sign is None else (value, _scalar(rows.result_sign))  # type: ignore[return-value]


def _run_kernel(op: int, name: KernelName, rows: Rows) -> None:
    call, out = rows.call, room(rows)
    x, where, shift = stage(rows, place=None if call.reduces else out)
    target = out if call.reduces else merge(out, rows.axes)
    _core.apply(op, name, x, bits(target), where, rows.temperature, call.undefined)
    if call.reduces and shift is not None:
        out += shift
    if rows.sign is not None:  # exponentials are positive; with none to sum, the sum is 0
        rows.sign[...] = np.where(np.isnan(out), out, out != -np.inf)
    deliver(rows, out)


def _run_weighted(name: KernelName, rows: Rows) -> bool:
    """The log-sum-exp with weights; False: the kernel cannot tell, as with infinities or a sign."""
    if rows.b is None or rows.sign is not None:
        return False
    out = room(rows)
    x, where, shift = stage(rows, place=None)
    b, b_name = operand(rows.b, rows.axes)
    if not _core.weighted_logsumexp(name, x, b_name, b, bits(out), where):
        return False
    if shift is not None:
        out += shift
    deliver(rows, out)
    return True


def _run_formulas(op: int, rows: Rows) -> None:
    call = rows.call
    x, where, shift = stage(rows, place=None)
    if not call.reduces:
        function = formulas.softmax if op == _core.SOFTMAX else formulas.log_softmax
        rows.out[...] = function(x, where, rows.temperature, call.undefined).reshape(rows.x.shape)
        return
    b = None if rows.b is None else merge(rows.b, rows.axes).astype(call.computed)
    if rows.sign is None:
        value = formulas.logsumexp(x, where, b)
    else:
        value, rows.sign[...] = formulas.signed_logsumexp(x, where, b)
    rows.out[...] = value if shift is None else value + shift


def _refuse_undefined(rows: Rows, name: KernelName | None) -> None:
    """Raise for the first row that has no softmax, before anything is written."""
    before, reads = 0, ready(rows.x, rows.call.computed, rows.axes)
    for block in _blocks(rows, at_once=_plain(rows, name) and reads):
        x, where, _ = stage(block, place=None)
        if name is not None:
            first = _core.first_undefined(name, x, where)
        else:
            found = np.flatnonzero(formulas.undefined_rows(x, where))
            first = int(found[0]) if found.size else -1
        if first >= 0:
            index = np.unravel_index(before + first, rows.batch)
            raise UndefinedSoftmaxError(tuple(int(i) for i in index))
        before += prod(block.batch)


def _plain(rows: Rows, name: KernelName | None) -> bool:
    """Whether a kernel computes it and nothing but x may have to be copied."""
    mask = rows.where is None or mergeable(rows.where, rows.axes)
    return name is not None and rows.b is None and mask


def _blocks(rows: Rows, *, at_once: bool) -> Iterator[Rows]:
    """Cut the batch, in C order, into blocks of about `BLOCK` bytes, or of one longer row."""
    if at_once:
        yield rows
        return
    for index in places(rows):
        yield rows.part(index)


def places(rows: Rows) -> Iterator[Index]:
    """Where in the batch the blocks lie."""
    row = prod(rows.x.shape[len(rows.batch) :]) * rows.call.computed.itemsize
    for index in slices(rows.batch, max(1, BLOCK // max(1, row))):
        yield (*index, ...)


def stage(rows: Rows, place: Array | None) -> tuple[Array, Array | None, Array | None]:
    """Return x and where with a row on one axis, x copied (to `place`) if it cannot be read.

    The third is what was taken off each row, or None: see `convert`.
    """
    x, shift, computed = rows.x, None, rows.call.computed
    if not ready(x, computed, rows.axes):
        x = np.empty(x.shape, computed) if place is None else place
        shift = convert(rows.x, rows.where, x, rows.axes)
    where = None if rows.where is None else merge(rows.where, rows.axes)
    return bits(merge(x, rows.axes)), where, shift


def operand(v: Array, axes: int) -> tuple[Array, KernelName]:
    """Return v with a row on one axis, and its kernel's name: as it is, or as float64."""
    name = readable_as(v, axes)
    return (bits(merge(v, axes)), name) if name else (merge(v.astype(np.float64), axes), "float64")


def readable_as(v: Array, axes: int) -> KernelName | None:
    """Return the name of the kernel that can read v, of any of their dtypes, as it is; or None."""
    name = kernel_name(v.dtype)
    return name if name and ready(v, v.dtype.newbyteorder("="), axes) else None


def room(rows: Rows) -> Array:
    """Return where a kernel writes: the result, or memory of its own if it cannot write there."""
    if ready(rows.out, rows.call.computed, rows.out_axes):
        return rows.out
    return np.empty(rows.out.shape, rows.call.computed)


def deliver(rows: Rows, out: Array) -> None:
    """Bring to the result what a kernel wrote to its room."""
    if out is not rows.out:
        np.copyto(rows.out, out, casting="unsafe")


def _apart(out: Array, call: SoftmaxArguments) -> bool:
    """Whether `out` may be written while the rest is read: it is apart from all, or exactly x."""
    read = [a for a in (call.where, call.b, call.temperature) if a is not None]
    if call.reduces or not _same(out, call.x):
        read.append(call.x)
    return not any(np.may_share_memory(out, a) for a in read)


def _same(a: Array, b: Array) -> bool:
    return a.dtype == b.dtype and a.strides == b.strides and a.ctypes.data == b.ctypes.data


def _fresh(call: SoftmaxArguments, order: tuple[int, ...]) -> Array:
    """Allocate the result: laid out like x, unless its rows would not be one axis then."""
    if call.reduces:
        return np.empty(call.shape, call.dtype)
    x = call.x.transpose(order)
    if mergeable(x, len(call.axes)):
        return np.empty_like(call.x, call.dtype)
    return np.empty(x.shape, call.dtype).transpose(np.argsort(order))


def _optional(function: Callable[[Array], Array], a: Array | None) -> Array | None:
    return None if a is None else function(a)


def _scalar(a: Array) -> Any:
    return a[()] if a.ndim == 0 else a
