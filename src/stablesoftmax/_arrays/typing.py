"""Types. To a checker, the kind of array that goes in comes out.

The libraries are not imported for that; an attribute tells their arrays apart.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import TYPE_CHECKING, Any, Literal, ParamSpec, Protocol, TypeAlias, TypeVar, overload

import numpy as np
from numpy.typing import ArrayLike, NDArray

if TYPE_CHECKING:
    import numpy.ma

__all__ = [
    "AnyArray",
    "Array",
    "DType",
    "Dims",
    "PandasLike",
    "PolarsLike",
    "Reducing",
    "Reduction",
    "Reshaping",
    "SameKind",
    "Tensor",
    "UndefinedPolicy",
    "Xarray",
]

Array: TypeAlias = NDArray[Any]
AnyArray: TypeAlias = Any  # of NumPy or of another library
DType: TypeAlias = np.dtype[Any]

P = ParamSpec("P")
Numpy = TypeVar("Numpy", covariant=True)

Dims: TypeAlias = "Hashable | Sequence[Hashable]"
Masked: TypeAlias = "numpy.ma.MaskedArray[Any, Any]"


UndefinedPolicy: TypeAlias = Literal["nan", "zero", "uniform", "raise"]
Reduction: TypeAlias = Literal["mean", "sum", "none"]


class TensorLike(Protocol):
    """An array of torch, JAX, CuPy or the array API."""

    @property
    def device(self) -> Any: ...
    def __dlpack__(self, *args: Any, **options: Any) -> Any: ...


class PandasLike(Protocol):
    """A Series or DataFrame of pandas."""

    @property
    def iloc(self) -> Any: ...


class PolarsLike(Protocol):
    """A Series of polars."""

    def to_physical(self) -> Any: ...


class XarrayLike(Protocol):
    """A DataArray of xarray."""

    @property
    def dims(self) -> Any: ...
    @property
    def coords(self) -> Any: ...


Tensor = TypeVar("Tensor", bound=TensorLike)
Labelled = TypeVar("Labelled", bound=PandasLike | PolarsLike)
Xarray = TypeVar("Xarray", bound=XarrayLike)


class SameKind(Protocol[P]):
    """A function whose result has the shape of its first argument."""

    __name__: str

    @overload
    def __call__(self, x: Masked, /, *args: P.args, **options: P.kwargs) -> Masked: ...
    @overload
    def __call__(self, x: NDArray[Any], /, *args: P.args, **options: P.kwargs) -> NDArray[Any]: ...
    @overload
    def __call__(self, x: Tensor, /, *args: P.args, **options: P.kwargs) -> Tensor: ...
    @overload
    def __call__(self, x: Labelled, /, *args: P.args, **options: P.kwargs) -> Labelled: ...
    @overload
    def __call__(self, x: Xarray, /, *args: P.args, **options: P.kwargs) -> Xarray: ...
    @overload
    def __call__(self, x: Xarray, /, *, dim: Dims, **options: Any) -> Xarray: ...
    @overload
    def __call__(self, x: ArrayLike, /, *args: P.args, **options: P.kwargs) -> NDArray[Any]: ...


class Reducing(Protocol[P]):
    """A function whose result lacks an axis: of NumPy and pandas perhaps a number."""

    __name__: str

    @overload
    def __call__(self, x: NDArray[Any], /, *args: P.args, **options: P.kwargs) -> Any: ...
    @overload
    def __call__(self, x: Tensor, /, *args: P.args, **options: P.kwargs) -> Tensor: ...
    @overload
    def __call__(self, x: Xarray, /, *args: P.args, **options: P.kwargs) -> Xarray: ...
    @overload
    def __call__(self, x: Xarray, /, *, dim: Dims, **options: Any) -> Xarray: ...
    @overload
    def __call__(
        self, x: ArrayLike | PandasLike | PolarsLike, /, *args: P.args, **options: P.kwargs
    ) -> Any: ...


class Reshaping(Protocol[P, Numpy]):
    """A function whose result has axes of its own: an array of NumPy, save for tensors."""

    __name__: str

    @overload
    def __call__(self, x: NDArray[Any], /, *args: P.args, **options: P.kwargs) -> Numpy: ...
    @overload
    def __call__(self, x: Tensor, /, *args: P.args, **options: P.kwargs) -> Tensor: ...
    @overload
    def __call__(
        self,
        x: ArrayLike | PandasLike | PolarsLike | XarrayLike,
        /,
        *args: P.args,
        **options: P.kwargs,
    ) -> Numpy: ...
    @overload
    def __call__(self, **options: Any) -> Any: ...  # x by its name
