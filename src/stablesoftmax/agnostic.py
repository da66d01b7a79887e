"""The functions in plain NumPy: the readable specification.

It computes what the kernels do not: longdouble, complex, logsumexp with weights, and the entropies.
Rows lie
along the last axis, `where` is None or a bool array like x, complex entries are ordered by their
real parts, and the caller has silenced NumPy's floating-point warnings.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]

__all__ = [
    "accurate_sum",
    "cross_entropy",
    "entropy",
    "kl_divergence",
    "log_softmax",
    "logsumexp",
    "signed_logsumexp",
    "softmax",
    "undefined_rows",
]


class _Maximum(NamedTuple):
    value: Array  # the row's maximum: -inf if it has no entries, NaN if it has a NaN
    ties: Array  # which entries reach it
    tied: Array  # how many do
    first: Array  # the index of one that does


def _maximum(x: Array, where: Array | None) -> _Maximum:
    real = x.real if where is None else np.where(where, x.real, -np.inf)
    value = real.max(axis=-1, keepdims=True, initial=-np.inf)
    ties = real == value if where is None else (real == value) & where
    tied = ties.sum(axis=-1, keepdims=True, dtype=value.dtype)
    return _Maximum(value, ties, tied, np.argmax(ties, axis=-1, keepdims=True))


def _undefined(top: _Maximum) -> Array:
    """Where there is no limit: all entries are -inf, or several are +inf."""
    empty = (top.value == -np.inf) & (top.tied > 0)
    either: Array = empty | ((top.value == np.inf) & (top.tied > 1))
    return either


def undefined_rows(x: Array, where: Array | None) -> Array:
    """Return which rows have no softmax."""
    return _undefined(_maximum(x, where))[..., 0]


def _below(x: Array, where: Array | None, temperature: Array | None, top: _Maximum) -> Array:
    """How far the entries lie below the maximum: (x - max) / temperature, and its limits.

    A tie stays at 0 and a -inf at -inf, where inf - inf, 0 / 0 and inf / inf would say NaN.
    """
    below: Array = x - np.take_along_axis(x, top.first, axis=-1)
    below.real[top.ties] = 0
    if temperature is not None:
        divisor = np.abs(temperature[..., None])  # -0.0 is 0
        gone = np.isneginf(below.real) | np.isneginf(below.real / divisor)
        divided = np.where(gone, -np.inf, below / divisor)
        below = np.where(below == 0, below, divided)
    if where is not None:
        below[~where] = -np.inf
    return below


def _rest(below: Array, top: _Maximum) -> Array:
    """The sum of exp(below), less the 1 of the maximum: small numbers keep their digits."""
    terms = np.exp(below)
    np.put_along_axis(terms, top.first, 0, axis=-1)
    rest: Array = terms.sum(axis=-1, keepdims=True)
    return rest


def _settle(
    y: Array, x: Array, where: Array | None, top: _Maximum, share: Any, absent: Any
) -> Array:
    """Set the undefined and the excluded entries, whatever the arithmetic made of them."""
    y = np.where(top.ties & _undefined(top), share, y)
    y = y if where is None else np.where(where, y, absent)
    return y.astype(x.dtype, copy=False)


def softmax(x: Array, where: Array | None, temperature: Array | None, undefined: int) -> Array:
    """exp(x) / sum(exp(x)); `undefined` is 0 for NaN, 1 for zeros, 2 for an even split."""
    if x.size == 0:
        return x
    top = _maximum(x, where)
    below = _below(x, where, temperature, top)
    share = (np.nan, 0, 1 / np.maximum(top.tied, 1))[undefined]
    return _settle(np.exp(below) / (1 + _rest(below, top)), x, where, top, share, 0)


def log_softmax(x: Array, where: Array | None, temperature: Array | None, undefined: int) -> Array:
    """log(softmax(x)) as (x - max) - log1p(rest): both are at most 0, so nothing cancels."""
    if x.size == 0:
        return x
    top = _maximum(x, where)
    below = _below(x, where, temperature, top)
    share = (np.nan, -np.inf, 0 - np.log(np.maximum(top.tied, 1)))[undefined]
    return _settle(below - np.log1p(_rest(below, top)), x, where, top, share, -np.inf)


def logsumexp(x: Array, where: Array | None, b: Array | None) -> Array:
    """log(sum(b * exp(x))): NaN for a negative sum, the principal branch for a complex one."""
    value, total = _log_sum(x, where, b)
    if np.iscomplexobj(x):
        return _complex(value, np.angle(total))
    return np.where(total < 0, np.nan, value)


def signed_logsumexp(x: Array, where: Array | None, b: Array | None) -> tuple[Array, Array]:
    """log(abs(s)) and the sign or phase of s = sum(b * exp(x))."""
    value, total = _log_sum(x, where, b)
    if np.iscomplexobj(x):
        return value, np.where(total == 0, 0, total / np.abs(total))
    return value, np.sign(total)


def _log_sum(x: Array, where: Array | None, b: Array | None) -> tuple[Array, Array]:
    """log(abs(s)), and a number with the phase of s = sum(b * exp(x)).

    An entry of weight 0 takes no part, be it infinite or NaN.
    """
    if x.shape[-1] == 0:
        return np.full(x.shape[:-1], -np.inf, x.real.dtype), np.zeros(x.shape[:-1], x.dtype)
    if b is not None:
        where = b != 0 if where is None else where & (b != 0)
        b = np.where(where, b, 0)
    if where is not None:
        x = np.where(where, x, -np.inf)
    shift = x.real.max(axis=-1, keepdims=True)
    total, error = accurate_sum(_weighted_exp(x - shift, b))
    value = shift[..., 0] + _log_abs(total, error)
    if not np.isfinite(value).all():
        value, total = _infinite(value, total, x, b)
    return value, total


def _weighted_exp(x: Array, b: Array | None) -> Array:
    """b * exp(x) in two steps: 1e300 * exp(-1000) is 5e-135, but exp(-1000) is 0."""
    if b is None:
        return np.exp(x)
    half = np.exp(x * 0.5)
    return b * half * half


def accurate_sum(terms: Array) -> tuple[Array, Array]:
    """The sum over the last axis and, as good again, its error: pairwise, by Knuth's TwoSum."""
    error = np.zeros(terms.shape[:-1], terms.dtype)
    while (half := terms.shape[-1] // 2) > 0:
        a, c = terms[..., :half], terms[..., half : 2 * half]
        total = a + c
        added = total - a
        error += ((a - (total - added)) + (c - added)).sum(axis=-1)
        terms = np.concatenate([total, terms[..., 2 * half :]], axis=-1)
    error = np.where(np.isfinite(error), error, 0)  # of an infinite sum it is inf - inf
    total = terms[..., 0] + error
    return total, error - (total - terms[..., 0])


def _log_abs(total: Array, error: Array) -> Array:
    """log(abs(total + error)), accurate near 1 too: log(1 + 4e-18) is 4e-18."""
    real, imaginary = np.abs(total.real), total.imag
    excess = (real - 1) + error.real * np.sign(total.real)
    near = np.log1p(excess * (real + 1) + imaginary * imaginary) / 2
    size = np.abs(total)
    return np.where((size > 0.5) & (size < 2), near, np.log(size))


def _infinite(value: Array, total: Array, x: Array, b: Array | None) -> tuple[Array, Array]:
    """Settle the rows whose infinite or NaN entries outweigh everything finite."""
    finite = np.isfinite(x) if b is None else np.isfinite(x) & np.isfinite(b)
    rows = ~np.isfinite(value) & ~finite.all(axis=-1)
    terms = np.exp(x) if b is None else b * np.exp(x)
    direct = np.where(finite, 0, terms).sum(axis=-1)
    return np.where(rows, np.log(np.abs(direct)), value), np.where(rows, direct, total)


def _complex(real: Array, imaginary: Array) -> Array:
    """real + 1j * imaginary, where the product would turn 1j * inf into nan + 1j * inf."""
    z = np.empty(real.shape, np.result_type(real.dtype, np.complex64))
    z.real, z.imag = real, imaginary
    return z


def cross_entropy(x: Array, q: Array, where: Array | None) -> tuple[Array, Array]:
    """sum(q * -log(p)) for p = softmax(x), and its gradient sum(q) * p - q.

    0 * inf is 0, and where sum(q) * p - q cancels, 1 - p is rest / (1 + rest).
    """
    if x.shape[-1] == 0:
        return np.zeros(x.shape[:-1], x.dtype), x
    log_p, p = log_softmax(x, where, None, 0), softmax(x, where, None, 0)
    cost = np.where(q == 0, 0, q * -log_p).sum(axis=-1)
    cost = np.where(np.isnan(p).all(axis=-1) & np.isnan(x).any(axis=-1), np.nan, cost)
    top = _maximum(x, where)
    rest = _rest(_below(x, where, None, top), top)
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
    top = _maximum(x, where)
    below = _below(x, where, temperature, top)
    terms = np.exp(below)
    if temperature is None:  # half an ulp of 800 is 5e-14, relative, of exp(-800)
        lost = _lost(x, np.take_along_axis(x, top.first, axis=-1), below)
        terms *= 1 + np.where(np.isfinite(lost), lost, 0)
    np.put_along_axis(terms, top.first, 0, axis=-1)
    rest = terms.sum(axis=-1, keepdims=True)
    terms = np.where(terms == 0, terms, terms * -below)
    value = np.log1p(rest) + terms.sum(axis=-1, keepdims=True) / (1 + rest)
    settled: Array = np.where(_undefined(top), np.nan, value)[..., 0]
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
