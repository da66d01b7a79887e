"""The grid: what is computed, on which arrays, and how a result is checked before it is timed."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

import numpy as np

OPS = ("softmax", "log_softmax", "logsumexp")
DTYPES = ("float32", "float64", "float16", "bfloat16")
SHAPES = (  # shape, axis
    ((10,), -1),
    ((32, 10), -1),
    ((128, 1000), -1),
    ((1, 50257), -1),
    ((4096, 1024), -1),
    ((1024, 32000), -1),
    ((256, 131072), -1),
    ((64, 2**20), -1),
    ((1000, 128), 0),
    ((64, 1000, 64), 1),
)
QUICK = ("10", "128x1000", "1x50257", "64x1000x64")  # and for float32 all but the two largest
SEED = 20170401
PERIOD = 1_048_573  # a prime, so that no two rows of the grid's matrices are alike


@dataclass(frozen=True)
class Cell:
    op: str
    dtype: str
    shape: tuple[int, ...]
    axis: int

    @property
    def size(self) -> str:
        return "x".join(map(str, self.shape))

    @property
    def words(self) -> tuple[str, str, str]:
        return self.op, self.dtype, self.size

    @property
    def place(self) -> str:
        """Shape and, where it is not the last, axis."""
        return self.size if self.axis == -1 else f"{self.size} axis {self.axis}"

    @property
    def elements(self) -> int:
        return prod(self.shape)

    @property
    def nbytes(self) -> int:
        return self.elements * {"float64": 8, "float32": 4}.get(self.dtype, 2)

    @property
    def quick(self) -> bool:
        """Every op, dtype and regime, and nothing that takes NumPy a second."""
        return self.size in QUICK or (self.dtype == "float32" and self.elements < 2**25)


GRID = tuple(
    Cell(op, dtype, shape, axis) for dtype in DTYPES for shape, axis in SHAPES for op in OPS
)


def select(words: list[str], grid: tuple[Cell, ...] = GRID) -> list[Cell]:
    """The cells whose op, dtype and size are among `words`; a kind not named is not narrowed."""
    kinds = [set(kind) for kind in zip(*(cell.words for cell in grid), strict=True)]
    if unknown := set(words).difference(*kinds):
        known = sorted(set().union(*kinds))
        raise ValueError(f"{', '.join(sorted(unknown))}; choose from {', '.join(known)}")
    wanted = [kind.intersection(words) or kind for kind in kinds]
    return [cell for cell in grid if all(map(set.__contains__, wanted, cell.words))]


def numpy_dtype(name: str) -> np.dtype:
    if name == "bfloat16":
        import ml_dtypes

        return np.dtype(ml_dtypes.bfloat16)
    return np.dtype(name)


def make_input(cell: Cell) -> np.ndarray:
    """Logits from N(0, 1), the same in every process."""
    pattern = np.random.default_rng(SEED).standard_normal(min(PERIOD, cell.elements), np.float32)
    return np.resize(pattern.astype(numpy_dtype(cell.dtype)), cell.shape)


def expression(op: str, rows: np.ndarray) -> np.ndarray:
    """The op along the last axis, by its formula in float64."""
    if op == "copy":
        return rows
    shifted = rows - rows.max(-1, keepdims=True)
    total = np.exp(shifted).sum(-1, keepdims=True)
    if op == "softmax":
        return np.exp(shifted) / total
    return shifted - np.log(total) if op == "log_softmax" else rows.max(-1) + np.log(total[..., 0])


def mistake(cell: Cell, x: np.ndarray, value: np.ndarray) -> str | None:
    """What is wrong with the first, the middle and the last row of `value`, if anything.

    Loose on purpose: it asks whether the same thing was computed, not how well.
    """
    rtol = {"float64": 1e-9, "float32": 1e-4, "float16": 1e-2, "bfloat16": 5e-2}[cell.dtype]
    atol = 1.2e-7 if cell.dtype == "float16" else 0.0  # two steps of its subnormal numbers
    rows = np.moveaxis(x, cell.axis, -1).reshape(-1, x.shape[cell.axis])
    value = np.asarray(value)
    if cell.op != "logsumexp":
        value = np.moveaxis(value, cell.axis, -1).reshape(rows.shape)
    some = sorted({0, len(rows) // 2, len(rows) - 1})
    wanted = expression(cell.op, rows[some].astype(np.float64))
    got = value.reshape(len(rows), -1)[some].astype(np.float64).reshape(wanted.shape)
    error = np.abs(got - wanted)
    if np.all(error <= atol + rtol * np.abs(wanted)):
        return None
    worst = np.unravel_index(np.argmax(np.where(np.isnan(error), np.inf, error)), error.shape)
    return f"{got[worst]:.6g} where {wanted[worst]:.6g} is right"
