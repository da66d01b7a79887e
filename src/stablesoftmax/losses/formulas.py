"""The losses in plain array-API code: their specification.

Differentiable and traceable as those of `functions` are, and under the same conditions.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from .._arrays.tensors import beside
from .._arrays.typing import AnyArray
from ..functions.formulas import below_maximum, has_no_limit, maximum, rest_of, softmax

__all__ = [
    "cross_entropy",
    "cross_entropy_gradient",
    "label_weights",
    "one_hot",
]

INF, NAN = float("inf"), float("nan")


def one_hot(classes: AnyArray, x: AnyArray, xp: Any = np) -> AnyArray:
    """1 at each row's class: nowhere for class -1, and NaN for one past the last."""
    n = x.shape[-1]
    here = xp.arange(n, **beside(x, xp)) == classes[..., None]
    return xp.where(classes[..., None] >= n, NAN, xp.where(here, xp.ones_like(x), 0.0))


def label_weights(
    given: AnyArray, where: AnyArray | None, weight: AnyArray | None, smoothing: float, xp: Any = np
) -> AnyArray:
    """What each class counts for in the loss: q of `given`, one-hot or probabilities."""
    if smoothing:
        part = xp.ones_like(given)
        part = part if where is None else xp.where(where, part, 0.0)
        count = xp.sum(part, axis=-1, keepdims=True)
        spread = part * smoothing / xp.where(count == 0, 1.0, count)
        given = (1 - smoothing) * given + spread
    return given if weight is None else given * weight


def cross_entropy(x: AnyArray, q: AnyArray, where: AnyArray | None, xp: Any = np) -> AnyArray:
    """sum(q * -log(p)) for p = softmax(x), as q * (log1p(rest) + (max - x)); 0 * inf is 0."""
    if 0 in x.shape:
        return xp.sum(x, axis=-1)
    top = maximum(x, where, xp)
    below = below_maximum(x, where, None, top, xp)
    if where is not None:  # labels there cost inf, whose gradient is p: it adds up to 1, not to 0
        held = xp.take_along_axis(xp.where(where, x, -INF), top.first, axis=-1)
        below = xp.where(where, below, -INF - xp.where(xp.isfinite(held), held, 0.0))
    surprise = xp.log1p(rest_of(below, top, xp)) - below
    surprise = xp.where(top.ties & has_no_limit(top), NAN, surprise)
    free = (q == 0) & ((surprise == INF) | has_no_limit(top))
    cost = xp.sum(q * xp.where(free, 0.0, surprise), axis=-1)
    return xp.where(xp.isnan(top.value[..., 0]), NAN, cost)


def cross_entropy_gradient(
    x: AnyArray, q: AnyArray, where: AnyArray | None, xp: Any = np
) -> AnyArray:
    """sum(q) * p - q; where that cancels, 1 - p is rest / (1 + rest)."""
    if 0 in x.shape:
        return x
    p, top = softmax(x, where, None, 0, xp), maximum(x, where, xp)
    rest = rest_of(below_maximum(x, where, None, top, xp), top, xp)
    elsewhere = xp.sum(xp.where(top.chosen, 0.0, q), axis=-1, keepdims=True)
    total = xp.sum(q, axis=-1, keepdims=True)
    missing = total * (rest / (1 + rest))
    near = top.chosen & (q > missing) & ~xp.isnan(p)
    gradient = xp.where(near, elsewhere - missing, total * p - q)
    return gradient if where is None else xp.where(where, gradient, 0.0)
