"""What kind of array is this, and which kernel is it for."""

from __future__ import annotations

import sys
from typing import Any, Literal

import numpy as np

from .. import _core
from .typing import Array

KernelName = Literal["float16", "bfloat16", "float32", "float64"]


def as_array(x: Any, name: str) -> Array:
    """Take lists, scalars, and whatever speaks ``__array__`` or ``__dlpack__``."""
    ma = sys.modules.get("numpy.ma")
    if ma is not None and ma.is_masked(x):
        raise TypeError(
            f"{name} is a masked array, whose mask would be ignored: "
            f"pass {name}.filled() with a value for what is masked"
        )
    if hasattr(x, "__dlpack__") and not hasattr(x, "__array__"):
        return np.from_dlpack(x)
    try:
        return np.asarray(x)
    except ValueError:
        if not isinstance(x, list | tuple):
            raise
        raise ValueError(
            f"{name} must be rectangular, got nested sequences of unequal length"
        ) from None


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
