"""The arguments of the same functions for arrays of torch, JAX, CuPy and the array API."""

from __future__ import annotations

from typing import Any, NamedTuple

from .._arrays.checks import UNDEFINED, axes_of
from .._arrays.tensors import array, broadcast, dtypes, library, mask_of, temperatures_of, widest
from .._arrays.typing import AnyArray


class TensorArguments(NamedTuple):
    """What the caller asked for, all of it fit to be computed."""

    xp: Any  # the namespace of x
    x: AnyArray
    axes: tuple[int, ...]  # not negative, ascending
    where: AnyArray | None  # bool, of x's shape
    b: AnyArray | None  # of x's shape
    temperature: AnyArray | None  # of x's shape with the axes reduced to 1
    computed: Any  # at least as wide as the input and the result
    dtype: Any  # of the result
    shape: tuple[int, ...]  # of a reduced result
    undefined: int
    refuse_undefined: bool


def validate(
    xp: Any,
    x: AnyArray,
    axis: int | tuple[int, ...] | None,
    *,
    where: Any = None,
    temperature: Any = 1.0,
    out: Any = None,
    dtype: Any = None,
    undefined: str = "nan",
    b: Any = None,
    keepdims: bool = False,
) -> TensorArguments:
    """Check the arguments of all three functions before anything is computed."""
    if out is not None:
        raise TypeError(
            "out is for NumPy arrays and CPU tensors without a gradient, got it for an array "
            f"of {library(x)}: leave it out"
        )
    weak = type(b) in (int, float)  # as in NumPy, a plain number widens nothing
    b = None if b is None else array(b, x, xp, "b")
    computed, result = dtypes(xp, x, None if weak else b, dtype)
    if b is not None:
        if weak:
            b = xp.astype(b, computed)
        computed = xp.result_type(computed, widest(xp))
        x, b = broadcast(xp, x, b)
    axes = axes_of(axis, len(x.shape))
    kept = tuple(1 if i in axes else n for i, n in enumerate(x.shape))
    if not isinstance(undefined, str) or undefined not in UNDEFINED:
        raise ValueError(f"undefined must be one of {', '.join(UNDEFINED)}, got {undefined!r}")
    return TensorArguments(
        xp=xp,
        x=x,
        axes=axes,
        where=mask_of(where, x, xp),
        b=b,
        temperature=temperatures_of(temperature, kept, x, xp),
        computed=computed,
        dtype=result,
        shape=kept if keepdims else tuple(n for i, n in enumerate(x.shape) if i not in axes),
        undefined=UNDEFINED[undefined],
        refuse_undefined=undefined == "raise",
    )
