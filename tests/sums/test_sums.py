"""logmeanexp and logcumsumexp."""

import loss_oracle as oracle
import ml_dtypes
import numpy as np
import pytest
from conftest import arrangements, bits, normal, peak
from inputs import FAMILIES, table

import stablesoftmax
from stablesoftmax import logcumsumexp, logmeanexp, logsumexp
from stablesoftmax.accuracy import max_ulp

INF, NAN = np.inf, np.nan
JUDGED = sorted(set(FAMILIES) - {"adversarial", "special"})


@pytest.mark.parametrize("family", JUDGED)
def test_accuracy_of_the_scan(family, dtype):
    x = table(family, dtype)[::40, :53]
    got = logcumsumexp(x)
    assert got.dtype == dtype
    for row, y in zip(x, got, strict=True):
        exact, kappa = zip(*oracle.logcumsumexp(row), strict=True)
        limits = max_ulp("logcumsumexp", dtype, kappa=kappa)
        assert oracle.worst(y, exact, dtype, limits.tolist()) <= 1


@pytest.mark.parametrize(
    "x",
    [
        np.linspace(0, 1, 20_001),  # a new maximum at each step: no error may pile up
        np.linspace(-900, 900, 20_001),
        np.linspace(0, -800, 5_001),
        np.arange(-4000.0, 4000, 61),
        np.full(20_001, -16.7),
    ],
    ids=["slow rise", "long rise", "fall", "leaps", "flat"],
)
def test_a_long_scan(x):
    exact, kappa = zip(*oracle.logcumsumexp(x), strict=True)
    some = np.unique(np.geomspace(1, len(x), 400).astype(int)) - 1
    got = logcumsumexp(x)
    errors = [oracle.error(got[i], exact[i], np.float64) / kappa[i] for i in some]
    assert max(errors) <= 1.5


def test_the_end_of_a_scan_is_logsumexp(dtype):
    x = normal((20, 3000), dtype, 8)
    rtol = 4 * float(ml_dtypes.finfo(dtype).eps)
    last, whole = logcumsumexp(x)[:, -1], logsumexp(x, 1)
    np.testing.assert_allclose(last.astype(float), whole.astype(float), rtol=rtol)


SCANS = [
    ([-INF, -INF, 1.0, -INF], [-INF, -INF, 1, 1]),
    ([1.0, INF, 2, INF, -INF], [1, INF, INF, INF, INF]),
    ([1.0, NAN, 2, INF], [1, NAN, NAN, NAN]),
    ([-INF, INF, NAN, 0], [-INF, INF, NAN, NAN]),
    ([NAN, -INF], [NAN, NAN]),
    ([0.0, -40], [0, 4.248354255291589e-18]),
    ([0.0, -700], [0, 9.85967654375977e-305]),
    ([-3000.0, 0, 3000, -INF], [-3000, 0, 3000, 3000]),
    ([-1e308, 1e308, -1e308], [-1e308, 1e308, 1e308]),
    ([], []),
]


@pytest.mark.parametrize(("x", "wanted"), SCANS)
def test_limits_of_the_scan(x, wanted):
    np.testing.assert_allclose(logcumsumexp(np.array(x)), wanted, rtol=2e-16)


def test_a_scan_in_every_layout(dtype):
    """Bit for bit, with any strides, axis and number of threads; and the input is not written."""
    x = normal((7, 700), dtype, 5)
    x[2, 300], x[3, 400], x[4] = INF, NAN, -INF
    x.flags.writeable = False
    wanted = logcumsumexp(x)
    for name, same in arrangements(x):
        assert bits(logcumsumexp(same)) == bits(wanted), name
    assert bits(logcumsumexp(x.T, 0).T) == bits(wanted)
    assert bits(logcumsumexp(x[3])) == bits(wanted[3])
    tall = np.tile(x, (60, 1))
    with stablesoftmax.num_threads(3):
        assert bits(logcumsumexp(tall)) == bits(np.tile(wanted, (60, 1)))


def test_a_scan_of_other_dtypes():
    x = np.arange(12).reshape(3, 4)
    assert bits(logcumsumexp(x)) == bits(logcumsumexp(x.astype(float)))
    assert bits(logcumsumexp(x, 0)) == bits(logcumsumexp(x.astype(float), 0))
    wide = logcumsumexp(x.astype(np.longdouble))
    assert wide.dtype == np.longdouble
    np.testing.assert_allclose(wide.astype(float), logcumsumexp(x), rtol=1e-15)


def test_memory():
    x = np.zeros((1024, 2048))
    assert peak(lambda: logcumsumexp(x)) < x.nbytes + (4 << 20)
    assert peak(lambda: logmeanexp(x)) < 4 << 20


def test_the_mean(dtype):
    x = normal((6, 30), dtype, 2)
    got = logmeanexp(x, 1)
    assert got.dtype == dtype
    for row, y in zip(x, got, strict=True):
        exact, kappa = oracle.logcumsumexp(row)[-1]
        exact_mean = exact - oracle.CONTEXT.log(30)
        kappa = float((kappa * abs(exact) + oracle.CONTEXT.log(30)) / abs(exact_mean))
        limit = 2 * kappa if dtype == np.float64 else 0.51
        assert oracle.error(y, exact_mean, dtype) <= limit


def test_the_mean_of_what_takes_part():
    x = normal((4, 5), np.float64)
    where = np.array([True, False, True, True, False])
    got = logmeanexp(np.where(where, x, NAN), 1, where=where)
    np.testing.assert_allclose(got, logmeanexp(x[:, where], 1), rtol=1e-15)
    assert logmeanexp(x, keepdims=True).shape == (1, 1)
    assert logmeanexp(x, (0, 1)) == logmeanexp(x)
    assert logmeanexp(x, 0, where=where[None], keepdims=True).shape == (1, 5)
    assert isinstance(logmeanexp([1, 1]), np.float64)
    assert logmeanexp(np.array([1j, 1j])) == pytest.approx(1j)


@pytest.mark.usefixtures("strict")
def test_limits_of_the_mean():
    assert np.isnan(logmeanexp([]))
    assert np.isnan(logmeanexp([1.0, 2.0], where=False))
    assert logmeanexp([-INF, -INF]) == -INF
    assert logmeanexp([INF, 0.0]) == INF
    assert np.isnan(logmeanexp([NAN, INF]))
    assert logmeanexp([800.0, 800.0]) == 800
    assert logmeanexp(np.float16([60000, 60000])) == 60000


BAD = [
    (logcumsumexp, (3.0,), ValueError, "x must have at least 1 dimension, got a scalar"),
    (logcumsumexp, (np.zeros(3), None), TypeError, "axis must be an int, got None"),
    (logcumsumexp, (np.zeros(3), 1), np.exceptions.AxisError, "axis 1 is out of bounds"),
    (logcumsumexp, (np.zeros(3, complex),), TypeError, "x has dtype complex128; accepted are"),
    (logmeanexp, (np.zeros(3) > 0,), TypeError, "x has dtype bool"),
    (logmeanexp, (["a"],), TypeError, "x has dtype <U1"),
    (logmeanexp, (np.zeros(3), 1), np.exceptions.AxisError, "axis 1 is out of bounds"),
]


@pytest.mark.parametrize(("function", "arguments", "error", "message"), BAD)
def test_bad_input(function, arguments, error, message):
    with pytest.raises(error, match=f"^{message}"):
        function(*arguments)


@pytest.mark.parametrize("axis", [0, 1])
def test_cumulation_of_what_takes_part(dtype, axis):
    x = normal((30, 300), dtype, 3)
    where = np.random.default_rng(3).random(x.shape) < 0.6
    low = np.where(where, x.astype(float), -np.inf).astype(dtype)
    x[~where] = np.nan
    assert bits(logcumsumexp(x, axis, where=where)) == bits(logcumsumexp(low, axis))
    nothing = logcumsumexp(x, axis, where=False * where)
    assert (nothing.astype(float) == -np.inf).all()


def test_cumulation_of_other_dtypes_that_take_part():
    where = [False, True, False, True]
    exact = [-np.inf, 1, 1, np.logaddexp(1, 2)]
    for kind in (np.longdouble, np.int64, ">f8"):
        x = np.array([9, 1, 50, 2]).astype(kind)
        np.testing.assert_allclose(logcumsumexp(x, where=where).astype(float), exact)
