"""What a report says of an array: its dtype, shape, extremes, and where they are."""

import sys
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["as_array", "overflow_of_exp", "summary"]

_BLOCK = 1 << 16  # elements: two reductions and a mask of it stay in the second-level cache
_SAMPLE = 1 << 16  # elements that a histogram looks at
_BINS = 40


def as_array(value: Any) -> NDArray[Any] | None:
    """Give a number, an array, or an object of a known library that holds one, as NumPy's.

    None for everything else: nothing of the user's is called to find out.
    """
    kind = type(value)
    if kind in (float, int, complex, bool) or isinstance(value, np.generic):
        return np.asarray(value) if kind is not int or abs(value) < 2**63 else None
    if isinstance(value, np.ma.MaskedArray):
        return value.compressed()  # what is masked takes no part
    if isinstance(value, np.ndarray):
        return value.view(np.ndarray)
    library = kind.__module__.partition(".")[0]
    if library not in sys.modules or library not in ("torch", "jax", "jaxlib", "pandas", "xarray"):
        return None
    try:
        if library == "torch":
            value = value.detach().cpu()
        return np.asarray(value)
    except Exception:  # no array after all: a model, a traced or a nested one
        return None


def overflow_of_exp(dtype: np.dtype[Any]) -> float:
    """The least number whose exp overflows: 11.09 in float16, 88.72 in float32, 709.78."""
    return float(np.log(float(np.finfo(dtype).max)))


def summary(name: str, array: NDArray[Any], tops: NDArray[Any] | None = None) -> dict[str, Any]:
    """Describe an array by plain numbers, in one pass over it.

    "min" and "max" are those of the finite elements (None where there are none), "at" the index of
    the first element that is NaN or infinite, or else of the maximum. `tops` is filled with the
    maxima along the last axis, of an array that is contiguous.
    """
    result: dict[str, Any] = {"name": name, "dtype": str(array.dtype), "shape": list(array.shape)}
    result |= {"nan": 0, "inf": 0, "-inf": 0, "min": None, "max": None, "at": None}
    if array.dtype.kind not in "biufV" or not array.size or array.dtype.names:
        return result
    low, high, where_high, first = None, None, 0, None
    with np.errstate(all="ignore"):
        length = 1 if tops is None else array.shape[-1]
        for start, block in _blocks(array, length):
            least, most = block.min(), _maximum(block, start, length, tops)
            if not (np.isfinite(least) and np.isfinite(most)):
                finite = np.isfinite(block)
                if first is None:
                    first = start + int(np.argmin(finite))
                for key, count in _non_finite(block, finite).items():
                    result[key] += count
                if not finite.any():
                    continue
                block = np.where(finite, block, block[finite][0])
                least, most = block.min(), block.max()
            if low is None or least < low:
                low = least
            if high is None or most > high:
                high, where_high = most, start + int(block.argmax())
    if low is not None and high is not None:
        result |= {"min": low.item(), "max": high.item()}
        result["histogram"] = _histogram(array)
    index = np.unravel_index(where_high if first is None else first, array.shape)
    result["at"] = [int(i) for i in index]
    return result


def _blocks(array: NDArray[Any], whole: int) -> Iterator[tuple[int, NDArray[Any]]]:
    """Parts of the array, in C order, of a multiple of so many elements."""
    flat = array.reshape(-1) if array.flags.c_contiguous else array.flat
    size = max(1, _BLOCK // whole) * whole
    for start in range(0, array.size, size):
        yield start, flat[start : start + size]


def _maximum(
    block: NDArray[Any], start: int, length: int, tops: NDArray[Any] | None
) -> np.floating[Any]:
    if tops is None:
        return block.max()  # type: ignore[no-any-return]
    maxima = block.reshape(-1, length).max(axis=-1)
    tops[start // length : start // length + len(maxima)] = maxima
    return maxima.max()  # type: ignore[no-any-return]


def _non_finite(block: NDArray[Any], finite: NDArray[Any]) -> dict[str, int]:
    rest = block[~finite]
    nan = int(np.isnan(rest).sum())
    inf = int((rest > 0).sum())
    return {"nan": nan, "inf": inf, "-inf": rest.size - nan - inf}


def _histogram(array: NDArray[Any]) -> dict[str, list[float]]:
    """Counts in equal bins, of a sample of a large array."""
    flat = array.reshape(-1) if array.flags.c_contiguous else array.flat
    sample = np.asarray(flat[:: max(1, array.size // _SAMPLE)], dtype=np.float64)
    sample = sample[np.isfinite(sample)]
    if not sample.size:
        return {"edges": [], "counts": []}
    with np.errstate(all="ignore"):
        low, high = sample.min(), sample.max()
        least = (
            max(abs(low), abs(high), 1.0) * 1e-12
        )  # of [1e200, 1e200] one bin would have no width
        if high - low < least:
            low, high = low - least * _BINS, high + least * _BINS
        if not np.isfinite(high - low):  # [-1.7e308, 1.7e308]: no bins of a finite width
            return {"edges": [], "counts": []}
        counts, edges = np.histogram(sample, _BINS, (low, high))
    return {"edges": edges.tolist(), "counts": counts.tolist()}
