"""Double-double arithmetic, for the oracle: a number is an unevaluated sum hi + lo.

abs(lo) is at most half an ulp of hi, which gives 106 bits. T. J. Dekker, "A floating-point
technique for extending the available precision", Numerische Mathematik 18, 1971,
doi:10.1007/BF01397083.
"""

import math
from decimal import Decimal, localcontext
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

Floats: TypeAlias = NDArray[np.float64]
Pair: TypeAlias = tuple[Floats, Floats]


def two_sum(a: Floats, b: Floats) -> Pair:
    s = a + b
    t = s - a
    return s, (a - (s - t)) + (b - t)


def fast_two_sum(a: Floats, b: Floats) -> Pair:
    """The same where abs(a) >= abs(b) or a is 0."""
    s = a + b
    return s, b - (s - a)


def halves(a: Floats) -> Pair:
    c = a * (2.0**27 + 1)
    high = c - (c - a)
    return high, a - high


def two_product(a: Floats, b: Floats) -> Pair:
    p = a * b
    a1, a2 = halves(a)
    b1, b2 = halves(b)
    return p, ((a1 * b1 - p) + a1 * b2 + a2 * b1) + a2 * b2


def exactly(a: Floats) -> Pair:
    return a, np.zeros_like(a)


def add(a: Pair, b: Pair) -> Pair:
    s, e = two_sum(a[0], b[0])
    return fast_two_sum(s, e + (a[1] + b[1]))


def divide(a: Pair, b: Pair) -> Pair:
    q = a[0] / b[0]
    p, e = two_product(q, b[0])
    return fast_two_sum(q, (((a[0] - p) - e) + a[1] - q * b[1]) / b[0])


def total(a: Pair) -> Pair:
    """The sum along the last axis, pairwise, with that axis kept."""
    hi, lo = a
    while (n := hi.shape[-1]) > 1:
        half = n // 2
        head, middle, tail = np.s_[..., :half], np.s_[..., half : n - half], np.s_[..., n - half :]
        s, e = add((hi[head], lo[head]), (hi[tail], lo[tail]))
        hi, lo = np.concatenate((s, hi[middle]), -1), np.concatenate((e, lo[middle]), -1)
    return hi, lo


def constants(values: list[Decimal]) -> Pair:
    hi = [float(v) for v in values]
    lo = [float(v - Decimal(h)) for v, h in zip(values, hi, strict=True)]
    return np.array(hi), np.array(lo)


with localcontext() as _context:
    _context.prec = 60
    _LN2 = constants([Decimal(2).ln()])
    _STEP = Decimal(2).ln() / 64
    _STEP_1 = float(round(_STEP * 2**41)) / 2**41
    _STEP_2 = float(round((_STEP - Decimal(_STEP_1)) * 2**76)) / 2**76
    _STEP_3 = float(_STEP - Decimal(_STEP_1) - Decimal(_STEP_2))
    _POWERS = constants([Decimal(2) ** (Decimal(j) / 64) for j in range(64)])
    _LOGS = constants([(1 + Decimal(j) / 128).ln() for j in range(129)])


def exp(a: Pair) -> tuple[Floats, Floats, NDArray[np.int64]]:
    """exp(a) = (hi + lo) * 2^k with hi + lo near [1, 2), to 1e-20 relative; a is in [-2000, 0].

    a = n ln2/64 + r leaves abs(r) < 0.0055, and the series from r^2/2 on is then below 1.5e-5:
    float64 is enough for it, and only 1 + r needs the second word.
    """
    n = np.rint(a[0] * (64 / math.log(2)))
    r, e = two_sum(a[0] - n * _STEP_1, -n * _STEP_2)  # exact: n has 18 bits, the steps 35
    r, e = two_sum(r, e + (a[1] - n * _STEP_3))
    series = r / 5040 + 1 / 720
    for coefficient in (1 / 120, 1 / 24, 1 / 6, 1 / 2):
        series = series * r + coefficient
    r, e = fast_two_sum(r, e + r * r * series)  # expm1
    index = n.astype(np.int64)
    power, power_lo = _POWERS[0][index & 63], _POWERS[1][index & 63]
    p, p_lo = two_product(power, r)
    hi, lo = fast_two_sum(power, p)
    return *fast_two_sum(hi, lo + (p_lo + power * e + power_lo * (1 + r))), index >> 6


def log1p(a: Pair) -> Pair:
    """log(1 + a) = k ln2 + log c + 2 artanh((f - c) / (f + c)) for a >= 0, to 1e-20 relative.

    f = (1 + a) / 2^k is in [1, 2) and c is the nearest 1 + j/128. Where c is 1, f - c is a itself,
    which has digits that 1 + a has lost.
    """
    f, f_lo = add(exactly(np.ones_like(a[0])), a)
    k = np.frexp(f)[1] - 1
    f, f_lo = np.ldexp(f, -k), np.ldexp(f_lo, -k)
    j = np.rint((f - 1) * 128).astype(np.int64)
    c = 1 + j / 128
    d, d_lo = fast_two_sum(f - c, f_lo)
    near = (k == 0) & (j == 0)
    d, d_lo = np.where(near, a[0], d), np.where(near, a[1], d_lo)
    t, t_lo = divide((d, d_lo), add((f, f_lo), exactly(c)))
    t2 = t * t
    artanh = fast_two_sum(t, t_lo + t * t2 * (1 / 3 + t2 * (1 / 5 + t2 / 7)))
    k_ln2, k_ln2_lo = two_product(k.astype(np.float64), _LN2[0])
    logs = add((k_ln2, k_ln2_lo + k * _LN2[1]), (_LOGS[0][j], _LOGS[1][j]))
    return add(logs, (2 * artanh[0], 2 * artanh[1]))
