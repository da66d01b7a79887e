"""Rows of infinities and NaN, on every layout that a row can take to a kernel."""

import ml_dtypes
import numpy as np
import pytest
from conftest import FLOATS, LEVELS, rerun_at_level

import stablesoftmax
from stablesoftmax import UndefinedSoftmaxError, num_threads

INF, NAN, LOG2 = np.inf, np.nan, np.log(np.longdouble(2))
LONG = 70_001  # several of the kernels' blocks

pytestmark = pytest.mark.usefixtures("strict")

# row: softmax, log_softmax, logsumexp
ROWS = {
    "some -inf": ([-INF, 0, -INF, 0], [0, 0.5, 0, 0.5], [-INF, -LOG2, -INF, -LOG2], LOG2),
    "one above -inf": ([-INF, 3, -INF], [0, 1, 0], [-INF, 0, -INF], 3),
    "one +inf": ([0, INF, -INF, 5], [0, 1, 0, 0], [-INF, 0, -INF, -INF], INF),
    "+inf alone": ([INF], [1], [0], INF),
    "several +inf": ([INF, 0, INF, -INF], [NAN, 0, NAN, 0], [NAN, -INF, NAN, -INF], INF),
    "+inf throughout": ([INF, INF, INF], [NAN] * 3, [NAN] * 3, INF),
    "all -inf": ([-INF, -INF, -INF], [NAN] * 3, [NAN] * 3, -INF),
    "-inf alone": ([-INF], [NAN], [NAN], -INF),
    "a NaN": ([0, NAN, 5], [NAN] * 3, [NAN] * 3, NAN),
    "NaN and +inf": ([INF, NAN, 0], [NAN] * 3, [NAN] * 3, NAN),
    "NaN and +inf twice": ([INF, INF, NAN], [NAN] * 3, [NAN] * 3, NAN),
    "NaN and -inf": ([-INF, -INF, NAN], [NAN] * 3, [NAN] * 3, NAN),
    "negative NaN": ([0, -NAN], [NAN] * 2, [NAN] * 2, NAN),
}
UNDEFINED = {"several +inf", "+inf throughout", "all -inf", "-inf alone"}


# ---- layouts: each takes a call, and a row to be computed in some company ------------------------


def compiled_entry(call, row):
    return call(row)


def general(call, row):
    """Past the compiled entry, to the Python function."""
    return call(row, wrapped=True)


def strided(call, row):
    x = np.ones(3 * row.size, row.dtype)
    x[::3] = row
    return call(x[::3])


def backwards(call, row):
    return call(row[::-1].copy()[::-1])


def unaligned(call, row):
    raw = np.empty(row.nbytes + 1, np.uint8)
    x = raw[1:].view(row.dtype)
    x[:] = row
    return call(x)


def byte_swapped(call, row):
    # ml_dtypes has no swapped bfloat16
    return call(row if row.dtype.kind == "V" else row.astype(row.dtype.newbyteorder()))


def in_place(call, row):
    x = row.copy()
    return call(x, out=x)


def column(call, row):
    """Between other columns, which are finite."""
    x = np.tile(row[:, None], 37)
    x[:, ::2] = np.arange(row.size)[:, None]
    return call(x, axis=0)[..., 17]


def row_of_batch(call, row):
    x = np.tile(row, (37, 1))
    x[::2] = np.arange(row.size)
    return call(x)[17]


def two_axes(call, row):
    """A row that is spread over two axes which no view makes one."""
    x = np.tile(row[:, None, None], (1, 3, 2))
    x[:, :, 1] = -INF
    x[:, 1:, :] = 0
    result = call(x, axis=(0, 2))
    return result[:, 0, 0] if result.ndim == 3 else result[0]


def threaded(call, row):
    x = np.tile(row, (150_000 // slow(row) // row.size, 1))
    x[::2] = np.arange(row.size)
    with num_threads(7):
        return call(x)[1 + len(x) // 4 * 2]


def long(call, row):
    """Spread over a row of many blocks, the rest of which is -inf."""
    x = np.full(LONG // slow(row), -INF, row.dtype)
    spots = np.linspace(0, x.size - 1, row.size).astype(int)
    x[spots] = row
    result = call(x)
    return result[spots] if result.ndim else result


def slow(row):
    """How much smaller the large arrays of a dtype that has no kernel are."""
    return 100 if row.dtype == np.longdouble else 1


def masked(call, row):
    """Between entries that are excluded, and would change everything."""
    x = np.tile(row[:, None], 4).astype(row.dtype)
    x[:, 1:] = INF, NAN, -INF
    where = np.zeros(x.shape, bool)
    where[:, 0] = True
    result = call(x.ravel(), where=where.ravel())
    if result.ndim:
        absent = -INF if call.name == "log_softmax" else 0
        assert_same(result.reshape(x.shape)[:, 1:], np.full((row.size, 3), absent))
        result = result.reshape(x.shape)[:, 0]
    return result


def tempered(call, row):
    """With a temperature, which changes no limit: the finite entries that matter are 0 or tie."""
    return call(row) if call.name == "logsumexp" else call(row, temperature=[1.0])


LAYOUTS = (
    compiled_entry, general, strided, backwards, unaligned, byte_swapped, in_place, column,
    row_of_batch, two_axes, threaded, long, masked, tempered,
)  # fmt: skip


class Call:
    """One function with some of its options fixed."""

    def __init__(self, name, **options):
        self.name, self.options = name, options

    def __call__(self, x, axis=-1, *, wrapped=False, out=None, **options):
        function = getattr(stablesoftmax, self.name)
        if out is not None and self.name != "logsumexp":
            options["out"] = out
        return (function.__wrapped__ if wrapped else function)(x, axis, **self.options, **options)


def assert_same(actual, expected, what=""):
    """Equal: to a few ULP where finite, in sign where 0, NaN for NaN."""
    actual = np.asarray(actual)
    eps = ml_dtypes.finfo(actual.dtype).eps.astype(np.longdouble)
    with np.errstate(over="ignore", under="ignore"):
        expected = np.asarray(expected, np.longdouble).astype(actual.dtype).astype(np.longdouble)
    wide = actual.astype(np.longdouble)
    np.testing.assert_allclose(wide, expected, rtol=2 * eps, atol=0, err_msg=what)
    assert not np.signbit(wide[wide == 0]).any(), f"-0 in {actual} {what}"


@pytest.fixture(params=[*FLOATS.values(), np.dtype(np.longdouble)], ids=str)
def dtype(request):
    return request.param


every_layout = pytest.mark.parametrize("layout", LAYOUTS, ids=lambda layout: layout.__name__)


@every_layout
def test_rows(dtype, layout):
    for row, (x, *expected) in ROWS.items():
        for name, y in zip(("softmax", "log_softmax", "logsumexp"), expected, strict=True):
            assert_same(layout(Call(name), np.array(x, dtype)), y, row)


ALONE = [layout for layout in LAYOUTS if layout is not two_axes]  # beside nothing but -inf


@pytest.mark.parametrize("layout", ALONE, ids=lambda layout: layout.__name__)
def test_equal_entries_get_an_equal_share(dtype, layout):
    """[1, 1] is [0.5, 0.5], not 0.49999997: no sum of rounded exponentials gives that."""
    for n in (1, 2, 3, 7, 10, 28, 29, 40, 41, 64, 500, 5000 // slow(np.zeros(0, dtype))):
        for value in (0.0, 1.0, -0.7, 900.0, -3e4):
            actual = layout(Call("softmax"), np.full(n, value, dtype))
            share = np.ones(n, np.longdouble) / n
            np.testing.assert_array_equal(actual, share.astype(dtype), err_msg=f"{n} of {value}")


@every_layout
def test_undefined_rows(dtype, layout):
    for row in UNDEFINED:
        x, softmax, log_softmax, _ = ROWS[row]
        x, tied = np.array(x, dtype), np.isnan(softmax)
        padded = {long: LONG // slow(x), two_axes: 2 * x.size}.get(layout, x.size)
        share = 1 / np.longdouble(padded if x.max() == -INF else tied.sum())
        for policy, p, log_p in (("zero", 0, -INF), ("uniform", share, np.log(share) + 0.0)):
            actual = layout(Call("softmax", undefined=policy), x)
            assert_same(actual, np.where(tied, p, softmax), row)
            actual = layout(Call("log_softmax", undefined=policy), x)
            assert_same(actual, np.where(tied, log_p, log_softmax), row)
        for name in ("softmax", "log_softmax"):
            with pytest.raises(UndefinedSoftmaxError):
                layout(Call(name, undefined="raise"), x)


@every_layout
def test_no_other_row_is_undefined(dtype, layout):
    for row in ROWS.keys() - UNDEFINED:
        x, softmax, log_softmax, _ = ROWS[row]
        for policy in ("zero", "uniform", "raise"):
            actual = layout(Call("softmax", undefined=policy), np.array(x, dtype))
            assert_same(actual, softmax, row)
            actual = layout(Call("log_softmax", undefined=policy), np.array(x, dtype))
            assert_same(actual, log_softmax, row)


@pytest.mark.parametrize("undefined", ["nan", "zero", "uniform", "raise"])
@pytest.mark.parametrize("shape", [(1,), (5,), (3, 4), (80, 1000)])
def test_all_excluded(dtype, shape, undefined):
    x = np.resize(np.array([NAN, INF, -INF, 3], dtype), shape)
    for where in (False, np.zeros(shape, bool)):
        softmax = stablesoftmax.softmax(x, where=where, undefined=undefined)
        assert_same(softmax, np.zeros(shape))
        log_softmax = stablesoftmax.log_softmax(x, where=where, undefined=undefined)
        assert_same(log_softmax, np.full(shape, -INF))
        assert_same(stablesoftmax.logsumexp(x, -1, where=where), np.full(shape[:-1], -INF))


@pytest.mark.parametrize("wrapped", [False, True])
@pytest.mark.parametrize(("shape", "axis"), [((0,), 0), ((3, 0), 1), ((0, 3), 0), ((2, 0, 4), 1)])
def test_empty_axis(dtype, shape, axis, wrapped):
    x = np.empty(shape, dtype)
    for name in ("softmax", "log_softmax"):
        assert Call(name)(x, axis, wrapped=wrapped).shape == shape
    rows = Call("logsumexp")(x, axis, wrapped=wrapped)
    assert_same(rows, np.full(np.delete(shape, axis), -INF))


@pytest.mark.parametrize("wrapped", [False, True])
@pytest.mark.parametrize(("shape", "axis"), [((0, 3), 1), ((3, 0), 0), ((2, 0, 4), 2)])
def test_empty_batch(dtype, shape, axis, wrapped):
    x = np.empty(shape, dtype)
    for name in ("softmax", "log_softmax"):
        assert Call(name)(x, axis, wrapped=wrapped).shape == shape
    rows = Call("logsumexp")(x, axis, wrapped=wrapped)
    assert rows.shape == tuple(np.delete(shape, axis))


TINY = 1e-320

# row, temperature, softmax, log_softmax
LIMITS = {
    "0": ([1, 3, 3, -INF], 0, [0, 0.5, 0.5, 0], [-INF, -LOG2, -LOG2, -INF]),
    "-0": ([1, 3, 3, -INF], -0.0, [0, 0.5, 0.5, 0], [-INF, -LOG2, -LOG2, -INF]),
    "inf": ([1, 3, -INF], INF, [0.5, 0.5, 0], [-LOG2, -LOG2, -INF]),
    "0, one +inf": ([1, INF, 3], 0, [0, 1, 0], [-INF, 0, -INF]),
    "inf, one +inf": ([1, INF, 3], INF, [0, 1, 0], [-INF, 0, -INF]),
    "0, several +inf": ([INF, INF, 3], 0, [NAN, NAN, 0], [NAN, NAN, -INF]),
    "inf, several +inf": ([INF, INF, 3], INF, [NAN, NAN, 0], [NAN, NAN, -INF]),
    "0, all -inf": ([-INF, -INF], 0, [NAN, NAN], [NAN, NAN]),
    "inf, all -inf": ([-INF, -INF], INF, [NAN, NAN], [NAN, NAN]),
    "0, NaN": ([NAN, 1], 0, [NAN, NAN], [NAN, NAN]),
    "inf, NaN": ([NAN, 1], INF, [NAN, NAN], [NAN, NAN]),
    "1 / T is inf": ([0, 1, 1], TINY, [0, 0.5, 0.5], [-1 / np.longdouble(TINY), -LOG2, -LOG2]),
    "x / T is 0": ([0, 60000], 1e300, [0.5, 0.5], [-LOG2, -LOG2]),
}


@pytest.mark.parametrize("limit", LIMITS)
def test_temperature_limit(dtype, limit):
    row, temperature, softmax, log_softmax = LIMITS[limit]
    x = np.array([row, [0] * len(row)], dtype)
    for t in (temperature, [[temperature], [1.0]]):
        assert_same(stablesoftmax.softmax(x, temperature=t)[0], softmax)
        assert_same(stablesoftmax.log_softmax(x, temperature=t)[0], log_softmax)
        assert_same(stablesoftmax.softmax(x.T, axis=0, temperature=np.transpose(t))[:, 0], softmax)


@pytest.mark.parametrize("level", LEVELS)
def test_level(level):
    """All of the above once more at the level."""
    rerun_at_level(level, __file__)
