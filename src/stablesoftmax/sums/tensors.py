"""logmeanexp and logcumsumexp for arrays of torch, JAX, CuPy and the array API."""

from __future__ import annotations

from math import prod
from typing import Any

from .._arrays.tensors import namespace, quiet, widest
from .._arrays.typing import AnyArray
from ..functions import tensors
from ..functions.tensor_arguments import validate
from ..functions.tensors import as_rows, spread
from . import formulas
from .tensor_arguments import validate_scan

__all__ = ["logcumsumexp", "logmeanexp"]


def logmeanexp(
    x: AnyArray, axis: Any = None, *, keepdims: bool = False, where: Any = None
) -> AnyArray:
    """Compute logsumexp less the logarithm of the number of entries."""
    xp = namespace(x)
    call = validate(xp, x, axis, where=where, keepdims=keepdims)
    wide = xp.result_type(call.computed, widest(xp))
    total = tensors.logsumexp(x, call.axes, where=where, keepdims=keepdims, dtype=wide)
    with quiet(x):
        ones = xp.ones_like(xp.real(total) if "complex" in str(total.dtype) else total)
        if call.where is None:
            count = ones * prod([x.shape[i] for i in call.axes])  # a list: so torch.compile follows
        else:
            count = xp.sum(xp.astype(call.where, ones.dtype), axis=call.axes, keepdims=keepdims)
        return xp.astype(total - xp.log(count), call.dtype)


def logcumsumexp(x: AnyArray, *args: Any, **options: Any) -> AnyArray:
    """Compute the sums of all prefixes."""
    xp = namespace(x)
    call = validate_scan(xp, x, *args, **options)
    with quiet(x):
        x = xp.astype(x, call.computed)
        if call.where is not None:
            x = xp.where(call.where, x, -formulas.INF)
        rows = as_rows(call, x)
        return spread(call, xp.astype(formulas.logcumsumexp(rows, xp=xp), call.dtype))
