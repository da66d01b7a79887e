"""One row, step by step, through the textbook softmax and the stable one."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .arrays import overflow_of_exp, summary
from .findings import Finding
from .reporting import Report

__all__ = ["Step", "Trace", "trace"]

_SHOWN = 8  # elements of a row that are printed


@dataclass(frozen=True, slots=True)
class Step:
    """One operation in both forms.

    Parameters
    ----------
    name : str
        "max", "shift", "exp", "sum" or "divide".
    textbook, stable : ndarray or None
        The values after it; None where the textbook has no such step.
    """

    name: str
    textbook: NDArray[Any] | None
    stable: NDArray[Any]


@dataclass(frozen=True, slots=True)
class Trace:
    """The steps of a row, and the first that went wrong.

    Parameters
    ----------
    row : ndarray
        The row.
    steps : tuple of Step
        max, shift, exp, sum, divide.
    report : Report
        Its finding names the first bad operation of the textbook's form, or is none.
    """

    row: NDArray[Any]
    steps: tuple[Step, ...]
    report: Report

    def __str__(self) -> str:
        lines = [f"{'':8}{'textbook: exp(x) / sum(exp(x))':<44}stable: shifted by the maximum"]
        for step in self.steps:
            textbook = "" if step.textbook is None else _shown(step.textbook)
            lines.append(f"{step.name:<8}{textbook:<44}{_shown(step.stable)}")
        return "\n".join(lines)


def trace(row: ArrayLike) -> Trace:
    r"""Walk a row through max, shift, exp, sum and divide, in both forms.

    .. math:: \frac{e^{x_i}}{\sum_j e^{x_j}} = \frac{e^{x_i - m}}{\sum_j e^{x_j - m}}

    Parameters
    ----------
    row : array_like
        Real numbers, one row. float16 and float32 are computed as they are, integers in float64.

    Returns
    -------
    Trace
        The steps; `str()` prints them side by side. Its `report` names the first bad operation.

    Raises
    ------
    TypeError, ValueError
        If it is no row of real numbers, or empty.

    Notes
    -----
    The stable form here is the textbook's own cure, in NumPy. `softmax` does better: 2 ULP.

    Examples
    --------
    >>> from stablesoftmax import doctor
    >>> traced = doctor.trace([1000.0, 999.0])
    >>> print(traced)
            textbook: exp(x) / sum(exp(x))              stable: shifted by the maximum
    max                                                 1000
    shift                                               0, -1
    exp     inf, inf                                    1, 0.367879
    sum     inf                                         1.36788
    divide  nan, nan                                    0.731059, 0.268941
    >>> traced.report.findings[0].message
    'exp overflows: exp(1000) is inf, float64 ends at 709.78'
    """
    x = np.asarray(row)
    if x.dtype.kind not in "iuf":
        raise TypeError(f"row must be real numbers, got dtype {x.dtype}")
    x = np.squeeze(x).reshape(-1) if x.size == max(x.shape, default=1) else x
    if x.ndim != 1 or not x.size:
        raise ValueError(f"row must be one row and not empty, got shape {x.shape}")
    x = x if x.dtype.kind == "f" else x.astype(np.float64)
    with np.errstate(all="ignore"):
        steps = _steps(x)
    return Trace(x, steps, Report(_findings(x, steps), tool="trace"))


def _steps(x: NDArray[Any]) -> tuple[Step, ...]:
    top = x.max(keepdims=True)
    shifted = x - top
    plain, stable = np.exp(x), np.exp(shifted)
    plain_sum, stable_sum = plain.sum(keepdims=True), stable.sum(keepdims=True)
    return (
        Step("max", None, top),
        Step("shift", None, shifted),
        Step("exp", plain, stable),
        Step("sum", plain_sum, stable_sum),
        Step("divide", plain / plain_sum, stable / stable_sum),  # noqa: SMX001 - the naive one is shown
    )


def _findings(x: NDArray[Any], steps: tuple[Step, ...]) -> list[Finding]:
    """The first bad operation, with its value."""
    limit, (_, _, exp, total, quotient) = overflow_of_exp(x.dtype), steps
    evidence = {"operands": [summary("row", x)], "limit": limit}
    assert exp.textbook is not None
    assert total.textbook is not None
    assert quotient.textbook is not None

    def found(code: str, message: str, first: int, step: str) -> list[Finding]:
        return [Finding(code, "error", message, {"indices": [[first]], "step": step}, evidence)]

    if np.isnan(x).any():
        first = int(np.argmax(np.isnan(x)))
        return found("SMX015", f"row[{first}] is NaN: it came in", first, "max")
    if np.isneginf(x).all():
        return found("SMX014", "the row is -inf throughout: -inf - -inf is NaN", 0, "shift")
    if np.isposinf(x).any():
        first = int(np.argmax(np.isposinf(x)))
        return found("SMX015", f"row[{first}] is inf: inf - inf is NaN", first, "shift")
    code = "SMX016" if x.dtype == np.float16 else "SMX001"
    if np.isinf(exp.textbook).any():
        first = int(np.argmax(np.isinf(exp.textbook)))
        ends = f"{x.dtype} ends at {limit:.5g}"
        return found(code, f"exp overflows: exp({x[first]:g}) is inf, {ends}", first, "exp")
    if np.isinf(total.textbook).any():
        return found(code, f"the sum of exponentials is beyond {x.dtype}", int(x.argmax()), "sum")
    if np.isnan(quotient.textbook).any():
        top = int(x.argmax())
        message = f"exp underflows: exp({x[top]:g}) is 0, and 0 / 0 is NaN"
        return found(code, message, top, "exp")
    return []


def _shown(values: NDArray[Any]) -> str:
    shown = ", ".join(f"{value:g}" for value in values[:_SHOWN].tolist())
    return shown + (", ..." if values.size > _SHOWN else "")
