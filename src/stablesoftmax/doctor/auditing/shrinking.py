"""The smallest input that still fails, and how it is shown."""

import re
from collections.abc import Callable
from typing import Any

import numpy as np

from .cases import Case
from .inputs import Probe

__all__ = ["beside", "shown", "smallest"]

_TRIES = 80  # calls that it may take


def smallest(bad: list[Case], case_of: Callable[[Probe], Case]) -> Case:
    """Return the smallest input that fails in the way of one of these cases."""
    case = min(bad, key=lambda c: (c.outcome.value is None, c.probe.x.size))
    tries = _TRIES
    while tries > 0:
        for smaller in _smaller(case.probe):
            tries -= 1
            shrunk = case_of(smaller)
            like = shrunk.outcome.error == case.outcome.error and shrunk.finite == case.finite
            if shrunk.bad and like:
                case = shrunk
                break
        else:
            return case
    return case


def _smaller(probe: Probe) -> list[Probe]:
    """The input without one of its elements, rows or columns."""
    x = probe.x
    return [
        Probe(probe.topic, np.delete(x, i, axis), probe.axis)
        for axis in range(x.ndim)
        if x.shape[axis] > 1
        for i in range(min(x.shape[axis], 5))
    ]


def beside(got: Any, right: Any) -> tuple[str, str]:
    """Two arrays in a few words, with as many digits as tell them apart."""
    for digits in (6, 17):
        pair = shown(got, digits), shown(right, digits)
        if pair[0] != pair[1]:
            break
    return pair


def shown(value: Any, digits: int = 6) -> str:
    """An array in a few words."""
    if value is None or value.dtype.kind not in "biuf":
        return "no array of real numbers"
    if value.size > 12:
        return f"{value.dtype} of shape {value.shape}"
    text = repr(np.asarray(value).tolist())
    if value.dtype.kind != "f":
        return text
    numbers = iter(f"{number:.{digits}g}" for number in value.ravel().tolist())
    return _NUMBER.sub(lambda _: next(numbers), text)


_NUMBER = re.compile(r"[^\[\], ]+")
