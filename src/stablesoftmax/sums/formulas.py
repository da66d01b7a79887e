"""logcumsumexp in plain array-API code: its specification."""

from __future__ import annotations

from typing import Any

import numpy as np

from .._arrays.typing import AnyArray

__all__ = ["logcumsumexp"]

INF = float("inf")


def logcumsumexp(x: AnyArray, xp: Any = np) -> AnyArray:
    """log(sum(exp(x))) of each prefix, as max + log1p(rest): a scan by doubling."""
    top, rest, reach = x, xp.zeros_like(x), 1
    while reach < x.shape[-1]:  # each covers the last `reach` entries; join it with those before
        edge = xp.zeros_like(x[..., :reach])
        earlier = xp.concat([edge - INF, top[..., :-reach]], axis=-1)
        earlier_rest = xp.concat([edge, rest[..., :-reach]], axis=-1)
        before = (earlier >= top) | xp.isnan(earlier)
        high, low = xp.where(before, earlier, top), xp.where(before, top, earlier)
        high_rest = xp.where(before, earlier_rest, rest)
        low_rest = xp.where(before, rest, earlier_rest)
        gone = (low == -INF) | (high == INF)
        below = xp.where(gone, -INF, xp.where(gone, 0.0, low) - xp.where(gone, 0.0, high))
        top, rest = high, high_rest + (1 + low_rest) * xp.exp(below)
        reach *= 2
    return top + xp.log1p(rest)
