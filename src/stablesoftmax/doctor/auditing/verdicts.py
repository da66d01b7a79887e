"""What is exact for an input, and how far a sound function may be from it."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stablesoftmax import testing

from .calls import Outcome
from .inputs import Probe, labels_of

__all__ = ["Verdict", "exact", "tolerance", "wrong"]


@dataclass(frozen=True, slots=True)
class Verdict:
    """The exact values, and the error that a sound function may have."""

    values: NDArray[np.float64]
    allowed: NDArray[np.float64]

    def of_integers(self, dtype: np.dtype[Any]) -> "Verdict":
        """Return what is allowed where integers give this dtype: torch and JAX give float32."""
        if dtype.kind != "f":
            return self
        wider = float(np.finfo(dtype).eps) / float(np.finfo(np.float64).eps)
        return Verdict(self.values, self.allowed * max(wider, 1.0))


@np.errstate(all="ignore")
def exact(kind: str, probe: Probe) -> Verdict:
    """Ask the oracle."""
    x, axis = probe.x, probe.axis
    name = "log_softmax" if kind == "cross_entropy" else kind
    values = getattr(testing, name)(x, axis=axis).pair()[0]
    allowed = tolerance(name, x, axis, values)
    if kind == "cross_entropy":
        labels = np.expand_dims(labels_of(x, axis), axis)
        values = -np.take_along_axis(values, labels, axis).squeeze(axis)
        allowed = np.take_along_axis(allowed, labels, axis).squeeze(axis)
    return Verdict(values, allowed)


def tolerance(
    kind: str, x: NDArray[Any], axis: int, values: NDArray[np.float64]
) -> NDArray[np.float64]:
    """What rounding costs the textbook's stable form: x - max(x) once, exp, a sum in any order."""
    dtype = x.dtype if x.dtype.kind == "f" else np.dtype(np.float64)
    limits = np.finfo(dtype)
    wide = x.astype(np.float64)
    top = np.where(np.isfinite(wide), wide, -np.inf).max(axis, keepdims=True, initial=-np.inf)
    gap = np.where(np.isfinite(wide) & np.isfinite(top), abs(wide - top), 0.0)
    eps = float(limits.eps)
    of_sum = min(eps * x.shape[axis] / 4, 0.25)
    if kind == "softmax":
        least = 2.0**-22 if dtype == np.float16 else float(limits.tiny)  # subnormals may be flushed
        return np.asarray(abs(values) * (eps * (32 + 4 * gap) + of_sum) + least)
    if kind == "log_softmax":
        return np.asarray(eps * (32 + 4 * gap) + of_sum)
    size = np.where(np.isfinite(top), abs(top), 0.0).squeeze(axis)
    return np.asarray(eps * (32 + 4 * size) + of_sum)


@np.errstate(all="ignore")
def wrong(outcome: Outcome, verdict: Verdict) -> NDArray[np.bool_] | None:
    """Where the outcome is wrong; None where it cannot be compared."""
    value = outcome.value
    if value is None or value.dtype.kind not in "biuf":
        return None
    if value.shape != verdict.values.shape:
        if value.size != verdict.values.size or value.ndim == verdict.values.ndim:
            return None
        value = value.reshape(verdict.values.shape)  # reported as another kind of result
    got, right = value.astype(np.float64), verdict.values
    limit = np.isfinite(right)
    overflow = abs(right) >= float(np.finfo(value.dtype).max) if value.dtype.kind == "f" else False
    close = abs(got - right) <= verdict.allowed
    same = (got == right) | (np.isnan(got) & np.isnan(right)) | (overflow & np.isinf(got))
    return np.asarray(~np.where(limit, close | same, same))
