"""Which road an array takes: the kernels, plain NumPy, or its own library's code.

Kinds are told by the names of their types, and nothing is imported to find out. A NumPy array, a
list or a number passes after one look into a table; the compiled front door answers most NumPy
arrays before any of this is reached.
"""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable
from typing import Any, Concatenate, Literal, NamedTuple, ParamSpec, TypeVar, overload

import numpy as np

from .._arrays.dtypes import as_array, floating, kernel_name
from .._arrays.tensors import library
from .._arrays.typing import Numpy, Reducing, Reshaping, SameKind
from . import labelled, torch
from .labelled import Call, Result
from .labelled_checks import refuse_dim

__all__ = ["every_array", "which"]

P = ParamSpec("P")
Function = TypeVar("Function", bound=Callable[..., Any])


class Public(NamedTuple):
    """A public function, as a road needs to know it."""

    function: Callable[..., Any]  # of NumPy arrays
    twin: Callable[..., Any]  # of tensors, in array-API code
    result: tuple[Result, ...]

    def call(self, x: Any, *args: Any, **options: Any) -> Any:
        """Call it as a user would: a NumPy array may find the front door open."""
        name, module = self.function.__name__, sys.modules[self.function.__module__]
        public: Callable[..., Any] = getattr(module, name, self.function)
        return public(x, *args, **options)


Road = Callable[[Public, Any, tuple[Any, ...], dict[str, Any]], Any]


@overload
def every_array(
    twin: Callable[..., Any], *, result: Literal["like"] = "like"
) -> Callable[[Callable[Concatenate[Any, P], Any]], SameKind[P]]: ...
@overload
def every_array(
    twin: Callable[..., Any], *, result: Literal["reduced"]
) -> Callable[[Callable[Concatenate[Any, P], Any]], Reducing[P]]: ...
@overload
def every_array(
    twin: Callable[..., Any], *, result: Literal["other"]
) -> Callable[[Callable[Concatenate[Any, P], Numpy]], Reshaping[P, Numpy]]: ...
@overload
def every_array(
    twin: Callable[..., Any], *, result: tuple[Result, ...]
) -> Callable[[Function], Function]: ...
def every_array(twin: Callable[..., Any], *, result: Result | tuple[Result, ...] = "like") -> Any:
    """Let a function of NumPy arrays take every kind of array, and give it back.

    `twin` computes tensors that the kernels cannot. `result` says what is returned: an array
    "like" x, one "reduced" along the axis, or any "other"; or each part of a tuple.
    """

    def decorate(function: Callable[..., Any]) -> Callable[..., Any]:
        public = Public(function, twin, (result,) if isinstance(result, str) else result)

        first = function.__code__.co_varnames[0]

        @functools.wraps(function)
        def wrapper(*args: Any, **options: Any) -> Any:
            if not args and first in options:
                args = (options.pop(first),)
            if not args:
                return function(**options)  # which says what is missing
            x = args[0]
            try:
                road = ROADS[type(x)]
            except KeyError:
                road = ROADS[type(x)] = _road(type(x))
            if road is not None:
                return road(public, x, args[1:], options)
            if "dim" in options:
                refuse_dim(x)
            return function(*args, **options)

        return wrapper

    return decorate


def which(x: Any) -> str:
    """Tell which road an array takes.

    Parameters
    ----------
    x : array_like
        What would be passed to `softmax`, `log_softmax` or `logsumexp`.

    Returns
    -------
    str
        ``"compiled"``: the kernels. ``"numpy"``: plain NumPy, slower, for longdouble and complex.
        ``"agnostic (torch)"``, with the name of its library: the functions of that library, on
        its device, differentiable and traceable.

    Raises
    ------
    TypeError
        If it takes none, as bool and text do.

    See Also
    --------
    softmax : Takes them all.

    Notes
    -----
    It depends on x alone: `b` in `logsumexp`, and longdouble or complex `dtype`, turn
    "compiled" into "numpy", and a `temperature` that needs a gradient turns it into "agnostic".

    Examples
    --------
    >>> import numpy as np
    >>> from stablesoftmax import which
    >>> which([1, 2, 3])
    'compiled'
    >>> which(np.ones(3, dtype=np.complex64))
    'numpy'
    """
    road: str = _which(x)
    return road


@every_array(lambda x: f"agnostic ({library(x)})", result="other")
def _which(x: Any, where: Any = None) -> str:  # where: a mask is no hindrance
    dtype = floating(as_array(x, "x").dtype, "x")
    return "numpy" if kernel_name(dtype) is None else "compiled"


def _contained(convert: Callable[[Call], Any]) -> Road:
    """The road of what holds a NumPy array and more."""

    def road(public: Public, x: Any, args: tuple[Any, ...], options: dict[str, Any]) -> Any:
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

    return road


def _torch(public: Public, x: Any, args: tuple[Any, ...], options: dict[str, Any]) -> Any:
    if "dim" in options:
        refuse_dim(x)
    kind = sys.modules["torch"].Tensor
    given = [a for a in (x, *args, *options.values()) if isinstance(a, kind)]
    if torch.has_kernel_road(*given):
        return torch.through_numpy(public.call, x, args, options)
    return _agnostic(public, x, args, options)


def _agnostic(public: Public, x: Any, args: tuple[Any, ...], options: dict[str, Any]) -> Any:
    if "dim" in options:
        refuse_dim(x)
    return public.twin(x, *args, **options)


NAMED: dict[tuple[str, str], Road] = {
    ("numpy", "MaskedArray"): _contained(labelled.masked),
    ("pandas", "Series"): _contained(labelled.series),
    ("pandas", "DataFrame"): _contained(labelled.dataframe),
    ("polars", "Series"): _contained(labelled.polars_series),
    ("polars", "DataFrame"): _contained(labelled.polars_frame),
    ("xarray", "DataArray"): _contained(labelled.dataarray),
    ("torch", "Tensor"): _torch,
    ("jax", "Array"): _agnostic,
    ("jax", "Tracer"): _agnostic,
    ("cupy", "ndarray"): _agnostic,
}

# By type, as they come; None for what is, or becomes, a NumPy array.
ROADS: dict[type, Road | None] = dict.fromkeys((np.ndarray, list, tuple, int, float))


def _road(kind: type) -> Road | None:
    for base in kind.__mro__:
        road = NAMED.get((base.__module__.partition(".")[0], base.__name__))
        if road is not None:
            return road
    numpy = issubclass(kind, np.ndarray | np.generic)
    return _agnostic if hasattr(kind, "__array_namespace__") and not numpy else None
