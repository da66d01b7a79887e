"""What a function may refuse: vectors, matrices or batches that it was not written for."""

import numpy as np

from .cases import Case
from .inputs import Probe
from .verdicts import exact

__all__ = ["of_everything", "right_for_vectors", "says_vectors", "wrong_beside_matrices"]

_WORDS = ("vector", "1-d", "1d", "one-dimensional", "one dimension")


def wrong_beside_matrices(cases: list[Case]) -> list[Case]:
    """Return what is wrong of other dimensions, where every matrix is right and no vector is.

    A loop over the rows is right for a batch; of a vector it makes ones.
    """
    if any(case.bad for case in _of(2, cases)) or not _of(2, cases):
        return []
    return [] if right_for_vectors(cases) else [case for case in cases if case.bad]


def right_for_vectors(cases: list[Case]) -> bool:
    """Return whether vectors were taken, and are right."""
    return bool(_of(1, cases)) and not any(case.bad for case in _of(1, cases))


def says_vectors(documentation: str) -> bool:
    """Return whether a docstring says that the function is for vectors."""
    return any(word in documentation for word in _WORDS)


def of_everything(kind: str, cases: list[Case]) -> bool:
    """Return whether arrays of more dimensions are one row: exp(x - max(x)) over its whole sum.

    That is what a function for vectors makes of them; a row's own maximum would tell of rows.
    """
    if kind == "cross_entropy":
        return False
    for case in cases:
        x, value = case.probe.x, case.outcome.value
        right = exact(kind, Probe("everything", x.reshape(-1))).values
        if value is None or value.size != right.size:
            return False
        if not np.allclose(value.reshape(right.shape), right, rtol=1e-4):
            return False
    return True


def _of(dimensions: int, cases: list[Case]) -> list[Case]:
    return [case for case in cases if case.probe.x.ndim == dimensions]
