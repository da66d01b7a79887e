"""The products with a Jacobian for arrays of torch, JAX, CuPy and the array API.

They compute in float64 where there is one, and round once.
"""

from __future__ import annotations

from functools import partial
from typing import Any

from .._arrays.tensors import namespace, quiet
from .._arrays.typing import AnyArray
from ..functions import formulas as softmax_formulas
from ..functions.tensor_arguments import TensorArguments
from ..functions.tensors import as_rows, normalise, spread
from . import formulas
from .formulas import Product
from .tensor_arguments import validate

__all__ = [
    "log_softmax_jvp",
    "log_softmax_vjp",
    "logsumexp_jvp",
    "logsumexp_vjp",
    "softmax_jvp",
    "softmax_vjp",
]


def _vjp(product: Product, x: AnyArray, g: Any, axis: Any = -1, **options: Any) -> AnyArray:
    """Compute the product of a cotangent with a mapping's Jacobian."""
    return _of_mapping(product, x, g, axis, "g", **options)


def _jvp(product: Product, x: AnyArray, dx: Any, axis: Any = -1, **options: Any) -> AnyArray:
    """Compute the product of a tangent with a mapping's Jacobian."""
    return _of_mapping(product, x, dx, axis, "dx", **options)


softmax_vjp = partial(_vjp, formulas.softmax)
softmax_jvp = partial(_jvp, formulas.softmax)
log_softmax_vjp = partial(_vjp, formulas.log_softmax_transposed)
log_softmax_jvp = partial(_jvp, formulas.log_softmax)


def _of_mapping(
    product: Product,
    x: AnyArray,
    v: Any,
    axis: Any,
    vector: str,
    *,
    where: Any = None,
    temperature: Any = 1.0,
) -> AnyArray:
    xp = namespace(x)
    call, v = validate(
        xp, x, v, axis, vector=vector, shaped="x", where=where, temperature=temperature
    )
    with quiet(x):
        return spread(call, _multiply(product, call, v))


def logsumexp_vjp(
    x: AnyArray, g: Any, axis: Any = None, *, keepdims: bool = False, where: Any = None
) -> AnyArray:
    """Compute g times softmax."""
    xp = namespace(x)
    shaped = "logsumexp(x)"
    call, g = validate(xp, x, g, axis, vector="g", shaped=shaped, where=where, keepdims=keepdims)
    with quiet(x):
        return spread(call, _multiply(formulas.logsumexp_transposed, call, g))


def logsumexp_jvp(
    x: AnyArray, dx: Any, axis: Any = None, *, keepdims: bool = False, where: Any = None
) -> AnyArray:
    """Compute the mean of dx under softmax."""
    xp = namespace(x)
    call, dx = validate(xp, x, dx, axis, vector="dx", shaped="x", where=where, keepdims=keepdims)
    with quiet(x):
        return xp.reshape(_multiply(formulas.logsumexp, call, dx), call.shape)


def _multiply(product: Product, call: TensorArguments, v: AnyArray) -> AnyArray:
    """Compute the product of the rows; v has the shape of x, or one number a row."""
    xp = call.xp
    x, where, temperature, _ = normalise(call)
    if 0 in x.shape:
        y = xp.sum(x, axis=-1) if product is formulas.logsumexp else x
        return xp.astype(y, call.dtype)
    v = as_rows(call, v)
    p = softmax_formulas.softmax(x, where, temperature, 0, xp=xp)
    y = product(p, v if where is None else xp.where(where, v, 0.0), xp)
    if temperature is not None:  # at T = 0 the limit is constant, and 1 / T may be inf: T = 1e-320
        y = y / xp.where(temperature == 0, softmax_formulas.INF, temperature)[..., None]
    if where is not None and product is not formulas.logsumexp:
        y = xp.where(where, y, 0.0)
    return xp.astype(y, call.dtype)
