"""Clipping and initial weights: `stablesoftmax.training`."""

import math
import re
from collections import OrderedDict, defaultdict, namedtuple
from fractions import Fraction

import ml_dtypes
import numpy as np
import pytest

from stablesoftmax import clip_by_global_norm, clip_by_value, initial_weights

DTYPES = [np.float16, ml_dtypes.bfloat16, np.float32, np.float64]
CLIPS = [clip_by_value, clip_by_global_norm]
SCHEMES = [
    f"{family}_{kind}" for family in ("he", "glorot", "lecun") for kind in ("normal", "uniform")
]
Layer = namedtuple("Layer", "W b")


def exact_norm(*arrays):
    """The joint norm as a Fraction, good to 2^-300 of itself."""
    squares = sum(Fraction(float(x)) ** 2 for a in arrays for x in np.ravel(a))
    shift = 300 + max(0, squares.denominator.bit_length() - squares.numerator.bit_length())
    return Fraction(math.isqrt((squares.numerator << 2 * shift) // squares.denominator), 1 << shift)


def ulps(got, exact):
    return float(abs(Fraction(float(got)) - exact) / Fraction(math.ulp(float(got))))


def same_bits(a, b):
    return a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes()


# --- the norm ----------------------------------------------------------------


@pytest.mark.parametrize("clip", CLIPS)
@pytest.mark.parametrize("scale", [1.0, 1e-300, 1e300, 5e-324, 1e-5])
@pytest.mark.parametrize("n", [1, 2, 9, 1000, 20_000])
def test_norm_is_within_2_ulp(clip, scale, n):
    rng = np.random.default_rng(n)
    arrays = [rng.uniform(1, 9, n) * scale, rng.standard_normal(n) * scale]
    norm = clip(arrays, 1.0)[1]
    assert type(norm) is float
    assert ulps(norm, exact_norm(*arrays)) <= 2


@pytest.mark.parametrize("clip", CLIPS)
@pytest.mark.parametrize(
    ("dtype", "value"),
    [
        (np.float16, 6e4),
        (np.float16, 6e-8),
        (ml_dtypes.bfloat16, 1e38),
        (np.float32, 1e30),
        (np.float32, 1e-45),
        (np.float64, 1e300),
        (np.float64, 5e-324),
    ],
)
def test_norm_neither_overflows_nor_vanishes(clip, dtype, value):
    array = np.full(16, value, dtype)
    assert clip(array, 1.0)[1] == 4 * float(array[0])


@pytest.mark.parametrize("clip", CLIPS)
def test_norm_spans_dtypes_and_magnitudes(clip):
    arrays = {"half": np.float16([3.0]), "wide": np.array([4e300])}
    assert clip(arrays, 1.0)[1] == 4e300
    arrays["wide"][0] = 4.0
    assert clip(arrays, 1.0)[1] == 5.0


@pytest.mark.parametrize("clip", CLIPS)
def test_norm_of_a_pythagorean_triple_is_exact(clip):
    for *legs, hypotenuse in [(3, 4, 5), (5, 12, 13), (20, 99, 101), (2, 3, 6, 7), (6, 10, 33, 35)]:
        assert clip(np.array(legs) / 1024, 1.0)[1] == hypotenuse / 1024


@pytest.mark.parametrize("clip", CLIPS)
def test_norm_of_many_scalars_is_within_2_ulp(clip):
    scalars = list(np.random.default_rng(0).uniform(1, 2, 5000))
    assert ulps(clip(scalars, 1.0)[1], exact_norm(scalars)) <= 2


def test_norm_beyond_float64_is_inf_and_the_clipping_is_right():
    clipped, norm = clip_by_global_norm(np.full(4, 1.7e308), 1.0)
    assert norm == math.inf
    assert clipped.tolist() == [0.5] * 4


@pytest.mark.parametrize("clip", CLIPS)
@pytest.mark.parametrize("empty", [[], (), {}, np.zeros((0, 3)), [np.zeros(0)], np.zeros(3)])
def test_norm_of_nothing_is_zero(clip, empty):
    clipped, norm = clip(empty, 1.0)
    assert norm == 0.0
    assert repr(clipped) == repr(empty)


# --- the clipped values ------------------------------------------------------


@pytest.mark.parametrize("scale", [1.0, 1e-300, 1e290])
def test_global_norm_scales_all_by_one_factor_within_3_ulp(scale):
    rng = np.random.default_rng(1)
    arrays = [rng.standard_normal((20, 30)) * scale, rng.standard_normal(7) * scale]
    norm = exact_norm(*arrays)
    clipped, _ = clip_by_global_norm(arrays, 0.3 * scale)
    for before, after in zip(arrays, clipped, strict=True):
        for x, y in zip(before.ravel(), after.ravel(), strict=True):
            assert ulps(y, Fraction(float(x)) * Fraction(0.3 * scale) / norm) <= 3
    assert ulps(0.3 * scale, exact_norm(*clipped)) <= 2


@pytest.mark.parametrize("dtype", DTYPES)
def test_global_norm_rounds_once_to_the_dtype(dtype):
    array = np.array([30.0, -40.0], dtype)
    clipped, _ = clip_by_global_norm(array, 0.7)
    scaled = array.astype(np.float64) / 64 * (0.7 / (50 / 64))
    assert same_bits(clipped, scaled.astype(dtype))


@pytest.mark.parametrize("dtype", DTYPES)
def test_within_the_norm_every_bit_stays(dtype):
    array = np.array([[0.1, -0.0], [0.7, 1e-5]], dtype)
    assert same_bits(clip_by_global_norm(array, 9.9)[0], array)


@pytest.mark.parametrize("dtype", DTYPES)
def test_value_limits_and_leaves_the_rest_alone(dtype):
    array = np.array([-9.0, -0.3, -0.0, 1e-5, 0.1, 0.3, 70.0], dtype)
    limit = dtype(0.3)
    clipped, _ = clip_by_value(array, 0.3)
    assert same_bits(clipped[1:-1], array[1:-1])
    assert clipped[0] == -limit
    assert clipped[-1] == limit


@pytest.mark.parametrize("dtype", DTYPES)
def test_value_limit_beyond_the_dtype_changes_nothing(dtype):
    array = np.array([-3e4, 5.0], dtype)
    assert same_bits(clip_by_value(array, 1e300)[0], array)


@pytest.mark.parametrize("clip", CLIPS)
def test_no_warning_whatever_the_errstate(clip):
    with np.errstate(all="raise"):
        clip([np.array([1e300, 1e-300]), np.array([65504.0, 6e-8], np.float16)], 1e-4)


# --- kinds -------------------------------------------------------------------


@pytest.mark.parametrize("clip", CLIPS)
@pytest.mark.parametrize(
    "arrays",
    [
        np.array([3.0, 4.0]),
        np.array(5.0, np.float32),
        np.array([[3.0], [4.0]], ">f4"),
        np.float16(5.0),
        [np.array([3.0]), np.float32(4.0)],
        (np.array([3.0]),),
        {"W": np.array([[3.0]]), 7: np.array(4.0)},
        OrderedDict(b=np.array([3.0]), a=np.array([4.0])),
        defaultdict(list, W=np.array([3.0])),
        Layer(W=np.array([[3.0]]), b=np.array([4.0])),
        [Layer(np.array([[3.0]]), np.float64(4.0)), {"scale": [np.array(0.5)]}],
    ],
)
@pytest.mark.parametrize("bound", [1.0, 100.0])
def test_same_kind_comes_back_and_nothing_is_written(clip, arrays, bound):
    def outline(item):
        if isinstance(item, dict):
            return type(item), [(key, outline(value)) for key, value in item.items()]
        if isinstance(item, list | tuple):
            return type(item), [outline(value) for value in item]
        return type(item), item.dtype, item.shape

    before = repr(arrays)
    clipped, _ = clip(arrays, bound)
    assert outline(clipped) == outline(arrays)
    assert repr(arrays) == before
    assert (repr(clipped) == before) == (bound == 100.0)


@pytest.mark.parametrize("clip", CLIPS)
@pytest.mark.parametrize("bound", [1.0, 100.0])
def test_results_share_no_memory_with_inputs(clip, bound):
    array = np.array([3.0, 4.0])
    array.flags.writeable = False
    clipped, _ = clip([array], bound)
    assert not np.shares_memory(clipped[0], array)
    assert clipped[0].flags.writeable


@pytest.mark.parametrize("clip", CLIPS)
def test_a_python_float_comes_back_as_a_float(clip):
    clipped, norm = clip([5.0], 1.0)
    assert isinstance(clipped[0], float)
    assert clipped == [1.0]
    assert norm == 5.0


@pytest.mark.parametrize("clip", CLIPS)
def test_any_strides(clip):
    base = np.arange(1.0, 25.0).reshape(4, 6)
    for view in (base.T, base[::-2, ::3], np.broadcast_to(base[0], (3, 6))):
        clipped, norm = clip(view, 2.0)
        copied, copied_norm = clip(np.ascontiguousarray(view), 2.0)
        np.testing.assert_array_max_ulp(clipped, copied, 2)
        np.testing.assert_array_max_ulp(norm, copied_norm, 2)


# --- what is refused ---------------------------------------------------------


@pytest.mark.parametrize("clip", CLIPS)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("position", [(0, 0), (1, 2)])
def test_non_finite_is_named(clip, dtype, bad, position):
    array = np.ones((2, 3), dtype)
    array[position] = bad
    array[1, 2] = bad  # the first one counts
    where = re.escape(f"arrays['W1'][1]{list(position)} is {bad}: clipping cannot repair it")
    with pytest.raises(FloatingPointError, match=f"^{where}"):
        clip({"b": np.ones(2), "W1": (np.ones(2), array)}, 1.0)


@pytest.mark.parametrize("clip", CLIPS)
@pytest.mark.parametrize("scalar", [np.array(np.nan), np.float32(np.nan), math.nan])
def test_non_finite_scalar_is_named(clip, scalar):
    with pytest.raises(FloatingPointError, match=r"^arrays is nan: "):
        clip(scalar, 1.0)


@pytest.mark.parametrize("clip", CLIPS)
@pytest.mark.parametrize(
    ("item", "got"),
    [
        (np.arange(3), "int64"),
        (np.array([True]), "bool"),
        (np.array([1j]), "complex128"),
        (np.array([None]), "object"),
        (np.array(["1"]), "str32"),
        (np.ma.array([1.0]), "MaskedArray"),
        (None, "NoneType"),
        (3, "int"),
        ("W", "str"),
    ],
)
def test_other_kinds_are_refused_with_advice(clip, item, got):
    expected = (
        "arrays[1] must be a NumPy array of float16, bfloat16, float32 or float64, "
        f"got {got}: convert it first, say by np.asarray(..., dtype=np.float64)"
    )
    with pytest.raises(TypeError, match=f"^{re.escape(expected)}$"):
        clip([np.ones(2), item], 1.0)


@pytest.mark.parametrize(
    ("clip", "name"), [(clip_by_value, "limit"), (clip_by_global_norm, "max_norm")]
)
@pytest.mark.parametrize(
    ("bound", "error"),
    [
        (0, ValueError),
        (-1.0, ValueError),
        (math.nan, ValueError),
        (math.inf, ValueError),
        (10**400, ValueError),
        ("1", TypeError),
        (None, TypeError),
        (True, TypeError),
        (np.ones(2), TypeError),
    ],
)
def test_bound_must_be_positive_and_finite(clip, name, bound, error):
    expected = re.escape(f"{name} must be a positive finite number, got {bound!r}")
    with pytest.raises(error, match=f"^{expected}$"):
        clip(np.ones(2), bound)


@pytest.mark.parametrize("clip", CLIPS)
@pytest.mark.parametrize("bound", [2, np.float32(2), np.int8(2), Fraction(2)])
def test_bound_may_be_any_real_number(clip, bound):
    assert clip(np.array([8.0]), bound)[0].tolist() == [2.0]


# --- initial weights ---------------------------------------------------------


def expected_variance(scheme, fan_in, fan_out):
    family = scheme.split("_")[0]
    return {"he": 2 / fan_in, "glorot": 2 / (fan_in + fan_out), "lecun": 1 / fan_in}[family]


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize(
    ("shape", "fan_in", "fan_out"),
    [((300, 700), 300, 700), ((700, 300), 700, 300), ((3, 5, 40, 70), 600, 1050)],
)
def test_variance_is_that_of_the_fans(scheme, shape, fan_in, fan_out):
    weights = initial_weights(shape, scheme, rng=3)
    assert weights.shape == shape
    deviation = math.sqrt(expected_variance(scheme, fan_in, fan_out) / weights.size)
    # 5 standard errors: 1 % of the variance here, where the nearest wrong fan is 30 % away.
    assert abs(weights.mean()) < 5 * deviation
    relative = weights.var() / expected_variance(scheme, fan_in, fan_out) - 1
    assert abs(relative) < 5 * math.sqrt(2 / weights.size)


@pytest.mark.parametrize("scheme", SCHEMES)
def test_shape_of_the_distribution(scheme):
    weights = initial_weights((500, 400), scheme, rng=4)
    standard = weights / math.sqrt(expected_variance(scheme, 500, 400))
    if scheme.endswith("normal"):
        # Plain, not cut at 2: 4.55 % lie beyond.
        assert 0.043 < np.mean(np.abs(standard) > 2) < 0.048
    else:
        assert 1.73 < np.abs(standard).max() <= math.sqrt(3)
        assert 0.49 < np.mean(np.abs(standard) > math.sqrt(3) / 2) < 0.51


@pytest.mark.parametrize("shape", [(5, 5), (7, 3), (3, 7), (2, 3, 4, 5), (1, 1), (1, 6)])
def test_orthogonal_columns_or_rows(shape):
    weights = initial_weights(shape, "orthogonal", rng=5)
    assert weights.shape == shape
    matrix = weights.reshape(-1, shape[-1])
    rows, columns = matrix.shape
    gram = matrix.T @ matrix if rows >= columns else matrix @ matrix.T
    np.testing.assert_allclose(gram, np.eye(min(rows, columns)), atol=1e-14)


def test_orthogonal_is_drawn_evenly():
    # QR alone gives a 2 × 2 determinant of one sign only, and a trace that is off zero.
    rng = np.random.default_rng(6)
    draws = np.stack([initial_weights((2, 2), "orthogonal", rng=rng) for _ in range(2000)])
    assert abs(np.mean(np.linalg.det(draws) > 0) - 0.5) < 0.056  # 5 standard errors
    assert np.abs(draws.mean(axis=0)).max() < 5 * math.sqrt(0.5 / 2000)


@pytest.mark.parametrize("scheme", [*SCHEMES, "orthogonal"])
def test_one_seed_gives_the_same_weights_in_each_dtype(scheme):
    weights = initial_weights((6, 4), scheme, rng=7)
    assert weights.dtype == np.float64
    assert weights.flags.c_contiguous
    for dtype in DTYPES:
        drawn = initial_weights([6, 4], scheme, rng=np.random.default_rng(7), dtype=dtype)
        assert same_bits(drawn, weights.astype(dtype))
        assert drawn.flags.c_contiguous


def test_rng_advances_and_none_is_fresh():
    rng = np.random.default_rng(8)
    first, second = initial_weights((3, 2), rng=rng), initial_weights((3, 2), rng=rng)
    assert (first != second).all()
    assert (initial_weights((3, 2)) != initial_weights((3, 2))).all()
    assert same_bits(first, initial_weights((3, 2), "he_normal", rng=8))


@pytest.mark.parametrize("shape", [(), 3, (3,), (3, 0), (3, -2), (3, 2.0), "ab", None])
def test_shape_must_be_two_or_more_positive_integers(shape):
    expected = f"shape must be two or more positive integers, (fan_in, fan_out), got {shape!r}"
    with pytest.raises(ValueError, match=f"^{re.escape(expected)}$"):
        initial_weights(shape)


@pytest.mark.parametrize("scheme", ["he", "normal", "he_orthogonal", "xavier_normal", "", None])
def test_unknown_scheme_lists_the_known(scheme):
    expected = f"scheme must be one of {', '.join(SCHEMES)}, orthogonal, got {scheme!r}"
    with pytest.raises(ValueError, match=f"^{re.escape(expected)}$"):
        initial_weights((3, 2), scheme)


@pytest.mark.parametrize("dtype", [int, complex, "nonsense", bool])
def test_other_dtypes_are_refused(dtype):
    expected = f"dtype must be float16, bfloat16, float32 or float64, got {dtype!r}"
    with pytest.raises(TypeError, match=f"^{re.escape(expected)}$"):
        initial_weights((3, 2), dtype=dtype)


@pytest.mark.parametrize(("rng", "error"), [("x", TypeError), (-1, ValueError), (1.5, TypeError)])
def test_other_rngs_are_refused(rng, error):
    expected = f"rng must be None, an integer from 0 or a numpy.random.Generator, got {rng!r}"
    with pytest.raises(error, match=f"^{re.escape(expected)}$"):
        initial_weights((3, 2), rng=rng)
