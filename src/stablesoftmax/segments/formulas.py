"""softmax, log_softmax and logsumexp of groups in plain array-API code: their specification.

Differentiable and traceable as those of `functions` are. A column of x, whose rows are the groups'
members, is independent of the others; `groups` gathers for each row what its group has, and makes
one of a group's rows.

A softmax does not change when its logits are shifted, so the group's maximum may count as a
constant. Where one entry alone reaches it, it does not: then that entry's distance to it is the
constant 0, and its gradient is the sum of the others', which keeps its digits (1 - p is 4e-18 in
[0, -40], and not 0). Where several reach it, no p is near 1.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from .._arrays.tensors import constant
from .._arrays.typing import AnyArray

__all__ = ["log_softmax", "logsumexp", "softmax"]

INF, NAN = float("inf"), float("nan")


def softmax(x: AnyArray, groups: Any, xp: Any = np) -> AnyArray:
    """exp(x) / sum(exp(x)), the sum being that of the group."""
    top = _maximum(x, groups, xp)
    terms = xp.exp(_below(x, groups, top, xp))
    y = terms / groups.gather(1 + _rest(terms, groups, top, xp))
    return xp.where(_has_no_limit(x, top), NAN, y)


def log_softmax(x: AnyArray, groups: Any, xp: Any = np) -> AnyArray:
    """log(softmax(x)) as (x - max) - log1p(rest): both are at most 0, so nothing cancels."""
    top = _maximum(x, groups, xp)
    below = _below(x, groups, top, xp)
    y = below - groups.gather(xp.log1p(_rest(xp.exp(below), groups, top, xp)))
    return xp.where(_has_no_limit(x, top), NAN, y)


def logsumexp(x: AnyArray, groups: Any, xp: Any = np) -> AnyArray:
    """log(sum(exp(x))) of each group as max + log1p(rest): -inf for an empty one."""
    top = _maximum(x, groups, xp)
    terms = xp.exp(_below(x, groups, top, xp))
    return top.value + xp.log1p(_rest(terms, groups, top, xp))


class _Maximum(NamedTuple):
    value: AnyArray  # the group's maximum, but for NaN: -inf if there is nothing else
    tied: AnyArray  # how many of its entries reach it; below 2 it is exact
    ties: AnyArray  # which do
    alone: AnyArray  # which does, there being no other


def _maximum(x: AnyArray, groups: Any, xp: Any) -> _Maximum:
    value = groups.maximum(constant(xp.where(xp.isnan(x), -INF, x)))
    ties = x == groups.gather(value)
    tied = groups.sum(xp.where(ties, xp.ones_like(x), 0.0))
    own = groups.sum(xp.where(ties, x, 0.0))  # where one is alone: the same, with its gradient
    alone = ties & groups.gather(tied == 1)
    return _Maximum(xp.where(tied == 1, own, value), tied, ties, alone)


def _below(x: AnyArray, groups: Any, top: _Maximum, xp: Any) -> AnyArray:
    """x - max; 0 at an infinite maximum, where inf - inf would say NaN."""
    level = top.alone | (top.ties & xp.isinf(x))
    return xp.where(level, 0.0, x - groups.gather(top.value))


def _rest(terms: AnyArray, groups: Any, top: _Maximum, xp: Any) -> AnyArray:
    """The group's sum, less the 1 of a maximum: small numbers keep their digits."""
    others = groups.accurate_sum(xp.where(top.alone, 0.0, terms))
    return others - xp.where(top.tied > 1, xp.ones_like(others), 0.0)


def _has_no_limit(x: AnyArray, top: _Maximum) -> AnyArray:
    """Which entries have none: their group is -inf throughout, or they are one of several +inf."""
    return top.ties & ((x == -INF) | ((x == INF) & ~top.alone))
