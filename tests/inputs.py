"""The inputs that softmax, log_softmax and logsumexp are judged on: tables of rows, by name."""

from collections.abc import Callable

import ml_dtypes
import numpy as np

DTYPES = {
    "float32": np.dtype(np.float32),
    "float64": np.dtype(np.float64),
    "float16": np.dtype(np.float16),
    "bfloat16": np.dtype(ml_dtypes.bfloat16),
}
FUNCTIONS = ("softmax", "log_softmax", "logsumexp")

ROWS, LENGTH = 200, 131


def normal(dtype, rng):
    """N(0, s)."""
    return rng.normal(size=(ROWS, LENGTH)) * spread(rng, 0.1, 100)


def uniform(dtype, rng):
    """U(-a, a)."""
    return rng.uniform(-1, 1, (ROWS, LENGTH)) * spread(rng, 0.5, 400)


def offset(dtype, rng):
    """Rows whose values are far from 0, where x - m has more digits than x."""
    centre = rng.choice([-1, 1], (ROWS, 1)) * spread(rng, 1, min(1e6, maximum(dtype) / 2))
    return rng.normal(size=(ROWS, LENGTH)) * spread(rng, 1, 30) + centre


def threshold(dtype, rng):
    """Maxima around the powers of two up to 4096, where an exact shift may change its mind."""
    maximum = rng.choice([-1, 1], (ROWS, 1)) * 2.0 ** rng.integers(0, 13, (ROWS, 1))
    maximum *= 1 + rng.integers(-2, 3, (ROWS, 1)) * epsilon(dtype)
    below = -rng.exponential(20, (ROWS, LENGTH))
    below[:, 0] = 0
    return rng.permuted(maximum + below, axis=1)


def halfway(dtype, rng):
    """Neighbours of (k + 1/2) ln 2, where an exponential's argument reduction changes its k."""
    k = rng.integers(-60, 60, (ROWS, LENGTH))
    return (k + 0.5) * np.log(2) * (1 + rng.integers(-3, 4, k.shape) * epsilon(dtype))


def largest(dtype, rng):
    """Everything up to the dtype's maximum, of either sign."""
    return rng.uniform(-1, 1, (ROWS, LENGTH)) * maximum(dtype)


def magnitudes(dtype, rng):
    """Every magnitude from the smallest subnormal to the maximum."""
    exponent = rng.uniform(np.log2(tiniest(dtype)), np.log2(maximum(dtype)), (ROWS, LENGTH))
    return rng.choice([-1, 1], exponent.shape) * 2.0**exponent


def ties(dtype, rng):
    """Few values, each many times; rows of one value only."""
    values = rng.integers(0, 1 + np.arange(ROWS)[:, None] % 4, (ROWS, LENGTH))
    return values * spread(rng, 1, 50) + rng.normal(size=(ROWS, 1)) * 100


def dominant(dtype, rng):
    """One element far above all others: log_softmax of it is -exp(-gap) and no less."""
    gap = np.linspace(5, 800, ROWS)[:, None]
    x = -gap - rng.exponential(1, (ROWS, LENGTH))
    x[np.arange(ROWS), rng.integers(0, LENGTH, ROWS)] = 0
    return x + rng.choice([0, 0, 1, -20, 300], (ROWS, 1))


def subnormal(dtype, rng):
    """Results around and below the smallest normal number."""
    low, high = np.log(tiniest(dtype)) - 2, np.log(smallest_normal(dtype)) + 2
    x = rng.uniform(low, high, (ROWS, LENGTH))
    x[:, 0] = 0
    return x + rng.choice([0, 0, 1, -7.5], (ROWS, 1))


def cancelling(dtype, rng):
    """logsumexp near 0, m + log1p(r) cancelling: condition numbers up to 1 / epsilon."""
    x = rng.normal(size=(ROWS, LENGTH)) * spread(rng, 0.1, 10)
    x[ROWS // 2 :, 2:] = -np.inf
    total = np.logaddexp.reduce(x, axis=1, keepdims=True)
    return x - total + spread(rng, epsilon(dtype), 1) * rng.choice([-1, 1], (ROWS, 1))


def adversarial(dtype, rng):
    """One 0 and the rest near -16.7: each term is half an ulp of a float32 running sum."""
    x = np.full((3, 20_001), -16.7)
    x[1:] += rng.normal(size=x[1:].shape) * 0.05
    x[0, 0] = x[1, 10_000] = x[2, -1] = 0
    return x


def bits(dtype, rng):
    """Any finite bit pattern."""
    x = rng.integers(0, 256, (ROWS, LENGTH * dtype.itemsize), np.uint8).view(dtype)
    with np.errstate(invalid="ignore"):  # signalling NaN
        return np.where(np.isfinite(x), x, dtype.type(0))


def special(dtype, rng):
    """-inf, +inf and NaN among numbers, and rows of -inf alone."""
    x = rng.normal(size=(ROWS, LENGTH))
    for row, count in enumerate(rng.integers(0, 4, (ROWS, 3))):
        for value, times in zip((-np.inf, np.inf, np.nan), count // (1, 1, 3), strict=True):
            x[row, rng.integers(0, LENGTH, times)] = value
    x[::10] = -np.inf
    x[::20, 7] = 3
    return x


Family = Callable[[np.dtype, np.random.Generator], np.ndarray]
FAMILIES: dict[str, Family] = {
    f.__name__: f
    for f in (
        normal,
        uniform,
        offset,
        threshold,
        halfway,
        largest,
        magnitudes,
        ties,
        dominant,
        subnormal,
        cancelling,
        adversarial,
        bits,
        special,
    )
}


def table(family: str, dtype: np.dtype) -> np.ndarray:
    """Rows of a family; what the dtype cannot hold is brought down to its maximum."""
    x = FAMILIES[family](dtype, np.random.default_rng(len(family)))
    if x.dtype == np.float64:
        x = np.where(np.isfinite(x), np.clip(x, -maximum(dtype), maximum(dtype)), x)
    return x.astype(dtype)


def spread(rng, low, high):
    """A column of scales, even in the logarithm."""
    return np.exp(rng.uniform(np.log(low), np.log(high), (ROWS, 1)))


def maximum(dtype):
    return float(ml_dtypes.finfo(dtype).max)


def epsilon(dtype):
    return float(ml_dtypes.finfo(dtype).eps)


def smallest_normal(dtype):
    return float(ml_dtypes.finfo(dtype).smallest_normal)


def tiniest(dtype):
    return float(ml_dtypes.finfo(dtype).smallest_subnormal)
