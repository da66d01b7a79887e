"""The arguments of softmax, log_softmax and logsumexp."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, DTypeLike

from .._arrays.checks import UNDEFINED, axes_of, broadcast, dtypes, mask_of, output, temperatures
from .._arrays.dtypes import as_array
from .._arrays.typing import Array, DType


class SoftmaxArguments(NamedTuple):
    """What the caller asked for, all of it fit to be computed."""

    x: Array
    axes: tuple[int, ...]  # not negative, ascending
    where: Array | None  # bool, of x's shape
    b: Array | None  # of x's shape
    temperature: Array | None  # float64, of x's shape with the axes reduced to 1
    out: Array | None
    shape: tuple[int, ...]  # of the result
    computed: DType  # native, at least as wide as the input and the result
    dtype: DType  # of the result
    sign_dtype: DType
    reduces: bool  # logsumexp: one number a row
    return_sign: bool
    undefined: int  # what stands for it: 0 NaN, 1 zero, 2 an even split
    refuse_undefined: bool


def validate(
    x: ArrayLike,
    axis: int | tuple[int, ...] | None,
    *,
    where: ArrayLike | None,
    out: Array | None,
    dtype: DTypeLike | None,
    temperature: ArrayLike = 1.0,
    undefined: str = "nan",
    b: ArrayLike | None = None,
    return_sign: bool = False,
    reduces: bool = False,
    keepdims: bool = False,
) -> SoftmaxArguments:
    """Check the arguments of all three functions before anything is written."""
    x = as_array(x, "x")
    weak = type(b) in (int, float)  # as in NumPy, a plain number widens nothing
    b = None if b is None else as_array(b, "b")
    weights = None if b is None else x.dtype if weak else b.dtype
    computed, result = dtypes(x.dtype, weights, dtype)
    sign_dtype = result
    if return_sign and result.kind == "c":
        result = np.empty(0, result).real.dtype
    x, b = broadcast(x, b)
    axes = axes_of(axis, x.ndim)
    kept = tuple(1 if i in axes else n for i, n in enumerate(x.shape))
    shape = x.shape
    if reduces:
        shape = kept if keepdims else tuple(n for i, n in enumerate(shape) if i not in axes)
    if not isinstance(undefined, str) or undefined not in UNDEFINED:
        raise ValueError(f"undefined must be one of {', '.join(UNDEFINED)}, got {undefined!r}")
    return SoftmaxArguments(
        x=x,
        axes=axes,
        where=mask_of(where, x.shape),
        b=b,
        temperature=temperatures(temperature, kept),
        out=output(out, shape, result),
        shape=shape,
        computed=computed,
        dtype=result,
        sign_dtype=sign_dtype,
        reduces=reduces,
        return_sign=return_sign,
        undefined=UNDEFINED[undefined],
        refuse_undefined=undefined == "raise",
    )
