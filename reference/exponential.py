"""Make the coefficients of kernels/exponential.hpp: run ``python reference/exponential.py``.

Each polynomial q is the minimax fit of ``(exp(r) - 1 - r) / r**2`` on ``|r| <= bound``, weighted so
that the relative error of ``1 + r + r**2 * q(r)`` is what is levelled. The fit works
at 60 digits; the coefficients are rounded to the format one at a time, each time fitting the rest
anew, so that the rounding of one is made good by the next.
"""

from __future__ import annotations

import mpmath as mp

mp.mp.dps = 60
LN2 = mp.log(2)


def target(r: mp.mpf) -> mp.mpf:
    """(exp(r) - 1 - r) / r**2, by its series where the subtraction would cancel."""
    if abs(r) < mp.mpf(10) ** -12:
        return mp.mpf(1) / 2 + r / 6 + r * r / 24
    return (mp.expm1(r) - r) / (r * r)


def weight(r: mp.mpf) -> mp.mpf:
    return r * r * mp.exp(-r)


def minimax(free: list[int], fixed: dict[int, mp.mpf], bound: mp.mpf) -> list[mp.mpf]:
    """Minimax coefficients of the powers ``free``, those in ``fixed`` given.

    Lawson's iteration: least squares whose weights grow where the error is large. Unlike a Remez
    exchange it does not mind that ``weight`` vanishes at 0.
    """
    grid = [bound * mp.cos(mp.pi * (i + mp.mpf(1) / 2) / 160) for i in range(160)]
    scale = [weight(r) for r in grid]
    right = [target(r) - sum(c * r**k for k, c in fixed.items()) for r in grid]
    lawson = [mp.mpf(1)] * len(grid)
    best, smallest = [], mp.inf
    for _ in range(150):
        rows = range(len(grid))
        normal = mp.matrix(len(free), len(free))
        moment = mp.matrix(len(free), 1)
        w = [lawson[i] * scale[i] ** 2 for i in rows]
        for a, p in enumerate(free):
            moment[a] = mp.fsum(w[i] * right[i] * grid[i] ** p for i in rows)
            for b, q in enumerate(free):
                normal[a, b] = mp.fsum(w[i] * grid[i] ** (p + q) for i in rows)
        found = mp.lu_solve(normal, moment)
        error = [
            abs(right[i] - mp.fsum(c * grid[i] ** p for c, p in zip(found, free, strict=True)))
            * scale[i]
            for i in rows
        ]
        if max(error) < smallest:
            best, smallest = list(found), max(error)
        total = mp.fsum(v * e for v, e in zip(lawson, error, strict=True))
        if total == 0:
            break
        lawson = [v * e / total * len(grid) for v, e in zip(lawson, error, strict=True)]
    return best


def fit(degree: int, bits: int, bound: mp.mpf) -> None:
    """Print q of ``1 + r + r**2 * q(r)``, of the given total degree, rounded to ``bits`` bits."""
    free = list(range(degree - 1))
    fixed: dict[int, mp.mpf] = {}
    while free:
        coefficients = minimax(free, fixed, bound)
        with mp.workprec(bits):
            rounded = +coefficients[0]
        fixed[free.pop(0)] = rounded
    worst = max(
        abs((target(r) - sum(c * r**k for k, c in fixed.items())) * weight(r))
        for r in [bound * (mp.mpf(i) / 500 - 1) for i in range(1001)]
    )
    values = ", ".join(float(fixed[k]).hex() for k in sorted(fixed))
    size, error = mp.nstr(bound, 6), mp.nstr(mp.log(worst, 2), 5)
    print(f"degree {degree}, {bits} bits, |r| <= {size}: error 2^{error}")
    print(f"  {values}")


def split_ln2(bits: int, head_bits: int) -> None:
    with mp.workprec(head_bits):
        head = +LN2
    with mp.workprec(bits):
        tail = +(LN2 - head)
    print(f"ln2 in {bits} bits, head of {head_bits}: {float(head).hex()}, {float(tail).hex()}")


def table(bits: int) -> None:
    """2**(j/16), rounded to ``bits`` bits, and what the rounding left, relative to it."""
    heads, rests = [], []
    for j in range(16):
        exact = mp.mpf(2) ** (mp.mpf(j) / 16)
        with mp.workprec(bits):
            head = +exact
        rest = exact / head - 1
        with mp.workprec(bits):
            rest = +rest
        heads.append(float(head).hex())
        rests.append(float(rest).hex())
    print(f"table of 2^(j/16), {bits} bits:\n  {', '.join(heads)}\n  {', '.join(rests)}")


if __name__ == "__main__":
    sixteenth = LN2 / 32 * mp.mpf("1.001")  # the reduction itself rounds: a hair of margin
    half = LN2 / 2 * mp.mpf("1.001")
    fit(3, 24, sixteenth)
    fit(7, 53, sixteenth)
    fit(6, 24, half)
    fit(5, 24, half)  # coarse
    fit(11, 53, half)
    split_ln2(24, 24)
    split_ln2(24, 13)
    split_ln2(53, 53)
    split_ln2(53, 38)
    table(24)
    table(53)
