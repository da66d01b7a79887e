"""The adversarial inputs: each is there for a mistake that passes the others."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["Probe", "benign", "extremes", "labels_of", "long_row"]


@dataclass(frozen=True, slots=True)
class Probe:
    """One input: what it tries, the array, and the axis that is asked."""

    topic: str
    x: NDArray[Any]
    axis: int = -1


#: Rows that are tried one at a time.
_ROWS = {
    "overflow": [1000.0, 999.0, 998.0],
    "underflow": [-1000.0, -999.0, -998.0],
    "spread": [1000.0, 0.0, -1000.0],
    "the largest last": [-1000.0, 0.0, 1000.0],  # a shift by the first entry overflows
    "one far above": [3000.0, 0.0, 0.0, 0.0],  # the mean is 750, and 3000 - 750 overflows
    "one far below": [0.0, 0.0, 0.0, -3000.0],
    "two large": [900.0, 600.0, 0.0],  # a clip at 500 makes them equal
    "two very low": [-600.0, -900.0, -1200.0],
    "small probabilities": [0.0, -15.0, -200.0, -400.0],  # a floor or a clip makes the last equal
}
_WIDE = {  # beyond float16
    "large": [1000000.5, 1000000.0, 999999.0],  # x - logsumexp(x) keeps ten digits fewer
    "masked by -1e9": [1.0, -1e9, 2.0],
}


def benign(
    dtype: np.dtype[Any], axis: int, every_axis: bool, *, brief: bool = False
) -> list[Probe]:
    """Small logits in every form: what is wrong here is another formula.

    JAX compiles for each shape and axis, and so is asked for every axis of the smaller ones alone.
    """
    rng = np.random.default_rng(0)
    shapes = {
        "a vector": (5,),
        "rows": (3, 5),
        "a square": (4, 4),  # where a lost axis raises nothing
        "three axes": (2, 3, 4),
        "a cube": (3, 3, 3),
    }
    probes = []
    for topic, shape in shapes.items():
        # multiples of 1/8, which float16 holds, so that its rounding is that of the function
        x = (np.rint(rng.normal(0, 1.5, shape) * 8) / 8).astype(dtype)
        every = every_axis and not (brief and x.ndim == 3)
        axes = range(-x.ndim, 0) if every else [axis]
        probes += [Probe(topic, x, a) for a in axes if -x.ndim <= a < x.ndim]
    return probes


def extremes(dtype: np.dtype[Any], flat: bool, axis: int) -> list[Probe]:
    """Finite logits at the ends of exp; as vectors, or as batches of one row."""
    rows = _ROWS if dtype == np.float16 else _ROWS | _WIDE
    shaped = {topic: np.array(row, dtype) for topic, row in rows.items()}
    if flat:
        return [Probe(topic, row) for topic, row in shaped.items()]
    probes = [Probe(topic, _along(row[None], axis), axis) for topic, row in shaped.items()]
    apart = np.array([[0.0, 1.0, 3.0], [1000.0, 1001.0, 1003.0], [-900.0, 0.0, 1.0]], dtype)
    return [*probes, Probe("rows far apart", _along(apart, axis), axis)]


def _along(rows: NDArray[Any], axis: int) -> NDArray[Any]:
    return rows if axis in (-1, 1) else np.ascontiguousarray(rows.T)


def long_row(dtype: np.dtype[Any], flat: bool, axis: int) -> Probe:
    """Equal logits: a sum of 4096 ones stops at 2048 in float16."""
    row = np.zeros(4096, dtype)
    return Probe("a long row", row) if flat else Probe("a long row", _along(row[None], axis), axis)


def labels_of(x: NDArray[Any], axis: int) -> NDArray[np.int64]:
    """The least likely class of each row that is possible at all: its loss is the largest."""
    values = x.astype(np.float64)
    return np.asarray(np.where(np.isfinite(values), values, np.inf).argmin(axis))
