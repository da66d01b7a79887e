"""cross_entropy, entropy and kl_divergence in plain NumPy, over `agnostic`: their specification.

The entropies have no kernel; a cross-entropy of longdoubles has none either.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .agnostic import below_maximum, has_no_limit, log_softmax, maximum, rest_of, softmax

Array = NDArray[Any]

__all__ = ["cross_entropy", "entropy", "kl_divergence"]


def cross_entropy(x: Array, q: Array, where: Array | None) -> tuple[Array, Array]:
    """sum(q * -log(p)) for p = softmax(x), and its gradient sum(q) * p - q.

    0 * inf is 0, and where sum(q) * p - q cancels, 1 - p is rest / (1 + rest).
    """
    if x.shape[-1] == 0:
        return np.zeros(x.shape[:-1], x.dtype), x
    log_p, p = log_softmax(x, where, None, 0), softmax(x, where, None, 0)
    cost = np.where(q == 0, 0, q * -log_p).sum(axis=-1)
    cost = np.where(np.isnan(p).all(axis=-1) & np.isnan(x).any(axis=-1), np.nan, cost)
    top = maximum(x, where, np)
    rest = rest_of(below_maximum(x, where, None, top, np), top, np)
    first = np.arange(x.shape[-1]) == top.first
    elsewhere = np.where(first, 0, q).sum(axis=-1, keepdims=True)
    total = q.sum(axis=-1, keepdims=True)
    missing = total * (rest / (1 + rest))
    near = first & (q > missing) & ~np.isnan(p)
    gradient = np.where(near, elsewhere - missing, total * p - q)
    return cost, gradient if where is None else np.where(where, gradient, 0)


def entropy(x: Array, where: Array | None, temperature: Array | None) -> Array:
    """-sum(p * log(p)) as log1p(rest) + sum(p * (max - x)): no term is negative."""
    if x.shape[-1] == 0:
        return np.zeros(x.shape[:-1], x.dtype)
    top = maximum(x, where, np)
    below = below_maximum(x, where, temperature, top, np)
    terms = np.exp(below)
    if temperature is None:  # half an ulp of 800 is 5e-14, relative, of exp(-800)
        lost = _lost(x, np.take_along_axis(x, top.first, axis=-1), below)
        terms *= 1 + np.where(np.isfinite(lost), lost, 0)
    np.put_along_axis(terms, top.first, 0, axis=-1)
    rest = terms.sum(axis=-1, keepdims=True)
    terms = np.where(terms == 0, terms, terms * -below)
    value = np.log1p(rest) + terms.sum(axis=-1, keepdims=True) / (1 + rest)
    settled: Array = np.where(has_no_limit(top), np.nan, value)[..., 0]
    return settled


def kl_divergence(x: Array, y: Array, where: Array | None) -> Array:
    """sum(p * log(p / q)) as sum(p * d - p + q) with d = log(p / q): no term is negative."""
    if x.shape[-1] == 0:
        return np.zeros(x.shape[:-1], x.dtype)
    p, q = softmax(x, where, None, 0), softmax(y, where, None, 0)
    d = _log_ratio(x, y, q, where)
    terms = np.where(np.abs(d) <= 1, q * _small_divergence(d), p * (d - 1) + q)
    divergence: Array = np.where(p == 0, q, terms).sum(axis=-1)
    return divergence


def _lost(x: Array, y: Array, difference: Array) -> Array:
    """What rounding took off x - y: Knuth's TwoSum."""
    back = difference - x
    lost: Array = (x - (difference - back)) + (-y - back)
    return lost


def _small_divergence(d: Array) -> Array:
    """exp(d) * d - exp(d) + 1 for abs(d) <= 1: d**2 / 2 + d**3 / 3 + d**4 / 8 + ..."""
    value: Array = np.zeros_like(d)
    for k in range(22, 1, -1):
        value = value * d + (k - 1) / math.factorial(k)
    value *= d * d
    return value


def _log_ratio(x: Array, y: Array, q: Array, where: Array | None) -> Array:
    """log(p / q) for p = softmax(x) and q = softmax(y).

    Where p and q are near, two logarithms would leave nothing of it: for x = y + 1e-9 * z neither
    has the digits. There it is v - log(sum(q * exp(v))) with v = x - y less its value at one place.
    """
    apart = log_softmax(x, where, None, 0) - log_softmax(y, where, None, 0)
    gone = (q == 0) & ~(x > -np.inf)
    gone = gone if where is None else gone | ~where
    u = np.where(gone, 0, x - y)
    low = np.where(gone, 0, _lost(x, y, u))
    k = np.argmax(q, axis=-1, keepdims=True)
    v = (u - np.take_along_axis(u, k, -1)) + (low - np.take_along_axis(low, k, -1))
    v = np.where(gone, 0, v)
    near = np.abs(v).max(axis=-1, keepdims=True) <= 1
    v = np.where(near, v, 0)
    close = v - np.log1p((q * np.expm1(v)).sum(axis=-1, keepdims=True))
    return np.where(gone, 0, np.where(near, close, apart))
