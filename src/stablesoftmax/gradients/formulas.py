"""Products with the Jacobians of softmax, log_softmax and logsumexp in plain array-API code.

The formulas of `gradients`, of p = softmax(x) and of a vector v, both with a row on the last axis,
without its changes in place: so that a library can differentiate them once more.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from .._arrays.tensors import beside, constant
from .._arrays.typing import AnyArray
from ..functions.formulas import accurate_sum

Product = Callable[[AnyArray, AnyArray, Any], AnyArray]

__all__ = [
    "Product",
    "log_softmax",
    "log_softmax_transposed",
    "logsumexp",
    "logsumexp_transposed",
    "softmax",
]


def softmax(p: AnyArray, v: AnyArray, xp: Any = np) -> AnyArray:
    """p * (v - mean); 0 where p is 0. The Jacobian is symmetric."""
    gap, _, c = _mean(p, v, xp)
    return xp.where(p != 0, p * (gap - c), 0.0)


def log_softmax(p: AnyArray, v: AnyArray, xp: Any = np) -> AnyArray:
    """v - mean, which an entry of probability 0 does not move."""
    gap, s, c = _mean(p, v, xp)
    return xp.where(p != 0, gap, v - s) - c


def logsumexp(p: AnyArray, v: AnyArray, xp: Any = np) -> AnyArray:
    """The mean: one number a row, as (..., 1)."""
    _, s, c = _mean(p, v, xp)
    return s + c


def logsumexp_transposed(p: AnyArray, v: AnyArray, xp: Any = np) -> AnyArray:
    """p * v; 0 where p is 0. v has one number a row."""
    return xp.where(p != 0, p * v, 0.0)


def log_softmax_transposed(p: AnyArray, v: AnyArray, xp: Any = np) -> AnyArray:
    """v - p * sum(v); at the largest p, v * (1 - p) - p * (the sum of the other v)."""
    k = xp.argmax(p, axis=-1, keepdims=True)
    largest = xp.arange(p.shape[-1], **beside(p, xp)) == k
    p_k, v_k = _take(p, k, xp), _take(v, k, xp)
    others, error = (a[..., None] for a in accurate_sum(xp.where(largest, 0.0, v), xp))
    total = xp.where(xp.isfinite(others), (others + v_k) + error, others + v_k)
    y = v - xp.where(p != 0, p * total, 0.0)
    missing = xp.sum(xp.where(largest, 0.0, p), axis=-1, keepdims=True)
    return xp.where(largest, v_k * missing - p_k * others, y)


def _mean(p: AnyArray, v: AnyArray, xp: Any) -> tuple[AnyArray, AnyArray, AnyArray]:
    """The mean of v under p as s + c, where s is one of the v and c the mean of v - s, the first.

    `gradients` says which one s should be.
    """
    live = xp.where(p != 0, v, 0.0)  # 0 times inf counts 0
    k = xp.argmax(p, axis=-1, keepdims=True)
    mean = constant(xp.sum(p * live, axis=-1, keepdims=True))
    near = xp.argmin(xp.abs(constant(live) - mean), axis=-1, keepdims=True)
    s = _take(live, xp.where(_take(p, k, xp) > 0.5, k, near), xp)
    gap = live - s
    return gap, s, xp.sum(p * gap, axis=-1, keepdims=True)


def _take(a: AnyArray, place: AnyArray, xp: Any) -> AnyArray:
    return xp.take_along_axis(a, place, axis=-1)
