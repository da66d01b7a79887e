"""The arguments of calls with masked and labelled arrays."""

from __future__ import annotations

import sys
from typing import Any, NoReturn

BROADCAST = ("where", "temperature", "b")  # against x; labels and the like have their own axes

NUMERIC = "accepted are integer, floating-point and complex dtypes"


def refuse_out(arguments: dict[str, Any], got: str, instead: str) -> None:
    """Refuse `out`, which could not be labelled."""
    if arguments.get("out") is not None:
        raise TypeError(f"out is for NumPy arrays, got {got} with it: pass {instead}")


def refuse_dim(x: Any) -> NoReturn:
    """Refuse `dim` for what has no named dimensions."""
    raise TypeError(f"dim is for xarray objects, got {type(x).__name__}: pass axis")


def refuse_frame(name: str) -> NoReturn:
    """Refuse polars' DataFrame."""
    raise TypeError(
        f"{name} is a polars DataFrame, accepted are its Series: pass {name}.to_numpy(), whose "
        "rows are along axis 1"
    )


def numeric(dtype: Any, kind: str, name: str) -> None:
    """Refuse a series of anything but numbers."""
    if kind not in "iufc":
        hint = f": pass where={name}.to_numpy() if it is a mask" if kind == "b" else ""
        raise TypeError(f"{name} has dtype {dtype}; {NUMERIC}{hint}")


def numeric_columns(x: Any, name: str) -> None:
    """Refuse a pandas DataFrame with a column of anything but numbers."""
    wrong = [
        f"{label!r} ({dtype})"
        for label, dtype in zip(x.columns, x.dtypes, strict=True)
        if dtype.kind not in "iufc"
    ]
    if wrong:
        columns = "column" if len(wrong) == 1 else "columns"
        raise TypeError(
            f"{name} has {columns} {', '.join(wrong)}; {NUMERIC}: "
            f"pass {name}.select_dtypes('number')"
        )


def same_labels(arguments: dict[str, Any], name: str, labels: list[Any]) -> None:
    """Refuse another pandas argument whose labels are not those of x."""
    pandas = sys.modules["pandas"]
    for other, value in arguments.items():
        if other == name or not isinstance(value, pandas.Series | pandas.DataFrame):
            continue
        for own in value.axes:
            if not any(own.equals(label) for label in labels):
                raise ValueError(
                    f"{other} has other labels than {name}: "
                    f"pass {other}.reindex_like({name}) or {other}.to_numpy()"
                )


def same_dims(arguments: dict[str, Any], name: str, x: Any) -> dict[str, Any]:
    """Return the other xarray arguments as arrays with x's dimensions, found by their names."""
    xarray, found = sys.modules["xarray"], {}
    for other, value in arguments.items():
        if other == name or not isinstance(value, xarray.DataArray):
            continue
        strange = [dim for dim in value.dims if dim not in x.dims]
        if strange:
            raise ValueError(f"{other} has dimension {strange[0]!r}, which {name} lacks: {x.dims}")
        try:
            xarray.align(x, value, join="exact")
        except ValueError:
            raise ValueError(
                f"{other} has other coordinates than {name}: pass {other}.reindex_like({name})"
            ) from None
        value = value.transpose(*(dim for dim in x.dims if dim in value.dims))
        index = tuple(slice(None) if dim in value.dims else None for dim in x.dims)
        found[other] = value.data[index] if other in BROADCAST else value.data
    return found


def dims_of(dim: Any, dims: tuple[Any, ...], name: str) -> tuple[Any, ...]:
    """Return the dimensions that an xarray caller asked for."""
    if dim is ...:
        return dims
    asked = (dim,) if isinstance(dim, str) or not isinstance(dim, list | tuple) else tuple(dim)
    for one in asked:
        if one not in dims:
            raise ValueError(f"dim must be among the dimensions of {name}, {dims}, got {one!r}")
    return asked
