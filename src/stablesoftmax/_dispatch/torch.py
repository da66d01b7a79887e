"""torch's CPU tensors seen as NumPy arrays, and back: what the kernels can compute of them."""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable
from typing import Any

import numpy as np

from .._arrays.tensors import COMPLEX, FLOATS, INTEGERS, name_of

PLAIN = {int, float, bool, str, tuple, type(None)}
NUMPY_KNOWS = {*FLOATS, *COMPLEX, *INTEGERS, "bool"}  # bfloat16 with the help of ml_dtypes

__all__ = ["has_kernel", "through_numpy"]


def has_kernel(*tensors: Any) -> bool:
    """Whether these torch tensors can be taken for NumPy arrays: on the CPU, with no gradient."""
    torch = sys.modules["torch"]  # an import statement asks more of a module than it seems
    if torch.compiler.is_compiling() or _is_transformed(torch):
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


def _is_transformed(torch: Any) -> bool:
    """Whether tensors stand for something else: traced, under torch.func, in forward mode, fake."""
    core = torch._C
    try:  # no public name tells; a torch that has renamed one is taken to transform
        return bool(
            core._is_tracing()
            or core._are_functorch_transforms_active()
            or core._len_torch_dispatch_stack()
            or torch.autograd.forward_ad._current_level >= 0
        )
    except AttributeError:
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
