"""Masked arrays, and the labelled ones of pandas, polars and xarray: to NumPy, and back.

None of these libraries is imported: an object of it has come, so it is loaded.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable
from typing import Any, Literal, NamedTuple

import numpy as np

from .._arrays.checks import axes_of, mask_of
from .._arrays.typing import Array
from .labelled_checks import (
    dims_of,
    numeric,
    numeric_columns,
    refuse_frame,
    refuse_out,
    same_dims,
    same_labels,
)

Result = Literal["like", "reduced", "rows", "other"]

__all__ = ["Call", "dataarray", "dataframe", "masked", "polars_frame", "polars_series", "series"]


class Call(NamedTuple):
    """A call of a public function, its arguments by name."""

    function: Callable[..., Any]
    first: str  # the name of the array's parameter
    arguments: dict[str, Any]  # defaults included
    result: tuple[Result, ...]  # the shape of what is returned, or of each part of it
    dim: Any  # xarray's name for the axis

    @property
    def x(self) -> Any:
        return self.arguments[self.first]

    def axes(self, ndim: int) -> tuple[int, ...]:
        """Return the axes that it works along; the first, where it has no such parameter."""
        if self.dim is not None:
            return tuple(
                self.x.get_axis_num(dim) for dim in dims_of(self.dim, self.x.dims, self.first)
            )
        return axes_of(self.arguments.get("axis", 0), ndim)

    @property
    def batch(self) -> tuple[int, ...]:
        """The shape of one number a row."""
        axes = self.axes(self.x.ndim)
        return tuple(n for i, n in enumerate(self.x.shape) if i not in axes)

    def on(self, x: Any, **changed: Any) -> Any:
        """Call the function with another x."""
        arguments = self.arguments | changed
        del arguments[self.first]
        return self.function(x, **arguments)

    def wrap(self, result: Any, like: Callable[[Any], Any], reduced: Callable[[Any], Any]) -> Any:
        """Make of each part of the result what it should be."""
        make: dict[str, Callable[[Any], Any]] = {
            "like": like,
            "reduced": reduced,
            "rows": lambda part: reduced(part) if np.shape(part) == self.batch else part,
            "other": lambda part: part,
        }
        if isinstance(result, tuple):
            kinds = self.result * (len(result) // len(self.result))
            return tuple(make[kind](part) for kind, part in zip(kinds, result, strict=True))
        return make[self.result[0]](result)


def masked(call: Call) -> Any:
    """np.ma: the mask is `where`. A reduced row is masked if all its entries are.

    Where a function has no `where`, what is masked is -inf, which is as good: it is never drawn,
    and is no part of any sum.
    """
    ma: Any = sys.modules["numpy.ma"]
    x: Any = call.x
    mask = np.asarray(ma.getmaskarray(x))
    refuse_out(call.arguments, "a masked array", f"{call.first}.data with where=~{call.first}.mask")
    changed, data = {}, ma.getdata(x, subok=False)
    if mask.any() and "where" in call.arguments:
        where = mask_of(call.arguments["where"], x.shape)
        changed["where"] = ~mask if where is None else ~mask & where
    elif mask.any():
        data = np.where(mask, data.dtype.type(-np.inf) if data.dtype.kind == "f" else -np.inf, data)
    axes = call.axes(x.ndim)

    def reduced(part: Any) -> Any:
        part = np.asarray(part)
        gone = mask.all(axis=axes, keepdims=bool(call.arguments.get("keepdims", False)))
        if part.ndim:
            return ma.array(part, mask=np.broadcast_to(gone, part.shape))
        return ma.masked if gone else part[()]

    return call.wrap(
        call.on(data, **changed),
        like=lambda part: ma.array(part, mask=mask.copy()),
        reduced=reduced,
    )


def series(call: Call) -> Any:
    """pandas.Series: index and name stay. A missing value is a NaN."""
    pandas, x = sys.modules["pandas"], call.x
    refuse_out(call.arguments, "a pandas Series", f"{call.first}.to_numpy()")
    same_labels(call.arguments, call.first, [x.index])
    numeric(x.dtype, x.dtype.kind, call.first)

    def like(part: Any) -> Any:
        return pandas.Series(part, index=x.index, name=x.name, copy=False)

    def reduced(part: Any) -> Any:
        return like(part) if np.shape(part) == x.shape else part

    return call.wrap(call.on(_values(x, [x.dtype])), like, reduced)


def dataframe(call: Call) -> Any:
    """pandas.DataFrame: index and columns stay, save those along a reduced axis."""
    pandas, x = sys.modules["pandas"], call.x
    refuse_out(call.arguments, "a pandas DataFrame", f"{call.first}.to_numpy()")
    same_labels(call.arguments, call.first, [x.index, x.columns])
    numeric_columns(x, call.first)
    axes = call.axes(2)

    def like(part: Any) -> Any:
        return pandas.DataFrame(part, index=x.index, columns=x.columns, copy=False)

    def reduced(part: Any) -> Any:
        kept = [None if i in axes else label for i, label in enumerate(x.axes)]
        if np.ndim(part) == 2:  # keepdims
            return pandas.DataFrame(part, index=kept[0], columns=kept[1], copy=False)
        labels = [label for label in kept if label is not None]
        return pandas.Series(part, index=labels[0], copy=False) if np.ndim(part) else part

    return call.wrap(call.on(_values(x, x.dtypes)), like, reduced)


def _values(x: Any, dtypes: Iterable[Any]) -> Array:
    """The values of pandas; where some are missing, floats that hold a NaN for them."""
    # pandas' own and Arrow's dtypes know the NumPy dtype of their values.
    known = [np.dtype(getattr(dtype, "numpy_dtype", dtype)) for dtype in dtypes]
    dtype = np.result_type(*known) if known else np.dtype(np.float64)
    if not x.isna().to_numpy().any():
        return np.asarray(x.to_numpy(dtype=dtype))
    if dtype.kind in "iu":
        dtype = np.dtype(np.float64)
    return np.asarray(x.to_numpy(dtype=dtype, na_value=np.nan))


def polars_series(call: Call) -> Any:
    """polars.Series: the name stays. A null is a NaN."""
    polars, x = sys.modules["polars"], call.x
    refuse_out(call.arguments, "a polars Series", f"{call.first}.to_numpy()")
    number = x.dtype.is_float() or x.dtype.is_integer()
    numeric(x.dtype, "f" if number else "O", call.first)

    def like(part: Any) -> Any:
        return polars.Series(x.name, part)

    def reduced(part: Any) -> Any:
        return like(part) if np.shape(part) == x.shape else part

    return call.wrap(call.on(x.to_numpy()), like, reduced)


def polars_frame(call: Call) -> Any:
    """polars.DataFrame: it has no index for a row to be found by, and no axis to sum along."""
    return refuse_frame(call.first)


def dataarray(call: Call) -> Any:
    """xarray.DataArray: dims, coords, name and attrs stay, save those of a reduced dimension."""
    x = call.x
    refuse_out(call.arguments, "an xarray DataArray", f"{call.first}.data")
    changed = same_dims(call.arguments, call.first, x)
    axes = call.axes(x.ndim)
    if call.dim is not None:
        changed["axis"] = axes[0] if len(axes) == 1 else axes
    keepdims = bool(call.arguments.get("keepdims", False)) and x.ndim > 0

    def reduced(part: Any) -> Any:
        # xarray knows which coordinates outlive a reduction: it makes this one, its result at hand.
        def done(*_: Any, **__: Any) -> Any:
            flat = tuple(0 if i in axes else slice(None) for i in range(x.ndim))
            return part[flat] if keepdims else part

        dims = [x.dims[i] for i in axes]
        return x.reduce(done, dim=dims, keep_attrs=True, keepdims=keepdims)

    result = call.on(x.data, **changed)
    return call.wrap(result, lambda part: x.copy(deep=False, data=part), reduced)
