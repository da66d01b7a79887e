"""The arguments of the products with a Jacobian."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from .._arrays.dtypes import as_array, is_floating
from .._arrays.typing import Array
from ..functions.arguments import SoftmaxArguments
from ..functions.arguments import validate as validate_softmax


def validate(
    x: ArrayLike,
    v: ArrayLike,
    axis: int | tuple[int, ...] | None,
    *,
    vector: str,
    shaped: str,
    where: ArrayLike | None,
    temperature: ArrayLike = 1.0,
    reduces: bool = False,
    keepdims: bool = False,
) -> tuple[SoftmaxArguments, Array]:
    """Check the arguments of all six products, and spread v over the shape that it must have.

    `vector` is the name of v, and `shaped` of what it is shaped like; where that is logsumexp(x),
    v comes back with one number a row. The result is reduced only if `reduces`.
    """
    x = as_array(x, "x")
    if x.dtype.kind == "c":
        raise TypeError(f"x must be real, got {x.dtype}: pass x.real, or differentiate the parts")
    v = as_array(v, vector)
    if v.dtype.kind not in "iu" and (not is_floating(v.dtype) or v.dtype.kind == "c"):
        raise TypeError(f"{vector} must hold real numbers, got dtype {v.dtype}")
    call = validate_softmax(
        x,
        axis,
        where=where,
        out=None,
        dtype=None,
        temperature=temperature,
        reduces=reduces,
        keepdims=keepdims,
    )
    if shaped == "x":
        return call, _spread(v, x.shape, vector, shaped)
    kept = tuple(1 if i in call.axes else n for i, n in enumerate(x.shape))
    batch = tuple(n for i, n in enumerate(x.shape) if i not in call.axes)
    v = _spread(v, kept if keepdims else batch, vector, shaped)
    return call, v.squeeze(call.axes) if keepdims else v


def _spread(v: Array, shape: tuple[int, ...], vector: str, shaped: str) -> Array:
    try:
        return np.broadcast_to(v, shape)
    except ValueError:
        raise ValueError(
            f"{vector} of shape {v.shape} does not broadcast to {shape}, the shape of {shaped}"
        ) from None
