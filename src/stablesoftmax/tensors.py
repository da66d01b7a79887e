"""Arrays of torch, JAX, CuPy and the array API: the kernels' road for CPU tensors, or `agnostic`.

None of these libraries is imported: an array of it has come, so it is loaded.
"""

from __future__ import annotations

import contextlib
import functools
import sys
from collections.abc import Callable
from functools import partial
from math import prod
from typing import Any

import numpy as np

from . import agnostic
from .arguments.tensors import (
    COMPLEX,
    FLOATS,
    INTEGERS,
    TensorArguments,
    host,
    known,
    library,
    name_of,
    validate,
)
from .errors import UndefinedSoftmaxError

Array = Any  # of the library in question

PLAIN = {int, float, bool, str, tuple, type(None)}
NUMPY_KNOWS = {*FLOATS, *COMPLEX, *INTEGERS, "bool"}  # bfloat16 with the help of ml_dtypes

__all__ = [
    "as_rows",
    "has_kernel_road",
    "less",
    "log_softmax",
    "logsumexp",
    "namespace",
    "normalise",
    "quiet",
    "softmax",
    "spread",
    "through_host",
    "through_numpy",
]


# ---- the agnostic road -------------------------------------------------------------------------


def _mapping(function: Callable[..., Any], x: Array, axis: Any = -1, **options: Any) -> Array:
    """Compute softmax or log_softmax."""
    xp = namespace(x)
    call = validate(xp, x, axis, **options)
    with quiet(x):
        rows, where, temperature, _ = normalise(call)
        if call.refuse_undefined:
            _refuse_undefined(call, rows, where)
        y = function(rows, where, temperature, call.undefined, xp=xp)
        return spread(call, xp.astype(y, call.dtype))


softmax = partial(_mapping, agnostic.softmax)
log_softmax = partial(_mapping, agnostic.log_softmax)


def logsumexp(x: Array, axis: Any = None, *, return_sign: bool = False, **options: Any) -> Any:
    """Compute logsumexp, of a pair of arrays with the sign."""
    xp = namespace(x)
    call = validate(xp, x, axis, **options)
    with quiet(x):
        rows, where, _, shift = normalise(call)
        b = None if call.b is None else as_rows(call, xp.astype(call.b, call.computed))
        if return_sign:
            value, sign = agnostic.signed_logsumexp(rows, where, b, xp=xp)
        else:
            value, sign = agnostic.logsumexp(rows, where, b, xp=xp), None
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


def namespace(x: Array) -> Any:
    """Return the array-API functions of x's library."""
    try:
        if library(x) == "torch":  # by its name, which torch.compile can follow
            import array_api_compat.torch

            return array_api_compat.torch
        import array_api_compat

        return array_api_compat.array_namespace(x)
    except ImportError:
        raise ImportError(
            f"array-api-compat is needed for arrays of {library(x)}: "
            "pip install 'stablesoftmax[arrays]'"
        ) from None


def quiet(x: Array) -> contextlib.AbstractContextManager[Any]:
    """Silence the warnings of what is NumPy inside; torch.compile knows no such switch."""
    return contextlib.nullcontext() if library(x) == "torch" else np.errstate(all="ignore")


def normalise(call: TensorArguments) -> tuple[Array, Array | None, Array | None, Array | None]:
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


def _below_maximum(x: Array, where: Array | None, call: TensorArguments) -> tuple[Array, Array]:
    """Return x less each row's maximum, and the maxima."""
    xp = call.xp
    held = x if where is None else xp.where(where, x, xp.iinfo(x.dtype).min)
    top = xp.max(held, axis=-1, keepdims=True)
    return less(x, top, call.computed, xp), xp.astype(top, call.computed)[..., 0]


def less(x: Array, top: Array, computed: Any, xp: Any) -> Array:
    """Return the integers x less their maximum, as floats.

    Halves of the digits are subtracted apart, so that 2**60 and 2**60 + 1 are no tie in float64,
    nor 2**24 and 2**24 + 1 in JAX's float32.
    """
    half = xp.iinfo(x.dtype).bits // 2

    def high(a: Array) -> Array:
        return xp.astype(a >> half, computed)

    def low(a: Array) -> Array:
        return xp.astype(a & (2**half - 1), computed)

    return (high(x) - high(top)) * 2.0**half + (low(x) - low(top))


def _order(call: TensorArguments) -> tuple[int, ...]:
    return (*(i for i in range(len(call.x.shape)) if i not in call.axes), *call.axes)


def as_rows(call: TensorArguments, a: Array) -> Array:
    """See a as rows: the batch first, and all reduced axes as the last one."""
    shape = [a.shape[i] for i in _order(call)]
    batch = len(shape) - len(call.axes)
    if len(call.axes) != 1 or call.axes[0] != batch:
        a = call.xp.permute_dims(a, _order(call))
        a = call.xp.reshape(a, (*shape[:batch], prod(shape[batch:])))
    return a


def spread(call: TensorArguments, y: Array) -> Array:
    """Undo `as_rows`."""
    order = _order(call)
    y = call.xp.reshape(y, tuple(call.x.shape[i] for i in order))
    back = tuple(order.index(i) for i in range(len(order)))
    return y if back == tuple(range(len(order))) else call.xp.permute_dims(y, back)


def _refuse_undefined(call: TensorArguments, x: Array, where: Array | None) -> None:
    """Raise for the first row that has no softmax."""
    xp = call.xp
    rows = agnostic.undefined_rows(x, where, xp=xp)
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


# ---- the kernels' road for CPU tensors -----------------------------------------------------------


def has_kernel_road(*tensors: Any) -> bool:
    """Whether these torch tensors can be taken for NumPy arrays: on the CPU, with no gradient."""
    torch = sys.modules["torch"]  # an import statement asks more of a module than it seems
    if torch.compiler.is_compiling():
        return False
    core = torch._C  # no public name tells of torch.func, of forward mode, or of fake tensors
    if core._is_tracing() or core._are_functorch_transforms_active():
        return False
    if core._len_torch_dispatch_stack():
        return False
    if torch.autograd.forward_ad._current_level >= 0:
        return False
    recorded = torch.is_grad_enabled()
    for t in tensors:
        if not (type(t) is torch.Tensor or type(t) is torch.nn.Parameter):
            return False
        if not (t.is_cpu and t.layout is torch.strided and _numpy_knows(t.dtype)):
            return False
        if recorded and t.requires_grad:
            return False
    return True


@functools.cache
def _numpy_knows(dtype: Any) -> bool:
    return name_of(dtype) in NUMPY_KNOWS


def through_numpy(
    function: Callable[..., Any], x: Any, args: tuple[Any, ...], options: dict[str, Any]
) -> Any:
    """Call a function of NumPy arrays with views of CPU tensors; give back tensors."""
    torch = sys.modules["torch"]
    out = options.get("out")
    if out is not None and out.dtype is torch.bfloat16 and _bfloat16() is None:
        raise ImportError("ml_dtypes is needed for a bfloat16 out: pip install ml_dtypes")
    views = {name: _view(value, torch) for name, value in options.items()} if options else options
    result = function(_view(x, torch), *[_view(a, torch) for a in args], **views)
    if out is not None:
        first = result[0] if isinstance(result, tuple) else result
        result = (out, *result[1:]) if first is not result else out
    narrow = x.dtype is torch.bfloat16 and options.get("dtype") is None
    if isinstance(result, tuple):
        return tuple(_tensor(part, torch, narrow) for part in result)
    return _tensor(result, torch, narrow)


def through_host(
    function: Callable[..., Any], x: Any, args: tuple[Any, ...], options: dict[str, Any]
) -> Any:
    """Call a function of NumPy arrays with copies on the host; put its result beside x."""

    def copied(a: Any) -> Any:
        if not hasattr(a, "__array_namespace__") and library(a) != "torch":
            return a
        values = host(a)
        if values is None:
            other = {"torch": "torch.multinomial", "jax": "jax.random.categorical"}
            raise TypeError(
                f"{function.__name__} needs values, which a traced array has none of: "
                f"use {other.get(library(a), 'it outside of the trace')}"
            )
        return values

    arrays = [copied(a) for a in (x, *args)]
    result = function(*arrays, **{name: copied(a) for name, a in options.items()})
    several = library(x) == "jax" and len(x.devices()) > 1
    return namespace(x).asarray(result, device=None if several else x.device)


def _view(value: Any, torch: Any) -> Any:
    """See a tensor as a NumPy array, and its dtype as NumPy's; leave other things alone."""
    if type(value) in PLAIN:
        return value
    if isinstance(value, torch.dtype):
        return _bfloat16() if value is torch.bfloat16 else name_of(value)
    if not isinstance(value, torch.Tensor):
        return value
    if value.dtype is not torch.bfloat16:
        try:
            return value.numpy()
        except RuntimeError:  # it is recorded, or has bits that NumPy lacks
            return _plain(value).numpy()
    value = _plain(value)
    bfloat16 = _bfloat16()
    if bfloat16 is None:  # float32 holds them all; the result is rounded to bfloat16 at the end
        return value.float().numpy()
    return value.view(torch.int16).numpy().view(bfloat16)


def _plain(value: Any) -> Any:
    return value.detach().resolve_neg().resolve_conj()


def _tensor(value: Any, torch: Any, narrow: bool) -> Any:
    """See a NumPy array or number as a tensor; leave other things alone."""
    if not isinstance(value, (np.ndarray, np.generic)):
        return value
    array = np.asarray(value)
    if array.dtype.kind == "V":
        return torch.from_numpy(array.view(np.int16)).view(torch.bfloat16)
    tensor = torch.from_numpy(array)
    if narrow and array.dtype == np.float32 and _bfloat16() is None:
        return tensor.to(torch.bfloat16)
    return tensor


def _bfloat16() -> np.dtype[Any] | None:
    try:
        import ml_dtypes
    except ImportError:
        return None
    bfloat16: np.dtype[Any] = np.dtype(ml_dtypes.bfloat16)
    return bfloat16
