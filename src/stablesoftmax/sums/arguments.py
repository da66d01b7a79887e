"""The arguments of logmeanexp and logcumsumexp."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from .._arrays.checks import axes_of, mask_of, one_axis, real
from .._arrays.dtypes import as_array, floating, wider
from .._arrays.typing import Array, DType


class MeanArguments(NamedTuple):
    """What logmeanexp was asked for, all of it fit to be computed."""

    x: Array
    axes: tuple[int, ...]  # not negative, ascending
    where: Array | None  # bool, of x's shape
    keepdims: bool
    computed: DType  # float64 at least
    dtype: DType  # of the result


class ScanArguments(NamedTuple):
    """What logcumsumexp was asked for."""

    x: Array
    axis: int  # not negative
    where: Array | None  # bool, of x's shape
    dtype: DType


def validate_mean(
    x: ArrayLike,
    axis: int | tuple[int, ...] | None,
    *,
    keepdims: bool,
    where: ArrayLike | None,
) -> MeanArguments:
    """Check the arguments of logmeanexp before anything is computed."""
    x = as_array(x, "x")
    dtype = floating(x.dtype, "x")
    float32 = np.dtype(np.float32)
    computed = wider(dtype if dtype.itemsize > 2 else float32, np.dtype(np.float64))
    return MeanArguments(
        x=x,
        axes=axes_of(axis, x.ndim),
        where=mask_of(where, x.shape),
        keepdims=bool(keepdims),
        computed=computed,
        dtype=dtype,
    )


def validate_scan(x: ArrayLike, axis: int, *, where: ArrayLike | None) -> ScanArguments:
    """Check the arguments of logcumsumexp before anything is computed."""
    x = as_array(x, "x")
    return ScanArguments(
        x=x,
        axis=one_axis(axis, x.ndim, "x"),
        where=mask_of(where, x.shape),
        dtype=real(x.dtype, "x"),
    )
