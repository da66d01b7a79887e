"""entropy and kl_divergence for arrays of torch, JAX, CuPy and the array API.

They compute in the dtype of the logits, float32 at least.
"""

from __future__ import annotations

from typing import Any

from .._arrays.tensors import namespace, quiet
from .._arrays.typing import AnyArray
from ..functions.tensor_arguments import TensorArguments
from ..functions.tensors import normalise
from . import formulas
from .tensor_arguments import validate_divergence, validate_entropy

__all__ = ["entropy", "kl_divergence"]


def entropy(x: AnyArray, *args: Any, **options: Any) -> AnyArray:
    """Compute the entropy."""
    xp = namespace(x)
    call = validate_entropy(xp, x, *args, **options)
    with quiet(x):
        rows, where, temperature, _ = normalise(call)
        y = formulas.entropy(rows, where, temperature, xp=xp)
        return _reduced(call, y, call.dtype)


def kl_divergence(p_logits: AnyArray, q_logits: Any, *args: Any, **options: Any) -> AnyArray:
    """Compute the divergence."""
    xp = namespace(p_logits)
    p, q = validate_divergence(xp, p_logits, q_logits, *args, **options)
    with quiet(p_logits):
        computed = xp.result_type(p.computed, q.computed)
        x, where, _, _ = normalise(p)
        y, _, _, _ = normalise(q)
        x, y = xp.astype(x, computed), xp.astype(y, computed)
        divergence = formulas.kl_divergence(x, y, where, xp=xp)
        return _reduced(p, divergence, xp.result_type(p.dtype, q.dtype))


def _reduced(call: TensorArguments, y: AnyArray, dtype: Any) -> AnyArray:
    return call.xp.reshape(call.xp.astype(y, dtype), call.shape)
