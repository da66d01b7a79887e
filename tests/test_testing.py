"""The oracle against mpmath, and proof that its assertions can fail."""

import mpmath
import numpy as np
import pytest
from inputs import DTYPES, FAMILIES, FUNCTIONS, epsilon, maximum, smallest_normal, table, tiniest

from stablesoftmax import testing
from stablesoftmax.accuracy import MAX_ULP, markdown, max_ulp

INF, NAN = np.inf, np.nan
BITS = 200


def by_mpmath(function, row, temperature=1.0):
    """The function of one row of finite numbers and -inf, and its condition number."""
    with mpmath.workprec(2200):  # 1e308 - 1e-308 is exact
        x = [mpmath.mpf(v) for v in row.tolist()]
        k = max(range(len(x)), key=x.__getitem__)
        gaps = [v - x[k] for v in x]
    with mpmath.workprec(BITS):
        gaps = [gap / mpmath.mpf(temperature) for gap in gaps]
        terms = [mpmath.exp(gap) for gap in gaps]
        r = mpmath.fsum(terms[:k] + terms[k + 1 :])
        if function == "softmax":
            return [(term / (1 + r), 1.0) for term in terms]
        if function == "log_softmax":
            return [(gap - mpmath.log1p(r), 1.0) for gap in gaps]
        total = x[k] + mpmath.log1p(r)
        return [(total, float((abs(x[k]) + mpmath.log1p(r)) / abs(total)) if total else 1.0)]


def ulps_by_mpmath(actual, right):
    dtype = actual.dtype
    with mpmath.workprec(BITS):
        binade = mpmath.ldexp(1, mpmath.frexp(right * (1 + mpmath.ldexp(1, -100)))[1] - 1)
        unit = max(epsilon(dtype) * max(binade, mpmath.mpf(smallest_normal(dtype))), tiniest(dtype))
        return float(abs(mpmath.mpf(float(actual)) - right) / unit)


def disagreement(function, x, **options):
    """The oracle's opinion of results that are up to 3 ULP off, less mpmath's, in ULP times κ."""
    expected = getattr(testing, function)(x, axis=-1, **options)
    with np.errstate(over="ignore", under="ignore"):
        hi = expected.pair()[0]
        slips = np.random.default_rng(5).integers(-3, 4, hi.shape)
        actual = (hi * (1 + slips * epsilon(x.dtype))).astype(x.dtype)
    judged = actual, testing.ulp_error(actual, expected), expected.kappa()
    actual, error, kappa = (a.reshape(len(x), -1) for a in judged)
    worst = 0.0
    for i, row in enumerate(x):
        temperature = np.ravel(options.get("temperature", 1.0))
        exact = by_mpmath(function, row, float(temperature[i % temperature.size]))
        for j, (right, condition) in enumerate(exact):
            assert kappa[i, j] == pytest.approx(condition, rel=1e-3)
            if right == 0 or abs(right) > maximum(x.dtype) or not np.isfinite(actual[i, j]):
                continue  # a matter of match or no match: below
            difference = abs(error[i, j] - ulps_by_mpmath(actual[i, j], right))
            worst = max(worst, difference / condition)
    return worst


def sample(family, dtype):
    """A few rows of a family, each with its four largest elements."""
    x = -np.sort(-table(family, dtype)[::16].astype(np.float64), axis=1).astype(dtype)
    some = np.r_[:4, 4 : x.shape[1] : x.shape[1] // 12]
    return np.random.default_rng(3).permuted(x[:, some], axis=1)


every_dtype = pytest.mark.parametrize("dtype", DTYPES.values(), ids=str)
every_function = pytest.mark.parametrize("function", FUNCTIONS)


@pytest.mark.parametrize("family", sorted(FAMILIES.keys() - {"special"}))
@every_function
@every_dtype
def test_oracle_agrees_with_mpmath(dtype, function, family):
    assert disagreement(function, sample(family, dtype)) < 0.0001


@pytest.mark.parametrize("temperature", [1e-3, 0.1, 0.7, 3, 100, 1e300])
@pytest.mark.parametrize("family", ["normal", "offset", "largest", "dominant", "magnitudes"])
@pytest.mark.parametrize("function", ["softmax", "log_softmax"])
def test_oracle_agrees_with_mpmath_at_a_temperature(function, family, temperature):
    x = sample(family, DTYPES["float64"])
    assert disagreement(function, x, temperature=temperature) < 0.0001


@every_function
def test_oracle_agrees_with_mpmath_beyond_a_block(function, monkeypatch):
    x = np.random.default_rng(0).normal(size=(7, 50)) * 20
    x[:3] = np.rint(x[:3] / 20)  # the maximum more than once
    monkeypatch.setattr(testing, "_BLOCK", 8)
    assert disagreement(function, x) < 0.0001
    monkeypatch.setattr(testing, "_BLOCK", 150)
    assert disagreement(function, x) < 0.0001


@pytest.mark.parametrize("function", ["softmax", "log_softmax"])
def test_oracle_agrees_with_mpmath_at_a_temperature_for_each_row(function):
    x = np.random.default_rng(0).normal(size=(7, 50)) * 20
    assert disagreement(function, x, temperature=np.arange(1, 8)[:, None] / 7) < 0.0001


@pytest.mark.parametrize("x", [[1e-310, -715.0], [5e-324, -744.0], [-1e-310, -720.5]])
def test_oracle_keeps_the_digits_of_subnormal_results(x):
    assert disagreement("logsumexp", np.array([x])) < 0.0001
    assert disagreement("log_softmax", np.array([x])) < 0.0001


def test_oracle_log_softmax_of_a_dominated_row_has_relative_accuracy():
    x = np.array([0.0, -690.0])
    hi, lo = testing.log_softmax(x).pair()
    with mpmath.workprec(BITS):
        right = -mpmath.log1p(mpmath.exp(-690))
        assert abs((mpmath.mpf(hi[0]) + mpmath.mpf(lo[0])) / right - 1) < 1e-20


@pytest.mark.parametrize(
    "dtype", [np.int8, np.uint8, np.int16, np.uint16, np.int32, np.uint32, np.int64, np.uint64]
)
def test_oracle_takes_integers_as_exact(dtype):
    low, high = np.iinfo(dtype).min, np.iinfo(dtype).max
    for row in ([3, 5, 1], [low, high], [high - 1, high], [high, high - 2, high // 2]):
        x = np.array(row, dtype)
        for function in FUNCTIONS:
            hi, lo = getattr(testing, function)(x).pair()
            pairs = zip(np.ravel(hi).tolist(), np.ravel(lo).tolist(), strict=True)
            for (right, _), pair in zip(by_mpmath(function, x), pairs, strict=True):
                with mpmath.workprec(BITS):
                    error = abs(mpmath.fsum(pair) - right)
                    assert error <= abs(right) * 1e-19 + mpmath.ldexp(1, -1074)


@pytest.mark.parametrize("axis", [0, 1, 2, -1, (0, 2), (2, 1), (-3, -1), None])
@every_function
def test_oracle_takes_any_axis(function, axis):
    x = np.random.default_rng(1).normal(size=(3, 4, 5))
    axes = tuple(range(3)) if axis is None else axis
    with np.errstate(all="raise"):
        total = np.log(np.exp(x).sum(axes, keepdims=True))
        formula = {
            "softmax": np.exp(x - total),
            "log_softmax": x - total,
            "logsumexp": total.squeeze(axes),
        }[function]
    np.testing.assert_allclose(getattr(testing, function)(x, axis).pair()[0], formula, rtol=1e-14)


@every_function
def test_oracle_leaves_out_what_where_excludes(function):
    x = np.array([[1.0, NAN, 3.0, INF, -2.0], [4.0, 5.0, -INF, 0.5, 0.25]])
    where = np.array([[True, False, True, False, True], [False, True, True, True, False]])
    hi = getattr(testing, function)(x, axis=-1, where=where).pair()[0]
    for i in range(2):
        alone = getattr(testing, function)(x[i, where[i]], axis=-1).pair()[0]
        if function == "logsumexp":
            assert hi[i] == alone
        else:
            np.testing.assert_array_equal(hi[i, where[i]], alone)
            nothing = 0.0 if function == "softmax" else -INF
            np.testing.assert_array_equal(hi[i, ~where[i]], nothing)


DEGENERATE = {
    "some -inf": ([0, -INF], [1, 0], [0, -INF], 0),
    "one +inf": ([0, 1, INF, -INF], [0, 0, 1, 0], [-INF, -INF, 0, -INF], INF),
    "nothing but one +inf": ([-INF, INF], [0, 1], [-INF, 0], INF),
    "several +inf": ([INF, 0, INF], [NAN, 0, NAN], [NAN, -INF, NAN], INF),
    "all -inf": ([-INF, -INF], [NAN, NAN], [NAN, NAN], -INF),
    "any NaN": ([0, NAN, INF], [NAN, NAN, NAN], [NAN, NAN, NAN], NAN),
    "empty axis": ([], [], [], -INF),
    "one element": ([-7], [1], [0], -7),
}


@pytest.mark.parametrize("row", DEGENERATE)
@every_dtype
def test_oracle_of_a_degenerate_row(dtype, row):
    x, *right = DEGENERATE[row]
    for function, values in zip(FUNCTIONS, right, strict=True):
        expected = getattr(testing, function)(np.array(x, dtype))
        np.testing.assert_array_equal(expected.pair()[0], values)
        np.testing.assert_array_equal(expected.pair()[1], 0.0)
        testing.assert_max_ulp(np.array(values, dtype), expected, 0)


def test_oracle_of_rows_that_where_excludes_and_of_an_empty_batch():
    x = np.array([[1.0, NAN], [2.0, 3.0]])
    keep = np.array([[False], [True]])
    np.testing.assert_array_equal(testing.softmax(x, where=keep).pair()[0][0], 0.0)
    np.testing.assert_array_equal(testing.log_softmax(x, where=keep).pair()[0][0], -INF)
    assert testing.logsumexp(x, axis=1, where=keep).pair()[0][0] == -INF
    np.testing.assert_array_equal(
        testing.softmax([NAN, 3], where=[True, False]).pair()[0], [NAN, 0]
    )
    for function in FUNCTIONS:
        expected = getattr(testing, function)(np.empty((0, 3)), axis=1)
        assert testing.ulp_error(np.empty(expected.shape), expected).shape == expected.shape


def test_oracle_at_the_limits_of_the_temperature():
    x = [3.0, 1.0, 3.0, -INF]
    assert testing.softmax(x, temperature=0).pair()[0].tolist() == [0.5, 0, 0.5, 0]
    assert testing.softmax(x, temperature=INF).pair()[0].tolist() == [1 / 3, 1 / 3, 1 / 3, 0]
    assert testing.log_softmax([3.0, 1.0], temperature=0).pair()[0].tolist() == [0, -INF]


def test_oracle_holds_a_copy():
    x = np.array([1.0, 2.0, 3.0])
    expected = testing.softmax(x)
    x[:] = expected.pair()[0]
    testing.assert_max_ulp(x, expected)


@pytest.mark.parametrize("x", [[True], [1j], ["a"], np.zeros(2, np.longdouble)])
def test_oracle_refuses_a_dtype(x):
    with pytest.raises(TypeError, match=r"^x: .*; accepted are integers, float16"):
        testing.softmax(x)


@pytest.mark.parametrize("temperature", [-1, NAN, [1.0, -0.5]])
def test_oracle_refuses_a_temperature(temperature):
    with pytest.raises(ValueError, match=r"^temperature: .*; accepted are numbers >= 0"):
        testing.softmax([[1.0], [2.0]], temperature=temperature)


# --- the assertions turn red --------------------------------------------------------------------


@every_function
@every_dtype
def test_ulp_error_counts_neighbours(dtype, function):
    x = np.array([0.3, -1.25, 2.5, 0.0], dtype)
    expected = getattr(testing, function)(x)
    nearest = expected.pair()[0].astype(dtype)
    away = np.asarray(nearest.astype(np.float64) * (1 + 4 * epsilon(dtype))).astype(dtype)
    np.testing.assert_array_less(testing.ulp_error(nearest, expected), 0.500001)
    assert np.all(testing.ulp_error(away, expected) > 3)
    testing.assert_max_ulp(nearest, expected, 0.500001)
    with pytest.raises(AssertionError, match="ULP"):
        testing.assert_max_ulp(away, expected)


def test_below_the_smallest_normal_number_the_unit_is_the_smallest_subnormal():
    expected = testing.softmax([0.0, -744.0])  # exp(-744) is 1.5528 units
    assert testing.ulp_error([1.0, 1.5e-323], expected)[1] == pytest.approx(3 - 1.5528, abs=1e-4)
    assert testing.ulp_error([1.0, 0.0], expected)[1] == pytest.approx(1.5528, abs=1e-4)


@pytest.mark.parametrize(
    ("x", "function", "wrong"),
    [
        ([0.0, 1.0], "softmax", [NAN, 0.73]),  # NaN for a number
        ([0.0, NAN], "softmax", [0.0, NAN]),  # a number for NaN
        ([0.0, 1.0], "log_softmax", [-INF, -0.31326168751822286]),  # infinity for a number
        ([0.0, INF], "logsumexp", 1.7976931348623157e308),  # a number for infinity
        ([0.0, INF], "logsumexp", -INF),  # the other infinity
        ([-INF, -INF], "logsumexp", NAN),
        ([0.0, -INF], "softmax", [1.0, 5e-324]),  # almost 0 for 0
        ([0.0, -INF], "softmax", [1.0, -0.0]),  # -0 for +0
        ([0.0, -800.0], "softmax", [1.0, -0.0]),  # -0 for what rounds to +0
        ([0.0, -INF], "log_softmax", [-0.0, -INF]),
        ([0.0, -40.0], "log_softmax", [0.0, -40.0]),  # 0 for -4e-18
    ],
)
def test_a_disagreement_of_kind_is_a_failure(x, function, wrong):
    expected = getattr(testing, function)(x)
    assert np.max(testing.ulp_error(wrong, expected)) > 1e15
    with pytest.raises(AssertionError, match=function):
        testing.assert_max_ulp(wrong, expected, 1e15)


def test_a_number_that_overflows_the_dtype_is_infinity():
    x = np.array([65504, -65504], np.float16)
    testing.assert_max_ulp(np.array([0, -INF], np.float16), testing.log_softmax(x), 0)
    with pytest.raises(AssertionError, match="inf ULP"):
        testing.assert_max_ulp(np.array([0, -65504], np.float16), testing.log_softmax(x))


@pytest.mark.parametrize(
    "wrong",
    [np.zeros(3), np.zeros((2, 1)), np.zeros((1, 2)), np.float64(0), np.zeros(2, np.float32)],
)
def test_a_wrong_shape_or_dtype_is_a_failure(wrong):
    expected = testing.softmax(np.array([1.0, 2.0]))
    message = r"^softmax: .* instead of float64 of shape \(2,\)$"
    with pytest.raises(AssertionError, match=message):
        testing.assert_max_ulp(wrong, expected)
    with pytest.raises(AssertionError, match=message):
        testing.ulp_error(wrong, expected)


@pytest.mark.parametrize("block", [5, 1 << 14])
def test_the_message_names_the_worst_element_in_one_line(block, monkeypatch):
    monkeypatch.setattr(testing, "_BLOCK", block)
    x = np.random.default_rng(2).normal(size=(3, 4, 5)).astype(np.float32)
    expected = testing.softmax(x, axis=(2, 0))
    actual = expected.pair()[0].astype(np.float32)
    actual[1, 2, 3] *= 1 + 2.0**-18
    actual[2, 0, 4] *= 1 + 2.0**-16
    actual[0, 3, 1] *= 1 + 2.0**-17
    with pytest.raises(AssertionError) as failure:
        testing.assert_max_ulp(actual, expected)
    message = str(failure.value)
    assert "\n" not in message
    for part in (
        "softmax: ",
        " ULP of float32, 2 allowed, at (2, 0, 4): ",
        f": {actual[2, 0, 4]} instead of {expected.pair()[0][2, 0, 4]}; ",
        f"; x = {x[2, 0, 4]}, maximum {x[:, 0].max()} of 15",
    ):
        assert part in message


def test_the_message_of_logsumexp_names_the_row():
    x = np.array([[1.0, 2.0], [7.0, 3.0]])
    with pytest.raises(AssertionError, match=r" at \(1,\): 0.0 instead of .*; maximum 7.0 of 2$"):
        testing.assert_max_ulp(
            [testing.logsumexp(x[0]).pair()[0][()], 0.0], testing.logsumexp(x, 1)
        )


@pytest.mark.parametrize("block", [1, 3, 7])
def test_no_block_escapes(block, monkeypatch):
    monkeypatch.setattr(testing, "_BLOCK", block)
    x = np.random.default_rng(4).normal(size=(5, 6))
    expected = testing.softmax(x)
    right = expected.pair()[0]
    testing.assert_max_ulp(right, expected)
    for index in np.ndindex(x.shape):
        wrong = right.copy()
        wrong[index] *= 1.001
        with pytest.raises(AssertionError, match=rf"at \({index[0]}, {index[1]}\)"):
            testing.assert_max_ulp(wrong, expected)


# --- the table ----------------------------------------------------------------------------------


@every_dtype
def test_the_default_limit_is_the_promise(dtype):
    for function in FUNCTIONS:
        expected = getattr(testing, function)(np.array([0.5, 0.25], dtype))
        wrong = (expected.pair()[0] * 1.1).astype(dtype)
        with pytest.raises(AssertionError, match=f" {MAX_ULP[function][dtype.name]:g} allowed"):
            testing.assert_max_ulp(wrong, expected)


def test_a_temperature_adds_to_the_limit():
    assert max_ulp("softmax", np.float32) == 2.0
    assert max_ulp("softmax", np.float32, temperature=True) == 3.0
    assert max_ulp("softmax", np.float16, temperature=True) == 0.51
    x = np.array([0.5, 0.25])
    right = testing.softmax(x, temperature=0.5).pair()[0]
    with pytest.raises(AssertionError, match=" 3 allowed"):
        testing.assert_max_ulp(right * 1.1, testing.softmax(x, temperature=0.5))
    with pytest.raises(AssertionError, match=" 2 allowed"):
        testing.assert_max_ulp(right, testing.softmax(x, temperature=1))


def test_the_limit_of_logsumexp_grows_with_its_condition():
    assert max_ulp("logsumexp", np.float64, kappa=10) == 15
    assert max_ulp("logsumexp", np.float16, kappa=[1, 16, 32]).tolist() == [0.51, 0.51, 1.02]
    x = np.array([-0.6, -0.8])
    expected = testing.logsumexp(x)
    kappa = expected.kappa()
    assert kappa == pytest.approx((0.6 + np.log1p(np.exp(-0.2))) / abs(np.log(np.exp(x).sum())))
    hi = expected.pair()[0]
    testing.assert_max_ulp(hi + 1.4 * kappa * np.spacing(hi), expected)
    with pytest.raises(AssertionError, match="logsumexp"):
        testing.assert_max_ulp(hi + 1.7 * kappa * np.spacing(hi), expected)


def test_markdown_has_every_limit():
    lines = markdown().splitlines()
    assert {line.count("|") for line in lines} == {2 + len(DTYPES)}
    for function, limits in MAX_ULP.items():
        (line,) = (line for line in lines if f"`{function}`" in line)
        cells = [cell.split() for cell in line.strip("|").split("|")[1:]]
        assert [float(cell[0]) for cell in cells] == list(limits.values())
