"""What kind of array is this, and which kernel is it for."""

from __future__ import annotations

import sys
from typing import Any, Literal, NoReturn

import numpy as np

from .. import _core
from .typing import Array

KernelName = Literal["float16", "bfloat16", "float32", "float64"]


def as_array(x: Any, name: str) -> Array:
    """Take lists, scalars, and whatever speaks ``__array__`` or ``__dlpack__``."""
    ma = sys.modules.get("numpy.ma")
    if ma is not None and ma.is_masked(x):
        raise TypeError(
            f"{name} is a masked array, whose mask would be ignored: pass {name}.compressed(), or "
            f"{name}.filled(value) with a value that means what is masked"
        )
    dask = sys.modules.get("dask")
    if dask is not None and dask.is_dask_collection(x):
        raise TypeError(
            f"{name} is a dask {type(x).__name__}, which would be computed whole: "
            f"pass {name}.compute(), or dask.array.map_blocks over chunks of whole rows"
        )
    torch = sys.modules.get("torch")
    if torch is not None and isinstance(x, torch.Tensor):
        return from_torch(x, name)
    try:
        if hasattr(x, "__dlpack__") and not hasattr(x, "__array__"):
            array = np.from_dlpack(x)
        else:
            array = np.asarray(x)
    except ValueError:
        if not isinstance(x, list | tuple):
            raise
        raise ValueError(
            f"{name} must be rectangular, got nested sequences of unequal length"
        ) from None
    except TypeError as error:  # a traced array's own message has twenty lines
        reason = str(error).partition("\n")[0]
        raise TypeError(f"{name} must be an array, got {type(x).__name__}: {reason}") from None
    if array.ndim == 0 and array.dtype.kind in "OUS" and not isinstance(x, np.ndarray):
        _refuse_object(x, name)
    return array


def from_torch(tensor: Any, name: str) -> Array:
    """Return the values of a torch tensor; refuse one whose gradient would be lost on the way."""
    torch = sys.modules["torch"]
    if tensor.requires_grad and torch.is_grad_enabled():
        raise TypeError(
            f"{name} is a torch tensor that needs a gradient, which no other library's array can "
            f"carry: pass {name}.detach(), or all arrays as torch tensors"
        )
    if tensor.layout is not torch.strided or tensor.is_nested:
        refuse_sparse(tensor, name)
    tensor = tensor.detach().cpu().resolve_neg().resolve_conj()
    # NumPy has no bfloat16 of its own, and float32 holds all of it.
    return np.asarray((tensor.float() if tensor.dtype is torch.bfloat16 else tensor).numpy())


def refuse_sparse(tensor: Any, name: str) -> NoReturn:
    """Refuse torch's sparse and nested tensors, whose elements are no array."""
    if tensor.is_nested:
        raise TypeError(f"{name} is a nested tensor: pass {name}.to_padded_tensor(-inf)")
    raise TypeError(f"{name} is a sparse tensor: pass {name}.to_dense()")


def _refuse_object(x: Any, name: str) -> NoReturn:
    if hasattr(x, "toarray"):
        raise TypeError(f"{name} is a sparse {type(x).__name__}: pass {name}.toarray()")
    got = repr(x) if x is None or isinstance(x, str | bytes) else f"a {type(x).__name__}"
    got = got if len(got) <= 60 else got[:57] + "..."
    raise TypeError(f"{name} must be an array, a number or nested lists of numbers, got {got}")


def is_bfloat16(dtype: np.dtype[Any]) -> bool:
    """Whether it is ml_dtypes' bfloat16, which nobody imports to find out."""
    return dtype.kind == "V" and dtype.name == "bfloat16"


def is_floating(dtype: np.dtype[Any]) -> bool:
    """Whether it is one of NumPy's real and complex floats, or bfloat16."""
    # By character: some of ml_dtypes' 8-bit floats have the kind "f", too.
    return dtype.char in "efdgFDG" or is_bfloat16(dtype)


def floating(dtype: np.dtype[Any], name: str) -> np.dtype[Any]:
    """Return the native floating-point dtype that stands for `dtype`: float64 for integers."""
    if dtype.kind in "iu":
        return np.dtype(np.float64)
    if is_bfloat16(dtype):
        native = np.dtype(dtype.type)  # newbyteorder("=") is another object, which no array has
        _core.register_bfloat16(native)
        return native
    if is_floating(dtype):
        return dtype.newbyteorder("=")
    hint = f", or where={name} if it is a mask" if dtype.kind == "b" else ""
    raise TypeError(
        f"{name} has dtype {dtype}; accepted are integer, floating-point and complex dtypes: "
        f"pass {name}.astype(float){hint}"
    )


def wider(a: np.dtype[Any], b: np.dtype[Any]) -> np.dtype[Any]:
    """Return the smallest dtype that holds both; for float16 and bfloat16 NumPy knows none."""
    if {a.name, b.name} == {"float16", "bfloat16"}:
        return np.dtype(np.float32)
    return np.promote_types(a, b)


def kernel_name(dtype: np.dtype[Any]) -> KernelName | None:
    """Return the kernels' name for `dtype`, or None if there is no kernel for it."""
    # By character: a longdouble that is no longer than a double may bear its name, too.
    names: dict[str, KernelName] = {"e": "float16", "f": "float32", "d": "float64"}
    return "bfloat16" if is_bfloat16(dtype) else names.get(dtype.char)
