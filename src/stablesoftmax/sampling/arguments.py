"""The arguments of sample."""

from __future__ import annotations

import operator
from numbers import Real
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from .._arrays.checks import axis_of, temperatures
from .._arrays.dtypes import as_array, floating, wider
from .._arrays.typing import Array
from ..functions.arguments import SoftmaxArguments

if TYPE_CHECKING:
    from numpy.random import Generator


class Sampling(NamedTuple):
    """How many draws from each row, from which part of the distribution."""

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
    temperature: ArrayLike,
    top_k: int | None,
    top_p: float | None,
    min_p: float | None,
    rng: Generator | int | None,
) -> tuple[SoftmaxArguments, Sampling]:
    """Check the arguments, and that every row has a distribution, before anything is drawn."""
    x = as_array(logits, "logits")
    computed = wider(floating(x.dtype, "logits"), np.dtype(np.float64))
    if computed.kind == "c":
        raise TypeError(f"logits must be real, got dtype {x.dtype}")
    axes = (axis_of(axis, x.ndim),) if x.ndim else ()
    batch = tuple(n for i, n in enumerate(x.shape) if i not in axes)
    kept = tuple(1 if i in axes else n for i, n in enumerate(x.shape))
    call = SoftmaxArguments(
        x=x,
        axes=axes,
        where=None,
        b=None,
        temperature=temperatures(temperature, kept),
        out=None,
        shape=batch,
        computed=computed,
        dtype=np.dtype(np.int64),
        sign_dtype=computed,
        reduces=True,
        return_sign=False,
        undefined=0,
        refuse_undefined=False,
    )
    sampling = Sampling(
        size=_size(size),
        top_k=None if top_k is None else _integer(top_k, 1, "top_k must be None or an int >= 1"),
        top_p=None if top_p is None else _top_p(top_p),
        min_p=None if min_p is None else _min_p(min_p),
        rng=_generator(rng),
    )
    if 0 not in (*sampling.size, *batch):
        _refuse_rows(x if x.ndim else x[None], axes[0] if axes else 0)
    return call, sampling


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


def _refuse_rows(x: Array, axis: int) -> None:
    """Raise for the first row that has no distribution; a row lies along `axis`."""
    if x.shape[axis] == 0:
        raise ValueError(
            f"logits must have something to draw, got shape {x.shape}, empty along axis {axis}"
        )
    if x.dtype.kind in "iu":
        return
    with np.errstate(all="ignore"):
        top = np.asarray(x.max(axis))
        infinite = (
            np.count_nonzero(x == np.inf, axis) if np.any(top == np.inf) else np.zeros_like(top)
        )
        reasons = (
            (np.isnan(top), "holds a NaN"),
            (top == -np.inf, "is -inf throughout"),
            (infinite > 1, "holds several +inf"),
        )
    bad = np.any([rows for rows, _ in reasons], axis=0)
    if bad.any():
        row = np.unravel_index(bad.argmax(), bad.shape)
        reason = next(text for rows, text in reasons if rows[row])
        index = tuple(int(i) for i in row)
        raise ValueError(f"row {index} of logits has no distribution to draw from: it {reason}")
