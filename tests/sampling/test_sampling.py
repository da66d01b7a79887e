"""Drawing from logits: `stablesoftmax.sampling`."""

import sys

import ml_dtypes
import numpy as np
import numpy_sampler
import pytest
from conftest import bits, library, normal
from scipy import stats
from tensor_kinds import Jax, Strict, Torch

from stablesoftmax import sample, softmax
from stablesoftmax._arrays import blocks
from stablesoftmax.sampling import rows

INF, NAN = np.inf, np.nan
DRAWS = 200_000

pytestmark = pytest.mark.usefixtures("strict")


def counts(n, logits, **options):
    return np.bincount(sample(logits, DRAWS, rng=7, **options), minlength=n)


def assert_law(observed, p):
    """Nothing outside the support, and chi-square within it: a right sampler fails 1 in 10,000."""
    p = np.asarray(p, float) / np.sum(p)
    assert not observed[p == 0].any()
    if np.count_nonzero(p) > 1:
        expected = p[p > 0] * observed.sum()
        assert expected.min() >= 5  # or chi-square is not chi-square
        assert stats.chisquare(observed[p > 0], expected).pvalue > 1e-4


def reference(logits, temperature=1.0, top_k=None, top_p=None, min_p=None):
    """The law, by the steps of transformers' LogitsProcessors, for logits that do not tie."""
    scores = np.asarray(logits, np.float64) / temperature
    if top_k is not None:
        scores = np.where(scores < np.sort(scores)[-min(top_k, scores.size)], -INF, scores)
    if top_p is not None:
        order = np.argsort(scores)
        remove = softmax(scores[order]).cumsum() <= 1 - top_p
        remove[-1] = False
        scores = scores.copy()
        scores[order[remove]] = -INF
    if min_p is not None:
        p = softmax(scores)
        scores = np.where(p < min_p * p.max(), -INF, scores)
    return softmax(scores)


OPTIONS = [
    {},
    {"temperature": 0.5},
    {"temperature": 3.0},
    {"temperature": INF},
    {"top_k": 1},
    {"top_k": 3},
    {"top_k": 100},
    {"top_p": 0.75},
    {"top_p": 1e-9},
    {"top_p": 1.0},
    {"min_p": 0.2},
    {"min_p": 0.0},
    {"min_p": 1.0},
    {"top_k": 4, "top_p": 0.8},
    {"temperature": 2.0, "top_k": 5, "top_p": 0.9, "min_p": 0.3},
]
LOGITS = np.array([0.3, -1.2, 1.4, 0.9, -0.4, 2.0, -2.1, 0.0])


# --- the law -------------------------------------------------------------------------------------


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_law(options):
    assert_law(counts(8, LOGITS, **options), reference(LOGITS, **options))


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_law_of_many_rows(options):
    """Each row by one draw: another way through the rows than many draws of one."""
    logits = np.tile(LOGITS, (DRAWS // 4, 1))
    drawn = sample(logits, rng=3, **options)
    assert_law(np.bincount(drawn, minlength=8), reference(LOGITS, **options))


@pytest.mark.parametrize("n", [*range(1, 10), 15, 16, 17, 1000])
def test_law_at_lengths(n):
    assert_law(counts(n, np.zeros(n)), np.ones(n))
    x = normal(n, np.float64, 0.5)
    assert_law(counts(n, x), np.exp(x))


def test_law_in_every_dtype(dtype):
    x = (LOGITS * 2).astype(dtype)
    assert_law(counts(8, x), np.exp(x.astype(float)))


def test_law_of_other_dtypes():
    integers = np.array([0, 1, 3, 2])
    law = np.exp([0.0, 1, 3, 2])
    for dtype in ("i1", "u1", "i8", "u8", np.longdouble, ">f4", ">i2"):
        assert_law(counts(4, integers.astype(dtype)), law)
    assert_law(counts(4, integers + 2**60), law)
    assert_law(counts(4, integers + np.iinfo(np.int64).min), law)


def test_draws_of_a_row_are_independent():
    drawn = sample(np.zeros(4), DRAWS, rng=5)
    pairs = np.bincount(drawn[:-1:2] * 4 + drawn[1::2], minlength=16)
    assert_law(pairs, np.ones(16))


def test_rows_are_independent():
    drawn = sample(np.zeros((DRAWS, 2, 3)), rng=5)
    assert_law(np.bincount(drawn[:, 0] * 3 + drawn[:, 1], minlength=9), np.ones(9))


def test_rare_class():
    """p = 1e-6 in 1e7 draws is 10 times, give or take."""
    logits = np.log([0.6, 1e-6, 0.4 - 1e-6])
    rare = np.count_nonzero(sample(logits, 10**7, rng=0) == 1)
    low, high = stats.binom.ppf([1e-4, 1 - 1e-4], 10**7, 1e-6)
    assert low <= rare <= high


def test_float32_of_a_vocabulary():
    """128,256 float32 probabilities add up to 1 only nearly: numpy.random.choice may refuse."""
    x = normal((2, 128_256), np.float32, 3)
    x[1, 5] = 40
    drawn = sample(x, 2000, rng=0)
    assert (drawn[:, 1] == 5).all()
    p = softmax(x[0].astype(np.float64))
    top = np.argsort(p)[-9:]
    rest = 1 - p[top].sum()
    observed = [np.count_nonzero(drawn[:, 0] == i) for i in top]
    assert_law(np.array([*observed, 2000 - sum(observed)]), [*p[top], rest])


class Given(np.random.Generator):
    """A generator that gives these numbers."""

    def __new__(cls, *numbers):
        return super().__new__(cls, np.random.PCG64(0))

    def __init__(self, *numbers):
        super().__init__(np.random.PCG64(0))
        self.numbers = numbers

    def random(self, size):
        return np.resize(self.numbers, size)


@pytest.mark.parametrize("n", [1, 2, 3, 5, 8, 100])
def test_extreme_random_numbers(n):
    """0 and 1 - 2^-53 draw the first and the last class that has a probability."""
    x = np.full((3, n + 4), -INF)
    x[:, 2 : n + 2] = np.random.default_rng(n).normal(size=(3, n)) * [[1], [30], [0]]
    for number, expected in ((0.0, [2] * 3), (1 - 2.0**-53, [n + 1] * 3)):
        drawn = sample(x, 5, rng=Given(number))
        possible = np.isin(x[np.arange(3), drawn], x[np.isfinite(x)])
        assert possible.all()
        assert (drawn[:, [0, 2]] == np.array(expected)[[0, 2]]).all()


# --- what is kept --------------------------------------------------------------------------------


def kept(logits, **options):
    return np.unique(sample(logits, 20_000, rng=1, **options)).tolist()


@pytest.mark.parametrize("top_p", [0.05, 0.5, 0.9, 0.999, 1 - 1e-12, 1])
@pytest.mark.parametrize("top_k", [None, 1, 7, 50, 99, 100, 101])
@pytest.mark.parametrize("min_p", [None, 0.01, 0.5])
def test_support_is_that_of_transformers(top_k, top_p, min_p):
    """The very sets: numbers from the middle of each class's share draw all of them in turn."""
    for seed in range(20):
        x = normal(100, np.float64, 3, seed)
        p = reference(x, top_k=top_k, top_p=top_p if top_p < 1 else None, min_p=min_p)
        support, middles = np.flatnonzero(p), (p.cumsum() - p / 2)[p > 0]
        options = {"top_k": top_k, "top_p": top_p, "min_p": min_p}
        drawn = sample(x, support.size, rng=Given(*middles), **options)
        assert drawn.tolist() == support.tolist()


def test_ties():
    tied = [2.0, 1.0, 2.0, 0.0, 1.0, 1.0]
    assert kept(tied, top_k=1) == kept(tied, top_k=2) == [0, 2]
    assert kept(tied, top_k=3) == [0, 1, 2, 4, 5]
    assert kept(np.zeros(10), top_p=0.5) == [0, 1, 2, 3, 4]
    assert kept(np.zeros(8), top_p=0.51) == [0, 1, 2, 3, 4]
    assert kept(tied, top_p=0.01) == [0]
    assert kept(tied, top_p=0.7) == [0, 1, 2]  # 0.62, 0.73, 0.84, 0.96, 1
    assert kept(tied, top_p=0.8) == [0, 1, 2, 4]
    assert kept(tied, min_p=1) == [0, 2]
    rows_of_ties = sample(np.zeros((1000, 10)), 30, top_p=0.25, rng=0)
    assert np.unique(rows_of_ties).tolist() == [0, 1, 2]


def test_the_entry_that_reaches_top_p_is_kept():
    x = np.log([0.5, 0.25, 0.125, 0.125])
    assert kept(x, top_p=0.5) == [0]
    assert kept(x, top_p=0.51) == [0, 1]
    assert kept(x, top_p=0.75) == [0, 1]


def test_top_p_sees_what_top_k_left():
    x = np.log([0.4, 0.3, 0.2, 0.1])  # of the first two, 0.57 and 0.43
    assert kept(x, top_p=0.5) == [0, 1]
    assert kept(x, top_p=0.5, top_k=2) == [0]


def test_top_p_of_1_keeps_all():
    """Also those that vanish in the sum: the number 0 draws the first that has a weight."""
    assert sample([-60.0, -50.0, 0.0], top_p=1.0, rng=Given(0.0)) == 0
    assert sample([-60.0, -50.0, 0.0], top_p=1 - 1e-16, rng=Given(0.0)) == 2


def test_top_k_is_judged_by_the_logits():
    x = [1.0, 2.0, 3.0, 1 + 2.0**-52]
    assert kept(x, top_k=2, temperature=INF) == [1, 2]
    assert kept(x, top_k=3, temperature=1e300) == [1, 2, 3]
    assert kept(np.array([2**60, 2**60 + 1, 2**60 + 2]), top_k=1) == [2]
    assert kept(np.array(x).astype(ml_dtypes.bfloat16), top_k=2) == [1, 2]


# --- limits --------------------------------------------------------------------------------------


@pytest.mark.parametrize("temperature", [0, -0.0, 1e-300, 1e-320])
def test_temperature_0_is_argmax(dtype, temperature):
    x = normal((500, 30), dtype, 5)
    x[:, 0] = np.minimum(x[:, 0].astype(float), 0).astype(dtype)
    for seed in range(3):
        top = x.argmax(-1)
        alone = (x == x.max(-1, keepdims=True)).sum(-1) == 1
        drawn = sample(x, rng=seed, temperature=temperature)
        assert (drawn == top)[alone].all()
        assert (x[np.arange(500), drawn] == x.max(-1)).all()


def test_temperature_0_draws_ties_evenly():
    assert_law(counts(4, [5, 1, 5, 5], temperature=0), [1, 0, 1, 1])


def test_infinities(dtype):
    x = np.array([-INF, 1, -INF, 1, -INF], dtype)
    assert_law(counts(5, x), [0, 1, 0, 1, 0])
    assert_law(counts(5, x, temperature=INF), [0, 1, 0, 1, 0])
    x[0] = INF
    for temperature in (0, 1, INF):
        assert not sample(x, 1000, temperature=temperature).any()
    assert kept(x, top_k=5, top_p=0.9, min_p=0.5) == [0]


def test_where(dtype):
    x = np.array([0.5, NAN, 1, -INF, INF, 0], dtype)
    mask = np.array([True, False, True, True, False, True])
    law = np.where(mask, np.exp(np.where(mask, x.astype(float), 0)), 0) * (x > -INF)
    assert_law(counts(6, x, where=mask), law)
    assert kept(x, where=mask, top_k=1) == [2]
    assert kept(x, where=mask, top_k=4, temperature=INF) == [0, 2, 5]
    assert kept(x, where=mask, min_p=1) == [2]


@pytest.mark.parametrize("integers", [[9, 5, 4, 4], [2**62, 3, 2, 2]])
def test_where_of_integers(integers):
    x, mask = np.array(integers), np.array([False, True, True, True])
    assert_law(counts(4, x, where=mask), [0, np.e, 1, 1])
    assert kept(x, where=mask, top_k=1) == [1]


def test_top_k_of_what_float64_cannot_tell_apart():
    x = np.array([2**60, 0, 1, 2], np.int64)
    assert kept(x, top_k=3, temperature=INF) == [0, 2, 3]
    if np.finfo(np.longdouble).nmant > 52:
        x = np.array([1, 2, 2], np.longdouble)
        x[1] -= 2.0**-60
        assert kept(x, top_k=1) == [2]
        assert kept(x, top_k=2, where=[True, True, False]) == [0, 1]


def test_extreme_logits():
    top = float(np.finfo(np.float64).max)
    assert not sample([top, -top], 100).any()
    assert_law(counts(2, [-top, -top]), [1, 1])
    assert_law(counts(2, np.float32([3e38, 3e38])), [1, 1])
    assert_law(counts(2, [top, -top], temperature=1e308), [1, np.exp(-top / 5e307)])


def test_temperature_of_each_row():
    x = np.tile(LOGITS, (3, 1))
    drawn = sample(x, DRAWS, rng=1, temperature=[[0.5], [1.0], [4.0]])
    for i, t in enumerate((0.5, 1.0, 4.0)):
        assert_law(np.bincount(drawn[:, i], minlength=8), reference(LOGITS, t))


# --- shapes, axes, random numbers ----------------------------------------------------------------


@pytest.mark.parametrize(
    ("size", "leading"),
    [(None, ()), (5, (5,)), ((), ()), ((2, 3), (2, 3)), (0, (0,)), ((2, 0), (2, 0))],
)
@pytest.mark.parametrize("axis", [0, 1, 2, -1])
def test_shape(size, leading, axis):
    x = np.zeros((3, 4, 5))
    drawn = sample(x, size, axis)
    assert drawn.shape == (*leading, *np.delete(x.shape, axis))
    assert drawn.dtype == np.int64
    assert drawn.size == 0 or 0 <= drawn.min() <= drawn.max() < x.shape[axis]


def test_scalars():
    for logits in (3.0, [3.0], np.float32(1)):
        drawn = sample(logits)
        assert isinstance(drawn, np.int64)
        assert drawn == 0
    assert sample(3.0, 2).tolist() == [0, 0]
    assert isinstance(sample([1.0, 2.0]), np.int64)


def test_nothing_to_draw():
    for shape, size, expected in (((0, 3), None, (0,)), ((3, 0), 0, (0, 3)), ((0, 0), None, (0,))):
        assert sample(np.empty(shape), size).shape == expected


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_axis(axis):
    x = normal((3, 4, 5), np.float64, 2)
    options = {"top_k": 3, "top_p": 0.9, "rng": 5}
    expected = sample(np.moveaxis(x, axis, -1).copy(), (2, 3), **options)
    assert bits(sample(x, (2, 3), axis, **options)) == bits(expected)
    t = np.arange(1.0, 1 + x.size // x.shape[axis]).reshape(np.delete(x.shape, axis))
    expected = sample(np.moveaxis(x, axis, -1), temperature=t[..., None], rng=5)
    drawn = sample(x, axis=axis, temperature=np.expand_dims(t, axis), rng=5)
    assert bits(drawn) == bits(expected)


@pytest.mark.parametrize(
    "layout",
    [
        np.asfortranarray,
        lambda a: a[::-1, ::-1].copy()[::-1, ::-1],
        lambda a: np.repeat(a, 3, 1)[:, ::3],
        lambda a: a.astype(a.dtype.newbyteorder()),
    ],
)
def test_layouts_change_nothing(layout):
    x = normal((40, 30), np.float32, 2)
    options = {"rng": 5, "top_k": 20, "top_p": 0.9, "min_p": 0.01}
    before = bits(given := layout(x))
    assert bits(sample(given, 3, **options)) == bits(sample(x, 3, **options))
    assert bits(given) == before


@pytest.mark.parametrize("size", [None, 7, (3, 2)])
def test_blocks_change_nothing(monkeypatch, size):
    x = normal((5, 7, 30), np.float32, 2)
    options = {"rng": 5, "top_k": 20, "top_p": 0.9}
    at_once = sample(x, size, **options)
    monkeypatch.setattr(rows, "BLOCK", 1000)
    monkeypatch.setattr(rows, "DRAWS", 4)
    assert bits(sample(x, size, **options)) == bits(at_once)


def test_seeds_reproduce():
    x = normal((50, 30), np.float64)
    assert bits(sample(x, 3, rng=1)) == bits(sample(x, 3, rng=np.random.default_rng(1)))
    assert bits(sample(x, 3, rng=1)) == bits(sample(x, 3, rng=np.int64(1)))
    assert bits(sample(x, 3, rng=1)) != bits(sample(x, 3, rng=2))
    assert bits(sample(x, 3)) != bits(sample(x, 3))


def test_generator_moves_on_by_one_number_a_draw():
    rng, other = np.random.default_rng(1), np.random.default_rng(1)
    x = normal((50, 30), np.float64)
    first, second = sample(x, 3, rng=rng), sample(x, 3, rng=rng)
    assert bits(first) != bits(second)
    other.random(2 * first.size)
    assert rng.random() == other.random()


def test_rows_keep_their_draws_when_others_are_appended():
    x = normal((50, 30), np.float64)
    assert bits(sample(x[:20], 3, rng=1)) == bits(sample(x, 3, rng=1)[:, :20])


def test_other_bit_generators():
    x = np.zeros(4)
    rng = np.random.Generator(np.random.Philox(3))
    assert_law(np.bincount(sample(x, DRAWS, rng=rng), minlength=4), np.ones(4))


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_memory_is_a_few_megabytes(options):
    import tracemalloc

    x = normal((16, 128_256), np.float32, 3)
    sample(x[:1], rng=1)
    tracemalloc.start()
    try:
        sample(x, **options)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 8 * blocks.BLOCK


# --- bad input -----------------------------------------------------------------------------------

X = np.zeros((2, 3))
SIZE = (
    r"size must be None, an int >= 0 or a tuple of them \(the axis comes third, or as axis=\), got"
)
TOP_K = "top_k must be None or an int >= 1, got"
TOP_P = r"top_p must be None or a number in \(0, 1\], got"
MIN_P = r"min_p must be None or a number in \[0, 1\], got"
RNG = "rng must be a numpy.random.Generator, an int seed >= 0 or None, got"
ROW = r"row {} of logits has no distribution to draw from: it"
BAD = [
    (X, {"size": -1}, ValueError, f"{SIZE} -1"),
    (X, {"size": (2, -3)}, ValueError, f"{SIZE} -3"),
    (X, {"size": 2.0}, TypeError, f"{SIZE} 2.0"),
    (X, {"size": True}, TypeError, f"{SIZE} True"),
    (X, {"size": [2]}, TypeError, f"{SIZE} list"),
    (X, {"top_k": 0}, ValueError, f"{TOP_K} 0"),
    (X, {"top_k": -2}, ValueError, f"{TOP_K} -2"),
    (X, {"top_k": 1.5}, TypeError, f"{TOP_K} 1.5"),
    (X, {"top_k": True}, TypeError, f"{TOP_K} True"),
    (X, {"top_p": 0}, ValueError, f"{TOP_P} 0"),
    (X, {"top_p": 1.01}, ValueError, f"{TOP_P} 1.01"),
    (X, {"top_p": -0.5}, ValueError, f"{TOP_P} -0.5"),
    (X, {"top_p": NAN}, ValueError, f"{TOP_P} nan"),
    (X, {"top_p": "0.5"}, TypeError, f"{TOP_P} '0.5'"),
    (X, {"top_p": True}, TypeError, f"{TOP_P} True"),
    (X, {"top_p": np.ones(3)}, TypeError, f"{TOP_P} ndarray"),
    (X, {"min_p": -0.1}, ValueError, f"{MIN_P} -0.1"),
    (X, {"min_p": 2}, ValueError, f"{MIN_P} 2"),
    (X, {"min_p": NAN}, ValueError, f"{MIN_P} nan"),
    (X, {"min_p": 1j}, TypeError, f"{MIN_P} 1j"),
    (X, {"rng": -1}, ValueError, f"{RNG} -1"),
    (X, {"rng": 1.5}, TypeError, f"{RNG} 1.5"),
    (X, {"rng": "seed"}, TypeError, f"{RNG} 'seed'"),
    (X, {"rng": True}, TypeError, f"{RNG} True"),
    (X, {"rng": np.random.RandomState(0)}, TypeError, f"{RNG} RandomState"),
    (X, {"temperature": -1}, ValueError, "temperature must be 0, positive or inf, got -1.0"),
    (X, {"temperature": NAN}, ValueError, "temperature must be 0, positive or inf, got nan"),
    (X, {"temperature": [1, 2, 3]}, ValueError, r"temperature of shape \(3,\) does not broadcast"),
    (X, {"axis": 2}, IndexError, "axis 2 is out of bounds for array of dimension 2"),
    (X, {"axis": None}, TypeError, "axis must be an int"),
    (X, {"axis": (0, 1)}, TypeError, "axis must be an int"),
    (X > 0, {}, TypeError, "logits has dtype bool; accepted are"),
    (X + 1j, {}, TypeError, "logits must be real, got dtype complex128"),
    (["a"], {}, TypeError, "logits has dtype <U1; accepted are"),
    ([[1], [1, 2]], {}, ValueError, "logits must be rectangular"),
    (np.empty((3, 0)), {}, ValueError,
     r"logits must have something to draw, got shape \(3, 0\), empty along axis 1"),
    ([0, NAN, 1], {}, ValueError, ROW.format(r"\(\)") + " holds a NaN"),
    ([[0, 1], [INF, INF]], {}, ValueError, ROW.format(r"\(1,\)") + r" holds several \+inf"),
    ([[0, INF], [-INF, -INF]], {}, ValueError, ROW.format(r"\(1,\)") + " is -inf throughout"),
    ([[INF, NAN, INF], [-INF] * 3], {}, ValueError, ROW.format(r"\(0,\)") + " holds a NaN"),
    (NAN, {}, ValueError, ROW.format(r"\(\)") + " holds a NaN"),
    ([[0, 1], [INF, 0]], {"where": [[False] * 2, [True] * 2]}, ValueError,
     ROW.format(r"\(0,\)") + " is left out by where throughout"),
    ([[0, 1], [3, 0]], {"where": [[True] * 2, [False] * 2]}, ValueError,
     ROW.format(r"\(1,\)") + " is left out by where throughout"),
    ([0, NAN, -INF], {"where": [False, False, True]}, ValueError,
     ROW.format(r"\(\)") + " is -inf throughout"),
    (X, {"where": np.ones(2)}, TypeError, "where must be bool, got dtype float64"),
    (X, {"where": [True] * 2}, ValueError, r"where of shape \(2,\) does not broadcast"),
]  # fmt: skip


@pytest.mark.parametrize(("logits", "options", "error", "message"), BAD)
def test_bad_input(logits, options, error, message):
    with pytest.raises(error, match=f"^{message}") as caught:
        sample(logits, **options)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("dtype", [np.float16, ml_dtypes.bfloat16, np.float32, np.longdouble])
@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize("values", [[NAN], [INF, INF]])
def test_a_bad_row_is_named(dtype, axis, values):
    x = normal((3, 4, 5), np.float64).astype(dtype)
    np.moveaxis(x, axis, -1)[2, 1, 1 : 1 + len(values)] = values
    with pytest.raises(ValueError, match=r"^row \(2, 1\) of logits"):
        sample(x, axis=axis)


def test_nothing_is_drawn_when_a_row_is_refused():
    rng = np.random.default_rng(1)
    x = np.zeros((5000, 100))
    x[-1] = NAN
    with pytest.raises(ValueError, match=r"row \(4999,\)"):
        sample(x, rng=rng)
    assert rng.random() == np.random.default_rng(1).random()


# --- other arrays ---------------------------------------------------------------------------------


@pytest.mark.interop
@pytest.mark.parametrize("kind", [Torch, Jax, Strict], ids=lambda kind: kind.__name__)
def test_tensors(kind):
    """The host draws what it draws from NumPy arrays."""
    lib, x = kind(), normal((3, 4), np.float32)
    warm = np.float32([[1], [2], [0]])
    for options in ({}, {"size": 5, "top_p": 0.9}, {"axis": 0}, {"temperature": warm}):
        given = {k: lib.array(v) if v is warm else v for k, v in options.items()}
        y = sample(lib.array(x), rng=1, **given)
        wanted = sample(x, rng=1, **options)
        assert lib.numpy(y).dtype == (np.int32 if kind is Jax else np.int64)
        np.testing.assert_array_equal(lib.numpy(y), wanted)
    assert lib.numpy(sample(lib.array(x[0]), temperature=0)).shape == ()


@pytest.mark.interop
def test_tensors_of_half_precision():
    torch = library("torch")
    x = torch.tensor([[1.0, -9.0, 1.0]] * 50, dtype=torch.bfloat16, requires_grad=True)
    np.testing.assert_array_equal(sample(x, rng=3), sample(x.detach(), rng=3))


@pytest.mark.interop
@pytest.mark.parametrize("kind", [Torch, Jax, Strict], ids=lambda kind: kind.__name__)
def test_bad_tensors(kind):
    lib = kind()
    for x, options in (
        ([0.0, NAN], {}),
        ([1 + 1j, 0], {}),
        ([0.0, 1], {"top_k": 0}),
        ([0.0, 1], {"rng": "seed"}),
    ):
        with pytest.raises((TypeError, ValueError)) as error:
            sample(np.array(x), **options)
        with pytest.raises(type(error.value)) as other:
            sample(lib.array(np.array(x)), **options)
        if kind is not Jax:  # which makes complex64 of complex128
            assert str(other.value) == str(error.value)


@pytest.mark.interop
def test_traced_tensors():
    torch, jax = library("torch"), library("jax")
    message = "^sample needs values, which a traced array has none of: use {}"
    with pytest.raises(TypeError, match=message.format("jax.random.categorical")):
        jax.jit(sample)(jax.numpy.ones(3))
    with pytest.raises(TypeError, match=message.format("jax.random.categorical")):
        jax.jit(lambda t: sample(jax.numpy.ones(3), temperature=t))(1.0)
    for call in (torch.compile(sample, backend="eager"), torch.func.vmap(sample)):
        with pytest.raises(TypeError, match=message.format("torch.multinomial")):
            call(torch.ones(2, 3))
    with pytest.raises(TypeError, match=message.format("torch.multinomial")):
        sample(torch.ones(2, device="meta"))
    with pytest.raises(TypeError, match=r"^logits has dtype float8_e4m3fn; accepted are"):
        sample(torch.ones(2).to(torch.float8_e4m3fn))


# --- planted bugs --------------------------------------------------------------------------------


def left_of_ties(target, total, first, n):
    """searchsorted(side="left"): classes of probability 0 are drawn at their neighbours' edge."""
    found = np.zeros_like(first)
    step = 1 << n.bit_length()
    while step := step >> 1:
        probe = np.minimum(found + step, n) - 1
        found += step * (total[first + probe] < target)
    return found


def of_the_first_row(target, total, first, n):
    return np.minimum(np.searchsorted(total[:n], target, "right"), n - 1)


def one_number_a_row(p, count, rng):
    return np.repeat(DRAW(p, 1, rng), count)


def unseeded(p, count, rng):
    return DRAW(p, count, np.random.default_rng())


def of_another_law(p, count, rng):
    return DRAW(np.sqrt(p), count, rng)


DRAW = numpy_sampler._draw


def without_the_crossing(p, top_p):
    falling = np.sort(p, -1)[:, ::-1]
    inside = (falling.cumsum(-1) <= top_p).sum(-1, keepdims=True)
    p[p < np.take_along_axis(falling, np.maximum(inside - 1, 0), -1)] = 0


def before_renormalising(p, top_p):
    falling = np.sort(p, -1)[:, ::-1]
    last = np.minimum((falling.cumsum(-1) < top_p).sum(-1, keepdims=True), p.shape[-1] - 1)
    p[p < np.take_along_axis(falling, last, -1)] = 0


def by_probability(p, x, k):
    p[p < np.sort(p, -1)[:, -k, None]] = 0


def one_too_few(p, x, k):
    p[x <= np.sort(x, -1)[:, -min(k, x.shape[-1]), None]] = 0


def absolute(p, min_p):
    p[p < min_p] = 0


PLANTED = [
    ("_count_up_to", left_of_ties, test_extreme_random_numbers, (3,)),
    ("_count_up_to", of_the_first_row, test_temperature_of_each_row, ()),
    ("_draw", one_number_a_row, test_draws_of_a_row_are_independent, ()),
    ("_draw", unseeded, test_seeds_reproduce, ()),
    ("_draw", of_another_law, test_law, ({},)),
    ("_keep_top_p", without_the_crossing, test_the_entry_that_reaches_top_p_is_kept, ()),
    ("_keep_top_p", without_the_crossing, test_law, ({"top_p": 0.75},)),
    ("_keep_top_p", before_renormalising, test_top_p_sees_what_top_k_left, ()),
    ("_keep_top_p", before_renormalising, test_ties, ()),
    ("_keep_top_k", by_probability, test_top_k_is_judged_by_the_logits, ()),
    ("_keep_top_k", one_too_few, test_law, ({"top_k": 3},)),
    ("_keep_min_p", absolute, test_law, ({"min_p": 0.2},)),
]  # fmt: skip


@pytest.fixture
def numpy_in_place(monkeypatch):
    """Let the tests draw with NumPy, part of which may be a bug."""
    monkeypatch.setattr(sys.modules[__name__], "sample", numpy_sampler.sample)


@pytest.mark.parametrize(("part", "bug", "test", "arguments"), PLANTED)
def test_planted_bug_is_seen(monkeypatch, numpy_in_place, part, bug, test, arguments):
    test(*arguments)
    monkeypatch.setattr(numpy_sampler, part, bug)
    with pytest.raises(AssertionError):
        test(*arguments)
