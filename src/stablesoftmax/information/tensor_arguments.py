"""The arguments of entropy and kl_divergence for arrays of torch, JAX, CuPy and the array API."""

from __future__ import annotations

from typing import Any

from .._arrays.tensors import array, broadcast, real
from .._arrays.typing import AnyArray
from ..functions.tensor_arguments import TensorArguments, validate


def validate_entropy(
    xp: Any,
    x: AnyArray,
    axis: int | tuple[int, ...] | None = -1,
    *,
    keepdims: bool = False,
    where: Any = None,
    temperature: Any = 1.0,
) -> TensorArguments:
    """Check the arguments of entropy before anything is computed."""
    real(xp, x, "x")
    return validate(xp, x, axis, keepdims=keepdims, where=where, temperature=temperature)


def validate_divergence(
    xp: Any,
    p_logits: AnyArray,
    q_logits: Any,
    axis: int | tuple[int, ...] | None = -1,
    *,
    keepdims: bool = False,
    where: Any = None,
) -> tuple[TensorArguments, TensorArguments]:
    """Check the arguments of kl_divergence before anything is computed."""
    q_logits = array(q_logits, p_logits, xp, "q_logits")
    real(xp, p_logits, "p_logits")
    real(xp, q_logits, "q_logits")
    p, q = broadcast(xp, p_logits, q_logits, ("p_logits", "q_logits"))
    return validate(xp, p, axis, keepdims=keepdims, where=where), validate(xp, q, axis)
