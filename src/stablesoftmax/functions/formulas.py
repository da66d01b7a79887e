"""softmax, log_softmax and logsumexp in plain array-API code: the readable specification.

It computes what the kernels do not: longdouble, complex, logsumexp with weights, and arrays of
other libraries, in whose namespace `xp` it is written: differentiable and traceable, for it has no
branch on values and changes nothing in place. Rows lie along the last axis, `where` is None or a
bool array like x, complex entries are ordered by their real parts, and the caller has silenced
NumPy's floating-point warnings.

Gradients: what `xp.where` drops has gradient 0, but the arithmetic before it may make NaN of that,
as 0 * inf. So an entry that takes no part is replaced before the arithmetic, not only after it. And
the maximum's distance to itself is the constant 0: its gradient is then the sum of the others',
which keeps its digits where one entry dominates (1 - p is 4e-18 in [0, -40], and not 0).
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from .._arrays.tensors import beside, constant
from .._arrays.typing import AnyArray

__all__ = [
    "accurate_sum",
    "below_maximum",
    "has_no_limit",
    "log_softmax",
    "logsumexp",
    "maximum",
    "rest_of",
    "signed_logsumexp",
    "softmax",
    "undefined_rows",
]

INF, NAN = float("inf"), float("nan")


def softmax(
    x: AnyArray, where: AnyArray | None, temperature: AnyArray | None, undefined: int, xp: Any = np
) -> AnyArray:
    """exp(x) / sum(exp(x)); `undefined` is 0 for NaN, 1 for zeros, 2 for an even split."""
    if 0 in x.shape:
        return x
    top = maximum(x, where, xp)
    below = below_maximum(x, where, temperature, top, xp)
    share = (NAN, 0.0, 1 / top.tied)[undefined]
    y = xp.exp(below) / (1 + rest_of(below, top, xp))
    return _settle(y, where, top, share, 0.0, xp)


def log_softmax(
    x: AnyArray, where: AnyArray | None, temperature: AnyArray | None, undefined: int, xp: Any = np
) -> AnyArray:
    """log(softmax(x)) as (x - max) - log1p(rest): both are at most 0, so nothing cancels."""
    if 0 in x.shape:
        return x
    top = maximum(x, where, xp)
    below = below_maximum(x, where, temperature, top, xp)
    share = (NAN, -INF, 0 - xp.log(top.tied))[undefined]
    y = below - xp.log1p(rest_of(below, top, xp))
    return _settle(y, where, top, share, -INF, xp)


def logsumexp(x: AnyArray, where: AnyArray | None, b: AnyArray | None, xp: Any = np) -> AnyArray:
    """log(sum(b * exp(x))): NaN for a negative sum, the principal branch for a complex one."""
    if b is None and not _is_complex(x):
        return _unweighted(x, where, xp)
    value, total = _log_sum(x, where, b, xp)
    if _is_complex(x):
        return _complex(value, _angle(total, xp), xp)
    return xp.where(total < 0, NAN, value)


def signed_logsumexp(
    x: AnyArray, where: AnyArray | None, b: AnyArray | None, xp: Any = np
) -> tuple[AnyArray, AnyArray]:
    """log(abs(s)) and the sign or phase of s = sum(b * exp(x))."""
    if b is None and not _is_complex(x):  # a sum of exponentials is positive, or has no terms
        value = _unweighted(x, where, xp)
        one = xp.ones_like(value)
        return value, xp.where(xp.isnan(value), NAN, xp.where(value == -INF, 0.0, one))
    value, total = _log_sum(x, where, b, xp)
    if not _is_complex(x):
        return value, xp.sign(total)
    size = xp.abs(total)
    return value, xp.where(size == 0, 0.0, total / xp.where(size == 0, 1.0, size))


def undefined_rows(x: AnyArray, where: AnyArray | None, xp: Any = np) -> AnyArray:
    """Return which rows have no softmax."""
    if x.shape[-1] == 0:
        return xp.zeros_like(xp.sum(_real(x, xp), axis=-1)) > 0
    return has_no_limit(maximum(x, where, xp))[..., 0]


class Maximum(NamedTuple):
    value: AnyArray  # the row's maximum: -inf if it has no entries, NaN if it has a NaN
    ties: AnyArray  # which entries reach it
    tied: AnyArray  # how many do; 1 if none does
    empty: AnyArray  # whether none does: no entries, or a NaN
    first: AnyArray  # the index of one that does
    chosen: AnyArray  # that index's entry alone


def maximum(x: AnyArray, where: AnyArray | None, xp: Any) -> Maximum:
    real = _real(x, xp)
    if where is not None:
        real = xp.where(where, real, -INF)
    value = xp.max(real, axis=-1, keepdims=True)
    ties = real == value if where is None else (real == value) & where
    counts = xp.where(ties, xp.ones_like(real), 0.0)
    tied = xp.sum(counts, axis=-1, keepdims=True)
    first = xp.argmax(counts, axis=-1, keepdims=True)
    positions = xp.arange(x.shape[-1], **beside(x, xp))
    empty, tied = tied == 0, xp.where(tied == 0, 1.0, tied)
    return Maximum(value, ties, tied, empty, first, first == positions)


def has_no_limit(top: Maximum) -> AnyArray:
    """Where there is no limit: all entries are -inf, or several are +inf."""
    return ((top.value == -INF) & ~top.empty) | ((top.value == INF) & (top.tied > 1))


def below_maximum(
    x: AnyArray, where: AnyArray | None, temperature: AnyArray | None, top: Maximum, xp: Any
) -> Any:
    """How far the entries lie below the maximum: (x - max) / temperature, and its limits.

    An infinite tie stays at 0 and a -inf at -inf, where inf - inf, 0 / 0 and inf / inf would say
    NaN.
    """
    if where is not None:
        x = xp.where(where, x, -INF)
    below = x - xp.take_along_axis(x, top.first, axis=-1)
    alike = top.chosen | (top.ties & xp.isinf(top.value))
    below = xp.where(alike & ~xp.isnan(x), 0.0, below)
    if temperature is not None:
        below = _divided(below, xp.abs(temperature[..., None]), xp)  # -0.0 is 0
    return below if where is None else xp.where(where, below, -INF)


def _divided(below: AnyArray, divisor: AnyArray, xp: Any) -> AnyArray:
    real = _real(below, xp)
    cold, gone = divisor == 0, real == -INF
    finite = xp.where(gone, 0.0, below) / xp.where(cold, 1.0, divisor)
    # Of a -inf, x has a gradient and the temperature has none.
    infinite = below / constant(xp.where(cold | xp.isinf(divisor), 1.0, divisor))
    divided = xp.where(gone, infinite, xp.where(cold & (below == 0), 0.0, finite))
    settled = (_real(finite, xp) == -INF) | (cold & (real < 0))  # by overflow, by the limit
    return xp.where(settled | (gone if _is_complex(below) else settled), -INF, divided)


def rest_of(below: AnyArray, top: Maximum, xp: Any) -> AnyArray:
    """The sum of exp(below), less the 1 of the maximum: small numbers keep their digits."""
    terms = xp.where(top.chosen, 0.0, xp.exp(below))
    return xp.sum(terms, axis=-1, keepdims=True)


def _settle(
    y: AnyArray, where: AnyArray | None, top: Maximum, share: Any, absent: float, xp: Any
) -> AnyArray:
    """Set the undefined and the excluded entries, whatever the arithmetic made of them."""
    y = xp.where(top.ties & has_no_limit(top), share, y)
    return y if where is None else xp.where(where, y, absent)


def _unweighted(x: AnyArray, where: AnyArray | None, xp: Any) -> AnyArray:
    """max + log1p(rest): accurate to the last digit unless the two cancel."""
    if x.shape[-1] == 0:
        return _no_terms(x, xp)
    top = maximum(x, where, xp)
    rest = rest_of(below_maximum(x, where, None, top, xp), top, xp)
    if where is not None:
        x = xp.where(where, x, -INF)
    shift = xp.take_along_axis(x, top.first, axis=-1)
    return (xp.where(xp.isnan(top.value), NAN, shift) + xp.log1p(rest))[..., 0]


def _everywhere(x: AnyArray) -> AnyArray:
    return (x == x) | (x != x)


def _no_terms(x: AnyArray, xp: Any) -> AnyArray:
    return xp.sum(_real(x, xp), axis=-1) - INF


def _log_sum(
    x: AnyArray, where: AnyArray | None, b: AnyArray | None, xp: Any
) -> tuple[AnyArray, AnyArray]:
    """log(abs(s)), and a number with the phase of s = sum(b * exp(x)).

    An entry of weight 0 takes no part, be it infinite or NaN.
    """
    if x.shape[-1] == 0:
        return _no_terms(x, xp), xp.sum(x, axis=-1)
    weighs = _everywhere(x) if b is None else xp.isfinite(b)  # by a finite weight
    part = weighs if b is None else b != 0
    if where is not None:
        part = part & where
    finite = part & weighs & xp.isfinite(x)
    bounded = xp.where(finite, x, -INF)
    shift = xp.max(_real(bounded, xp), axis=-1, keepdims=True)
    shift = xp.where(shift == -INF, 0.0, shift)
    weights = None if b is None else xp.where(finite, b, 0.0)
    total, error = accurate_sum(_weighted_exp(bounded - shift, weights, xp), xp)
    value = shift[..., 0] + _log_abs(total, error, xp)
    # Infinite and NaN entries outweigh all that is finite, save a -inf with a finite weight.
    outweighs = part & ~finite & ~(weighs & (_real(x, xp) == -INF))
    terms = xp.where(outweighs, x, 0.0)
    terms = xp.exp(xp.where(terms == INF, INF, terms))  # a constant: inf has no gradient
    terms = terms if b is None else b * terms
    direct = xp.sum(xp.where(outweighs, terms, 0.0), axis=-1)
    rows = xp.any(outweighs, axis=-1)
    return xp.where(rows, xp.log(xp.abs(direct)), value), xp.where(rows, direct, total)


def _weighted_exp(x: AnyArray, b: AnyArray | None, xp: Any) -> AnyArray:
    """b * exp(x) in two steps: 1e300 * exp(-1000) is 5e-135, but exp(-1000) is 0."""
    if b is None:
        return xp.exp(x)
    half = xp.exp(x * 0.5)
    return b * half * half


def accurate_sum(terms: AnyArray, xp: Any = np) -> tuple[AnyArray, AnyArray]:
    """The sum over the last axis and, as good again, its error: pairwise, by Knuth's TwoSum."""
    error = xp.zeros_like(terms[..., 0])
    odd = error
    while (half := terms.shape[-1] // 2) > 0:
        if terms.shape[-1] % 2:
            odd, lost = _two_sum(odd, terms[..., -1])
            error = error + lost
        terms, lost = _two_sum(terms[..., :half], terms[..., half : 2 * half])
        error = error + xp.sum(lost, axis=-1)
    total, lost = _two_sum(terms[..., 0], odd)
    error = error + lost
    error = xp.where(xp.isfinite(error), error, 0.0)  # of an infinite sum it is inf - inf
    return _two_sum(total, error)


def _two_sum(a: AnyArray, b: AnyArray) -> tuple[AnyArray, AnyArray]:
    """a + b rounded, and what was lost by that."""
    total = a + b
    added = total - a
    return total, (a - (total - added)) + (b - added)


def _log_abs(total: AnyArray, error: AnyArray, xp: Any) -> AnyArray:
    """log(abs(total + error)), accurate near 1 too: log(1 + 4e-18) is 4e-18."""
    size, real = xp.abs(total), xp.abs(_real(total, xp))
    near = (size > 0.5) & (size < 2)
    excess = (real - 1) + _real(error, xp) * xp.sign(_real(total, xp))
    square = excess * (real + 1)
    if _is_complex(total):
        square = square + xp.imag(total) * xp.imag(total)
    return xp.where(
        near, xp.log1p(xp.where(near, square, 0.0)) / 2, xp.log(xp.where(near, 1.0, size))
    )


def _is_complex(x: AnyArray) -> bool:
    return "complex" in str(x.dtype)  # the one question that every library's dtypes answer


def _real(x: AnyArray, xp: Any) -> AnyArray:
    return xp.real(x) if _is_complex(x) else x


def _angle(z: AnyArray, xp: Any) -> AnyArray:
    atan2 = np.arctan2 if xp is np else xp.atan2  # its name in NumPy before 2
    return atan2(xp.imag(z), xp.real(z))


def _complex(real: AnyArray, imaginary: AnyArray, xp: Any) -> AnyArray:
    """real + 1j * imaginary; NumPy's without inf + 1j * nan becoming nan + 1j * nan."""
    if xp is not np:
        return real + 1j * imaginary
    z = np.empty(real.shape, np.result_type(real.dtype, np.complex64))
    z.real, z.imag = real, imaginary
    return z
