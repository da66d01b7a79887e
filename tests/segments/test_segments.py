"""Groups of unequal size: each is softmax, log_softmax or logsumexp of its rows.

To the bit where the groups lie one after another; scattered ones within the promised error.
"""

import itertools
import signal
import sys
import threading

import ml_dtypes
import numpy as np
import pytest
from conftest import LEVELS, bits, normal, rerun_at_level
from hypothesis import given, settings
from hypothesis import strategies as st
from inputs import table

import stablesoftmax
from stablesoftmax import (
    _core,
    log_softmax,
    logsumexp,
    num_threads,
    segment_log_softmax,
    segment_logsumexp,
    segment_softmax,
    softmax,
    testing,
)
from stablesoftmax.accuracy import max_ulp

pytestmark = pytest.mark.usefixtures("strict")

INF, NAN = np.inf, np.nan
NAMES = ("softmax", "log_softmax", "logsumexp")
MANY = 70_001  # rows: enough for threads

every_function = pytest.mark.parametrize("name", NAMES)


def segmented(name):
    return getattr(stablesoftmax, f"segment_{name}")


def alone(name, x, ids, count):
    """Each group on its own."""
    function = getattr(stablesoftmax, name)
    groups = [np.flatnonzero(ids == g) for g in range(count)]
    parts = [function(x[rows], axis=0) for rows in groups]
    if name == "logsumexp":
        return np.stack(parts) if parts else np.empty((0, *x.shape[1:]), x.dtype)
    result = np.empty(x.shape, parts[0].dtype if parts else x.dtype)
    for rows, part in zip(groups, parts, strict=True):
        result[rows] = part
    return result


def assert_close(name, actual, expected, x):
    """Within what both may be off, the special values alike.

    logsumexp is as exact as what it is a sum of: the largest number of x is enough for that here.
    """
    assert actual.dtype == expected.dtype
    assert actual.shape == expected.shape
    if expected.dtype.char in "gFDG":  # computed group by group as well
        np.testing.assert_array_equal(actual, expected, strict=True)
        return
    info = ml_dtypes.finfo(expected.dtype)
    a, e = (np.asarray(v, np.float64) for v in (actual, expected))
    special = ~np.isfinite(e) | (e == 0)
    np.testing.assert_array_equal(a[special], e[special], strict=True)
    assert (np.signbit(a) == np.signbit(e))[e == 0].all()
    a, e = a[~special], e[~special]
    size = np.abs(e)
    if name == "logsumexp":
        finite = np.abs(np.asarray(x, np.float64))
        size = np.maximum(size, finite[np.isfinite(finite)].max(initial=1))
    unit = np.maximum(size, float(info.tiny)) * float(info.eps)
    allowed = 2 * max_ulp(name, expected.dtype) * unit  # each may be off in its own direction
    assert (np.abs(a - e) <= allowed).all()


def offsets(ids, count):
    return np.concatenate([[0], np.cumsum(np.bincount(ids, minlength=count))]).astype(int)


def check(name, x, ids, count):
    """By ids in any order, by ascending ids, and by offsets."""
    ids = np.asarray(ids, int)
    expected = alone(name, x, ids, count)
    assert_close(name, segmented(name)(x, ids, num_segments=count), expected, x)
    order = np.argsort(ids, kind="stable")
    right = bits(expected if name == "logsumexp" else expected[order])
    for groups in ({"segments": ids[order]}, {"indptr": offsets(ids, count)}):
        assert bits(segmented(name)(x[order], **groups, num_segments=count)) == right


def random_ids(size, count, seed=0):
    """Groups of very unequal size, some empty: the first, the last and others."""
    rng = np.random.default_rng(seed)
    weights = rng.exponential(1, count) ** 3 * (rng.random(count) < 0.8)
    weights[[0, -1]], weights[count // 2] = 0, 1
    return rng.choice(count, size, p=weights / weights.sum())


# ---- the bits of each group -----------------------------------------------------------------


@every_function
@pytest.mark.parametrize("shape", [(), (1,), (3,), (5,), (2, 4), (33,), (0,)], ids=str)
@pytest.mark.parametrize("count", [3, 40])
def test_a_group_is_its_rows_alone(name, dtype, shape, count):
    x = normal((300, *shape), dtype, 10)
    check(name, x, random_ids(len(x), count), count)


@every_function
@pytest.mark.parametrize("count", [2, 700, 20_000])
def test_many_rows(name, dtype, count):
    """Groups of several of the kernels' blocks, groups of few rows."""
    x, ids = normal(MANY, dtype, 10), random_ids(MANY, count)
    order = np.argsort(ids, kind="stable")
    scattered = segmented(name)(x, ids, num_segments=count)
    ascending = segmented(name)(x[order], indptr=offsets(ids, count))
    assert_close(name, scattered if name == "logsumexp" else scattered[order], ascending, x)
    function = getattr(stablesoftmax, name)
    for g in {0, 1, count // 2, count - 1, *ids[:40]}:
        rows = np.flatnonzero(ids[order] == g)
        got = ascending[g] if name == "logsumexp" else ascending[rows]
        assert bits(got) == bits(function(x[order][rows]))


@every_function
@pytest.mark.parametrize("dtype", ["longdouble", "complex64", "complex128"])
def test_dtypes_without_a_kernel(name, dtype):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(60, 3)).astype(dtype)
    if x.dtype.kind == "c":
        x.imag = rng.normal(size=x.shape)
    check(name, x, random_ids(60, 7), 7)
    check(name, x[:, 0], random_ids(60, 7), 7)


@every_function
@pytest.mark.parametrize("dtype", ["i1", "u2", "i4", "u4", "i8", "u8", ">i8"])
def test_integers(name, dtype):
    """2**63 - 1 and 2**63 - 2 in one group are no tie, whatever another group holds."""
    info = np.iinfo(dtype)
    near = info.max - np.random.default_rng(0).integers(0, 30, 40).astype(info.dtype)
    others = np.array([info.min, info.max, info.min, 0, 1, 2, 5, 5], info.dtype)
    x = np.concatenate([near, others]).astype(dtype)
    ids = np.concatenate([np.arange(40) % 3, [3, 3, 4, 6, 6, 6, 7, 7]])
    check(name, x, ids, 9)
    check(name, np.stack([x, x[::-1]], 1), ids, 9)


def test_integers_beyond_float64():
    x = [2**60, 7, 2**60 + 1, 8]
    expected = stablesoftmax.softmax([0.0, 1.0])
    result = segment_softmax(x, [0, 1, 0, 1])
    np.testing.assert_allclose(result, np.repeat(expected, 2), rtol=1e-15)
    assert segment_logsumexp(x, [0, 1, 0, 1])[0] == float(2**60)


@every_function
@pytest.mark.parametrize("family", ["normal", "offset", "dominant", "cancelling", "special"])
def test_accuracy(name, dtype, family):
    """Against the oracle itself, through ids in disorder."""
    with np.errstate(under="ignore"):
        x = table(family, dtype)[:60]
    ids = np.repeat(np.arange(len(x)), x.shape[1])
    order = np.random.default_rng(0).permutation(ids.size)
    result = segmented(name)(x.ravel()[order], ids[order])
    if name != "logsumexp":
        back = np.empty_like(result)
        back[order] = result
        result = back.reshape(x.shape)
    testing.assert_max_ulp(result, getattr(testing, name)(x, -1))


@every_function
def test_scattered_groups_beyond_the_reach_of_zero(name, dtype):
    """Their sums overflow or vanish at a maximum of 0; those of the others keep their bits."""
    near = normal(600, dtype, 3)
    ids = np.arange(600) % 30
    alone = segmented(name)(near, ids)
    x = near.astype(np.float64)
    x[ids % 3 == 1] -= 1000
    x[ids % 3 == 2] += 1000
    x = x.astype(dtype)
    check(name, x, ids, 30)
    result = segmented(name)(x, ids)
    kept = np.arange(30) % 3 == 0 if name == "logsumexp" else ids % 3 == 0
    assert bits(result[kept]) == bits(alone[kept])


def test_the_first_is_not_zero():
    assert segment_log_softmax([0.0, 9.0, -40.0], [1, 0, 1])[0] == -4.248354255291589e-18


# ---- special cases --------------------------------------------------------------------------

SPECIAL = [
    [-INF, 0, -INF, 0], [0, INF, -INF, 5], [INF, 0, INF], [-INF, -INF], [-INF], [INF], [0, NAN, 5],
    [INF, NAN], [], [1e4, -1e4], [3.0], [], [2.0, 2.0],
]  # fmt: skip


@every_function
@pytest.mark.parametrize("columns", [None, 2, 7])
def test_degenerate_groups(name, dtype, columns):
    """Side by side: none is touched by another, nor are the columns."""
    x = np.concatenate(SPECIAL).astype(dtype)
    ids = np.repeat(np.arange(len(SPECIAL)), [len(group) for group in SPECIAL])
    if columns:
        x = np.stack([x if c % 2 else normal(x.size, dtype) for c in range(columns)], axis=1)
    shuffled = np.random.default_rng(0).permutation(x.shape[0])
    check(name, x, ids, len(SPECIAL) + 2)
    check(name, x[shuffled], ids[shuffled], len(SPECIAL) + 2)


def test_special_values():
    x = [INF, 0, -INF, NAN, 0, -INF, INF, INF, 3]
    ids = [4, 4, 1, 2, 2, 1, 5, 5, 5]
    nan = NAN
    np.testing.assert_array_equal(
        segment_softmax(x, ids), [1, 0, nan, nan, nan, nan, nan, nan, 0], strict=True
    )
    np.testing.assert_array_equal(
        segment_log_softmax(x, ids), [0, -INF, nan, nan, nan, nan, nan, nan, -INF], strict=True
    )
    np.testing.assert_array_equal(
        segment_logsumexp(x, ids), [-INF, -INF, nan, -INF, INF, INF], strict=True
    )


@every_function
def test_a_huge_neighbour_changes_no_bit(name, dtype):
    x, ids = normal(4000, dtype, 3), np.arange(4000) % 50
    quiet = segmented(name)(x, ids)
    for value in (float(ml_dtypes.finfo(dtype).max), INF, NAN, -INF):
        loud = x.copy()
        loud[ids == 7] = value
        result = segmented(name)(loud, ids)
        others = np.arange(50) != 7 if name == "logsumexp" else ids != 7
        assert bits(result[others]) == bits(quiet[others])


def test_empty_groups():
    for count in (0, 1, 5):
        for groups in ({"segments": []}, {"indptr": [0] * (count + 1)}):
            result = segment_logsumexp(np.empty((0, 3)), **groups, num_segments=count)
            np.testing.assert_array_equal(result, np.full((count, 3), -INF), strict=True)
            assert segment_softmax(np.empty((0, 3)), **groups, num_segments=count).shape == (0, 3)
    x = np.ones(5)
    result = segment_logsumexp(x, [7, 2, 2, 7, 2], num_segments=11)
    assert np.flatnonzero(result > -INF).tolist() == [2, 7]
    result = segment_logsumexp(x, indptr=[0, 0, 0, 2, 2, 5, 5])
    assert np.flatnonzero(result > -INF).tolist() == [2, 4]


def test_default_number_of_groups():
    assert segment_logsumexp([1.0, 2.0], [3, 1]).shape == (4,)
    assert segment_logsumexp([], []).shape == (0,)
    assert segment_logsumexp([1.0, 2.0], indptr=[0, 1, 2, 2]).shape == (3,)


def test_far_more_groups_than_rows():
    ids = np.array([2_000_000, 5, 70_000, 5])
    result = segment_logsumexp(np.zeros(4, np.float32), ids)
    assert np.flatnonzero(result > -INF).tolist() == [5, 70_000, 2_000_000]
    assert result[5] == np.float32(np.log(2))
    assert segment_softmax(np.zeros(4), ids).tolist() == [1, 0.5, 1, 0.5]


# ---- memory, threads --------------------------------------------------------------------------


def views(x):
    """The same values in other memory; the last needs a copy."""
    yield np.asfortranarray(x)
    yield np.repeat(x, 2, axis=0)[::2]
    yield x[::-1].copy()[::-1]
    yield np.repeat(x, 3, axis=-1)[..., ::3]
    raw = np.empty(x.nbytes + 1, np.uint8)
    unaligned = raw[1:].view(x.dtype).reshape(x.shape)
    unaligned[...] = x
    yield unaligned
    if x.dtype.kind != "V":
        yield x.astype(x.dtype.newbyteorder())
    if x.ndim > 2:
        yield x.swapaxes(1, 2).copy().swapaxes(1, 2)


@every_function
@pytest.mark.parametrize("shape", [(500,), (500, 2), (500, 6), (500, 2, 3)], ids=str)
def test_strides(name, dtype, shape):
    x, ids = normal(shape, dtype, 5), random_ids(500, 20)
    order = np.sort(ids)
    for groups in ({"segments": ids}, {"segments": order}, {"indptr": offsets(ids, 20)}):
        expected = segmented(name)(x, **groups, num_segments=20)
        for view in views(x):
            before = bits(view)
            result = segmented(name)(view, **groups, num_segments=20)
            assert bits(result) == bits(expected)
            assert bits(view) == before


def test_broadcast_x():
    x = np.broadcast_to(np.float32(3), (100, 4))
    assert (segment_softmax(x, np.arange(100) % 10) == np.float32(0.1)).all()


@pytest.mark.parametrize("dtype", ["i1", "u1", "i4", "u4", ">i4", "i8", "u8", ">i8"])
def test_kinds_of_ids(dtype):
    x, ids = normal(100, float), np.arange(100)[::-1] % 7
    expected = segment_softmax(x, ids)
    assert bits(segment_softmax(x, ids.astype(dtype))) == bits(expected)
    assert bits(segment_softmax(x, np.repeat(ids.astype(dtype), 3)[::3])) == bits(expected)
    assert bits(segment_softmax(x, ids.tolist())) == bits(expected)
    ends = offsets(ids, 7).astype(dtype)
    assert bits(segment_softmax(x[::-1], indptr=ends)) == bits(
        segment_softmax(x[::-1], indptr=offsets(ids, 7))
    )


@every_function
@pytest.mark.parametrize("shape", [(2**19,), (2**17, 5), (2**17, 2)], ids=str)
@pytest.mark.parametrize("kind", ["many", "few", "one giant"])
def test_threads_change_no_bit(name, shape, kind):
    """One group long enough for all threads to share, in the last."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=shape).astype(np.float32) * 10
    if kind == "one giant":
        x = np.concatenate([x] * 3)
    count = {"many": 10_000, "few": 5, "one giant": 900}[kind]
    ids = rng.integers(0, count, len(x))
    if kind == "one giant":
        ids[: len(x) * 3 // 4] = 77
        rng.shuffle(ids)
    with num_threads(1):
        expected = segmented(name)(x, ids)
        ascending = segmented(name)(x, np.sort(ids))
        group = min(77, count - 1)
        got = expected[group] if name == "logsumexp" else expected[ids == group]
        rows = x[ids == group]
        assert_close(name, got, getattr(stablesoftmax, name)(rows, axis=0), rows)
    for threads in (2, 7):
        with num_threads(threads):
            assert bits(segmented(name)(x, ids)) == bits(expected)
            assert bits(segmented(name)(x, np.sort(ids))) == bits(ascending)


@every_function
def test_more_rows_than_between_two_polls(name):
    x = normal(2**24 + 5000, np.float16)
    ids = np.arange(x.size) % 3
    rows = slice(1, None, 3)
    result = segmented(name)(x, ids)
    got = result[1] if name == "logsumexp" else result[rows]
    assert_close(name, got, getattr(stablesoftmax, name)(x[rows], axis=0), x)


def test_ids_written_to_by_another_thread():
    """Whatever comes out, or a ValueError, but no access out of bounds."""
    x, ids = np.zeros(200_000), np.arange(200_000) % 1000
    stop = threading.Event()

    def spoil():
        while not stop.is_set():
            ids[::7] = -1
            ids[::11] = 2**60
            ids[:] = np.arange(200_000) % 1000

    thread = threading.Thread(target=spoil)
    thread.start()
    refused, calls = 0, 0
    try:
        # Refusals prove that the two met; a few times, so that they met in several places.
        while refused < 20 and calls < 5000:
            calls += 1
            try:
                (segment_softmax, segment_logsumexp)[calls % 2](x, ids, num_segments=1000)
            except ValueError:
                refused += 1
    finally:
        stop.set()
        thread.join()
    assert refused == 20


def test_interrupted():
    """A long call listens to KeyboardInterrupt: it leaves off before all is written."""
    x, ids = np.zeros((3 * 2**23, 1), np.float16), np.zeros(3 * 2**23, np.int32)
    ids[::2] = 700_000
    out = np.full_like(x, -1)
    begin = threading.Lock()
    begin.acquire()
    main = threading.get_ident()

    def interrupt():
        begin.acquire()
        signal.pthread_kill(main, signal.SIGINT)

    thread = threading.Thread(target=interrupt)
    thread.start()
    old = sys.getswitchinterval()
    try:
        sys.setswitchinterval(1000)  # the thread waits for the kernel, which lets go of the GIL
        begin.release()
        with pytest.raises(KeyboardInterrupt):
            _core.apply_segments(_core.SOFTMAX, "float16", x, out, ids, 700_001)
    finally:
        sys.setswitchinterval(old)
        thread.join()
    assert (out == -1).any()


@pytest.mark.parametrize("dtype", [np.int32, np.int64])
@pytest.mark.parametrize("ids", [[-1, 0, 0, 1], [0, 0, 1, -1], [0, 2, 1, 1], [0, 1, 2**31 - 1, 1]])
def test_ids_that_another_thread_changed(ids, dtype):
    """Checked again where they are used: -1 + 1 is no group that has begun."""
    x, out = np.ones((4, 1)), np.full((4, 1), -1.0)
    with pytest.raises(ValueError, match="out of range"):
        _core.apply_segments(_core.SOFTMAX, "float64", x, out, np.array(ids, dtype), 2)


# ---- against others -------------------------------------------------------------------------


def by_formula(x, ids, count):
    """As torch_geometric.utils.softmax does, but without the 1e-16 that it adds to the sum."""
    top = np.full(count, -INF)
    np.maximum.at(top, ids, x)
    e = np.exp(x - top[ids])
    total = np.bincount(ids, e, count)
    with np.errstate(divide="ignore"):
        return e / total[ids], top + np.log(total)


@settings(max_examples=100, deadline=None, derandomize=True)
@given(st.integers(1, 500), st.integers(1, 50), st.integers(0, 2**32 - 1))
def test_formula(size, count, seed):
    rng = np.random.default_rng(seed)
    x, ids = rng.normal(size=size) * 5, rng.integers(0, count, size)
    expected, total = by_formula(x, ids, int(ids.max()) + 1)
    np.testing.assert_allclose(segment_softmax(x, ids), expected, rtol=1e-13)
    np.testing.assert_allclose(np.exp(segment_log_softmax(x, ids)), expected, rtol=1e-13)
    np.testing.assert_allclose(segment_logsumexp(x, ids), total, rtol=1e-13, atol=1e-13)


# ---- bad input ------------------------------------------------------------------------------

X = np.zeros(4)
BAD_CALLS = [
    (1.0, {"segments": [0]}, ValueError,
     "x must have an axis along which the groups lie, got a scalar"),
    (X, {}, TypeError, "exactly one of segments and indptr must be given, got neither"),
    (X, {"segments": [0] * 4, "indptr": [0, 4]}, TypeError,
     "exactly one of segments and indptr must be given, got both"),
    (["a"], {"segments": [0]}, TypeError, "x has dtype <U1; accepted are integer, floating-point"),
    (X > 0, {"segments": [0] * 4}, TypeError, "x has dtype bool; accepted are integer, floating"),
    (X, {"segments": [0, 1, 2]}, ValueError,
     "segments must have shape (4,), an id for each row of x, got (3,)"),
    (X, {"segments": [[0, 1, 2, 3]]}, ValueError,
     "segments must have shape (4,), an id for each row of x, got (1, 4)"),
    (X, {"segments": 3}, ValueError,
     "segments must have shape (4,), an id for each row of x, got ()"),
    (X, {"segments": [0, 1, 2, 3.0]}, TypeError, "segments must be integers, got dtype float64"),
    (X, {"segments": X > 0}, TypeError, "segments must be integers, got dtype bool"),
    (X, {"segments": ["0"] * 4}, TypeError, "segments must be integers, got dtype <U1"),
    (X, {"segments": [0, 1, -1, -7]}, ValueError,
     "segments must be at least 0 and below 2**48, got -1 at position 2"),
    (X, {"segments": np.array([0, 1, 0, -5], "i4")}, ValueError,
     "segments must be at least 0 and below 2**48, got -5 at position 3"),
    (X, {"segments": np.array([0, 1, 0, -5], "i1"), "num_segments": 1000}, ValueError,
     "segments must be at least 0 and below num_segments = 1000, got -5 at position 3"),
    (X, {"segments": [0, 1, 2**62, 0]}, ValueError,
     "segments must be at least 0 and below 2**48, got 4611686018427387904 at position 2"),
    (X, {"segments": np.array([0, 2**64 - 1, 0, 0], "u8")}, ValueError,
     "segments must be at least 0 and below 2**48, got 18446744073709551615 at position 1"),
    (X, {"segments": [0, 1, 3, 5], "num_segments": 3}, ValueError,
     "segments must be at least 0 and below num_segments = 3, got 3 at position 2"),
    (X, {"segments": [0, -2, 0, 0], "num_segments": 3}, ValueError,
     "segments must be at least 0 and below num_segments = 3, got -2 at position 1"),
    (X, {"segments": [0, 0, 0, 0], "num_segments": 0}, ValueError,
     "segments must be at least 0 and below num_segments = 0, got 0 at position 0"),
    (X, {"segments": [0] * 4, "num_segments": -1}, ValueError,
     "num_segments must be from 0 to 2**48, got -1"),
    (X, {"segments": [0] * 4, "num_segments": 2**70}, ValueError,
     "num_segments must be from 0 to 2**48, got 1180591620717411303424"),
    (X, {"segments": [0] * 4, "num_segments": 3.0}, TypeError,
     "num_segments must be an int or None, got 3.0"),
    (X, {"segments": [0] * 4, "num_segments": True}, TypeError,
     "num_segments must be an int or None, got True"),
    (X, {"indptr": []}, ValueError, "indptr must be one-dimensional and not empty, got shape (0,)"),
    (X, {"indptr": [[0, 4]]}, ValueError,
     "indptr must be one-dimensional and not empty, got shape (1, 2)"),
    (X, {"indptr": [0, 4.0]}, TypeError, "indptr must be integers, got dtype float64"),
    (X, {"indptr": [1, 4]}, ValueError, "indptr must start at 0, got 1 at position 0"),
    (X, {"indptr": [-1, 4]}, ValueError, "indptr must start at 0, got -1 at position 0"),
    (X, {"indptr": [0, 3, 1, 4]}, ValueError,
     "indptr must not decrease, got 1 after 3 at position 2"),
    (X, {"indptr": np.array([0, 3, 1, 4], "u8")}, ValueError,
     "indptr must not decrease, got 1 after 3 at position 2"),
    (X, {"indptr": [0, 3, 9, 4]}, ValueError,
     "indptr must not decrease, got 4 after 9 at position 3"),
    (X, {"indptr": [0, 2, 3]}, ValueError,
     "indptr must end at 4, the number of rows of x, got 3 at position 2"),
    (X, {"indptr": [0, 2, 5]}, ValueError,
     "indptr must end at 4, the number of rows of x, got 5 at position 2"),
    (X, {"indptr": np.array([0, 2**64 - 1], "u8")}, ValueError,
     "indptr must end at 4, the number of rows of x, got 18446744073709551615 at position 1"),
    (X, {"indptr": [0, 2, 4], "num_segments": 3}, ValueError,
     "num_segments must be len(indptr) - 1 = 2, got 3"),
]  # fmt: skip


@every_function
@pytest.mark.parametrize("case", BAD_CALLS, ids=lambda case: case[3])
def test_bad_input(name, case):
    x, options, kind, message = case
    with pytest.raises(kind) as caught:
        segmented(name)(x, **options)
    assert str(caught.value).startswith(message)
    assert "\n" not in str(caught.value)


def test_more_groups_than_memory():
    with pytest.raises(MemoryError):
        segment_softmax(X, [0, 1, 0, 1], num_segments=2**48)


# ---- the binding on its own: it believes nothing that it is told -----------------------------


def apply(ids, count, x=None, out=None, name="apply_segments", op=_core.SOFTMAX):
    x = np.zeros((4, 1)) if x is None else x
    out = np.empty((4, 1)) if out is None else out
    groups = (np.asarray(ids), count) if name == "apply_segments" else (np.asarray(ids),)
    getattr(_core, name)(op, "float64", x, out, *groups)


@pytest.mark.parametrize(
    ("ids", "count"),
    [([0, 1, 2, 3], 3), ([3, 2, 1, 0], 3), ([0, -1, 0, 0], 3),
     ([5, 0, 0, 0], 0), ([1, 0, 2**62, 0], 2)],
)  # fmt: skip
def test_binding_refuses_ids(ids, count):
    with pytest.raises(ValueError, match="segments: out of range"):
        apply(ids, count)
    with pytest.raises(ValueError, match="segments: out of range"):
        apply(np.array(ids).astype(np.int32) if max(ids) < 2**31 else ids, count)


@pytest.mark.parametrize("offsets", [[0], [1, 4], [0, 5], [0, 3], [0, 9, 4], [-1, 4], [0, -1, 4]])
def test_binding_refuses_offsets(offsets):
    with pytest.raises(ValueError, match="indptr: out of range"):
        apply(offsets, None, name="apply_indptr")


def test_binding_refuses_arrays():
    with pytest.raises(ValueError, match="expected contiguous signed integers"):
        apply(np.zeros(4, np.uint64), 1)
    with pytest.raises(ValueError, match="expected contiguous signed integers"):
        apply(np.zeros(8, np.int64)[::2], 1)
    with pytest.raises(ValueError, match="expected contiguous signed integers"):
        apply(np.zeros(4), 1)
    with pytest.raises(ValueError, match="segments: 1 dimensions of 2 bytes"):
        apply(np.zeros(4, np.int16), 1)
    with pytest.raises(ValueError, match="its length is not that of x"):
        apply([0, 0, 0], 1)
    with pytest.raises(ValueError, match="out: its shape does not match"):
        apply([0] * 4, 1, out=np.empty((3, 1)))
    with pytest.raises(ValueError, match="out: its shape does not match"):
        apply([0] * 4, 3, op=_core.LOGSUMEXP)
    with pytest.raises(ValueError, match="x: 1 dimensions"):
        apply([0] * 4, 1, x=np.zeros(4))
    with pytest.raises(ValueError, match="indptr: empty"):
        apply(np.zeros(0, int), None, name="apply_indptr")
    with pytest.raises(ValueError, match="count: -1"):
        apply([0] * 4, -1)
    with pytest.raises(ValueError, match="op: 3"):
        apply([0] * 4, 1, op=3)
    out = np.empty((4, 1))
    out.flags.writeable = False
    with pytest.raises(ValueError, match="read-only"):
        apply([0] * 4, 1, out=out)


@pytest.mark.parametrize("level", LEVELS)
def test_at_level(level):
    rerun_at_level(level, __file__, "-k", "alone or degenerate or accuracy or many_rows")


# --- where ---------------------------------------------------------------------------------------


def whole_groups(f, x, ids, where):
    """Each group and column by itself, of what takes part."""
    nothing = 0 if f is segment_softmax else -np.inf
    shape = (5, *x.shape[1:]) if f is segment_logsumexp else x.shape
    y = np.full(shape, nothing, x.dtype if x.dtype.kind != "i" else float)
    for g, j in itertools.product(range(5), range(x.shape[1])):
        members = (ids == g) & where[:, j]
        z = x[members, j]
        if f is segment_logsumexp:
            y[g, j] = logsumexp(z) if z.size else -np.inf
        elif z.size:
            y[members, j] = (softmax if f is segment_softmax else log_softmax)(z)
    return y


@pytest.mark.parametrize("f", [segment_softmax, segment_log_softmax, segment_logsumexp])
@pytest.mark.parametrize("kind", ["f2", "f4", "f8", ">f4", "g", "i8", "large"])
def test_where(f, kind):
    rng = np.random.default_rng(5)
    ids = np.sort(rng.integers(0, 5, 60))
    where = rng.random((60, 3)) < 0.6
    where[ids == 2] = False
    x = (rng.normal(size=(60, 3)) * 9).astype("i8" if kind == "large" else kind)
    x = x + 2**60 if kind == "large" else x
    expected = whole_groups(f, x, ids, where)
    if x.dtype.kind == "f":
        x[~where] = np.nan
    else:
        x[~where] = np.iinfo(x.dtype).max
    before = x.tobytes()
    offsets = np.concatenate([[0], np.cumsum(np.bincount(ids, minlength=5))])
    limits = {"rtol": 1e-3 if kind == "f2" else 1e-6 if "f4" in kind else 1e-14}
    for order in (np.arange(60), rng.permutation(60)):
        got = f(x[order], ids[order], num_segments=5, where=where[order])
        back = got if f is segment_logsumexp else got[np.argsort(order)]
        np.testing.assert_allclose(back.astype(float), expected.astype(float), **limits)
    got = f(x, indptr=offsets, where=where)
    np.testing.assert_allclose(got.astype(float), expected.astype(float), **limits)
    assert x.tobytes() == before


def test_where_that_does_not_fit():
    with pytest.raises(TypeError, match=r"^where must be bool, got dtype float64"):
        segment_softmax(np.zeros((3, 2)), [0, 0, 1], where=np.ones((3, 2)))
    with pytest.raises(ValueError, match=r"^where of shape \(3,\) does not broadcast"):
        segment_logsumexp(np.zeros((3, 2)), [0, 0, 1], where=[True] * 3)
