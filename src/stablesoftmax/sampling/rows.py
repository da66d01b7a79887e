"""How logits are seen as rows, and how the rows are drawn from."""

from __future__ import annotations

from collections.abc import Iterator
from math import prod
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from .. import _core
from .._arrays.blocks import BLOCK, bits, fits_exactly, readied, slices
from .._arrays.dtypes import kernel_name
from .._arrays.typing import Array
from .arguments import SampleArguments

DRAWS = 2**17  # numbers taken from the generator at a time: 1 MB


class Rows(NamedTuple):
    """A call seen as rows: views with the classes on the last axis."""

    call: SampleArguments
    x: Array
    where: Array | None
    temperature: Array | None  # one a row

    def part(self, index: tuple[Any, ...]) -> Rows:
        """Return the rows at `index` of the batch."""
        x, where, temperature = (
            None if a is None else a[index] for a in (self.x, self.where, self.temperature)
        )
        assert x is not None
        return self._replace(x=x, where=where, temperature=temperature)


def normalise(call: SampleArguments) -> Rows:
    """See the arguments as rows; a number is a row of one."""

    def spread(a: Array | None) -> Any:
        return None if a is None else np.moveaxis(np.atleast_1d(a), call.axis, -1)

    temperature = spread(call.temperature)
    return Rows(
        call=call,
        x=spread(call.logits),
        where=spread(call.where),
        temperature=None if temperature is None else temperature[..., 0],
    )


def run(rows: Rows) -> NDArray[np.int64]:
    """Draw (draws, *batch) places; all of one row before the next."""
    batch, count = rows.x.shape[:-1], prod(rows.call.size)
    draws = np.empty((count, *batch), np.int64)
    if not draws.size:
        return draws
    with np.errstate(all="ignore"):
        row = max(1, rows.x.shape[-1] * rows.call.dtype.itemsize)
        for index in slices(batch, max(1, min(BLOCK // row, DRAWS // count))):
            block = _readable(rows.part((*index, ...)))
            for start, numbers in _numbers(block, count):
                drawn = _draw(block, numbers)
                draws[start : start + len(drawn)][(slice(None), *index)] = drawn
    return draws


def wrap(draws: NDArray[np.int64], rows: Rows) -> NDArray[np.int64]:
    """Return the draws in the shape of `size`, before that of the batch; a scalar for 0-d."""
    result = draws.reshape((*rows.call.size, *rows.x.shape[:-1]))
    return result if result.ndim else result[()]


def _numbers(rows: Rows, count: int) -> Iterator[tuple[int, Array]]:
    """Yield uniform numbers (draws, *batch), with the number of the first draw.

    Where a row has so many draws that they come in parts, the block is that row alone.
    """
    batch = rows.x.shape[:-1]
    for start in range(0, count, DRAWS):
        now = min(DRAWS, count - start)
        numbers = np.asarray(rows.call.rng.random(prod(batch) * now), np.float64)
        yield start, np.moveaxis(numbers.reshape(*batch, now), -1, 0)


def _draw(rows: Rows, numbers: Array) -> NDArray[np.int64]:
    name = kernel_name(rows.x.dtype)
    assert name is not None
    draws = np.array(numbers, order="C").view(np.int64)
    call = rows.call
    _core.draw(
        name, bits(rows.x), rows.where, rows.temperature, call.top_k, call.top_p, call.min_p, draws
    )
    return draws


def _readable(rows: Rows) -> Rows:
    """Return the rows in a dtype of the kernels.

    They judge `top_k` by what they read. What float64 cannot hold is judged here: of 2**60 and
    2**60 + 1, or two longdoubles as near, one is larger.
    """
    x, call = rows.x, rows.call
    if kernel_name(call.dtype) is not None and fits_exactly(x):
        return rows._replace(x=readied(x, rows.where, call.dtype))
    where = rows.where if call.top_k is None else _top_k(x, rows.where, call.top_k)
    if x.dtype.kind in "iu":
        x = readied(x, rows.where, call.dtype)
    else:
        taken = True if rows.where is None else rows.where
        top = x.max(-1, keepdims=True, where=taken, initial=-np.inf)
        x = np.where(x == top, 0, x - top).astype(np.float64)
    return rows._replace(x=x, where=where, call=call._replace(top_k=None))


def _top_k(x: Array, where: Array | None, k: int) -> Array | None:
    n = x.shape[-1]
    if k >= n:
        return where
    if where is not None:
        lowest = np.iinfo(x.dtype).min if x.dtype.kind in "iu" else -np.inf
        x = np.where(where, x, x.dtype.type(lowest))
    kept: Array = x >= np.partition(x, n - k, axis=-1)[..., n - k, None]
    return kept if where is None else kept & where
