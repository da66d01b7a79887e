"""The arguments of logcumsumexp for arrays of torch, JAX, CuPy and the array API."""

from __future__ import annotations

from typing import Any

from .._arrays.checks import one_axis
from .._arrays.tensors import real
from .._arrays.typing import AnyArray
from ..functions.tensor_arguments import TensorArguments, validate


def validate_scan(xp: Any, x: AnyArray, axis: int = -1, *, where: Any = None) -> TensorArguments:
    """Check the arguments of logcumsumexp before anything is computed."""
    real(xp, x, "x")
    return validate(xp, x, one_axis(axis, len(x.shape), "x"), where=where)
