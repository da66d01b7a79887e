"""The accuracy that is promised: one table, read by the tests, the README and the docstrings.

`python -m stablesoftmax.accuracy` prints it as Markdown.
"""

import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray

__all__ = [
    "FAMILY_ULP",
    "GRADIENT_ULP",
    "MAX_ULP",
    "TEMPERATURE_ULP",
    "WIDE_KAPPA",
    "markdown",
    "max_ulp",
]

#: Worst error in units in the last place (ULP) of the result's dtype, for any length up to 1e8.
MAX_ULP = {
    "softmax": {"float32": 2.0, "float64": 2.0, "float16": 0.51, "bfloat16": 0.51},
    "log_softmax": {"float32": 1.5, "float64": 1.5, "float16": 0.51, "bfloat16": 0.51},
    "logsumexp": {"float32": 1.5, "float64": 1.5, "float16": 0.51, "bfloat16": 0.51},
}

#: The same for the losses and their kin. Of a gradient: of classes without smoothing. Of a
#: cross-entropy: of one row, with any weights and smoothing. logcumsumexp's limit grows with κ.
FAMILY_ULP = {
    "cross_entropy": {"float32": 1.5, "float64": 1.5, "float16": 0.51, "bfloat16": 0.51},
    "cross_entropy gradient": {"float32": 4.0, "float64": 4.0, "float16": 0.51, "bfloat16": 0.51},
    "selected_log_softmax": {"float32": 1.5, "float64": 1.5, "float16": 0.51, "bfloat16": 0.51},
    "entropy": {"float32": 0.51, "float64": 6.0, "float16": 0.51, "bfloat16": 0.51},
    "logcumsumexp": {"float32": 1.5, "float64": 1.5, "float16": 0.51, "bfloat16": 0.51},
}

#: What a temperature other than 1 adds to it.
TEMPERATURE_ULP = {"float32": 1.0, "float64": 1.0, "float16": 0.0, "bfloat16": 0.0}

#: Worst error of the products in `gradients`. It grows with κ, the condition number of their sums.
GRADIENT_ULP = {"float32": 4.0, "float64": 4.0, "float16": 0.51, "bfloat16": 0.51}

#: The functions whose limit grows with κ.
GROWS = ("logsumexp", "logcumsumexp")

#: Their limit grows with κ beyond this; the 16-bit formats are computed wider.
WIDE_KAPPA = {"float32": 1.0, "float64": 1.0, "float16": 16.0, "bfloat16": 16.0}


def max_ulp(
    function: str, dtype: DTypeLike, *, kappa: ArrayLike = 1.0, temperature: bool = False
) -> NDArray[np.float64]:
    """Return the promised worst error of a function in units in the last place.

    Parameters
    ----------
    function : str
        The function's name, as in `MAX_ULP` or `FAMILY_ULP`.
    dtype : dtype-like
        The result's dtype: float32, float64, float16 or bfloat16.
    kappa : array_like, default 1.0
        Condition number of the sum ``m + log1p(r)`` that logsumexp ends with, at least 1.
    temperature : bool, default False
        Whether a temperature other than 1 was given.

    Returns
    -------
    ndarray of float64
        The limit, of the shape of `kappa`.

    Raises
    ------
    KeyError
        If nothing is promised for the function or the dtype.

    Examples
    --------
    >>> from stablesoftmax.accuracy import max_ulp
    >>> print(max_ulp("softmax", "float32"))
    2.0
    >>> print(max_ulp("softmax", "float32", temperature=True))
    3.0
    >>> print(max_ulp("logsumexp", "float64", kappa=[1, 10]))
    [ 1.5 15. ]
    """
    name = np.dtype(dtype).name
    limit = (MAX_ULP | FAMILY_ULP)[function][name] + temperature * TEMPERATURE_ULP[name]
    return np.asarray(limit * np.maximum(1.0, np.asarray(kappa) / WIDE_KAPPA[name]))


def markdown() -> str:
    """Return the table as Markdown.

    Returns
    -------
    str
        A line for each function and a column for each dtype; no newline at the end.

    Examples
    --------
    >>> from stablesoftmax.accuracy import markdown
    >>> print("\\n".join(markdown().splitlines()[:5]))
    | worst error in ULP | float32 | float64 | float16 | bfloat16 |
    | --- | --- | --- | --- | --- |
    | `softmax` | 2 | 2 | 0.51 | 0.51 |
    | `log_softmax` | 1.5 | 1.5 | 0.51 | 0.51 |
    | `logsumexp` | 1.5 κ | 1.5 κ | 0.51 (κ ≤ 16) | 0.51 (κ ≤ 16) |
    """

    def kappa(dtype: str) -> str:
        return " κ" if WIDE_KAPPA[dtype] == 1 else f" (κ ≤ {WIDE_KAPPA[dtype]:g})"

    lines = [["worst error in ULP", *TEMPERATURE_ULP], ["---"] * (1 + len(TEMPERATURE_ULP))]
    for function, limits in (MAX_ULP | FAMILY_ULP).items():
        growth = [kappa(d) if function in GROWS else "" for d in limits]
        name, _, what = function.partition(" ")
        lines.append([f"`{name}` {what}".strip(), *map("{:g}{}".format, limits.values(), growth)])
    products = map("{:g}{}".format, GRADIENT_ULP.values(), map(kappa, GRADIENT_ULP))
    lines.append(["`*_vjp`, `*_jvp`", *products])
    lines.append(["a temperature adds", *map("{:g}".format, TEMPERATURE_ULP.values())])
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


if __name__ == "__main__":
    print(markdown())
