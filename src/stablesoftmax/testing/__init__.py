"""An oracle for softmax, log_softmax and logsumexp, and assertions in units in the last place.

The oracle is plain NumPy in double-double arithmetic and shares no code with the functions that
it judges. Its own error is below 0.0001 ULP of float64, for logsumexp per unit of its condition
number, measured against mpmath at 200 bits; the narrower dtypes see less. It works a block at a
time, so that 1e8 elements fit.
"""

import math
from collections.abc import Iterator
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray

from ..accuracy import max_ulp as promised_ulp
from . import _double_double as dd
from ._double_double import Floats, Pair

__all__ = ["Expected", "assert_max_ulp", "log_softmax", "logsumexp", "softmax", "ulp_error"]

Index: TypeAlias = tuple[slice, slice]
Axis: TypeAlias = int | tuple[int, ...] | None

_BLOCK = 1 << 14  # elements at a time: a few dozen temporaries of 128 KB stay in the cache
_TINY = 2.0**-900  # smaller values are held in units of this, so that subnormals keep their digits


# --- the oracle ---------------------------------------------------------------------------------


class _Rows(NamedTuple):
    """What the elements of a row share, for a band of rows; every field is a column.

    With m the largest finite element, the sum of exp((x - m) / T) is 1 + r, where r leaves out
    one place of m: 1 + r - 1 would lose it.
    """

    m: NDArray[Any]
    r: Pair  # in units of 2^-900
    places: NDArray[np.int64]  # how many hold m
    temperature: Floats | None
    live: NDArray[np.bool_]  # any that takes part is finite
    nan: NDArray[np.bool_]
    infinite: NDArray[np.int64]  # how many are +inf

    @classmethod
    def empty(cls, height: int, dtype: np.dtype[Any], temperature: Floats | None) -> "_Rows":
        m = np.full((height, 1), _lowest(dtype), dtype)
        none, zero = np.zeros((height, 1), np.bool_), np.zeros((height, 1), np.int64)
        r = np.zeros((height, 1)), np.zeros((height, 1))
        return cls(m, r, zero, temperature, none, none, zero)

    def surveyed(self, x: NDArray[Any], keep: NDArray[np.bool_]) -> "_Rows":
        """With the maximum and the counts of a block."""
        live = keep & np.isfinite(x)
        largest = np.where(live, x, _lowest(x.dtype)).max(-1, keepdims=True)
        return self._replace(
            m=np.maximum(self.m, largest),
            live=self.live | live.any(-1, keepdims=True),
            nan=self.nan | (keep & np.isnan(x)).any(-1, keepdims=True),
            infinite=self.infinite + (keep & (x == np.inf)).sum(-1, keepdims=True),
        )

    def summed(self, x: NDArray[Any], keep: NDArray[np.bool_]) -> "_Rows":
        """With the terms of a block added to r."""
        live = keep & np.isfinite(x)
        hi, lo, k = dd.exp(_clipped(_gap(np.where(live, x, self.m), self)))
        power = np.where(live & (x != self.m), _power_of_two(k + 900), 0.0)
        places = self.places + (live & (x == self.m)).sum(-1, keepdims=True)
        others = np.maximum(places - 1, 0) - np.maximum(self.places - 1, 0)
        r = dd.add(self.r, dd.total((hi * power, lo * power)))
        return self._replace(places=places, r=dd.add(r, dd.exactly(others / _TINY)))


def _lowest(dtype: np.dtype[Any]) -> float:
    return -np.inf if dtype.kind == "f" else np.iinfo(dtype).min


def _power_of_two(k: NDArray[np.int64]) -> Floats:
    """2^k for k <= 1000; what is below 2^-1000 counts as that."""
    return ((np.maximum(k, -1000) + 1023) << 52).view(np.float64)


def _clipped(gap: Pair) -> Pair:
    """At -2000, where exp is 0 in every dtype."""
    return np.maximum(gap[0], -2000.0), np.where(gap[0] < -2000.0, 0.0, gap[1])


def _pair(x: NDArray[Any]) -> Pair:
    """A float or a 64-bit integer as hi + lo."""
    if x.dtype.kind == "f":
        return dd.exactly(x)
    high = (x >> 32).astype(np.float64) * 2.0**32
    return dd.fast_two_sum(high, (x & 0xFFFFFFFF).astype(np.float64))


def _gap(x: NDArray[Any], rows: _Rows) -> Pair:
    """(x - m) / T for finite x."""
    if x.dtype.kind == "f":
        # 1.7e308 - -1.7e308 overflows, though a tenth of it does not
        huge = (abs(x) > 2.0**1000) | (abs(rows.m) > 2.0**1000)
        shrink = np.where(huge, 0.25, 1.0)
        hi, lo = dd.two_sum(x * shrink, -rows.m * shrink)
    else:
        # modulo 2^64 the difference of any two integers is exact: uint8 3 - 5, int64 max - min
        shrink = np.ones(x.shape)
        hi, lo = _pair(rows.m.astype(np.uint64) - x.astype(np.uint64))
        hi, lo = -hi, -lo
    if rows.temperature is not None:
        hi, lo = _over_temperature((hi, lo), rows.temperature)
    hi = hi / shrink
    return hi, np.where(np.isinf(hi), 0.0, lo / shrink)


def _over_temperature(gap: Pair, temperature: Floats) -> Pair:
    """gap / T, and its limit at T = 0 and T = inf."""
    power, temperature_power = np.frexp(gap[0])[1], np.frexp(temperature)[1]
    fractions = np.ldexp(gap[0], -power), np.ldexp(gap[1], -power)  # Dekker's product may overflow
    hi, lo = dd.divide(fractions, dd.exactly(np.ldexp(temperature, -temperature_power)))
    power = power - temperature_power
    limit = np.where((temperature == 0) & (gap[0] < 0), -np.inf, 0.0)
    ordinary = (temperature > 0) & (temperature < np.inf)
    hi, lo = np.ldexp(hi, power), np.ldexp(lo, power)
    return np.where(ordinary, hi, limit), np.where(ordinary, lo, 0.0)


class _Exact(NamedTuple):
    """The values (hi + lo) * scale, where scale is 1 or 2^-900, and their condition numbers."""

    hi: Floats
    lo: Floats
    scale: Floats
    kappa: Floats

    def where(self, special: NDArray[np.bool_], value: Floats) -> "_Exact":
        """With `value` where the formula does not hold."""
        hi, lo = np.where(special, value, self.hi), np.where(special, 0.0, self.lo)
        return self._replace(hi=hi, lo=lo)


def _ratio(gap: Pair, rows: _Rows) -> _Exact:
    """softmax = exp(gap) / (1 + r)."""
    hi, lo, k = dd.exp(_clipped(gap))
    r = rows.r[0] * _TINY, rows.r[1] * _TINY
    hi, lo = dd.divide((hi, lo), dd.add(dd.exactly(np.ones_like(r[0])), r))
    tiny = k < -900
    power = _power_of_two(k + 900 * tiny)
    return _Exact(hi * power, lo * power, np.where(tiny, _TINY, 1.0), np.ones_like(hi))


def _plus_log1p(base: Pair, sign: float, rows: _Rows) -> _Exact:
    """log_softmax = gap - log1p(r), and logsumexp = m + log1p(r)."""
    r = rows.r[0] * _TINY, rows.r[1] * _TINY
    tiny = (abs(base[0]) < _TINY) & (r[0] < _TINY)  # where log1p(r) is r
    scale = np.where(tiny, _TINY, 1.0)
    base = base[0] / scale, base[1] / scale
    log, log_lo = (np.where(tiny, u, v) for u, v in zip(rows.r, dd.log1p(r), strict=True))
    hi, lo = dd.add(base, (sign * log, sign * log_lo))
    endless = np.isinf(base[0])
    hi, lo = np.where(endless, base[0], hi), np.where(endless, 0.0, lo)
    kappa = np.where(np.isfinite(hi) & (hi != 0), (abs(base[0]) + log) / abs(hi), 1.0)
    return _Exact(hi, lo, scale, kappa)


@np.errstate(all="ignore")
def _elements(function: str, x: NDArray[Any], keep: NDArray[np.bool_], rows: _Rows) -> _Exact:
    """softmax or log_softmax of a block."""
    live = keep & np.isfinite(x)
    gap = _gap(np.where(live, x, rows.m), rows)
    if function == "softmax":
        exact, nothing, certain = _ratio(gap, rows), 0.0, 1.0
    else:
        exact, nothing, certain = _plus_log1p(gap, -1.0, rows), -np.inf, 0.0
    undefined = rows.nan | (~rows.live & (rows.infinite == 0))
    at_infinity = np.where(rows.infinite == 1, certain, np.nan)
    limit = np.where(keep & (x == np.inf), at_infinity, nothing)
    limit = np.where(keep & undefined, np.nan, limit)
    return exact.where(~live | undefined | (rows.infinite > 0), limit)


@np.errstate(all="ignore")
def _totals(rows: _Rows) -> _Exact:
    """logsumexp of a band of rows."""
    limit = np.where(rows.nan, np.nan, np.where(rows.infinite > 0, np.inf, -np.inf))
    special = rows.nan | (rows.infinite > 0) | ~rows.live
    return _plus_log1p(_pair(rows.m), 1.0, rows).where(special, limit)


class Expected:
    """What a function should return, known far below an ulp.

    `softmax`, `log_softmax` and `logsumexp` of this module make it. It holds a copy of the input
    and evaluates a block of the result at a time, when `assert_max_ulp` or `ulp_error` asks.

    Parameters
    ----------
    function : {"softmax", "log_softmax", "logsumexp"}
        The function.
    x, axis, where, temperature, dtype : object
        As `softmax` of this module has them.

    Attributes
    ----------
    function : str
        The function's name.
    shape : tuple of int
        The result's shape.
    dtype : dtype
        The result's dtype.

    Examples
    --------
    >>> from stablesoftmax import testing
    >>> expected = testing.logsumexp([[0.0, -40.0], [-0.69, -0.70]], axis=1)
    >>> expected.shape
    (2,)
    >>> print(expected.pair()[0])
    [ 4.24835426e-18 -1.84031949e-03]
    >>> print(expected.kappa().round())
    [  1. 749.]
    """

    def __init__(
        self,
        function: str,
        x: ArrayLike,
        axis: Axis,
        where: ArrayLike | None,
        temperature: ArrayLike,
        dtype: DTypeLike | None,
    ) -> None:
        x = np.asarray(x)
        integers = x.dtype.kind in "iu"
        if not integers and x.dtype.name not in _FORMATS:
            raise TypeError(f"x: {x.dtype}; accepted are integers, {', '.join(_FORMATS)}")
        if not np.all(np.asarray(temperature) >= 0):
            raise ValueError(f"temperature: {temperature!r}; accepted are numbers >= 0")
        every = range(x.ndim)
        axes = every if axis is None else [every[a] for a in np.ravel(axis)]
        batch = [a for a in every if a not in axes]
        order = [*batch, *axes]
        self.function = function
        self.dtype = np.dtype(dtype or (np.float64 if integers else x.dtype))
        self.shape = tuple(x.shape[a] for a in (batch if function == "logsumexp" else every))
        self._order = order if len(self.shape) == x.ndim else list(range(len(batch)))
        self._rows = math.prod(x.shape[a] for a in batch)
        self._length = math.prod(x.shape[a] for a in axes)
        self._columns = self._length if self.function != "logsumexp" else 1
        self._lanes = np.dtype(f"{x.dtype.kind}8" if integers else np.float64)

        def table(values: NDArray[Any], columns: int) -> NDArray[Any]:
            copy = np.array(values.transpose(order), order="C")
            return copy.reshape(self._rows, columns)

        self._x = table(x, self._length)
        self._where: NDArray[np.bool_] | None = None
        if where is not None:
            self._where = table(np.broadcast_to(where, x.shape), self._length)
        self._temperature: Floats | None = None
        if np.any(np.asarray(temperature) != 1):
            per_row = [1 if a in axes else x.shape[a] for a in every]
            self._temperature = table(np.broadcast_to(temperature, per_row), 1).astype(np.float64)

    def pair(self) -> Pair:
        """Return the result as an unevaluated sum.

        Returns
        -------
        hi : ndarray of float64
            The result rounded to float64.
        lo : ndarray of float64
            The rest. Where `hi` is subnormal there is no room for it; `ulp_error` and
            `assert_max_ulp` work on a scaled form, which has.
        """
        hi, lo = np.empty((2, self._rows, self._columns))
        for index, exact in self._blocks():
            hi[index], lo[index] = exact.hi * exact.scale, exact.lo * exact.scale
        return self._restored(hi), self._restored(lo)

    def kappa(self) -> Floats:
        """Return the condition number of logsumexp's last sum; 1 for the other functions.

        Returns
        -------
        ndarray of float64
            ``(abs(m) + log1p(r)) / abs(result)``, at least 1, of the result's shape.
        """
        kappa = np.empty((self._rows, self._columns))
        for index, exact in self._blocks():
            kappa[index] = exact.kappa
        return self._restored(kappa)

    def _promised(self, exact: _Exact) -> Floats:
        tempered = self._temperature is not None
        return promised_ulp(self.function, self.dtype, kappa=exact.kappa, temperature=tempered)

    def _flat(self, actual: NDArray[Any]) -> NDArray[Any]:
        """`actual` as rows and columns."""
        if (actual.shape, actual.dtype.name) != (self.shape, self.dtype.name):
            raise AssertionError(
                f"{self.function}: {actual.dtype.name} of shape {actual.shape} "
                f"instead of {self.dtype.name} of shape {self.shape}"
            )
        return actual.transpose(self._order).reshape(self._rows, self._columns)

    def _restored(self, flat: Floats) -> Floats:
        """The inverse of `_flat`."""
        moved = flat.reshape([self.shape[a] for a in self._order])
        return moved.transpose(np.argsort(self._order).tolist())

    def _coordinates(self, row: int, column: int) -> tuple[int, ...]:
        moved = [self.shape[a] for a in self._order]
        index = np.unravel_index(row * self._columns + column, moved)
        return tuple(int(index[a]) for a in np.argsort(self._order))

    def _input(self, row: int, column: int) -> str:
        x = self._x[row]
        largest = f"maximum {x.max()} of {x.size}" if x.size else "empty row"
        return largest if self.function == "logsumexp" else f"x = {x[column]}, {largest}"

    def _blocks(self) -> Iterator[tuple[Index, _Exact]]:
        height = max(1, _BLOCK // max(1, self._length))
        for start in range(0, self._rows, height):
            band = slice(start, min(start + height, self._rows))
            rows = self._shared(band)
            if self.function == "logsumexp":
                yield (band, slice(1)), _totals(rows)
                continue
            for index in self._indices(band):
                yield index, _elements(self.function, *self._load(index), rows)

    def _indices(self, band: slice) -> list[Index]:
        return [(band, slice(i, i + _BLOCK)) for i in range(0, self._length, _BLOCK)]

    @np.errstate(all="ignore")
    def _load(self, index: Index) -> tuple[NDArray[Any], NDArray[np.bool_]]:
        """A block of x, and which of it takes part."""
        x = self._x[index].astype(self._lanes)
        return x, np.broadcast_to(True, x.shape) if self._where is None else self._where[index]

    @np.errstate(all="ignore")
    def _shared(self, band: slice) -> _Rows:
        temperature = None if self._temperature is None else self._temperature[band]
        rows = _Rows.empty(band.stop - band.start, self._lanes, temperature)
        for index in self._indices(band):
            rows = rows.surveyed(*self._load(index))
        rows = rows._replace(m=np.where(rows.live, rows.m, 0))
        for index in self._indices(band):
            rows = rows.summed(*self._load(index))
        return rows


def softmax(
    x: ArrayLike,
    axis: Axis = -1,
    *,
    where: ArrayLike | None = None,
    temperature: ArrayLike = 1.0,
    dtype: DTypeLike | None = None,
) -> Expected:
    """Say what ``stablesoftmax.softmax`` should return.

    exp((x - m) / T) / sum(exp((x - m) / T)) with m the row's maximum, and the limits of that where
    a row holds infinities.

    Parameters
    ----------
    x : array_like
        Logits: integers, float16, bfloat16, float32 or float64, each taken as exact.
    axis : int, tuple of int or None, default -1
        The axes of one row.
    where : array_like of bool, optional
        False entries take no part.
    temperature : array_like, default 1.0
        T >= 0, of the result's shape with `axis` reduced to 1; 0 and inf are limits.
    dtype : dtype-like, optional
        The result's dtype: by default that of `x`, float64 for integers.

    Returns
    -------
    Expected
        To be handed to `assert_max_ulp` or `ulp_error`.

    Raises
    ------
    TypeError
        If `x` has another dtype.
    ValueError
        If the temperature is negative or NaN.

    Notes
    -----
    Costs about 150 ns an element on one core, and a copy of `x`.

    Examples
    --------
    >>> from stablesoftmax import testing
    >>> hi, lo = testing.softmax([0.0, 40.0]).pair()
    >>> print(hi, lo[1])
    [4.24835426e-18 1.00000000e+00] -4.248354255291589e-18
    """
    return Expected("softmax", x, axis, where, temperature, dtype)


def log_softmax(
    x: ArrayLike,
    axis: Axis = -1,
    *,
    where: ArrayLike | None = None,
    temperature: ArrayLike = 1.0,
    dtype: DTypeLike | None = None,
) -> Expected:
    """Say what ``stablesoftmax.log_softmax`` should return.

    (x - m) / T - log1p(r) with m the row's maximum and r the sum of exp((x - m) / T) without one
    place of it, and the limits of that where a row holds infinities.

    Parameters
    ----------
    x : array_like
        Logits: integers, float16, bfloat16, float32 or float64, each taken as exact.
    axis : int, tuple of int or None, default -1
        The axes of one row.
    where : array_like of bool, optional
        False entries take no part.
    temperature : array_like, default 1.0
        T >= 0, of the result's shape with `axis` reduced to 1; 0 and inf are limits.
    dtype : dtype-like, optional
        The result's dtype: by default that of `x`, float64 for integers.

    Returns
    -------
    Expected
        To be handed to `assert_max_ulp` or `ulp_error`.

    Raises
    ------
    TypeError
        If `x` has another dtype.
    ValueError
        If the temperature is negative or NaN.

    Examples
    --------
    >>> from stablesoftmax import testing
    >>> hi, lo = testing.log_softmax([0.0, -40.0]).pair()
    >>> print(hi[0])
    -4.248354255291589e-18
    """
    return Expected("log_softmax", x, axis, where, temperature, dtype)


def logsumexp(
    x: ArrayLike,
    axis: Axis = None,
    *,
    where: ArrayLike | None = None,
    dtype: DTypeLike | None = None,
) -> Expected:
    """Say what ``stablesoftmax.logsumexp`` should return.

    m + log1p(r) with m the row's maximum and r the sum of exp(x - m) without one place of it, and
    the limits of that where a row holds infinities.

    Parameters
    ----------
    x : array_like
        Logits: integers, float16, bfloat16, float32 or float64, each taken as exact.
    axis : int, tuple of int or None, default None
        The axes of one row; None is all.
    where : array_like of bool, optional
        False entries take no part.
    dtype : dtype-like, optional
        The result's dtype: by default that of `x`, float64 for integers.

    Returns
    -------
    Expected
        To be handed to `assert_max_ulp` or `ulp_error`; `Expected.kappa` is its condition number.

    Raises
    ------
    TypeError
        If `x` has another dtype.

    Examples
    --------
    >>> from stablesoftmax import testing
    >>> hi, lo = testing.logsumexp([0.0, -700.0]).pair()
    >>> print(hi)
    9.85967654375977e-305
    """
    return Expected("logsumexp", x, axis, where, 1.0, dtype)


# --- units in the last place --------------------------------------------------------------------

#: Digits of the significand, and the exponent of the smallest normal number.
_FORMATS = {
    "float16": (11, -14),
    "bfloat16": (8, -126),
    "float32": (24, -126),
    "float64": (53, -1022),
}


@np.errstate(all="ignore")
def _ulps(actual: NDArray[Any], exact: _Exact) -> Floats:
    """The unit is the gap between neighbours of the dtype in the exact value's binade."""
    digits, least = _FORMATS[actual.dtype.name]
    value = actual.astype(np.float64)
    overflow = np.ldexp(1 - 2.0 ** -(digits + 1), 2 - least)
    overflows = abs(exact.hi * exact.scale) >= overflow
    hi, lo = np.where(overflows, np.copysign(np.inf, exact.hi), exact.hi), exact.lo
    binade = (hi.view(np.int64) & 0x7FF << 52).view(np.float64)
    below = np.copysign(lo, hi * lo) < -(2.0**-100) * binade  # to what double-double can tell
    binade = np.where((abs(hi) == binade) & below, binade / 2, binade)
    unit = np.maximum(binade * 2.0 ** (1 - digits), 2.0 ** (least + 1 - digits) / exact.scale)
    error = abs((value / exact.scale - hi) - lo) / unit
    same = (value == hi) | (np.isnan(value) & np.isnan(hi))
    error = np.where(np.isfinite(hi) & (hi != 0), error, np.where(same, 0.0, np.inf))
    minus_zero = (value == 0) & np.signbit(value) & ~np.signbit(hi)
    return np.where(minus_zero | np.isnan(error), np.inf, error)


def ulp_error(actual: ArrayLike, expected: Expected) -> Floats:
    """Return the distance from the exact result in units in the last place of the dtype.

    The unit is the gap between neighbouring numbers around the exact value; below the smallest
    normal number it is the smallest subnormal one. Zeros, infinities and NaN that are exact
    count 0 where they are met and inf where they are not; so does -0 where the exact value is not
    negative, and a number where the dtype overflows.

    Parameters
    ----------
    actual : array_like
        What the function returned.
    expected : Expected
        What `softmax`, `log_softmax` or `logsumexp` of this module say.

    Returns
    -------
    ndarray of float64
        The error of every element, never NaN.

    Raises
    ------
    AssertionError
        If the shape or the dtype is not the expected one.

    Examples
    --------
    >>> from stablesoftmax import testing
    >>> print(testing.ulp_error([0.5, 0.5000000000000002], testing.softmax([3.0, 3.0])))
    [0. 2.]
    """
    actual = np.asarray(actual)
    flat = expected._flat(actual)
    error = np.empty(flat.shape)
    for index, exact in expected._blocks():
        error[index] = _ulps(flat[index], exact)
    return expected._restored(error)


def assert_max_ulp(actual: ArrayLike, expected: Expected, max_ulp: float | None = None) -> None:
    """Raise unless every element is within a number of units in the last place.

    Parameters
    ----------
    actual : array_like
        What the function returned.
    expected : Expected
        What `softmax`, `log_softmax` or `logsumexp` of this module say.
    max_ulp : float, optional
        The limit; by default what `stablesoftmax.accuracy` promises for the function, the dtype,
        the temperature and, for logsumexp, the condition number.

    Raises
    ------
    AssertionError
        If an element is further away, or the shape or the dtype is not the expected one. The
        message names the worst element.

    Examples
    --------
    >>> import numpy as np
    >>> from stablesoftmax import testing
    >>> x = np.array([1.0, 2.0, 3.0])
    >>> testing.assert_max_ulp(np.exp(x) / np.exp(x).sum(), testing.softmax(x))
    >>> testing.assert_max_ulp(np.exp(x), testing.softmax(x), 2)
    Traceback (most recent call last):
        ...
    AssertionError: ...
    """
    flat = expected._flat(np.asarray(actual))
    worst, place = 0.0, (0, 0)
    for (rows, columns), exact in expected._blocks():
        error = _ulps(flat[rows, columns], exact)
        limit = expected._promised(exact) if max_ulp is None else max_ulp
        excess = np.where(error <= limit, 0.0, error)
        r, c = (int(i) for i in np.unravel_index(excess.argmax(), excess.shape))
        if excess[r, c] > worst:
            worst, place = excess[r, c], (rows.start + r, (columns.start or 0) + c)
            allowed = np.broadcast_to(limit, error.shape)[r, c]
            right = exact.hi[r, c] * exact.scale[r, c]
    if worst > 0:
        raise AssertionError(
            f"{expected.function}: {worst:.4g} ULP of {expected.dtype.name}, "
            f"{allowed:.4g} allowed, at {expected._coordinates(*place)}: "
            f"{flat[place]} instead of {right}; {expected._input(*place)}"
        )
