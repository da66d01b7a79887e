"""entropy and kl_divergence in plain array-API code: their specification.

Differentiable and traceable as those of `functions` are, and under the same conditions. What a
difference of logits lost to rounding counts as a constant: its gradient is 0, but inf - inf would
make it NaN.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from .._arrays.tensors import constant
from .._arrays.typing import AnyArray
from ..functions.formulas import Maximum, below_maximum, has_no_limit, log_softmax, maximum, softmax

__all__ = ["entropy", "kl_divergence"]

INF, NAN = float("inf"), float("nan")


def entropy(
    x: AnyArray, where: AnyArray | None, temperature: AnyArray | None, xp: Any = np
) -> AnyArray:
    """-sum(p * log(p)) as log1p(rest) + sum(p * (max - x)): no term is negative."""
    if 0 in x.shape:
        return xp.sum(x, axis=-1)
    top = maximum(x, where, xp)
    below = below_maximum(x, where, temperature, top, xp)
    terms = xp.exp(below)
    if temperature is None:  # half an ulp of 800 is 5e-14, relative, of exp(-800)
        terms = terms * (1 + _lost_below(x, below, top, xp))
    terms = xp.where(top.chosen, 0.0, terms)
    rest = xp.sum(terms, axis=-1, keepdims=True)
    gaps = xp.where(terms == 0, 0.0, -below)  # 0 * inf is 0
    value = xp.log1p(rest) + xp.sum(terms * gaps, axis=-1, keepdims=True) / (1 + rest)
    value = xp.where(xp.isnan(top.value), NAN, value)
    return xp.where(has_no_limit(top), NAN, value)[..., 0]


def kl_divergence(x: AnyArray, y: AnyArray, where: AnyArray | None, xp: Any = np) -> AnyArray:
    """sum(p * log(p / q)) as sum(p * d - p + q) with d = log(p / q): no term is negative."""
    if 0 in x.shape:
        return xp.sum(x, axis=-1)
    p, q = softmax(x, where, None, 0, xp), softmax(y, where, None, 0, xp)
    d = _log_ratio(x, y, q, where, xp)
    near = xp.abs(d) <= 1
    small = q * _small_divergence(xp.where(near, d, 0.0), xp)
    large = p * (xp.where(near | (p == 0), 0.0, d) - 1) + q  # q alone where p is 0
    return xp.sum(xp.where(near & (p != 0), small, large), axis=-1)


def _lost(x: AnyArray, y: AnyArray, difference: AnyArray, xp: Any) -> AnyArray:
    """What rounding took off x - y: Knuth's TwoSum, and 0 where that is not finite."""
    x, y, difference = constant(x), constant(y), constant(difference)
    back = difference - x
    lost = (x - (difference - back)) + (-y - back)
    return xp.where(xp.isfinite(lost), lost, 0.0)


def _lost_below(x: AnyArray, below: AnyArray, top: Maximum, xp: Any) -> AnyArray:
    return _lost(x, xp.take_along_axis(x, top.first, axis=-1), below, xp)


def _small_divergence(d: AnyArray, xp: Any) -> AnyArray:
    """exp(d) * d - exp(d) + 1 for abs(d) <= 1: d**2 / 2 + d**3 / 3 + d**4 / 8 + ..."""
    value = xp.zeros_like(d)
    for k in range(22, 1, -1):
        value = value * d + (k - 1) / math.factorial(k)
    return value * (d * d)


def _log_ratio(x: AnyArray, y: AnyArray, q: AnyArray, where: AnyArray | None, xp: Any) -> AnyArray:
    """log(p / q) for p = softmax(x) and q = softmax(y).

    Where p and q are near, two logarithms would leave nothing of it: for x = y + 1e-9 * z neither
    has the digits. There it is v - log(sum(q * exp(v))) with v = x - y less its value at one place.
    """
    apart = log_softmax(x, where, None, 0, xp) - log_softmax(y, where, None, 0, xp)
    gone = (q == 0) & ~(x > -INF)
    gone = gone if where is None else gone | ~where
    u = xp.where(gone, 0.0, x - y)
    low = xp.where(gone, 0.0, _lost(x, y, u, xp))
    k = xp.argmax(q, axis=-1, keepdims=True)
    v = u - xp.take_along_axis(u, k, axis=-1)
    v = xp.where(gone, 0.0, v + (low - xp.take_along_axis(low, k, axis=-1)))
    near = xp.max(xp.abs(v), axis=-1, keepdims=True) <= 1
    v = xp.where(near, v, 0.0)
    close = v - xp.log1p(xp.sum(q * xp.expm1(v), axis=-1, keepdims=True))
    return xp.where(gone, 0.0, xp.where(near, close, apart))
