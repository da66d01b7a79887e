"""A case: one input, what the function made of it, and what is exact."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .calls import Outcome
from .inputs import Probe
from .verdicts import Verdict, wrong

__all__ = ["Case"]


@dataclass(frozen=True, slots=True)
class Case:
    """An input, what the function made of it, and what is exact."""

    probe: Probe
    outcome: Outcome
    verdict: Verdict

    @property
    def numeric(self) -> bool:
        """Whether an array of real numbers came back."""
        value = self.outcome.value
        return value is not None and value.dtype.kind in "biuf"

    @property
    def bad(self) -> bool:
        """Whether the outcome is wrong or none."""
        at = wrong(self.outcome, self.verdict)
        return at is None or bool(at.any())

    @property
    def comparable(self) -> bool:
        """Whether what came back has as many entries as it should."""
        return wrong(self.outcome, self.verdict) is not None

    @property
    def relative(self) -> bool:
        """Whether errors count relative to the value: of a softmax, not of a logarithm."""
        return bool((self.verdict.values >= 0).all() and (self.verdict.values <= 1).all())

    @property
    def finite(self) -> bool:
        """Whether the outcome is infinite or NaN only where the exact value is."""
        return bool(np.isfinite(self.got[np.isfinite(self.verdict.values)]).all())

    @property
    def got(self) -> NDArray[np.float64]:
        """What came back, in the exact value's shape; NaN where nothing did."""
        value, shape = self.outcome.value, self.verdict.values.shape
        if value is None or not self.numeric or value.size != np.prod(shape):
            return np.full(shape, np.nan)
        return value.astype(np.float64).reshape(shape)
