"""Arrays of torch, JAX, CuPy and the array API: their dtypes, their values, their arguments."""

from __future__ import annotations

import contextlib
from math import prod
from typing import Any, overload

import numpy as np
from numpy.typing import NDArray

from .checks import temperatures
from .dtypes import as_array, is_bfloat16
from .typing import AnyArray

HALVES = ("float16", "bfloat16")
FLOATS = (*HALVES, "float32", "float64")
COMPLEX = ("complex64", "complex128")
INTEGERS = tuple(f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64))


def dtypes(xp: Any, x: AnyArray, b: AnyArray | None, dtype: Any) -> tuple[Any, Any]:
    """Return what to compute in, and the result's dtype."""
    result = floating(xp, x.dtype, "x")
    if b is not None:
        result = xp.result_type(result, floating(xp, b.dtype, "b"))
    asked = result if dtype is None else _asked(xp, dtype)
    if name_of(result) in COMPLEX and name_of(asked) not in COMPLEX:
        raise TypeError(f"dtype must be complex for a complex x, got {name_of(asked)}")
    computed = xp.float32 if name_of(result) in HALVES else result
    return xp.result_type(computed, xp.float32 if name_of(asked) in HALVES else asked), asked


def name_of(dtype: Any) -> str:
    """Return its NumPy name: of torch.float32 and array_api_strict.float32, float32."""
    return str(dtype).rpartition(".")[2]


def library(x: Any) -> str:
    """Return the name of the library that an array is of."""
    roots = [base.__module__.partition(".")[0] for base in type(x).__mro__]
    if "torch" in roots:  # of a subclass that is another's, too
        return "torch"
    return "jax" if roots[0] == "jaxlib" else roots[0]


@overload
def known(value: AnyArray) -> bool | None: ...
@overload
def known(value: AnyArray, kind: type[int]) -> int | None: ...
def known(value: AnyArray, kind: type[int] = bool) -> int | None:
    """Return the value of an array of one element; None if it is traced and has none."""
    if library(value) == "torch":
        import torch

        if torch.compiler.is_compiling():
            return None
    try:
        return kind(value)
    except (TypeError, RuntimeError):  # of a JAX tracer; within torch.func.vmap
        return None


def host(a: AnyArray) -> NDArray[Any] | None:
    """Return a as a NumPy array; None if it is traced and has no values."""
    if library(a) == "torch":
        import torch

        if torch.compiler.is_compiling():
            return None
        # bfloat16 is none of NumPy's own, and float32 holds all of it
        a = a.detach().float() if a.dtype is torch.bfloat16 else a.detach()
    try:
        if library(a) == "cupy":
            return np.asarray(a.get())
        return np.asarray(a.cpu() if library(a) == "torch" else a)
    except (TypeError, RuntimeError):  # as in `known`
        return None


def indices(xp: Any, a: AnyArray) -> AnyArray:
    """Return integers of the dtype that indexes: take_along_axis may want that one."""
    return xp.astype(a, xp.__array_namespace_info__().default_dtypes()["indexing"])


def floating(xp: Any, dtype: Any, name: str) -> Any:
    """Return the dtype of the result: the widest real one for integers."""
    named = name_of(dtype)
    if named in FLOATS or named in COMPLEX:
        return dtype
    if named in INTEGERS:
        return widest(xp)
    hint = f": pass where={name} if it is a mask" if named == "bool" else ""
    raise TypeError(
        f"{name} has dtype {named}; accepted are integer, floating-point and complex dtypes{hint}"
    )


def widest(xp: Any, x: AnyArray | None = None) -> Any:
    """Return float64, or float32 where the library, or x's device, has no wider one.

    That is JAX unless told so, and torch on a GPU of Apple's.
    """
    device = {} if x is None else beside(x, xp)
    has = xp.__array_namespace_info__().dtypes(kind="real floating", **device)
    return has.get("float64", has["float32"])


def _asked(xp: Any, dtype: Any) -> Any:
    named = name_of(dtype)
    if named not in FLOATS and named not in COMPLEX:
        try:
            named = np.dtype(dtype).name
        except TypeError:
            named = ""
    if named not in FLOATS and named not in COMPLEX:
        raise TypeError(f"dtype must be a floating-point or complex dtype, got {dtype!r}")
    if named in ("float64", "complex128") and widest(xp) != xp.float64:
        raise TypeError(f"dtype {named} is switched off: jax.config.update('jax_enable_x64', True)")
    return getattr(xp, named)


def array(a: Any, x: AnyArray, xp: Any, name: str) -> AnyArray:
    """Return a as an array of x's library, and as it is if it is one: with its gradient.

    An array of another library is read by that library: its bytes alone do not tell its dtype.
    """
    if not hasattr(a, "dtype"):
        return xp.asarray(a, **beside(x, xp))
    if library(a) == library(x):
        return a
    values = as_array(a, name)
    if values.dtype.kind in "OUSM":
        raise TypeError(f"{name} must hold numbers, got dtype {values.dtype}")
    if is_bfloat16(values.dtype):
        values = values.astype(np.float32)
    return from_numpy(values, x, xp)


def from_numpy(values: NDArray[Any], x: AnyArray, xp: Any) -> AnyArray:
    """Return a copy beside x: some libraries take no foreign byte order, no step backwards."""
    native = values.astype(values.dtype.newbyteorder("="), order="C", copy=True)
    return xp.asarray(native, **beside(x, xp))


def mask_of(where: Any, x: AnyArray, xp: Any) -> AnyArray | None:
    if where is None:
        return None
    mask = array(where, x, xp, "where")
    if name_of(mask.dtype) != "bool":
        raise TypeError(f"where must be bool, got dtype {name_of(mask.dtype)}: pass where != 0")
    if not fits(mask.shape, x.shape):
        raise ValueError(
            f"where of shape {tuple(mask.shape)} does not broadcast to x's shape {tuple(x.shape)}"
        )
    return xp.broadcast_to(mask, x.shape)


def temperatures_of(
    temperature: Any, kept: tuple[int, ...], x: AnyArray, xp: Any
) -> AnyArray | None:
    if type(temperature) in (int, float):
        if not temperature >= 0:
            raise ValueError(f"temperature must be 0, positive or inf, got {temperature}")
        if temperature == 1:
            return None
        t = xp.asarray(float(temperature), **beside(x, xp))
    elif hasattr(temperature, "dtype") and library(temperature) == library(x):
        t = temperature
        if name_of(t.dtype) not in FLOATS and name_of(t.dtype) not in INTEGERS:
            raise TypeError(
                "temperature must be a real number or an array of them, got " + name_of(t.dtype)
            )
        if prod(t.shape) and known(xp.all(t >= 0)) is False:
            raise ValueError(
                f"temperature must be 0, positive or inf, got {float(xp.min(constant(t)))}"
            )
    else:
        checked = temperatures(temperature, kept)
        if checked is None:
            return None
        t = from_numpy(np.asarray(checked), x, xp)
    if not fits(t.shape, kept):
        raise ValueError(
            f"temperature of shape {tuple(t.shape)} does not broadcast to {kept}, "
            "x's shape with the axis reduced to 1"
        )
    return xp.broadcast_to(t, kept)


def fits(shape: tuple[int, ...], target: tuple[int, ...]) -> bool:
    """Whether one shape broadcasts to the other; in plain Python, which torch.compile follows."""
    if len(shape) > len(target):
        return False
    last = target[len(target) - len(shape) :]
    return all(n == m or n == 1 for n, m in zip(shape, last, strict=True))


def broadcast(
    xp: Any, x: AnyArray, b: AnyArray, names: tuple[str, str] = ("x", "b")
) -> tuple[AnyArray, AnyArray]:
    """Return both in one shape."""
    shape = [1] * max(len(x.shape), len(b.shape))
    for a in (x, b):
        for i in range(1, len(a.shape) + 1):
            shape[-i] = a.shape[-i] if shape[-i] == 1 else shape[-i]
    if not (fits(x.shape, tuple(shape)) and fits(b.shape, tuple(shape))):
        raise ValueError(
            f"{names[1]} of shape {tuple(b.shape)} does not broadcast with {names[0]} of shape "
            f"{tuple(x.shape)}"
        )
    return xp.broadcast_to(x, tuple(shape)), xp.broadcast_to(b, tuple(shape))


def namespace(x: AnyArray) -> Any:
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


def quiet(x: AnyArray) -> contextlib.AbstractContextManager[Any]:
    """Silence the warnings of what is NumPy inside; torch.compile knows no such switch."""
    return contextlib.nullcontext() if library(x) == "torch" else np.errstate(all="ignore")


def less(x: AnyArray, top: AnyArray, computed: Any, xp: Any) -> AnyArray:
    """Return the integers x less their maximum, as floats.

    Halves of the digits are subtracted apart, so that 2**60 and 2**60 + 1 are no tie in float64,
    nor 2**24 and 2**24 + 1 in JAX's float32.
    """
    half = xp.iinfo(x.dtype).bits // 2

    def high(a: AnyArray) -> AnyArray:
        return xp.astype(a >> half, computed)

    def low(a: AnyArray) -> AnyArray:
        return xp.astype(a & (2**half - 1), computed)

    return (high(x) - high(top)) * 2.0**half + (low(x) - low(top))


def beside(x: AnyArray, xp: Any) -> dict[str, Any]:
    """Return the options that make a new array on x's device."""
    # NumPy has no devices, and JAX puts an array where it is needed.
    return {} if xp.__name__ in ("numpy", "jax.numpy") else {"device": x.device}


def constant(a: AnyArray) -> AnyArray:
    """Return a without its gradient, for which the array API has no word."""
    if hasattr(a, "detach"):
        return a.detach()
    if hasattr(a, "aval"):
        import jax

        return jax.lax.stop_gradient(a)
    return a


def real(xp: Any, x: AnyArray, name: str) -> None:
    floating(xp, x.dtype, name)
    if name_of(x.dtype) in COMPLEX:
        raise TypeError(
            f"{name} has dtype {name_of(x.dtype)}; accepted are integers and real floating-point"
        )
