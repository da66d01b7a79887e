"""entropy and kl_divergence."""

import loss_oracle as oracle
import ml_dtypes
import numpy as np
import pytest
from conftest import bits, normal, peak
from inputs import FAMILIES, table

from stablesoftmax import entropy, kl_divergence
from stablesoftmax.accuracy import max_ulp

INF, NAN = np.inf, np.nan
JUDGED = sorted(set(FAMILIES) - {"adversarial", "special", "largest", "magnitudes", "bits"})


@pytest.mark.parametrize("family", JUDGED)
def test_accuracy_of_the_entropy(family, dtype):
    x = table(family, dtype)[::28, :41]
    wanted = [oracle.entropy(row) for row in x]
    seen = [i for i, value in enumerate(wanted) if value > 1e-300]
    got = entropy(x)[seen]
    assert got.dtype == dtype
    assert oracle.worst(got, [wanted[i] for i in seen], dtype) <= max_ulp("entropy", dtype)


@pytest.mark.parametrize("gap", [20, 40, 300, 680])
def test_a_nearly_certain_distribution_has_an_entropy(gap):
    x = [0.7, 0.1 - gap, 0.37 - gap]
    assert oracle.error(entropy(x), oracle.entropy(x), np.float64) <= 4


@pytest.mark.parametrize("offset", [7, 1000.3])  # whose rounding differs from entry to entry
@pytest.mark.parametrize("near", [1e-12, 1e-9, 1e-4, 0.3, 0.9, 3, 40, 300])
def test_accuracy_of_the_divergence(near, offset, dtype):
    """Of the numbers that are given: in float32, near ones differ in few digits, but exactly so."""
    rng = np.random.default_rng(1)
    x = (rng.normal(size=(6, 31)) * 3).astype(dtype)
    with np.errstate(over="ignore"):
        y = (x.astype(float) + near * rng.normal(size=x.shape) + offset).astype(dtype)
    for row, other, got in zip(x, y, kl_divergence(x, y), strict=True):
        exact = oracle.kl_divergence(row, other)
        assert abs(oracle.mpf(float(got)) - exact) <= 1e-14 * exact + 0.51 * oracle.ulp(
            exact, dtype
        )


@pytest.mark.parametrize("gap", [5.1, 77.35, 300.2])
def test_divergence_of_nearly_certain_rows(gap):
    """p = exp(-77.35) is not exp of the rounded difference: that is 38 ULP off."""
    x, y = [37.71906633, 37.71906633 - gap], [56.71601454, 56.71601454 - 2.7 * gap]
    assert oracle.error(kl_divergence(x, y), oracle.kl_divergence(x, y), np.float64) <= 6


def test_divergence_from_itself_is_0(dtype):
    x = normal((5, 30), dtype, 10)
    assert not kl_divergence(x, x).astype(float).any()
    assert (kl_divergence(x, x[::-1]).astype(float) >= 0).all()


ENTROPIES = [
    ([0.0, -INF], 0),
    ([-INF, -INF], NAN),
    ([INF, 1.0], 0),
    ([INF, INF, 1], NAN),
    ([NAN, 1.0], NAN),
    ([1.0, NAN], NAN),
    ([2.0], 0),
    ([0.0, 0, -INF, 0], np.log(3)),
]


@pytest.mark.parametrize(("x", "wanted"), ENTROPIES)
def test_limits_of_the_entropy(x, wanted, dtype):
    exact = np.array(wanted, dtype).astype(float)
    rounding = float(max_ulp("entropy", dtype) * ml_dtypes.finfo(dtype).eps)  # of log(3)
    np.testing.assert_allclose(entropy(np.array(x, dtype)).astype(float), exact, rtol=rounding)


DIVERGENCES = [
    ([0.0, -INF], [0.0, 0], np.log(2)),
    ([0.0, 0], [0.0, -INF], INF),
    ([0.0, -INF, 0], [5.0, -INF, 5], 0),
    ([INF, 0.0], [0.0, 0], np.log(2)),
    ([0.0, 0], [INF, 0.0], INF),
    ([INF, 0.0], [INF, 3.0], 0),
    ([INF, 0.0], [3.0, INF], INF),
    ([-INF, -INF], [0.0, 0], NAN),
    ([0.0, 0], [INF, INF], NAN),
    ([NAN, 0.0], [0.0, 0], NAN),
    ([0.0, 0], [0.0, NAN], NAN),
]


@pytest.mark.parametrize(("x", "y", "wanted"), DIVERGENCES)
def test_limits_of_the_divergence(x, y, wanted):
    np.testing.assert_allclose(kl_divergence(x, y), wanted, rtol=1e-15, atol=1e-300)


def test_where_is_leaving_out():
    x, y = normal((4, 9), np.float64), normal((4, 9), np.float64, seed=1)
    where = np.arange(9) % 3 > 0
    holed, holed_too = np.where(where, x, NAN), np.where(where, y, INF)
    np.testing.assert_allclose(entropy(holed, where=where), entropy(x[:, where]), rtol=1e-15)
    np.testing.assert_allclose(
        kl_divergence(holed, holed_too, where=where),
        kl_divergence(x[:, where], y[:, where]),
        rtol=1e-14,
    )
    assert entropy(x, where=False).tolist() == [0] * 4
    assert kl_divergence(x, y, where=False).tolist() == [0] * 4


def test_temperature():
    x = normal((4, 9), np.float64)
    np.testing.assert_allclose(entropy(x, temperature=0.5), entropy(x * 2), rtol=1e-15)
    own = np.array([[0.0], [0.5], [1.0], [INF]])
    got = entropy(x, temperature=own)
    np.testing.assert_allclose(got, [0, entropy(2 * x[1]), entropy(x[2]), np.log(9)], rtol=1e-15)


def test_axes(dtype):
    x, y = normal((3, 4, 5), dtype), normal((4, 1), dtype, seed=1)
    assert bits(entropy(x, (0, 2))) == bits(entropy(np.moveaxis(x, 1, 0).reshape(4, 15)))
    assert bits(entropy(x, None)) == bits(entropy(x.ravel()))
    assert entropy(x, 0).shape == (4, 5)
    assert bits(kl_divergence(x, y, 1)) == bits(
        kl_divergence(np.moveaxis(x, 1, -1), np.broadcast_to(y[:, 0], (3, 5, 4)))
    )
    assert entropy(np.zeros((3, 0))).tolist() == [0, 0, 0]


def test_dtypes():
    x = np.arange(6).reshape(2, 3)
    assert bits(entropy(x)) == bits(entropy(x.astype(float)))
    wide = entropy(x.astype(np.longdouble))
    assert wide.dtype == np.longdouble
    np.testing.assert_allclose(wide.astype(float), entropy(x), rtol=1e-15)
    assert kl_divergence(x.astype(np.float16), x.astype(ml_dtypes.bfloat16)).dtype == np.float32
    assert isinstance(entropy([1.0, 2.0]), np.float64)


@pytest.mark.usefixtures("strict")
def test_nothing_is_said_of_underflow():
    x = np.array([[0, -90, -800], [INF, INF, NAN]])
    entropy(x, temperature=1e-300)
    kl_divergence(x, x[::-1])
    entropy(np.float16([0, -30, -60000]))


def test_memory():
    x = np.zeros((1024, 2048))
    assert peak(lambda: entropy(x)) < 24 << 20 > peak(lambda: kl_divergence(x, x)) - (8 << 20)


BAD = [
    (entropy, (np.zeros(3) > 0,), {}, TypeError, "x has dtype bool"),
    (entropy, (np.zeros(3, complex),), {}, TypeError, "x has dtype complex128; accepted are"),
    (entropy, (np.zeros(3), 1), {}, np.exceptions.AxisError, "axis 1 is out of bounds"),
    (entropy, (np.zeros(3),), {"temperature": -1}, ValueError, "temperature must be 0, positive"),
    (entropy, (np.zeros(3),), {"where": [1, 0, 1]}, TypeError, "where must be bool"),
    (kl_divergence, (np.zeros(3), np.zeros(4)), {}, ValueError, "q_logits of shape"),
    (kl_divergence, (np.zeros(3), ["a"]), {}, TypeError, "q_logits has dtype <U1"),
]


@pytest.mark.parametrize(("function", "arguments", "options", "error", "message"), BAD)
def test_bad_input(function, arguments, options, error, message):
    with pytest.raises(error, match=f"^{message}"):
        function(*arguments, **options)


@pytest.mark.parametrize("axis", [0, -1, (0, 2), None])
@pytest.mark.parametrize("kind", ["f4", "f8", "g", "i4"])
def test_keepdims(axis, kind):
    x = (np.random.default_rng(0).normal(size=(3, 4, 5)) * 3).astype(kind)
    axes = tuple(range(3)) if axis is None else axis
    for f, given in ((entropy, (x,)), (kl_divergence, (x, x[::-1]))):
        kept = f(*given, axis, keepdims=True)
        assert kept.shape == np.sum(x, axes, keepdims=True).shape
        assert bits(kept) == bits(np.expand_dims(f(*given, axis), axes))
        assert bits(f.__wrapped__(*given, axis, keepdims=True)) == bits(kept)
