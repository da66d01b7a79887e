"""softmax, log_softmax and logsumexp of arrays of torch, JAX, CuPy and the array API."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from math import prod
from typing import Any

import numpy as np

from .._arrays.tensors import INTEGERS, known, less, name_of, namespace, quiet
from .._arrays.typing import AnyArray
from ..errors import UndefinedSoftmaxError
from . import formulas
from .tensor_arguments import TensorArguments, validate

__all__ = [
    "as_rows",
    "log_softmax",
    "logsumexp",
    "normalise",
    "softmax",
    "spread",
]


def _mapping(function: Callable[..., Any], x: AnyArray, axis: Any = -1, **options: Any) -> AnyArray:
    """Compute softmax or log_softmax."""
    xp = namespace(x)
    call = validate(xp, x, axis, **options)
    with quiet(x):
        rows, where, temperature, _ = normalise(call)
        if call.refuse_undefined:
            _refuse_undefined(call, rows, where)
        y = function(rows, where, temperature, call.undefined, xp=xp)
        return spread(call, xp.astype(y, call.dtype))


softmax = partial(_mapping, formulas.softmax)
log_softmax = partial(_mapping, formulas.log_softmax)


def logsumexp(x: AnyArray, axis: Any = None, *, return_sign: bool = False, **options: Any) -> Any:
    """Compute logsumexp, of a pair of arrays with the sign."""
    xp = namespace(x)
    call = validate(xp, x, axis, **options)
    with quiet(x):
        rows, where, _, shift = normalise(call)
        b = None if call.b is None else as_rows(call, xp.astype(call.b, call.computed))
        if return_sign:
            value, sign = formulas.signed_logsumexp(rows, where, b, xp=xp)
        else:
            value, sign = formulas.logsumexp(rows, where, b, xp=xp), None
        value = value if shift is None else value + shift
        dtype = call.dtype
        if return_sign and _complex(call):
            dtype = xp.real(xp.zeros((), dtype=dtype)).dtype
        value = xp.reshape(xp.astype(value, dtype), call.shape)
        return (
            value if sign is None else (value, xp.reshape(xp.astype(sign, call.dtype), call.shape))
        )


def _complex(call: TensorArguments) -> bool:
    return name_of(call.dtype).startswith("complex")


def normalise(
    call: TensorArguments,
) -> tuple[AnyArray, AnyArray | None, AnyArray | None, AnyArray | None]:
    """Return x, where and temperature as rows, and what was taken off the rows of integers."""
    xp, shift = call.xp, None
    x = as_rows(call, call.x)
    where = None if call.where is None else as_rows(call, call.where)
    if name_of(x.dtype) in INTEGERS and x.shape[-1]:
        x, shift = _below_maximum(x, where, call)
    else:
        x = xp.astype(x, call.computed)
    temperature = call.temperature
    if temperature is not None:
        real = xp.real(x) if _complex(call) else x
        temperature = xp.astype(as_rows(call, temperature)[..., 0], real.dtype)
    return x, where, temperature, shift


def _below_maximum(
    x: AnyArray, where: AnyArray | None, call: TensorArguments
) -> tuple[AnyArray, AnyArray]:
    """Return x less each row's maximum, and the maxima."""
    xp = call.xp
    held = x if where is None else xp.where(where, x, xp.iinfo(x.dtype).min)
    top = xp.max(held, axis=-1, keepdims=True)
    return less(x, top, call.computed, xp), xp.astype(top, call.computed)[..., 0]


def _order(call: TensorArguments) -> tuple[int, ...]:
    return (*(i for i in range(len(call.x.shape)) if i not in call.axes), *call.axes)


def as_rows(call: TensorArguments, a: AnyArray) -> AnyArray:
    """See a as rows: the batch first, and all reduced axes as the last one."""
    shape = [a.shape[i] for i in _order(call)]
    batch = len(shape) - len(call.axes)
    if len(call.axes) != 1 or call.axes[0] != batch:
        a = call.xp.permute_dims(a, _order(call))
        a = call.xp.reshape(a, (*shape[:batch], prod(shape[batch:])))
    return a


def spread(call: TensorArguments, y: AnyArray) -> AnyArray:
    """Undo `as_rows`."""
    order = _order(call)
    y = call.xp.reshape(y, tuple(call.x.shape[i] for i in order))
    back = tuple(order.index(i) for i in range(len(order)))
    return y if back == tuple(range(len(order))) else call.xp.permute_dims(y, back)


def _refuse_undefined(call: TensorArguments, x: AnyArray, where: AnyArray | None) -> None:
    """Raise for the first row that has no softmax."""
    xp = call.xp
    rows = formulas.undefined_rows(x, where, xp=xp)
    if not prod(rows.shape):
        return
    found = known(xp.any(rows))
    if found is None:
        raise TypeError(
            'undefined="raise" needs values, which a traced array has none of: '
            'pass "nan", "zero" or "uniform"'
        )
    if found:
        first = int(xp.argmax(xp.astype(xp.reshape(rows, (-1,)), xp.int32)))
        index = np.unravel_index(first, tuple(rows.shape))
        raise UndefinedSoftmaxError(tuple(int(i) for i in index))
