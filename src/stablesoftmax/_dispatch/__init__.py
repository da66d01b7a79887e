"""Which backend computes an array: the kernels, plain NumPy, or its own library's code.

Kinds are told by the names of their types, and nothing is imported to find out. A NumPy array, a
list or a number passes after one look into a table; the compiled entry answers most NumPy arrays
before any of this is reached.
"""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable
from typing import Any, Concatenate, Literal, NamedTuple, ParamSpec, TypeVar, overload

import numpy as np
from numpy.typing import DTypeLike

from .. import _core
from .._arrays.checks import dtypes
from .._arrays.dtypes import as_array, kernel_name, refuse_sparse
from .._arrays.tensors import library
from .._arrays.typing import Numpy, Reducing, Reshaping, SameKind
from . import labelled, torch
from .labelled import Call, Result
from .labelled_checks import refuse_dim

__all__ = ["backend_of", "compiled_entry", "every_array"]

P = ParamSpec("P")
Function = TypeVar("Function", bound=Callable[..., Any])


def compiled_entry(function: Function) -> Function:
    """Let compiled code answer the plain call of a function; every other one it hands on."""
    entry = _core.entry(function)
    # torch.compile cannot look into compiled code: this tells it to follow the function.
    entry.__dict__["__script_if_tracing_wrapper"] = True
    entry.__dict__["__original_fn"] = function
    return entry


class Public(NamedTuple):
    """A public function, as a handler needs to know it."""

    function: Callable[..., Any]  # of NumPy arrays
    of_tensors: Callable[..., Any]  # the same of tensors, in array-API code
    result: tuple[Result, ...]

    def call(self, x: Any, *args: Any, **options: Any) -> Any:
        """Call it as a user would: a NumPy array may find the compiled entry."""
        name, module = self.function.__name__, sys.modules[self.function.__module__]
        public: Callable[..., Any] = getattr(module, name, self.function)
        return public(x, *args, **options)


Handler = Callable[[Public, Any, tuple[Any, ...], dict[str, Any]], Any]


@overload
def every_array(
    of_tensors: Callable[..., Any], *, result: Literal["like"] = "like"
) -> Callable[[Callable[Concatenate[Any, P], Any]], SameKind[P]]: ...
@overload
def every_array(
    of_tensors: Callable[..., Any], *, result: Literal["reduced"]
) -> Callable[[Callable[Concatenate[Any, P], Any]], Reducing[P]]: ...
@overload
def every_array(
    of_tensors: Callable[..., Any], *, result: Literal["rows", "other"]
) -> Callable[[Callable[Concatenate[Any, P], Numpy]], Reshaping[P, Numpy]]: ...
@overload
def every_array(
    of_tensors: Callable[..., Any], *, result: tuple[Result, ...]
) -> Callable[[Function], Function]: ...
def every_array(
    of_tensors: Callable[..., Any], *, result: Result | tuple[Result, ...] = "like"
) -> Any:
    """Let a function of NumPy arrays take every kind of array, and give it back.

    `of_tensors` computes tensors that the kernels cannot. `result` says what is returned: an array
    "like" x, one "reduced" along the axis, "rows" (reduced where it has one number a row), or any
    "other"; or each part of a tuple.
    """

    def decorate(function: Callable[..., Any]) -> Callable[..., Any]:
        public = Public(function, of_tensors, (result,) if isinstance(result, str) else result)

        first = function.__code__.co_varnames[0]

        @functools.wraps(function)
        def wrapper(*args: Any, **options: Any) -> Any:
            if not args and first in options:
                args = (options.pop(first),)
            if not args:
                return function(**options)  # which says what is missing
            x = args[0]
            try:
                handler = HANDLERS[type(x)]
            except KeyError:
                handler = HANDLERS[type(x)] = _handler_of(type(x))
            if handler is not None:
                return handler(public, x, args[1:], options)
            if "dim" in options:
                refuse_dim(x)
            return function(*args, **options)

        return wrapper

    return decorate


@every_array(lambda x, **_: library(x), result="other")
def backend_of(
    x: Any,
    *,
    where: Any = None,
    temperature: Any = 1.0,
    b: Any = None,
    dtype: DTypeLike | None = None,
) -> str:
    """Tell what computes an array.

    Parameters
    ----------
    x : array_like
        What would be passed to `softmax`, `log_softmax` or `logsumexp`.
    where, temperature, b : array_like, optional
        What would be passed beside it. Weights `b` are computed in plain NumPy, and what needs a
        gradient by its own library.
    dtype : dtype_like, optional
        The result's dtype, as it would be asked for.

    Returns
    -------
    str
        ``"compiled"``: the kernels. ``"numpy"``: plain NumPy, slower, for longdouble and complex.
        ``"torch"``, ``"jax"``, ``"cupy"`` and so on: the functions of that library, on its device,
        differentiable and traceable.

    Raises
    ------
    TypeError
        If nothing does, as for bool and text.

    See Also
    --------
    softmax : Takes them all.

    Examples
    --------
    >>> import numpy as np
    >>> from stablesoftmax import backend_of
    >>> backend_of([1, 2, 3])
    'compiled'
    >>> backend_of(np.ones(3, dtype=np.complex64))
    'numpy'
    >>> backend_of([1, 2, 3], dtype=np.longdouble)
    'numpy'
    """
    weights = None if b is None else as_array(b, "b").dtype
    computed, _ = dtypes(as_array(x, "x").dtype, weights, dtype)
    return "numpy" if b is not None or kernel_name(computed) is None else "compiled"


def _contained(convert: Callable[[Call], Any]) -> Handler:
    """The handler of what holds a NumPy array and more."""

    def handler(public: Public, x: Any, args: tuple[Any, ...], options: dict[str, Any]) -> Any:
        import inspect  # takes a millisecond to load

        dim = options.pop("dim", None)
        signature = inspect.signature(public.function)
        first = next(iter(signature.parameters))
        given = signature.bind(x, *args, **options)
        if dim is not None:
            if convert is not labelled.dataarray or "axis" not in signature.parameters:
                refuse_dim(x)
            if "axis" in given.arguments:
                raise TypeError(f"dim and axis exclude each other, got dim={dim!r} with axis")
        given.apply_defaults()
        return convert(Call(public.call, first, given.arguments, public.result, dim))

    return handler


def _torch(public: Public, x: Any, args: tuple[Any, ...], options: dict[str, Any]) -> Any:
    if "dim" in options:
        refuse_dim(x)
    library = sys.modules["torch"]
    given = [a for a in (x, *args, *options.values()) if isinstance(a, library.Tensor)]
    for tensor in given:
        if tensor.layout is not library.strided or tensor.is_nested:
            refuse_sparse(tensor, "x" if tensor is x else "an argument")
    if torch.has_kernel(*given):
        return torch.through_numpy(public.call, x, args, options)
    return _tensor(public, x, args, options)


def _tensor(public: Public, x: Any, args: tuple[Any, ...], options: dict[str, Any]) -> Any:
    if "dim" in options:
        refuse_dim(x)
    return public.of_tensors(x, *args, **options)


NAMED: dict[tuple[str, str], Handler] = {
    ("numpy", "MaskedArray"): _contained(labelled.masked),
    ("pandas", "Series"): _contained(labelled.series),
    ("pandas", "DataFrame"): _contained(labelled.dataframe),
    ("polars", "Series"): _contained(labelled.polars_series),
    ("polars", "DataFrame"): _contained(labelled.polars_frame),
    ("xarray", "DataArray"): _contained(labelled.dataarray),
    ("torch", "Tensor"): _torch,
    ("jax", "Array"): _tensor,
    ("jax", "Tracer"): _tensor,
    ("cupy", "ndarray"): _tensor,
}

# By type, as they come; None for what is, or becomes, a NumPy array.
HANDLERS: dict[type, Handler | None] = dict.fromkeys((np.ndarray, list, tuple, int, float))


def _handler_of(kind: type) -> Handler | None:
    for base in kind.__mro__:
        handler = NAMED.get((base.__module__.partition(".")[0], base.__name__))
        if handler is not None:
            return handler
    numpy = issubclass(kind, np.ndarray | np.generic)
    return _tensor if hasattr(kind, "__array_namespace__") and not numpy else None
