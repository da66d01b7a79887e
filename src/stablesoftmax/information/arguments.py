"""The arguments of entropy and kl_divergence."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from .._arrays.checks import axes_of, mask_of, real, temperatures
from .._arrays.dtypes import as_array, wider
from .._arrays.typing import Array, DType


class EntropyArguments(NamedTuple):
    """What was asked for, all of it fit to be computed."""

    logits: tuple[Array, ...]  # of one shape: of p alone, or of p and q
    axes: tuple[int, ...]  # not negative, ascending
    keepdims: bool
    where: Array | None  # bool, of that shape
    temperature: Array | None  # float64, of that shape with the axes reduced to 1
    dtype: DType  # of the result


def validate_entropy(
    x: ArrayLike,
    axis: int | tuple[int, ...] | None,
    *,
    keepdims: bool,
    where: ArrayLike | None,
    temperature: ArrayLike,
) -> EntropyArguments:
    """Check the arguments of entropy before anything is computed."""
    x = as_array(x, "x")
    axes = axes_of(axis, x.ndim)
    kept = tuple(1 if i in axes else n for i, n in enumerate(x.shape))
    return EntropyArguments(
        logits=(x,),
        axes=axes,
        keepdims=bool(keepdims),
        where=mask_of(where, x.shape),
        temperature=temperatures(temperature, kept),
        dtype=real(x.dtype, "x"),
    )


def validate_divergence(
    p_logits: ArrayLike,
    q_logits: ArrayLike,
    axis: int | tuple[int, ...] | None,
    *,
    keepdims: bool,
    where: ArrayLike | None,
) -> EntropyArguments:
    """Check the arguments of kl_divergence before anything is computed."""
    p, q = as_array(p_logits, "p_logits"), as_array(q_logits, "q_logits")
    dtype = wider(real(p.dtype, "p_logits"), real(q.dtype, "q_logits"))
    try:
        shape = np.broadcast_shapes(p.shape, q.shape)
    except ValueError:
        raise ValueError(
            f"q_logits of shape {q.shape} does not broadcast with p_logits of shape {p.shape}"
        ) from None
    return EntropyArguments(
        logits=(np.broadcast_to(p, shape), np.broadcast_to(q, shape)),
        axes=axes_of(axis, len(shape)),
        keepdims=bool(keepdims),
        where=mask_of(where, shape),
        temperature=None,
        dtype=dtype,
    )
