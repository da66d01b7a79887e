"""How the products are computed: the kernel, or the formulas where there is none."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from .. import _core
from .._arrays.blocks import bits, merge, mergeable, ready
from .._arrays.dtypes import KernelName, kernel_name
from .._arrays.typing import Array
from ..functions import formulas as softmax_formulas
from ..functions.rows import Rows, deliver, operand, places, readable_as, room, stage
from . import formulas

__all__ = [
    "LOGSUMEXP",
    "LOGSUMEXP_TRANSPOSED",
    "LOG_SOFTMAX",
    "LOG_SOFTMAX_TRANSPOSED",
    "SOFTMAX",
    "Product",
    "run",
]


class Product(NamedTuple):
    """A product: its number among the kernels, and its formula of p = softmax(x / T) and v."""

    kernel: int
    formula: Callable[[Array, Array], Array]


SOFTMAX = Product(0, formulas.softmax)
LOG_SOFTMAX = Product(1, formulas.log_softmax)
LOG_SOFTMAX_TRANSPOSED = Product(2, formulas.log_softmax_transposed)
LOGSUMEXP = Product(3, formulas.logsumexp)
LOGSUMEXP_TRANSPOSED = Product(4, formulas.logsumexp_transposed)


def run(product: Product, rows: Rows, v: Array) -> None:
    """Compute a product: all at once, or in blocks where something must be copied first.

    v has the shape of x, or one number a row.
    """
    computed = rows.call.computed
    name = kernel_name(computed)
    if v.ndim == rows.x.ndim:
        v = np.moveaxis(v, rows.call.axes, range(-rows.axes, 0))
    else:
        v = np.broadcast_to(v.reshape(*v.shape, *[1] * rows.axes), rows.x.shape)
    with np.errstate(all="ignore"):
        if not rows.x.size:
            rows.out[...] = 0
            return
        reads = ready(rows.x, computed, rows.axes) and readable_as(v, rows.axes) is not None
        writes = ready(rows.out, computed, rows.out_axes)
        masked = rows.where is None or mergeable(rows.where, rows.axes)
        for index in [(...,)] if name and reads and writes and masked else places(rows):
            block, part = rows.part(index), v[index]
            if name is None:
                block.out[...] = _by_formula(product, block, part).reshape(block.out.shape)
            else:
                _by_kernel(product, name, block, part)


def _by_kernel(product: Product, name: KernelName, rows: Rows, v: Array) -> None:
    out = room(rows)
    x, where, _ = stage(rows, place=None)
    v, v_name = operand(v, rows.axes)
    target = out if rows.call.reduces else merge(out, rows.axes)
    _core.product(product.kernel, name, x, v_name, v, bits(target), where, rows.temperature)
    deliver(rows, out)


def _by_formula(product: Product, rows: Rows, v: Array) -> Array:
    """In a longdouble, for which there is no kernel."""
    x, where, _ = stage(rows, place=None)
    v = merge(v, rows.axes).astype(x.dtype)
    p = softmax_formulas.softmax(x, where, rows.temperature, rows.call.undefined)
    y = product.formula(p, v if where is None else np.where(where, v, 0))
    if rows.temperature is not None:
        # At T = 0 the limit is constant; and 1 / T may be inf: T = 1e-320.
        y = y / np.where(rows.temperature == 0, np.inf, rows.temperature)[..., None]
    return y if where is None or y.shape != where.shape else np.where(where, y, 0)
