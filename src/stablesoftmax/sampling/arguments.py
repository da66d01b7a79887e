"""The arguments of sample."""

from __future__ import annotations

import operator
from numbers import Real
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from .._arrays.checks import axis_of, mask_of, temperatures
from .._arrays.dtypes import as_array, floating
from .._arrays.typing import Array, DType

if TYPE_CHECKING:
    from numpy.random import Generator


class SampleArguments(NamedTuple):
    """What the caller asked for, all of it fit to be drawn."""

    logits: Array
    axis: int  # not negative
    where: Array | None  # bool, of the shape of the logits
    temperature: Array | None  # float64, of that shape with the axis reduced to 1
    dtype: DType  # native, which the logits are read in
    size: tuple[int, ...]
    top_k: int | None
    top_p: float | None
    min_p: float | None
    rng: Generator


def validate(
    logits: ArrayLike,
    size: int | tuple[int, ...] | None,
    axis: int,
    *,
    where: ArrayLike | None,
    temperature: ArrayLike,
    top_k: int | None,
    top_p: float | None,
    min_p: float | None,
    rng: Generator | int | None,
) -> SampleArguments:
    """Check the arguments, and that every row has a distribution, before anything is drawn."""
    x = as_array(logits, "logits")
    dtype = floating(x.dtype, "logits")
    if dtype.kind == "c":
        raise TypeError(f"logits must be real, got dtype {x.dtype}")
    axis = axis_of(axis, x.ndim) if x.ndim else 0
    kept = tuple(1 if i == axis else n for i, n in enumerate(x.shape))
    call = SampleArguments(
        logits=x,
        axis=axis,
        where=mask_of(where, x.shape),
        temperature=temperatures(temperature, kept),
        dtype=dtype,
        size=_size(size),
        top_k=None if top_k is None else _integer(top_k, 1, "top_k must be None or an int >= 1"),
        top_p=None if top_p is None else _top_p(top_p),
        min_p=None if min_p is None else _min_p(min_p),
        rng=_generator(rng),
    )
    if 0 not in (*call.size, *kept):
        _refuse_rows(np.atleast_1d(x), call.where, axis)
    return call


def _size(size: int | tuple[int, ...] | None) -> tuple[int, ...]:
    if size is None:
        return ()
    sizes = size if isinstance(size, tuple) else (size,)
    accepted = (
        "size must be None, an int >= 0 or a tuple of them (the axis comes third, or as axis=)"
    )
    return tuple(_integer(n, 0, accepted) for n in sizes)


def _top_p(top_p: float) -> float:
    number = _real(top_p, accepted := "top_p must be None or a number in (0, 1]")
    if not 0 < number <= 1:
        raise ValueError(f"{accepted}, got {top_p!r}")
    return number


def _min_p(min_p: float) -> float:
    number = _real(min_p, accepted := "min_p must be None or a number in [0, 1]")
    if not 0 <= number <= 1:
        raise ValueError(f"{accepted}, got {min_p!r}")
    return number


def _generator(rng: Generator | int | None) -> Generator:
    from numpy.random import Generator, default_rng  # not at import: it takes milliseconds

    if rng is None or isinstance(rng, Generator):
        return default_rng(rng)
    accepted = "rng must be a numpy.random.Generator, an int seed >= 0 or None"
    return default_rng(_integer(rng, 0, accepted))


def _integer(value: Any, least: int, accepted: str) -> int:
    try:
        n = operator.index(value)
    except TypeError:
        n = None
    if n is None or isinstance(value, bool | np.bool_):
        raise TypeError(f"{accepted}, got {_shown(value)}")
    if n < least:
        raise ValueError(f"{accepted}, got {value!r}")
    return n


def _real(value: Any, accepted: str) -> float:
    if not isinstance(value, Real) or isinstance(value, bool):
        raise TypeError(f"{accepted}, got {_shown(value)}")
    return float(value)


def _shown(value: Any) -> str:
    """In one line: the repr of an array or of a RandomState would take several, or say little."""
    simple = isinstance(value, str | bytes | int | float | complex | np.generic) or value is None
    return repr(value) if simple else type(value).__name__


def _refuse_rows(x: Array, where: Array | None, axis: int) -> None:
    """Raise for the first row that has no distribution; a row lies along `axis`."""
    if x.shape[axis] == 0:
        raise ValueError(
            f"logits must have something to draw, got shape {x.shape}, empty along axis {axis}"
        )
    with np.errstate(all="ignore"):
        reasons = (() if where is None else _left_out(where, axis)) + _undefined(x, where, axis)
    bad = np.any([rows for rows, _ in reasons], axis=0)
    if bad.any():
        row = np.unravel_index(bad.argmax(), bad.shape)
        reason = next(text for rows, text in reasons if rows[row])
        index = tuple(int(i) for i in row)
        raise ValueError(f"row {index} of logits has no distribution to draw from: it {reason}")


def _left_out(where: Array, axis: int) -> tuple[tuple[Array, str], ...]:
    return ((np.asarray(~np.atleast_1d(where).any(axis)), "is left out by where throughout"),)


def _undefined(x: Array, where: Array | None, axis: int) -> tuple[tuple[Array, str], ...]:
    if x.dtype.kind in "iu":
        return ()
    part = True if where is None else np.atleast_1d(where)
    top = np.asarray(x.max(axis, where=part, initial=-np.inf))
    infinite = np.zeros_like(top, np.intp)
    if np.any(top == np.inf):
        infinite = np.count_nonzero((x == np.inf) & part, axis)
    return (
        (np.isnan(top), "holds a NaN"),
        (top == -np.inf, "is -inf throughout"),
        (infinite > 1, "holds several +inf"),
    )
