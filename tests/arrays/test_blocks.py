"""How arrays are seen as rows, and copied where they must be."""

import numpy as np
import pytest
from conftest import bits
from hypothesis import given, settings
from hypothesis import strategies as st

from stablesoftmax import logsumexp, softmax
from stablesoftmax._arrays import blocks

pytestmark = pytest.mark.usefixtures("strict")

layouts = st.tuples(
    st.lists(st.integers(1, 4), min_size=1, max_size=4),
    st.randoms(use_true_random=False),
)


def arranged(shape, random):
    """A view of the shape, with axes swapped, reversed, skipped and broadcast at random."""
    order = random.sample(range(len(shape)), len(shape))
    steps = [random.choice([-2, -1, 1, 1, 2]) for _ in shape]
    big = np.empty([shape[i] * abs(steps[i]) for i in order], np.float32)
    a = big[tuple(np.s_[:: steps[i]] for i in order)].transpose(np.argsort(order))
    i = random.randrange(2 * len(shape))
    return a if i >= len(shape) else np.broadcast_to(a.take([0], i), shape)


@settings(max_examples=300, deadline=None, derandomize=True)
@given(layouts, st.integers(0, 4))
def test_merge_copies_only_what_is_not_mergeable(layout, axes):
    shape, random = layout
    a, axes = arranged(shape, random), min(axes, len(shape))
    merged = blocks.merge(a, axes)
    assert merged.shape == (*shape[: len(shape) - axes], np.prod(shape[len(shape) - axes :]))
    assert np.may_share_memory(merged, a) == blocks.mergeable(a, axes)
    assert bits(merged) == bits(a)


@pytest.mark.parametrize("shape", [(), (0,), (1,), (7,), (3, 0, 2), (5, 4, 3), (2, 3, 1, 4)])
@pytest.mark.parametrize("limit", [1, 2, 3, 7, 12, 1000])
def test_slices_cover_every_row_once_in_order(shape, limit):
    batch = np.arange(np.prod(shape, dtype=int)).reshape(shape)
    parts = [batch[(*index, ...)] for index in blocks.slices(shape, limit)]
    assert all(part.size <= limit for part in parts)
    assert [row for part in parts for row in part.ravel()] == list(range(batch.size))


def test_small_results_keep_the_layout_of_x():
    """Like NumPy's own functions; unless the rows would not be rows of one axis then."""
    x = np.asfortranarray(np.zeros((3, 4, 5)))
    assert softmax(x).strides == softmax(x, 1).strides == x.strides
    assert softmax(x[::-1], 0).flags.f_contiguous
    assert softmax(np.zeros((3, 4, 5), int), (1, 2)).flags.c_contiguous
    assert softmax(x, (0, 2)).strides == (40, 120, 8)


# ---- integers ------------------------------------------------------------------------------

INT64, UINT64 = np.iinfo(np.int64), np.iinfo(np.uint64)
EXTREMES = {
    "int64": [INT64.min, INT64.min + 1, -(2**53) - 1, -1, 0, 2**53 + 1, INT64.max - 1, INT64.max],
    "uint64": [0, 1, 2**53 + 1, 2**63 - 1, 2**63, UINT64.max - 1, UINT64.max],
}


@settings(max_examples=300, deadline=None, derandomize=True)
@given(st.data(), st.sampled_from(["<i8", ">i8", "<u8", ">u8"]), st.booleans())
def test_convert_is_exact(data, dtype, masked):
    """Every x is float + shift, and floats near the row's maximum are exact."""
    dtype = np.dtype(dtype)
    extremes = EXTREMES["int64" if dtype.kind == "i" else "uint64"]
    number = st.sampled_from(extremes) | st.integers(0 if dtype.kind == "u" else -9, 9)
    drawn = data.draw(st.lists(st.lists(number, min_size=4, max_size=4), min_size=1, max_size=4))
    x = np.array(drawn, dtype)
    where = None
    if masked:
        mask = st.lists(st.booleans(), min_size=x.size, max_size=x.size)
        where = np.array(data.draw(mask)).reshape(x.shape)
    place = np.empty(x.shape)
    shift = blocks.convert(x, where, place, 1)
    shift = np.zeros(len(x), int) if shift is None else shift
    for i, row in enumerate(x.tolist()):
        for j, exact in enumerate(row):
            if where is None or where[i, j]:
                assert place[i, j] == float(exact - int(shift[i]))


@pytest.mark.parametrize("dtype", [np.int64, np.uint64])
def test_convert_gives_a_row_the_same_floats_in_any_company(dtype):
    """Whether a row is shifted must depend on that row alone, or its last bits would not."""
    top = np.iinfo(dtype).max
    for edge in (2**52 - 1, 2**52, 2**52 + 1, 2**53, 2**53 + 1):
        for row in ([edge, edge - 3, 5], [5, 3, 0]):
            x = np.array([row, [top, top - 1, 1]], dtype)
            alone, beside = np.empty((1, 3)), np.empty((2, 3))
            shift = blocks.convert(x[:1], None, alone, 1)
            shifts = blocks.convert(x, None, beside, 1)
            assert bits(alone[0]) == bits(beside[0])
            assert (0 if shift is None else shift[0]) == shifts[0]


@pytest.mark.parametrize("dtype", ["i1", "u1", "i2", "u2", "i4", "u4", "i8", "u8"])
def test_integers(dtype):
    """softmax(uint8 [1, 5]) is [nan, 0] in SciPy, int32 extremes are inverted."""
    info = np.iinfo(dtype)
    expected = softmax([0.0, 1.0, 3.0])
    for low in (info.min, info.max - 3):
        x = np.array([low, low + 1, low + 3], dtype)
        np.testing.assert_allclose(softmax(x), expected, rtol=1e-15)
        np.testing.assert_allclose(softmax(x.astype(x.dtype.newbyteorder())), expected, rtol=1e-15)
    extremes = softmax(np.array([info.min, info.max], dtype))
    np.testing.assert_allclose(extremes, [0, 1], atol=2e-111)  # exp(-255)
    assert logsumexp(np.array([info.min, info.max], dtype)) == float(info.max)


def test_wide_integers_with_excluded_extremes():
    x = np.array([[2**60, 2**60 + 1, -(2**63)], [2**63 - 1, 5, 6]])
    where = [[True, True, False], [False, True, True]]
    expected = softmax([0.0, 1.0])
    result = softmax(x, where=where)
    np.testing.assert_allclose(result, [[*expected, 0], [0, *expected]], rtol=1e-15)
    total = logsumexp(x, 1, where=where)
    assert total.tolist() == [float(2**60), 5 + logsumexp([0.0, 1.0])]
