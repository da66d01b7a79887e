"""The arguments of the products with a Jacobian, for arrays of torch, JAX, CuPy, the array API."""

from __future__ import annotations

from typing import Any

from .._arrays.tensors import COMPLEX, FLOATS, INTEGERS, array, fits, name_of, widest
from .._arrays.typing import AnyArray
from ..functions.tensor_arguments import TensorArguments
from ..functions.tensor_arguments import validate as validate_softmax


def validate(
    xp: Any,
    x: AnyArray,
    v: Any,
    axis: int | tuple[int, ...] | None,
    *,
    vector: str,
    shaped: str,
    keepdims: bool = False,
    **options: Any,
) -> tuple[TensorArguments, AnyArray]:
    """Check the arguments of all six products, and spread v over the shape that it must have.

    Where that is logsumexp(x), the axes reduced come back with size 1.
    """
    if name_of(x.dtype) in COMPLEX:
        raise TypeError(
            f"x must be real, got {name_of(x.dtype)}: pass x.real, or differentiate the parts"
        )
    v = array(v, x, xp, vector)
    if name_of(v.dtype) not in FLOATS and name_of(v.dtype) not in INTEGERS:
        raise TypeError(f"{vector} must hold real numbers, got dtype {name_of(v.dtype)}")
    call = validate_softmax(xp, x, axis, keepdims=keepdims, **options)
    call = call._replace(computed=xp.result_type(call.computed, widest(xp, x)))
    shape = tuple(x.shape) if shaped == "x" else call.shape
    if not fits(tuple(v.shape), shape):
        raise ValueError(
            f"{vector} of shape {tuple(v.shape)} does not broadcast to {shape}, "
            f"the shape of {shaped}"
        )
    v = xp.astype(xp.broadcast_to(v, shape), call.computed)
    kept = tuple(1 if i in call.axes else n for i, n in enumerate(x.shape))
    return call, v if shaped == "x" else xp.reshape(v, kept)
