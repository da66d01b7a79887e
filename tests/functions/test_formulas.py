"""The readable specification: against mpmath, and the kernels against it."""

import cmath

import mpmath
import numpy as np
import pytest
from conftest import FLOATS, bits

import stablesoftmax
from stablesoftmax import UndefinedSoftmaxError, log_softmax, logsumexp, softmax
from stablesoftmax.functions import formulas

INF, NAN = np.inf, np.nan
POLICIES = {"nan": 0, "zero": 1, "uniform": 2}

LONG = np.dtype(np.longdouble)
COMPLEX = [np.dtype(np.complex64), np.dtype(np.complex128), np.dtype(np.clongdouble)]


@pytest.fixture(autouse=True)
def _precision(strict):
    with mpmath.workdps(50):
        yield


def exact(z):
    """An mpmath number of any finite NumPy scalar; of a longdouble, in two halves."""
    if np.iscomplexobj(z):
        return mpmath.mpc(exact(z.real), exact(z.imag))
    fraction, exponent = np.frexp(z)
    high = np.float64(fraction)
    return mpmath.ldexp(mpmath.mpf(high) + mpmath.mpf(float(fraction - high)), int(exponent))


def error(actual, expected):
    """The largest relative error, in units of the dtype's epsilon."""
    eps = float(np.finfo(actual.dtype).eps)
    pairs = zip(np.ravel(actual), np.ravel(expected), strict=True)
    return max(float(abs(exact(a) / e - 1)) / eps for a, e in pairs)


def sums(x, b=1):
    """The exact sum of b * exp(x), and its terms."""
    weights = np.broadcast_to(b, x.shape)
    terms = [exact(w) * mpmath.exp(exact(v)) for v, w in zip(x, weights, strict=True)]
    return mpmath.fsum(terms), terms


# ---- against mpmath ------------------------------------------------------------------------


@pytest.mark.parametrize("scale", [0.1, 1, 10])
@pytest.mark.parametrize("dtype", [LONG, *COMPLEX], ids=str)
def test_softmax(dtype, scale):
    """A few ULP, and what rounding x - max costs: half an ulp of it."""
    for x in numbers(dtype, scale):
        total, terms = sums(x)
        limit = 8 + 2 * np.ptp(x.real) + np.abs(x.imag).max()
        assert error(softmax(x), [t / total for t in terms]) < condition(terms) * limit
        assert error(np.exp(log_softmax(x)), [t / total for t in terms]) < condition(terms) * limit


def condition(terms):
    return float(mpmath.fsum(map(abs, terms)) / abs(mpmath.fsum(terms)))


# row: softmax; by the real parts, as for real rows
COMPLEX_ROWS = {
    "one +inf": ([complex(INF, 1), 3, 1000 - 1j], [1, 0, 0]),
    "some -inf": ([-INF, 2j, 2j], [0, 0.5, 0.5]),
    "several +inf": ([INF, 0, INF], [NAN, 0, NAN]),
    "all -inf": ([-INF, -INF], [NAN, NAN]),
    "a NaN": ([NAN, 1j], [NAN, NAN]),
}


@pytest.mark.parametrize("dtype", COMPLEX, ids=str)
@pytest.mark.parametrize("row", COMPLEX_ROWS)
def test_degenerate_complex_row(dtype, row):
    x, expected = np.array(COMPLEX_ROWS[row][0], dtype), np.array(COMPLEX_ROWS[row][1], dtype)
    np.testing.assert_array_equal(softmax(x).real, expected.real)
    np.testing.assert_allclose(np.exp(log_softmax(x)).real, expected.real, rtol=1e-6)
    if np.isnan(expected).any() and row != "a NaN":
        assert softmax(x, undefined="zero").tolist() == [0] * x.size
        assert np.isclose(softmax(x, undefined="uniform").sum(), 1)
        with pytest.raises(UndefinedSoftmaxError):
            softmax(x, undefined="raise")
    else:
        np.testing.assert_array_equal(softmax(x, undefined="raise").real, expected.real)


def test_complex_temperature():
    x = np.array([1 + 1j, 1 + 1j, -2, -INF])
    assert softmax(x, temperature=0).tolist() == [0.5, 0.5, 0, 0]
    np.testing.assert_allclose(softmax(x, temperature=np.inf), [1 / 3, 1 / 3, 1 / 3, 0])
    half = np.array([0.5 + 0.5j, 0.5 + 0.5j, -1, -INF])
    np.testing.assert_allclose(softmax(x, temperature=2), softmax(half), rtol=1e-14)


def test_complex_where():
    x, where = np.array([1j, NAN, INF, -1]), [True, False, False, True]
    expected = np.exp([1j, -1]) / np.exp([1j, -1]).sum()
    result = softmax(x, where=where)
    np.testing.assert_allclose(result[where], expected, rtol=1e-14)
    assert result[1] == result[2] == 0
    result = log_softmax(x, where=where)
    np.testing.assert_allclose(np.exp(result[where]), expected, rtol=1e-14)
    assert result[1] == result[2] == -INF
    np.testing.assert_allclose(logsumexp(x, where=where), np.log(np.exp([1j, -1]).sum()))


def test_log_softmax_of_a_dominated_row():
    result = log_softmax(np.array([0, -40, -50], LONG))
    rest = mpmath.exp(-40) + mpmath.exp(-50)
    assert error(result, [-mpmath.log1p(rest) - gap for gap in (0, 40, 50)]) < 4


@pytest.mark.parametrize("dtype", [LONG, *COMPLEX], ids=str)
@pytest.mark.parametrize("scale", [0.1, 1, 30, 300])
def test_logsumexp(dtype, scale):
    for x in numbers(dtype, scale):
        total, terms = sums(x)
        limit = float(8 + 2 * np.ptp(x.real) + np.abs(x.imag).max()) * condition(terms)
        value, sign = logsumexp(x, return_sign=True)
        eps = float(np.finfo(dtype).eps)
        assert abs(exact(value) - mpmath.log(abs(total))) < eps * (
            limit + float(np.abs(x.real).max())
        )
        assert error(np.asarray(sign), total / abs(total)) < limit
        whole = logsumexp(x)
        assert whole.dtype == dtype
        assert abs(mpmath.exp(exact(whole) - mpmath.log(total)) - 1) < eps * (
            limit + float(abs(value))
        )


def numbers(dtype, scale):
    rng = np.random.default_rng(0)
    for n in (1, 2, 7, 40):
        x = rng.normal(size=n) * scale
        if dtype.kind == "c":
            x = x + 1j * rng.normal(size=n) * 3
        yield x.astype(dtype)


@pytest.mark.parametrize("dtype", COMPLEX, ids=str)
def test_principal_branch(dtype):
    """Imaginary parts lie in (-pi, pi], wherever those of x lie."""
    x = np.linspace(-20, 20, 201)[:, None] * 1j + np.array([0, -1])
    result = logsumexp(x.astype(dtype), axis=1)
    assert np.all(np.abs(result.imag) <= np.float32(np.pi))
    expected = np.log(np.exp(x).sum(axis=1))
    np.testing.assert_allclose(result, expected.astype(dtype), rtol=1e-5)
    for zero in (0.0, -0.0):
        assert logsumexp(np.array([complex(0, zero)], dtype), b=-1).imag > 3


def test_infinite_with_no_phase():
    result = logsumexp([complex(INF, INF)])
    assert result.real == INF
    assert np.isnan(result.imag)


def test_small_imaginary_part():
    assert logsumexp([0, 2.2204460492503132e-17j]).imag == 1.1102230246251566e-17


# ---- weights -------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [*FLOATS.values(), LONG], ids=str)
@pytest.mark.parametrize("scale", [0.1, 1, 10])
def test_weights(dtype, scale):
    rng = np.random.default_rng(1)
    for n in (1, 2, 3, 10, 100):
        x = (rng.normal(size=n) * scale).astype(dtype)
        b = rng.normal(size=n).astype(dtype)
        total, terms = sums(x.astype(LONG), b.astype(LONG))
        value, sign = logsumexp(x, b=b, return_sign=True)
        assert value.dtype == sign.dtype == dtype
        assert sign == mpmath.sign(total)
        wide = np.longdouble if dtype == LONG else np.float64
        inner = 16 * float(np.finfo(wide).eps) * condition(terms)
        unit = 0 if dtype == LONG else float(np.spacing(np.abs(value)))
        unsigned = logsumexp(x, b=b)  # the kernel's; with a sign it is the formula's
        assert np.isnan(unsigned) == (sign < 0)
        for one in (value, unsigned)[: 1 if sign < 0 else 2]:
            assert abs(exact(one.astype(LONG)) - mpmath.log(abs(total))) < inner + unit


WEIGHTED = {
    # x, b: value, sign
    "cancelled": ([1000, 1000], [1, -1], -INF, 0),
    "excluded inf": ([INF, 3], [0, 1], 3, 1),
    "excluded NaN": ([NAN, 3], [0, 1], 3, 1),
    "all excluded": ([INF, NAN], [0, 0], -INF, 0),
    "all -inf": ([-INF, -INF], [1, -1], -INF, 0),
    "-inf takes no part": ([-INF, 3], [-5, 1], 3, 1),
    "+inf": ([INF, 1000], [2, -1], INF, 1),
    "-inf of it": ([INF, 1000], [-2, 1], INF, -1),
    "inf - inf": ([INF, INF], [1, -1], NAN, NAN),
    "a NaN": ([NAN, 1], [1, 1], NAN, NAN),
    "a NaN weight": ([0, 1], [NAN, 1], NAN, NAN),
    "an infinite weight": ([0, 1], [-INF, 1], INF, -1),
    "inf * 0": ([-INF, 1], [INF, 1], NAN, NAN),
    "a small weight on the maximum": ([0, 1000], [1e300, 1e-300], 300 * np.log(10), 1),
    "a large weight far below it": ([0, -1000], [1e-300, 1e300], 300 * np.log(10) - 1000, 1),
    "weights whose sum overflows": ([0, 0], [1.7e308, 1.7e308], INF, 1),
    "near 1": ([0, -40], [1, 1], np.exp(-40.0), 1),
    "near -1": ([0, -40], [-1, -1], np.exp(-40.0), -1),
    "just below 1": ([0, -40], [1, -1], -np.exp(-40.0), 1),
    "the maximum's weight is negative": ([0, 0.5], [2, -1], np.log(2 - np.exp(0.5)), 1),
    "empty": ([], [], -INF, 0),
}


@pytest.mark.parametrize("case", WEIGHTED)
def test_weighted(case):
    x, b, value, sign = WEIGHTED[case]
    expected = (value, sign)
    np.testing.assert_allclose(logsumexp(x, b=b, return_sign=True), expected, rtol=4e-15)
    unsigned = NAN if sign < 0 else value
    np.testing.assert_allclose(logsumexp(x, b=b), unsigned, rtol=4e-15)
    if np.isfinite(sum(b)):
        np.testing.assert_allclose(logsumexp(np.array(x, LONG), b=b), unsigned, rtol=4e-15)


def test_a_long_sum_of_either_sign():
    """A running sum would be off by 1e-13 here; twice as many digits are carried."""
    x = np.zeros(1_000_001)
    b = np.resize([1.1, -1.1], x.size)
    np.testing.assert_allclose(logsumexp(x, b=b), np.log(1.1), rtol=3e-16)
    b = np.full(x.size, 0.1)
    expected = float(mpmath.log(mpmath.mpf(0.1) * x.size))
    np.testing.assert_allclose(logsumexp(x, b=b), expected, rtol=3e-16)


@pytest.mark.parametrize(
    ("x", "b", "dtype"),
    [
        ("f4", "f4", "f4"),
        ("f4", "f8", "f8"),
        ("f2", "i1", "f8"),
        ("i4", "f4", "f8"),
        ("u1", "u1", "f8"),
        ("f8", "g", "g"),
        ("f4", "c8", "c8"),
        ("f8", "c8", "c16"),
        ("c8", "f4", "c8"),
    ],
)
def test_dtype_of_a_weighted_sum(x, b, dtype):
    result = logsumexp(np.ones(3, x), b=np.ones(3, b))
    assert result.dtype == np.dtype(dtype)
    np.testing.assert_allclose(result, 1 + np.log(3), rtol=1e-6)


def test_a_plain_number_as_weight_widens_nothing(dtype):
    assert logsumexp(np.ones(3, dtype), b=2).dtype == dtype
    assert logsumexp(np.ones(3, dtype), b=2.0).dtype == dtype


def test_weights_broadcast_with_x():
    rng = np.random.default_rng(2)
    x, b = rng.normal(size=(4, 1, 2, 1)), rng.normal(size=(3, 1, 5))
    value, sign = logsumexp(x, axis=(0, 2), b=b, return_sign=True, keepdims=True)
    assert value.shape == sign.shape == (1, 3, 1, 5)
    expected = (b * np.exp(x)).sum(axis=(0, 2), keepdims=True)
    np.testing.assert_allclose(sign * np.exp(value), expected, rtol=1e-13)


def test_weights_of_wide_integers():
    x = np.array([2**62, 2**62 - 1])
    assert logsumexp(x, b=[2, 1]) == float(2**62)
    value, sign = logsumexp(x, b=[-2.0, 0.0], return_sign=True)
    assert (value, sign) == (float(2**62), -1)


def test_a_weight_outdoes_its_exponential():
    """exp(-1100) is nothing beside exp(0), but not times 1e600."""
    x, b = np.array([0.0, -1100.0]), np.array([1e-300, 1e300])
    np.testing.assert_allclose(logsumexp(x, b=b), np.log(1e300) - 1100, rtol=1e-15)


def test_weights_with_where():
    x, b = np.array([[1.0, NAN, 3.0]] * 2), np.array([2.0, 1.0, -1.0])
    where = np.array([[True, False, False], [False, False, True]])
    value, sign = logsumexp(x, 1, b=b, where=where, return_sign=True)
    np.testing.assert_allclose(value, [1 + np.log(2), 3], rtol=1e-15)
    assert sign.tolist() == [1, -1]
    for junk in (INF, NAN):
        assert logsumexp([1.0, 2.0], b=[1, junk], where=[True, False]) == 1


@pytest.mark.parametrize("x", [-1 + 2j, 3 + 0.5j, 1j])
def test_complex_weights(x):
    b = 2 - 1j
    np.testing.assert_allclose(logsumexp([x, 0], b=[b, 1]), cmath.log(b * cmath.exp(x) + 1))


# ---- signs without weights -----------------------------------------------------------------


def test_sign(dtype):
    x = np.array([[1, 2], [-INF, -INF], [INF, 1], [NAN, 1]], dtype)
    value, sign = logsumexp(x, 1, return_sign=True)
    assert bits(value) == bits(logsumexp(x, 1))
    np.testing.assert_array_equal(sign.astype(float), [1, 0, 1, NAN])
    assert value.dtype == sign.dtype == dtype


def test_sign_of_complex():
    value, sign = logsumexp(np.array([1 + 2j, 1 + 2j]), return_sign=True)
    assert value.dtype == np.float64
    assert sign.dtype == np.complex128
    np.testing.assert_allclose([value, sign], [1 + np.log(2), np.exp(2j)])
    assert logsumexp(np.array([-INF + 1j]), return_sign=True) == (-INF, 0)


def test_sign_in_out():
    out = np.empty(2, np.float32)
    value, sign = logsumexp(np.eye(2), 1, return_sign=True, out=out)
    assert value is out
    assert sign.tolist() == [1, 1]


# ---- the kernels against the specification -------------------------------------------------


@pytest.mark.parametrize("name", ["softmax", "log_softmax", "logsumexp"])
@pytest.mark.parametrize("undefined", POLICIES)
@pytest.mark.parametrize("options", ["", "where", "temperature", "where temperature"])
def test_kernels_agree(dtype, name, undefined, options):
    """In every combination of degenerate entries, mask, temperature and policy."""
    rng = np.random.default_rng(3)
    x = rng.choice([-INF, INF, NAN, 0.0, -1.0, 2.5], (2000, 4), p=[0.3, 0.3, 0.05, 0.1, 0.15, 0.1])
    x = x.astype(dtype)
    where = rng.random(x.shape) < 0.7 if "where" in options else None
    if name == "logsumexp":
        actual = logsumexp(x, 1, where=where)
        with np.errstate(all="ignore"):
            expected = formulas.logsumexp(x.astype(LONG), where, None)
    else:
        t = rng.choice([0, 0.5, 1, INF], 2000) if "temperature" in options else np.ones(2000)
        actual = getattr(stablesoftmax, name)(
            x, where=where, temperature=t[:, None], undefined=undefined
        )
        with np.errstate(all="ignore"):
            specified = getattr(formulas, name)
            expected = specified(x.astype(LONG), where, t, POLICIES[undefined])
    assert actual.dtype == dtype
    eps = 2.0**-7 if dtype == FLOATS["bfloat16"] else float(np.finfo(dtype).eps)
    np.testing.assert_allclose(actual.astype(LONG), expected, rtol=4 * eps, atol=4 * eps)
    if name != "logsumexp":
        undefined_rows = formulas.undefined_rows(x.astype(LONG), where)
        assert undefined_rows.any()
        if undefined != "nan":
            assert not np.isnan(actual[undefined_rows].astype(float)).any()
