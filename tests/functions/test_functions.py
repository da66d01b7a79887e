"""softmax, log_softmax and logsumexp: every argument, every layout, the same bits."""

import gc
import inspect
import itertools
import pickle
import tracemalloc
import types

import ml_dtypes
import numpy as np
import pytest
from conftest import FLOATS, LEVELS, bits, in_turn, normal, rerun_at_level
from hypothesis import given, settings
from hypothesis import strategies as st

import stablesoftmax
from stablesoftmax import (
    _core,
    accuracy,
    log_softmax,
    logsumexp,
    num_threads,
    softmax,
    testing,
)
from stablesoftmax.functions import rows

pytestmark = pytest.mark.usefixtures("strict")

FUNCTIONS = (softmax, log_softmax, logsumexp)
MAPS = "(x, axis=-1, *, where=None, temperature=1.0, out=None, dtype=None, undefined='nan')"
REDUCES = (
    "(x, axis=None, *, b=None, return_sign=False, keepdims=False, where=None, out=None, dtype=None)"
)
SIGNATURES = {softmax: MAPS, log_softmax: MAPS, logsumexp: REDUCES}
ALL = [public.__name__ for public in FUNCTIONS]
DTYPES = list(FLOATS.values())


def test_in_turn():
    """No pair of values is left out, though most of the triples are."""
    values = {"dtype": "abcd", "n": range(17), "axis": (0, 1)}
    cases = in_turn(ALL, **values).args[1]
    assert len(cases) == 4 * 17 * 2
    met = [(case.values[0].__name__, *case.values[1:]) for case in cases]
    for i, j in itertools.combinations(range(4), 2):
        every = itertools.product(*([ALL, *values.values()][k] for k in (i, j)))
        assert {(case[i], case[j]) for case in met} == set(every)


# ---- as functions --------------------------------------------------------------------------


@pytest.mark.parametrize("public", FUNCTIONS)
def test_signature(public):
    bare = [p.replace(annotation=p.empty) for p in inspect.signature(public).parameters.values()]
    assert str(inspect.Signature(bare)) == SIGNATURES[public]


@pytest.mark.parametrize("public", FUNCTIONS)
def test_is_a_function_to_the_eye(public):
    assert public.__module__ == "stablesoftmax.functions"
    assert getattr(stablesoftmax, public.__name__) is public
    assert public.__doc__ == public.__wrapped__.__doc__
    assert pickle.loads(pickle.dumps(public)) is public
    assert inspect.unwrap(public) is public.__wrapped__.__wrapped__


@pytest.mark.parametrize("public", FUNCTIONS)
def test_docstring_says_what_is_promised(public):
    """The figures come from the one table."""
    limits = accuracy.MAX_ULP[public.__name__]
    promised = "Worst error: {:g} ULP{} in float32 and float64, {:g} ULP in float16 and bfloat16"
    kappa = " times κ" if public is logsumexp else ""
    text = promised.format(limits["float32"], kappa, limits["float16"])
    assert limits["float32"] == limits["float64"]
    assert limits["float16"] == limits["bfloat16"]
    words = " ".join(public.__doc__.split())
    assert text in words
    more = accuracy.TEMPERATURE_ULP
    assert more["float32"] == more["float64"] == 1
    assert ("A temperature adds 1 ULP in float32 and float64." in words) == (kappa == "")


# ---- dtypes and kinds ----------------------------------------------------------------------


@pytest.mark.parametrize("code", "bhilqBHILQ")
def test_integers_give_float64(function, code):
    x = np.array([1, 2, 4], code)
    assert function(x).dtype == np.float64
    assert bits(function(x)) == bits(function(x.astype(float)))


@pytest.mark.parametrize("code", "efdgFDG")
def test_floats_keep_their_dtype(function, code):
    for order in "=<>":
        x = np.array([[1, 2, 4]], np.dtype(code).newbyteorder(order))
        assert function(x).dtype == np.dtype(code)
        assert function(x).dtype.isnative


def test_bfloat16(function):
    x = np.array([1, 2, 4], ml_dtypes.bfloat16)
    assert function(x).dtype == ml_dtypes.bfloat16
    expected = function(x.astype(np.float64)).astype(ml_dtypes.bfloat16)
    assert bits(function(x)) == bits(expected)


@pytest.mark.parametrize("x", [3, 3.0, np.float64(3), np.array(3.0), np.int8(3), [3.0], (3,)])
def test_scalars(x):
    ones = ((softmax, 1.0), (log_softmax, 0.0), (logsumexp, 3.0))
    for axis, (public, expected) in itertools.product((None, 0, -1), ones):
        result = public(x, axis)
        assert result == expected
        scalar = np.ndim(x) == 0 or public is logsumexp
        assert type(result) is (np.float64 if scalar else np.ndarray)


def test_scalar_of_every_dtype(dtype):
    for public in FUNCTIONS:
        assert type(public(dtype.type(3), axis=None)) is dtype.type


def test_scalars_by_default():
    assert (softmax(3.0), log_softmax(3.0), logsumexp(3.0)) == (1.0, 0.0, 3.0)


def test_lists():
    expected = [0.01165623, 0.03168492, 0.08612854, 0.23412166, 0.63640865]
    np.testing.assert_allclose(softmax([1, 2, 3, 4, 5]), expected, rtol=1e-6)
    assert softmax([[12345, 67890, 99999999], [123, 678, 88888888]]).tolist() == [[0, 0, 1]] * 2


def test_subclasses_are_taken_as_arrays(function):
    x = np.array([[1.0, 2.0], [3.0, 5.0]])
    with pytest.warns(PendingDeprecationWarning):
        matrix = np.matrix(x)
    assert type(function(matrix)) is np.ndarray
    assert bits(function(matrix)) == bits(function(x))


# ---- dtype= --------------------------------------------------------------------------------


@in_turn(ALL, dtype=DTYPES, asked=DTYPES)
def test_dtype_computes_as_wide(function, dtype, asked):
    """In the wider of both, and with one rounding at the end."""
    x = normal((5, 40), dtype, 3)
    same_size = {dtype.name, asked.name} == {"float16", "bfloat16"}
    wide = np.dtype(np.float32) if same_size else np.promote_types(dtype, asked)
    result = function(x, dtype=asked)
    assert result.dtype == asked
    with np.errstate(under="ignore"):
        assert bits(result) == bits(function(x.astype(wide)).astype(asked))


def test_dtype_of_integers(function):
    x = np.array([2**24 + 1, 2**24])
    assert bits(function(x, dtype="f4")) == bits(function(x).astype("f4"))
    assert function(x, dtype="f2").dtype == np.float16


@pytest.mark.parametrize("asked", ["g", "F", "D", ">f4", np.float32, "float64", "complex"])
def test_dtype_is_native(function, asked):
    result = function(np.array([1.0, 2.0], np.float32), dtype=asked)
    assert result.dtype == np.dtype(asked).newbyteorder("=")
    np.testing.assert_allclose(result, function(np.array([1.0, 2.0])), rtol=1e-6)


def test_dtype_that_cannot_hold_the_result():
    """float16 ends at 65504: no warning, the infinity that rounding gives."""
    assert log_softmax([0.0, 1e6], dtype=np.float16).tolist() == [-np.inf, 0]
    assert logsumexp([1e6], dtype=np.float16) == np.inf


# ---- axes ----------------------------------------------------------------------------------

AXES = [None, 0, 1, 2, -1, -2, -3, (), (0,), (2,), (0, 1), (1, 2), (0, 2), (-1, 0), (2, 1, 0)]


@pytest.mark.parametrize("axis", AXES, ids=str)
def test_axes(dtype, axis):
    """Every set of axes is one row after the other, the axes in ascending order."""
    x = normal((3, 4, 5), dtype)
    axes = sorted({i % 3 for i in (range(3) if axis is None else np.atleast_1d(axis).astype(int))})
    batch = [i for i in range(3) if i not in axes]
    n = int(np.prod([x.shape[i] for i in axes]))
    rows = x.transpose(batch + axes).reshape(-1, n)
    back = np.argsort(batch + axes)
    for public in (softmax, log_softmax):
        expected = np.stack([public(row) for row in rows])
        expected = expected.reshape([x.shape[i] for i in batch + axes]).transpose(back)
        assert bits(public(x, axis)) == bits(expected)
    expected = bits(np.array([logsumexp(row) for row in rows]))
    for keepdims in (False, True):
        result = logsumexp(x, axis, keepdims=keepdims)
        assert result.shape == np.sum(x.astype(float), axis=axis, keepdims=keepdims).shape
        assert bits(result) == expected


# ---- layouts -------------------------------------------------------------------------------

# Around the lengths at which lanes, blocks and caches of the kernels end.
LENGTHS = (1, 2, 3, 7, 8, 15, 16, 17, 31, 33, 64, 65, 127, 1000, 4095, 4097, 9001)


def layouts(rows):
    """Name and view, all of which hold the same rows along the last axis."""
    count, n = rows.shape
    yield "contiguous", rows.copy()
    yield "columns", np.array(rows, order="F")
    yield "reversed", rows[::-1, ::-1].copy()[::-1, ::-1]
    for name, step in (("wide rows", (1, 3)), ("every other row", (2, 1)), ("both", (2, -2))):
        big = np.zeros((count * abs(step[0]), n * abs(step[1])), rows.dtype)
        view = big[:: step[0], :: step[1]]
        view[:] = rows
        yield name, view
    raw = np.zeros(rows.nbytes + 1, np.uint8)
    view = raw[1:].view(rows.dtype).reshape(rows.shape)
    view[:] = rows
    yield "unaligned", view
    record = np.zeros(rows.shape, np.dtype([("pad", "u1"), ("x", rows.dtype)]))
    record["x"] = rows
    yield "field of a record", record["x"]
    if rows.dtype.kind == "f":
        yield "byte-swapped", rows.astype(rows.dtype.newbyteorder())
    middle = np.zeros((2, n, count), rows.dtype)
    middle[:] = rows.T
    yield "middle axis", middle[1].T
    yield "slice of rows", np.pad(rows, ((0, 0), (1, 2)))[:, 1:-2]


@in_turn(ALL, dtype=DTYPES, n=LENGTHS)
def test_rows_have_the_same_bits_in_every_layout(function, dtype, n):
    rows = normal((9, n), dtype, 10, seed=n)
    alone = [bits(function(row)) for row in rows]
    for name, x in layouts(rows):
        before = bits(x)
        assert [bits(row) for row in function(x)] == alone, name
        assert bits(x) == before, name
    for shape in ((3, 3, n), (9, 1, n), (1, 9, n)):
        whole = function(rows.reshape(shape))
        assert [bits(row) for row in whole.reshape(9, -1)] == alone


@in_turn(["softmax", "log_softmax"], dtype=DTYPES, n=LENGTHS)
def test_outs_have_the_same_bits_in_every_layout(function, dtype, n):
    rows = normal((9, n), dtype, 10, seed=n)
    expected = bits(function(rows))
    for name, x in layouts(rows):
        assert function(x, out=x) is x
        assert bits(x.astype(dtype)) == expected, f"in place, {name}"
    for name, out in layouts(np.zeros_like(rows)):
        assert function(rows, out=out) is out
        assert bits(out.astype(dtype)) == expected, f"out, {name}"


@pytest.mark.parametrize("threads", [1, 2, 7])
def test_threads_change_no_bit(function, dtype, threads):
    with num_threads(threads):
        for shape in ((3000, 40), (30, 9001), (2, 300_000), (40, 3000)):
            x = normal(shape, dtype, 10)
            whole = function(x)
            columns = function(np.asfortranarray(x))
            for i in (0, 1, len(x) // 2, len(x) - 1):
                with num_threads(1):
                    assert bits(function(x[i])) == bits(whole[i]) == bits(columns[i])


@settings(max_examples=300, deadline=None, derandomize=True)
@given(
    shape=st.lists(st.integers(1, 6), min_size=1, max_size=4),
    random=st.randoms(use_true_random=False),
    name=st.sampled_from(["softmax", "log_softmax", "logsumexp"]),
    dtype=st.sampled_from([*FLOATS.values(), np.dtype(">f4"), np.dtype("i8"), np.dtype("g")]),
    masked=st.booleans(),
    tempered=st.booleans(),
)
def test_any_layout(shape, random, name, dtype, masked, tempered):
    """Whatever the strides of x, where, temperature and out: the bits of a plain copy."""
    axes = tuple(random.sample(range(len(shape)), random.randint(1, len(shape))))
    kept = [1 if i in axes else n for i, n in enumerate(shape)]
    rng = np.random.default_rng(random.randrange(2**32))
    x = shuffled(normal(shape, dtype, 5, rng), random)
    options = {}
    if masked:
        part = [n if random.random() < 0.7 else 1 for n in shape]
        options["where"] = shuffled(rng.random(part) < 0.7, random)
    if tempered and name != "logsumexp":
        options["temperature"] = shuffled(rng.choice([0.0, 0.5, 1.0, np.inf], kept), random)
    public = getattr(stablesoftmax, name)
    plain = {key: np.array(value, order="C") for key, value in options.items()}
    expected = public(np.array(x, order="C"), axes, **plain)
    assert bits(public(x, axes, **options)) == bits(expected)
    out = shuffled(np.zeros(np.shape(expected), np.asarray(expected).dtype), random)
    assert public(x, axes, out=out, **options) is out
    assert bits(out) == bits(expected)
    if name != "logsumexp" and x.flags.writeable and dtype.kind != "i":
        public(x, axes, out=x, **options)
        assert bits(x.astype(out.dtype)) == bits(expected)


def shuffled(a, random):
    """The same numbers with axes swapped, reversed and skipped in memory, or unaligned."""
    order = random.sample(range(a.ndim), a.ndim)
    steps = [random.choice([-2, -1, 1, 1, 2]) for _ in order]
    raw = np.zeros(a.size * 2**a.ndim * a.itemsize + 1, np.uint8)[random.choice([0, 0, 1]) :]
    big = raw[: a.size * int(np.prod(np.abs(steps))) * a.itemsize].view(a.dtype)
    big = big.reshape([a.shape[i] * abs(step) for i, step in zip(order, steps, strict=True)])
    view = big[(*(np.s_[::step] for step in steps), ...)].transpose(np.argsort(order))
    view[...] = a
    return view


@pytest.mark.parametrize("level", LEVELS)
def test_level(level):
    """A row has the same bits in every layout at the other levels, too."""
    rerun_at_level(level, __file__, "-k", "layout or bit")


def test_broadcast_input(function, dtype):
    """Strides of zero, along the batch and along the row."""
    row = np.arange(5).astype(dtype)
    for x in (np.broadcast_to(row, (3, 5)), np.broadcast_to(row[:, None], (5, 40))):
        assert bits(function(x)) == bits(function(x.copy()))


# ---- out -----------------------------------------------------------------------------------


@in_turn(ALL, dtype=DTYPES, shift=(1, 7, 40, 120), axis=(0, 1, None))
def test_out_overlaps_x(function, dtype, shift, axis):
    x = normal((20, 40), dtype)
    expected = function(x, axis)
    for first, second in ((0, shift), (shift, 0)):
        memory = np.zeros(1000, dtype)
        mine = memory[first : first + 800].reshape(20, 40)
        mine[:] = x
        out = memory[second : second + expected.size].reshape(expected.shape)
        assert function(mine, axis, out=out) is out
        assert bits(out) == bits(expected)


def test_out_is_x_transposed(mapping, dtype):
    x = normal((40, 40), dtype)
    expected = mapping(x)
    mapping(x, out=x.T)
    assert bits(x.T) == bits(expected)


def test_out_overlaps_the_other_arguments():
    x = np.random.default_rng(0).normal(size=(50, 40)) ** 2
    expected = softmax(x, temperature=x[:, :1].copy())
    assert bits(softmax(x.copy(), temperature=x[:, :1], out=x)) == bits(expected)
    out = np.random.default_rng(0).integers(0, 2, (50, 40 * 8)).astype(bool).view(np.float64)
    where = out.view(bool)[:, :40]
    expected = softmax(x, where=where.copy())
    assert bits(softmax(x, where=where, out=out)) == bits(expected)
    b = x[0].copy()
    expected = logsumexp(np.ones((50, 40)), 0, b=b.copy())
    assert bits(logsumexp(np.ones((50, 40)), 0, b=b, out=b)) == bits(expected)


@in_turn(ALL, dtype=DTYPES, other=[*DTYPES, ">f4", ">f8", "g", "D"])
def test_out_of_another_dtype(function, dtype, other):
    """It takes the result as it would have been, rounded to it."""
    x = normal((3, 40), dtype)
    expected = function(x)
    out = np.zeros(expected.shape, other)
    assert function(x, out=out) is out
    assert bits(out) == bits(expected.astype(out.dtype))


def test_out_of_a_scalar(function):
    for x in (3.0, 3, np.float32(3), 3j):
        out = np.zeros((), np.result_type(x, np.float32))
        assert function(x, None, out=out) is out
        assert out == function(x, None)


def test_out_of_axes_that_are_not_one(mapping):
    x = np.random.default_rng(0).normal(size=(3, 4, 5))
    for axis in ((0, 2), None):
        for out in (np.zeros((3, 4, 5)), np.zeros((5, 4, 3)).T, x):
            expected = bits(mapping(x, axis))
            assert mapping(x, axis, out=out) is out
            assert bits(out) == expected


def test_out_of_a_subclass():
    x = normal((3, 4), np.float64)
    with pytest.warns(PendingDeprecationWarning):
        out = np.matrix(np.zeros((3, 4)))
    for axis in (0, 1, None):
        expected = softmax(x, axis)
        assert softmax(x, axis, out=out) is out
        assert bits(out) == bits(expected)


def test_read_only_input(function, dtype):
    x = np.arange(6).reshape(2, 3).astype(dtype)
    x.flags.writeable = False
    assert bits(function(x)) == bits(function(x.copy()))


# ---- where and temperature -----------------------------------------------------------------


@pytest.mark.parametrize("shape", [(40,), (1,), (7, 40), (7, 1)])
def test_where(function, dtype, shape):
    x = normal((7, 40), dtype)
    where = np.random.default_rng(0).random(shape) < 0.6
    expected = getattr(testing, function.__name__)(x, -1, where=where)
    junk = np.array([np.nan, np.inf, -np.inf, 1e4], dtype)
    for turn in range(4):  # each row beside each kind of junk
        hidden = np.where(where, x, np.roll(np.resize(junk, 7), turn)[:, None])
        for mask in (where, where.tolist(), np.broadcast_to(where, (7, 40))):
            testing.assert_max_ulp(function(hidden, where=mask), expected)


def test_where_everything_is_true(function, dtype):
    x = normal((7, 40), dtype)
    assert bits(function(x, where=True)) == bits(function(x))


TEMPERATURES = [0.3, 2, np.float32(7), np.array(0.5), [[1e-3]], 1e6]


@in_turn(["softmax", "log_softmax"], dtype=DTYPES, temperature=TEMPERATURES)
def test_temperature(function, dtype, temperature):
    x = normal((7, 40), dtype)
    expected = getattr(testing, function.__name__)(x, temperature=temperature)
    result = function(x, temperature=temperature)
    testing.assert_max_ulp(result, expected)
    each = function(x, temperature=np.full((7, 1), temperature))
    assert bits(each) == bits(result)


@pytest.mark.parametrize("code", ["f2", "f4", ">f8", "g", "i1", "u8", ml_dtypes.bfloat16])
def test_temperature_of_any_dtype(mapping, code):
    x = np.arange(6.0).reshape(2, 3)
    t = np.array([[2], [4]], code)
    assert bits(mapping(x, temperature=t)) == bits(mapping(x, temperature=[[2.0], [4.0]]))


@pytest.mark.parametrize("axis", [0, 2, (0, 2), None])
def test_temperature_for_each_row(mapping, axis):
    x = np.random.default_rng(0).normal(size=(3, 4, 5))
    kept = np.sum(x, axis=axis, keepdims=True).shape
    t = np.random.default_rng(1).uniform(0.1, 4, kept)
    whole = mapping(x, axis, temperature=t)
    for i in np.ndindex(3, 4, 5):
        own = float(t[tuple(min(j, n - 1) for j, n in zip(i, kept, strict=True))])
        assert whole[i] == mapping(x, axis, temperature=own)[i]


def test_temperature_one_is_no_temperature(mapping, dtype):
    x = normal((7, 40), dtype)
    for one in (1, 1.0, np.float64(1), np.array(1), np.ones((7, 1))):
        assert bits(mapping(x, temperature=one)) == bits(mapping(x))


# ---- memory --------------------------------------------------------------------------------

BIG = 8 << 20  # bytes of float64; four times what may be copied at a time
LAYOUTS = {
    "plain": (lambda x: x, {}),
    "axis 0": (lambda x: x, {"axis": 0}),
    "all axes": (lambda x: x, {"axis": None}),
    "columns": (np.asfortranarray, {}),
    "axes apart": (lambda x: x.reshape(16, 64, -1), {"axis": (0, 2)}),
    "strided": (lambda x: np.repeat(x, 2, axis=1)[:, ::2], {}),
    "strided, all axes": (lambda x: np.repeat(x, 2, axis=1)[:, 1::2], {"axis": None}),
    "byte-swapped": (lambda x: x.astype(">f8"), {}),
    "byte-swapped, axis 0": (lambda x: x.astype(">f8"), {"axis": 0}),
    "byte-swapped, axes apart": (lambda x: x.astype(">f8").reshape(16, 64, -1), {"axis": (0, 2)}),
    "integers": (lambda x: (x * 100).astype(np.int64), {}),
    "integers, all axes": (lambda x: (x * 100).astype(np.int32), {"axis": None}),
    "large integers": (lambda x: (x * 1e18).astype(np.int64), {}),
    "temperature": (lambda x: x, {"temperature": 2.0}),
    "temperatures": (lambda x: x, {"temperature": np.full((1024, 1), 2.0)}),
    "where": (lambda x: x, {"where": np.arange(1024) % 3 > 0}),
    "where, axis 0": (lambda x: x, {"where": np.arange(1024) % 3 > 0, "axis": 0}),
    "where, axes apart": (
        lambda x: x.reshape(16, 64, -1),
        {"where": np.arange(1024) % 3 > 0, "axis": (0, 2)},
    ),
    "narrower": (lambda x: x, {"dtype": np.float32}),
    "wider": (lambda x: x.astype(np.float32), {"dtype": np.float64}),
    "refused": (lambda x: x.astype(">f8"), {"undefined": "raise"}),
    "longdouble": (lambda x: x.astype(np.longdouble), {}),
    "complex": (lambda x: x.astype(complex), {}),
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_calls_of_the_kernel(layout, monkeypatch):
    """All rows at once, so that threads share them, unless more than x must be copied."""
    arrange, options = LAYOUTS[layout]
    x = arrange(normal((1024, BIG // 8 // 1024), np.float64))
    calls = []
    spy = types.SimpleNamespace(**vars(_core) | {"apply": lambda *_: calls.append(1)})
    monkeypatch.setattr(rows, "_core", spy)
    softmax.__wrapped__(x, **options)
    in_blocks = {"where, axes apart": 8, "narrower": 8, "longdouble": 0, "complex": 0}
    assert len(calls) == in_blocks.get(layout, 1)


def peak(call):
    """The result of a call, and the bytes that were allocated at its peak."""
    gc.collect()
    tracemalloc.start()
    try:
        result = call()
        return result, tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("layout", LAYOUTS)
def test_memory(layout):
    """The output and a few MB: no temporary as large as the input."""
    arrange, options = LAYOUTS[layout]
    x = arrange(np.random.default_rng(0).normal(size=(1024, BIG // 8 // 1024)))
    few = (32 << 20) if layout in ("longdouble", "complex") else (4 << 20)
    result, memory = peak(lambda: softmax(x, **options))
    assert memory < result.nbytes + few
    out = np.empty(result.shape, result.dtype)
    _, memory = peak(lambda: softmax(x, out=out, **options))
    assert memory < result.nbytes + few


@pytest.mark.parametrize("layout", ["plain", "axis 0", "byte-swapped", "integers", "axes apart"])
def test_memory_of_logsumexp(layout):
    arrange, options = LAYOUTS[layout]
    x = arrange(np.random.default_rng(0).normal(size=(1024, BIG // 8 // 1024)))
    _, memory = peak(lambda: logsumexp(x, **{"axis": -1, **options}))
    assert memory < 4 << 20
    _, memory = peak(lambda: logsumexp(x, b=2.0, return_sign=True, **{"axis": -1, **options}))
    assert memory < 32 << 20


def test_memory_is_measured():
    """What is asserted above fails for a function that makes a temporary."""
    x = np.zeros((1024, BIG // 8 // 1024))
    result, memory = peak(lambda: np.exp(x - x.max(axis=-1, keepdims=True)))
    assert memory > result.nbytes + (4 << 20)
