"""cross_entropy, its gradient and selected_log_softmax."""

import itertools

import loss_oracle as oracle
import ml_dtypes
import numpy as np
import pytest
from conftest import arrangements, bits, library, normal, peak, rerun_at_level
from inputs import DTYPES, FAMILIES, table

import stablesoftmax
from stablesoftmax import cross_entropy, cross_entropy_with_grad, log_softmax, selected_log_softmax
from stablesoftmax.accuracy import max_ulp

INF, NAN = np.inf, np.nan


# ---- accuracy ------------------------------------------------------------------------------

JUDGED = sorted(set(FAMILIES) - {"adversarial", "special"})


def judged(family, dtype, height=6):
    """A few finite rows, labels (half of them at the maximum), weights, and probabilities."""
    rng = np.random.default_rng(len(family))
    x = table(family, dtype)[:: 200 // height, :37]
    y = rng.integers(0, x.shape[1], len(x))
    y[::2] = np.argmax(x[::2], axis=1)
    soft = rng.dirichlet(np.full(x.shape[1], 0.3), len(x)).astype(dtype)
    return x, y, rng.uniform(0.1, 2, x.shape[1]), soft


@pytest.mark.parametrize("family", JUDGED)
def test_accuracy(family, dtype):
    x, y, weight, soft = judged(family, dtype)
    with np.errstate(all="ignore"):
        for labels, options in [
            (y, {}),
            (y, {"weight": weight}),
            (y, {"label_smoothing": 0.1}),
            (y, {"label_smoothing": 0.25, "weight": weight}),
            (soft, {}),
            (soft, {"label_smoothing": 0.1}),
            (soft, {"weight": weight}),
        ]:
            got = cross_entropy(x, labels, reduction="none", **options)
            q = [oracle.weights(x.shape[1], label, **options) for label in labels]
            wanted = [oracle.loss(*row) for row in zip(x, q, strict=True)]
            assert oracle.worst(got, wanted, dtype) <= max_ulp("cross_entropy", dtype)


NEAR = [-0.0015968, -0.00165202, -0.00162631, -0.00133788]
WITNESSES = [  # logits, label, weight, smoothing: each what some shortcut gets wrong
    (
        NEAR,
        [6.5e-4, 0.9924736, 2.5e-5, 6.9e-3],
        [4.3e-3, 383.998586, 3.8e-6, 2.07],
        0.1,
    ),  # q rounded
    (
        [42.0888986, 0.70063737, -1.57440517],
        [0.99999854, 0, 0],
        [0.32894447, 2, 0.5],
        0,
    ),  # log, too
    ([0.0, 2.0], 0, None, 1e-17),  # 1 - 1e-17 is 1
    ([0.0, -60.0, 1.0], [1.0, 0, 0], None, 1e-18),
    ([-0.05773859, 298.1031], 1, [2.67e226, 2.64e226], 0),  # a large weight, a logarithm of e-130
    ([0.0, -1400.0], 0, [1e300, 1.0], 0),  # and of e-609
    ([0.0, -1400.0], [2.0, 0.0], [1e300, 1.0], 0.25),
    (
        [-0.1, -0.3, 0.4],
        [1e200, 1e-300, 1e-200],
        [1e-310, 1e300, 1e-320],
        0,
    ),  # products out of range
    ([0.0, 1.0, 1.5], [1e308, 1e308, 0], [1.7e308, 1e-308, 0], 0.5),
    ([0.0, -3e38], 0, [1.0, 3e-309], 0.3),  # tiny times huge
    ([0.0, -3e38], 0, [1.0, 1e-320], 1e-300),
    ([0.0, -1e30], 0, [1.0, 1.0], 5e-324),
    ([0.0, 0.25, -2], 0, [1e-310, 1e-305, 1e-320], 0.3),
]


@pytest.mark.parametrize("kind", [np.float32, np.float64])
@pytest.mark.parametrize(("x", "label", "weight", "smoothing"), WITNESSES)
def test_accuracy_of_weights(x, label, weight, smoothing, kind):
    """Of any size."""
    x, label = np.array([x], kind), np.array([label])
    got = cross_entropy(x, label, weight=weight, label_smoothing=smoothing, reduction="none")
    q = oracle.weights(x.size, label[0], weight=weight, label_smoothing=smoothing)
    assert oracle.error(got[0], oracle.loss(x[0], q), kind) <= max_ulp("cross_entropy", kind)


@pytest.mark.parametrize(("gap", "limit"), [(0, 0.55), (-37.3, 1.0)])
def test_accuracy_of_q(gap, limit):
    """Where the logarithm has next to no error: with q rounded it is 1.2 ULP."""
    rng, x = np.random.default_rng(4), np.array([[0.0, gap, gap]])
    for _ in range(300):
        weight, smoothing = rng.uniform(0.1, 2, 3), rng.random() ** 2  # of 53 bits
        if gap:  # the label alone
            weight[1:], smoothing = 0, smoothing * (rng.random() < 0.5)
        options = {"weight": weight, "label_smoothing": smoothing}
        got = cross_entropy(x, [0], reduction="none", **options)
        wanted = oracle.loss(x[0], oracle.weights(3, 0, **options))
        assert oracle.error(got[0], wanted, np.float64) <= limit


def test_a_weight_that_rounds_to_0_meets_minus_infinity(dtype):
    """1e-200 * 1e-200 times infinity is infinity."""
    x, label = np.array([0, -INF], dtype), [1.0, 1e-200]
    assert cross_entropy(x, label, weight=[1, 1e-200]) == INF
    x[0] = INF
    assert cross_entropy(x, label, weight=[1, 1e-200]) == INF
    assert cross_entropy(x, label, weight=[1, 0]) == 0


@pytest.mark.parametrize("family", JUDGED)
def test_accuracy_of_the_gradient(family, dtype):
    """At the label too, where others have p - 1 = 0."""
    x, y, weight, _ = judged(family, dtype, height=3)
    for options in ({}, {"weight": weight}):
        _, gradient = cross_entropy_with_grad(x, y, reduction="sum", **options)
        for row, got, label in zip(x, gradient, y, strict=True):
            q = oracle.weights(x.shape[1], label, **options)
            limit = max_ulp("cross_entropy gradient", dtype)
            assert oracle.worst(got, oracle.gradient(row, q), dtype) <= limit


@pytest.mark.parametrize("gap", [1, 5, 17, 40, 80, 300, 700])
def test_a_confident_row_keeps_its_gradient(gap):
    x = np.array([[0.0, -gap, -gap - 0.3]])
    for labels, smoothing in (([0], 0.0), ([[1.0, 0, 0]], 0.0), ([0], 1e-30)):
        loss, gradient = cross_entropy_with_grad(x, labels, label_smoothing=smoothing)
        q = oracle.weights(3, labels[0], label_smoothing=smoothing)
        assert oracle.worst(gradient, oracle.gradient(x[0], q), np.float64) < 8
        assert oracle.error(loss, oracle.loss(x[0], q), np.float64) <= 1.5
        assert loss > 0


def test_gradient_of_probabilities_is_accurate_to_the_size_of_both(dtype):
    x, _, weight, soft = judged("normal", dtype)
    _, gradient = cross_entropy_with_grad(x, soft, weight=weight, reduction="sum")
    for row, got, label in zip(x, gradient, soft, strict=True):
        q = oracle.weights(x.shape[1], label, weight=weight)
        for a, b, c in zip(got, oracle.gradient(row, q), q, strict=True):
            size = max(oracle.ulp(b, dtype), oracle.ulp(c, dtype))
            assert abs(oracle.mpf(float(a)) - b) <= 5 * size


def test_sums_are_wider_than_the_result(dtype):
    """4096 losses of 0.5 would stick at 128 in bfloat16; the mean of rounded ones is off."""
    x = np.tile(np.array([0.0, np.log(np.expm1(0.5))], dtype), (4096, 1))
    exact = oracle.loss(x[0], oracle.weights(2, 0)) * 4096
    total = cross_entropy(x, np.zeros(4096, int), reduction="sum")
    assert total.dtype == dtype
    assert oracle.error(total, exact, dtype) <= 0.51 + (dtype == np.float64)
    mean = cross_entropy(x, np.zeros(4096, int))
    assert oracle.error(mean, exact / 4096, dtype) <= 0.51 + (dtype == np.float64)


# ---- what the arguments mean ---------------------------------------------------------------


def test_one_hot_probabilities_are_classes(dtype):
    x, y = normal((20, 33), dtype, 5), np.arange(20)
    hard, hard_gradient = cross_entropy_with_grad(x, y, reduction="none")
    soft, soft_gradient = cross_entropy_with_grad(x, np.eye(20, 33), reduction="none")
    assert bits(hard) == bits(soft)
    np.testing.assert_allclose(
        hard_gradient.astype(float),
        soft_gradient.astype(float),
        rtol=2 * ml_dtypes.finfo(dtype).eps,
    )


def test_reductions():
    x, y = normal((6, 5), np.float64), np.array([0, 4, -100, 2, 2, -100])
    weight = np.arange(1.0, 6)
    rows = cross_entropy(x, y, weight=weight, reduction="none")
    assert rows[2] == rows[5] == 0
    assert cross_entropy(x, y, weight=weight, reduction="sum") == pytest.approx(rows.sum())
    mean = cross_entropy(x, y, weight=weight)
    assert mean == pytest.approx(rows.sum() / (1 + 5 + 3 + 3))
    soft = np.full((6, 5), 0.2)
    rows = cross_entropy(x, soft, weight=weight, reduction="none")
    assert cross_entropy(x, soft, weight=weight) == pytest.approx(rows.sum() / 6)
    assert isinstance(mean, np.float64)


def test_gradient_is_of_the_reduction():
    x, y = normal((6, 5), np.float64), np.array([0, 4, 7, 2, 2, 7])
    none = cross_entropy_with_grad(x, y, reduction="none", ignore_index=7)[1]
    total = cross_entropy_with_grad(x, y, reduction="sum", ignore_index=7)[1]
    mean = cross_entropy_with_grad(x, y, ignore_index=7)[1]
    assert bits(none) == bits(total)
    np.testing.assert_allclose(mean, none / 4, rtol=1e-15)


def test_ignored_rows_hold_anything(dtype):
    x = normal((4, 9), dtype)
    x[1], x[2] = NAN, INF
    y = np.array([3, -100, -100, 5])
    loss, gradient = cross_entropy_with_grad(x, y, reduction="none", label_smoothing=0.1)
    assert np.isfinite(loss.astype(float)).all()
    assert bits(gradient[1:3]) == bits(np.zeros((2, 9), dtype))


def test_all_ignored():
    x, y = np.zeros((3, 4)), np.full(3, -100)
    assert np.isnan(cross_entropy(x, y))
    assert cross_entropy(x, y, reduction="sum") == 0
    loss, gradient = cross_entropy_with_grad(x, y)
    assert np.isnan(loss)
    assert bits(gradient) == bits(np.zeros((3, 4)))


def test_ignore_index_may_be_a_class():
    loss = cross_entropy(np.zeros((2, 3)), [0, 1], ignore_index=0, reduction="none")
    assert loss.tolist() == [0, pytest.approx(np.log(3))]
    assert cross_entropy(np.zeros((2, 3)), np.uint8([0, 1]), reduction="sum") > 0


def test_where_is_leaving_the_class_out(dtype):
    x, y = normal((30, 11), dtype, 3), np.arange(30) % 5
    keep = np.ones(11, bool)
    keep[[5, 8, 10]] = False
    with_nan = x.copy()
    with_nan[:, ~keep] = NAN
    weight = np.arange(1.0, 12)
    for options in ({}, {"label_smoothing": 0.2}, {"weight": weight, "label_smoothing": 0.2}):
        small = options | ({"weight": weight[keep]} if "weight" in options else {})
        loss, gradient = cross_entropy_with_grad(
            with_nan, y, where=keep, reduction="none", **options
        )
        short, short_gradient = cross_entropy_with_grad(x[:, keep], y, reduction="none", **small)
        np.testing.assert_array_almost_equal_nulp(loss.astype(float), short.astype(float), 2**46)
        assert not gradient[:, ~keep].astype(float).any()
        np.testing.assert_allclose(
            gradient[:, keep].astype(float),
            short_gradient.astype(float),
            rtol=8 * float(ml_dtypes.finfo(dtype).eps),
            atol=float(ml_dtypes.finfo(dtype).eps) / 2,
        )


def test_where_excludes_the_label():
    """Its probability is 0: +inf, as for a logit of -inf, and no gradient at what is excluded."""
    where = np.array([False, True, True])
    for label in ([0], [[0.5, 0.5, 0.0]]):
        loss, gradient = cross_entropy_with_grad(np.zeros((1, 3)), label, where=where)
        assert loss == INF
        assert gradient[0, 0] == 0
        assert np.isfinite(gradient).all()
    assert cross_entropy(np.zeros((1, 3)), [0], where=[[False] * 3]) == INF
    assert np.isfinite(
        cross_entropy([0.0, -INF, 1.0], 0, where=[True, False, True], label_smoothing=0.1)
    )


# ---- limits --------------------------------------------------------------------------------

LIMITS = [  # logits, label, loss, gradient
    ([1.0, -INF], 0, 0, [0, 0]),
    ([1.0, -INF], 1, INF, [1, -1]),
    ([-INF, -INF], 0, NAN, [NAN, NAN]),
    ([INF, 1.0, 2], 0, 0, [0, 0, 0]),
    ([INF, 1.0, 2], 1, INF, [1, -1, 0]),
    ([INF, INF, 2], 0, NAN, [NAN, NAN, 0]),
    ([INF, INF, 2], 2, INF, [NAN, NAN, -1]),
    ([NAN, 1.0, -INF], 1, NAN, [NAN, NAN, NAN]),
    ([3.0], 0, 0, [0]),
    ([0.0, -INF, 0], [0.5, 0, 0.5], np.log(2), [0, 0, 0]),
    ([0.0, -INF, 0], [0.5, 0.5, 0], INF, [0, -0.5, 0.5]),
    ([INF, -INF, 0], [1.0, 0, 0], 0, [0, 0, 0]),
    ([INF, -INF, 0], [0.5, 0, 0.5], INF, [0.5, 0, -0.5]),
    ([NAN, 0.0, 0], [0.0, 0, 0], NAN, [NAN, NAN, NAN]),
    ([5.0, 0.0, 0], [0.0, 0, 0], 0, [0, 0, 0]),
]


@pytest.mark.parametrize(("x", "label", "loss", "gradient"), LIMITS)
def test_limits(x, label, loss, gradient, dtype):
    x = np.array(x, dtype)
    kind = "hard" if np.ndim(label) == 0 else "soft"
    label = np.array(label) if kind == "hard" else np.array(label, dtype)
    got, got_gradient = cross_entropy_with_grad(x, label)
    assert got.dtype == got_gradient.dtype == dtype
    np.testing.assert_allclose(float(got), loss, rtol=float(ml_dtypes.finfo(dtype).eps))
    np.testing.assert_allclose(
        got_gradient.astype(float), gradient, rtol=float(ml_dtypes.finfo(dtype).eps)
    )
    wide = np.array(x, np.longdouble)
    got, got_gradient = cross_entropy_with_grad(
        wide, label if kind == "hard" else label.astype(float)
    )
    np.testing.assert_allclose(float(got), loss, rtol=1e-15)
    np.testing.assert_array_equal(got_gradient.astype(float), gradient)


def test_smoothing_meets_minus_infinity():
    """The limit is +inf; torch agrees. A masked class is another matter."""
    x = np.array([0.0, -INF])
    assert cross_entropy(x, 0, label_smoothing=0.1) == INF
    assert cross_entropy(x, 0, label_smoothing=0.1, where=x > -INF) == 0
    assert cross_entropy(x, 0, label_smoothing=0.1, weight=[1, 0]) == 0


def test_huge_logits_overflow_only_where_the_loss_does():
    top = np.finfo(np.float64).max
    assert cross_entropy([1e300, 0.0], 1) == 1e300
    assert cross_entropy([top, -top], 1) == INF
    soft = cross_entropy([top, -top], [0.75, 0.25])
    assert soft == pytest.approx(top / 2, rel=1e-15)


def test_empty():
    assert cross_entropy(np.zeros((0, 3)), np.zeros(0, int), reduction="none").shape == (0,)
    assert np.isnan(cross_entropy(np.zeros((0, 3)), np.zeros(0, int)))
    assert cross_entropy(np.zeros((2, 0)), np.zeros((2, 0)), reduction="none").tolist() == [0, 0]


# ---- layouts -------------------------------------------------------------------------------


@pytest.mark.parametrize("soft", [False, True])
@pytest.mark.parametrize(
    "options", [{}, {"label_smoothing": 0.1, "weight": np.linspace(0, 2, 700)}]
)
def test_rows_are_the_same_in_every_layout(soft, options, dtype):
    """Bit for bit: strides, batch, threads, and alone."""
    x = normal((9, 700), dtype, 4)
    x[3, 5], x[4, 2], x[5] = -INF, INF, NAN
    rng = np.random.default_rng(0)
    labels = rng.dirichlet(np.ones(700), 9).astype(dtype) if soft else rng.integers(0, 700, 9)
    wanted = cross_entropy_with_grad(x, labels, reduction="none", **options)
    for name, same in arrangements(x):
        target = np.asfortranarray(labels) if soft else labels
        got = cross_entropy_with_grad(same, target, reduction="none", **options)
        assert [bits(a) for a in got] == [bits(a) for a in wanted], name
    got = cross_entropy_with_grad(x.T, labels.T, 0, reduction="none", **options)
    assert bits(got[0]) == bits(wanted[0])
    assert bits(got[1].T) == bits(wanted[1])
    for i in range(9):
        loss, gradient = cross_entropy_with_grad(x[i], labels[i], reduction="none", **options)
        assert bits(loss) == bits(wanted[0][i])
        assert bits(gradient) == bits(wanted[1][i])
    assert bits(cross_entropy(x, labels, reduction="none", **options)) == bits(wanted[0])


def test_threads_change_nothing(dtype):
    for shape in ((300, 2000), (1, 300_000)):
        x, y = normal(shape, dtype, 4), np.arange(shape[0])
        with stablesoftmax.num_threads(1):
            wanted = cross_entropy_with_grad(x, y, reduction="none", label_smoothing=0.1)
        with stablesoftmax.num_threads(3):
            got = cross_entropy_with_grad(x, y, reduction="none", label_smoothing=0.1)
        assert [bits(a) for a in got] == [bits(a) for a in wanted]


def test_a_batch_of_images(dtype):
    x, y = normal((2, 7, 3, 4), dtype, 3), np.random.default_rng(0).integers(0, 7, (2, 3, 4))
    loss, gradient = cross_entropy_with_grad(x, y, 1, reduction="none")
    assert loss.shape == (2, 3, 4)
    assert gradient.shape == x.shape
    flat = np.moveaxis(x, 1, -1).reshape(-1, 7)
    wanted, wanted_gradient = cross_entropy_with_grad(flat, y.ravel(), reduction="none")
    assert bits(loss) == bits(wanted)
    assert bits(np.moveaxis(gradient, 1, -1)) == bits(wanted_gradient)


def test_integers_keep_their_differences():
    """2**60 and 2**60 + 1 are no tie; and they are copied in blocks."""
    x = np.tile(np.array([2**60, 2**60 + 1, -(2**63)]), (100_000, 1))
    loss, gradient = cross_entropy_with_grad(x, np.ones(len(x), int), reduction="none")
    wanted, wanted_gradient = cross_entropy_with_grad([-1.0, 0.0, -1e18], 1)
    assert loss.dtype == np.float64
    assert set(loss.tolist()) == {float(wanted)}
    np.testing.assert_array_equal(gradient, np.broadcast_to(wanted_gradient, x.shape))


def test_labels_of_another_dtype(dtype):
    x = normal((5, 40), dtype)
    soft = np.random.default_rng(0).integers(0, 9, (5, 40)) / 8  # exact everywhere
    wanted = cross_entropy(x, soft, reduction="none")
    for other in (np.float16, np.float32, ml_dtypes.bfloat16, np.longdouble, ">f8"):
        assert bits(cross_entropy(x, soft.astype(other), reduction="none")) == bits(wanted)


def test_longdouble():
    x, y = normal((4, 6), np.longdouble, 5), np.array([0, 5, -100, 2])
    weight, where = np.linspace(0.5, 2, 6), np.arange(6) != 3
    for labels in (y, np.full((4, 6), 1 / 6)):
        options = {"weight": weight, "where": where, "label_smoothing": 0.1}
        loss, gradient = cross_entropy_with_grad(x, labels, **options)
        narrow, narrow_gradient = cross_entropy_with_grad(x.astype(float), labels, **options)
        assert loss.dtype == gradient.dtype == np.longdouble
        assert float(loss) == pytest.approx(float(narrow), rel=1e-14)
        np.testing.assert_allclose(gradient.astype(float), narrow_gradient, rtol=1e-12, atol=1e-15)


@pytest.mark.usefixtures("strict")
@pytest.mark.parametrize("kind", [np.float16, np.float32, np.float64, np.longdouble, int])
def test_nothing_is_said_of_underflow(kind):
    """Overflow, underflow, inf - inf and 0 * inf are the library's own business."""
    x = np.array([[0, -90, -700], [3, 2, 1], [60000, -60000, 5]]).astype(kind)
    if kind is not int:
        x[1] = INF
    for labels in ([0, 1, 2], [[0.5, 0.5, 0.0]] * 3):
        cross_entropy_with_grad(x, labels, label_smoothing=0.1, where=[True, False, True])
    selected_log_softmax(x, [0, 1, 2], temperature=1e-300)


def test_inputs_are_not_written(dtype):
    x, soft = normal((5, 40), dtype), np.full((5, 40), 0.025)
    before = bits(x), bits(soft)
    x.flags.writeable = soft.flags.writeable = False
    cross_entropy_with_grad(x, soft, label_smoothing=0.1)
    assert (bits(x), bits(soft)) == before


@pytest.mark.parametrize("level", ["v2", "v3"])
def test_at_level(level):
    rerun_at_level(level, __file__, "-k", "accuracy or limits or layout or meets")


# ---- memory --------------------------------------------------------------------------------


@pytest.mark.parametrize("arranged", ["plain", "axis 0", "integers", "foreign"])
def test_nothing_of_the_size_of_the_logits_is_allocated(arranged):
    x = np.random.default_rng(0).normal(size=(1024, 2048)) * 9  # 16 MB
    x = {"integers": x.astype(int), "foreign": x.astype(">f8")}.get(arranged, x)
    axis = 0 if arranged == "axis 0" else -1
    y = np.zeros(x.shape[1 + axis] if axis else x.shape[1], int)
    few = 4 << 20
    options = {"label_smoothing": 0.1, "where": np.ones(x.shape, bool)}
    assert peak(lambda: cross_entropy(x, y, axis)) < few
    assert peak(lambda: cross_entropy(x, y, axis, **options)) < few
    assert peak(lambda: cross_entropy(x, np.broadcast_to(0.5, x.shape), axis)) < few
    assert peak(lambda: selected_log_softmax(x, y, axis)) < few
    assert peak(lambda: cross_entropy_with_grad(x, y, axis)) < x.size * 8 + few
    assert peak(lambda: log_softmax(x)) > x.size * 8  # and it is measured


# ---- selected_log_softmax ------------------------------------------------------------------


@pytest.mark.parametrize("temperature", [1.0, 0.7, 0, INF, "own"])
def test_selected_is_log_softmax(temperature, dtype):
    """Its very bits, limits included."""
    x = normal((8, 301), dtype, 4)
    x[1, 3], x[2, 4], x[3, [5, 7]], x[4], x[5, 6] = -INF, INF, INF, -INF, NAN
    own = np.linspace(0.1, 3, 8)[:, None]
    temperature = own if isinstance(temperature, str) else temperature
    whole = log_softmax(x, temperature=temperature)
    index = np.random.default_rng(0).integers(0, 8, (8, 5))
    for same in (x, *(a for _, a in arrangements(x))):
        many = selected_log_softmax(same, index, temperature=temperature)
        assert bits(many) == bits(np.take_along_axis(whole, index, 1))
    one = selected_log_softmax(x, index[:, 0], temperature=temperature)
    assert bits(one) == bits(np.take_along_axis(whole, index, 1)[:, 0])
    across = selected_log_softmax(x.T, index.T, 0, temperature=np.transpose(temperature))
    assert bits(across) == bits(many.T)


def test_selected_of_other_dtypes():
    x = np.arange(12).reshape(3, 4)
    got = selected_log_softmax(x, [0, 1, 3])
    assert bits(got) == bits(log_softmax(x)[[0, 1, 2], [0, 1, 3]])
    wide = selected_log_softmax(x.astype(np.longdouble), [0, 1, 3])
    assert wide.dtype == np.longdouble
    np.testing.assert_allclose(wide.astype(float), got, rtol=1e-15)
    assert isinstance(selected_log_softmax([1.0, 2.0], 1), np.float64)
    assert selected_log_softmax(np.zeros((2, 3)), np.zeros((2, 0), int)).shape == (2, 0)


def test_selected_of_images():
    x, index = normal((2, 7, 3), np.float32), np.array([[6, 0, 3], [1, 1, 2]])
    whole = log_softmax(x, 1)
    assert bits(selected_log_softmax(x, index, 1)) == bits(
        np.take_along_axis(whole, index[:, None], 1)[:, 0]
    )


# ---- bad input -----------------------------------------------------------------------------

X = np.zeros((2, 3))
BAD = [
    (
        (X, [0, 3]),
        {},
        ValueError,
        "labels must lie in 0 to 2 or be ignore_index=-100, got 3 at (1,)",
    ),
    (
        (X, [0, -1]),
        {},
        ValueError,
        "labels must lie in 0 to 2 or be ignore_index=-100, got -1 at (1,)",
    ),
    (
        (X, [0, 1, 2]),
        {},
        ValueError,
        "labels of classes must have shape (2,), logits' (2, 3) without axis 1, got (3,)",
    ),
    (
        (X, [[0, 1, 0], [1, 0, 0]]),
        {},
        ValueError,
        "labels of classes must have shape (2,), logits' (2, 3) without axis 1, got (2, 3): "
        "pass labels.astype(float) if they are probabilities",
    ),
    (
        (np.zeros((2, 3, 4)), np.zeros((2, 4), int)),
        {},
        ValueError,
        "labels of classes must have shape (2, 3), logits' (2, 3, 4) without axis 2, got (2, 4): "
        "axis=1?",
    ),
    (
        ([0, 1], X),
        {},
        ValueError,
        "labels that are probabilities must have logits' shape (2,), got (2, 3): "
        "the logits come first",
    ),
    (
        (X, [[0.5, -0.5, 1], [0, 0, 1]]),
        {},
        ValueError,
        "labels that are probabilities must be finite and at least 0, got -0.5 at (0, 1)",
    ),
    (
        (X, [[0.5, 0.5, 0], [0, NAN, 1]]),
        {},
        ValueError,
        "labels that are probabilities must be finite and at least 0, got nan at (1, 1)",
    ),
    (
        (X, [0.0, 1.0]),
        {},
        ValueError,
        "labels that are probabilities must have logits' shape (2, 3), got (2,); "
        "classes must be integers",
    ),
    (
        (X, [True, False]),
        {},
        TypeError,
        "labels must be integers (classes) or real floating-point numbers (probabilities), "
        "got dtype bool",
    ),
    (
        (X, [0, 1]),
        {"weight": [1, 2]},
        ValueError,
        "weight must have shape (3,), one for each class, got (2,)",
    ),
    (
        (X, [0, 1]),
        {"weight": [1, -2, 1]},
        ValueError,
        "weight must be finite and at least 0, got -2.0 at (1,)",
    ),
    ((X, [0, 1]), {"weight": ["a"] * 3}, TypeError, "weight must hold real numbers, got dtype <U1"),
    (
        (X, [0, 1]),
        {"label_smoothing": 1.5},
        ValueError,
        "label_smoothing must lie in [0, 1], got 1.5",
    ),
    (
        (X, [0, 1]),
        {"label_smoothing": NAN},
        ValueError,
        "label_smoothing must lie in [0, 1], got nan",
    ),
    ((X, [0, 1]), {"ignore_index": 0.5}, TypeError, "ignore_index must be an int, got 0.5"),
    (
        (X, [0, 1]),
        {"reduction": "avg"},
        ValueError,
        "reduction must be one of none, sum, mean, got 'avg'",
    ),
    ((X, [0, 1], (0, 1)), {}, TypeError, "axis must be an int, got (0, 1)"),
    (
        (X, [0, 1], 2),
        {},
        np.exceptions.AxisError,
        "axis 2 is out of bounds for array of dimension 2",
    ),
    ((3.0, 0), {}, ValueError, "logits must have at least 1 dimension, got a scalar"),
    (
        (X.astype(complex), [0, 1]),
        {},
        TypeError,
        "logits has dtype complex128; accepted are integers and real floating-point",
    ),
    (
        (X > 0, [0, 1]),
        {},
        TypeError,
        "logits has dtype bool; accepted are integer, floating-point and complex dtypes: "
        "pass logits.astype(float), or where=logits if it is a mask",
    ),
    (
        (X, [0, 1]),
        {"where": [1, 0, 1]},
        TypeError,
        "where must be bool, got dtype int64: pass where != 0",
    ),
]


@pytest.mark.parametrize(("arguments", "options", "error", "message"), BAD)
@pytest.mark.parametrize("function", [cross_entropy, cross_entropy_with_grad])
def test_bad_input(function, arguments, options, error, message):
    with pytest.raises(error) as raised:
        function(*arguments, **options)
    assert str(raised.value) == message


BAD_SELECTION = [
    ((X, [0, 3]), IndexError, "index must lie in 0 to 2, got 3 at (1,)"),
    ((X, [[0], [-1]]), IndexError, "index must lie in 0 to 2, got -1 at (1, 0)"),
    (
        (X, [0, 1, 2]),
        ValueError,
        "index must have shape (2,) or (2, k), got (3,) for x of shape (2, 3)",
    ),
    ((X, [0.0, 1.0]), TypeError, "index must be of an integer dtype, got float64"),
    ((X, [True, False]), TypeError, "index must be of an integer dtype, got bool"),
]


@pytest.mark.parametrize(("arguments", "error", "message"), BAD_SELECTION)
def test_bad_selection(arguments, error, message):
    with pytest.raises(error) as raised:
        selected_log_softmax(*arguments)
    assert str(raised.value) == message


def test_the_binding_follows_no_bad_label():
    """Whatever Python let through."""
    from stablesoftmax import _core

    loss, out = np.empty(2), np.empty((2, 1))
    for bad in (3, -2, 2**62, -(2**62)):
        labels = np.array([0, bad])
        with pytest.raises(IndexError, match="labels"):
            _core.cross_entropy("float64", X, None, labels, None, "float64", None, 0, 1, loss, None)
        with pytest.raises(IndexError, match="index"):
            _core.selected_log_softmax("float64", X, None, None, labels[:, None].copy(), out)
    with pytest.raises(ValueError, match="weight: 2 elements; expected 3"):
        _core.cross_entropy(
            "float64", X, None, labels * 0, None, "float64", np.ones(2), 0, 1, loss, None
        )


# ---- torch ---------------------------------------------------------------------------------


def configurations(count):
    """Random calls: logits, labels and options, 2-D and K-D, classes on axis 1."""
    rng = np.random.default_rng(20)
    for k in range(count):
        shape = (
            rng.integers(1, 6),
            rng.integers(1, 9),
            *rng.integers(1, 4, rng.choice([0, 0, 1, 2])),
        )
        x = rng.normal(size=shape) * rng.choice([0.1, 1, 10, 100])
        if k % 5 == 0:
            x[rng.random(shape) < 0.15] = -INF
        if k % 25 == 1:
            x[rng.random(shape) < 0.1] = INF
        if rng.random() < 0.4:
            labels = rng.dirichlet(np.full(shape[1], 0.5), (shape[0], *shape[2:]))
            labels = np.moveaxis(np.where(labels < 0.05, 0, labels), -1, 1)
        else:
            labels = rng.integers(0, shape[1], (shape[0], *shape[2:]))
            labels[rng.random(labels.shape) < 0.15] = ignored = rng.choice([-100, 0])
        options = {
            "weight": rng.choice([0, 0.5, 1, 2.5], shape[1]) if rng.random() < 0.4 else None,
            "ignore_index": int(ignored) if labels.ndim < x.ndim else -100,
            "label_smoothing": float(rng.choice([0, 0, 0.1, 0.5])),
            "reduction": str(rng.choice(["none", "sum", "mean"])),
        }
        yield x, labels, options


def torch_result(torch, x, labels, options):
    logits = torch.tensor(x, requires_grad=True)
    weight = options["weight"]
    loss = torch.nn.functional.cross_entropy(
        logits,
        torch.tensor(labels),
        **options | {"weight": None if weight is None else torch.tensor(weight)},
    )
    loss.sum().backward()
    return loss.detach().numpy(), logits.grad.numpy()


def exact_result(x, labels, options):
    """The loss or losses by the oracle, and the gradients of the rows; each with all its q."""
    n = x.shape[1]
    rows = np.moveaxis(x, 1, -1).reshape(-1, n)
    soft = labels.ndim == x.ndim
    given = np.moveaxis(labels, 1, -1).reshape(-1, n) if soft else labels.ravel()
    own = {"weight": options["weight"], "label_smoothing": options["label_smoothing"]}
    q = [
        oracle.weights(n, y, **own) if soft or y != options["ignore_index"] else None for y in given
    ]
    losses = [oracle.loss(*row) if row[1] else oracle.mpf(0) for row in zip(rows, q, strict=True)]
    if options["reduction"] == "none":
        return losses, rows, q, oracle.mpf(1)
    divisor = oracle.mpf(1)
    if options["reduction"] == "mean":
        weight = np.ones(n) if options["weight"] is None else options["weight"]
        counts = oracle.exact(
            [1 if soft else weight[y] for y, c in zip(given, q, strict=True) if c]
        )
        divisor = sum(counts, oracle.mpf(0))
    return [sum(losses) / divisor if divisor else oracle.CONTEXT.nan], rows, q, divisor


def difference(x, theirs, exact):
    """The kind of difference; what torch has is not right."""
    if np.isnan(theirs):
        if np.isposinf(x).any():
            return "NaN of +inf"
        return "NaN of 0 * inf" if exact < INF else "NaN for +inf"
    assert abs(theirs - exact) < 1e-14 * max(1, abs(x[np.isfinite(x)]).max())  # of log(sum(exp))
    return "0 for a small loss" if theirs == 0 else "digits of a small loss"


@pytest.mark.interop
def test_torch():
    """2,500 random configurations: as torch to 8 ULP, or torch is wrong and ours is right.

    The gradients: as torch's where those are numbers, or right.
    """
    torch = library("torch")
    seen, equal = {}, 0
    for x, labels, options in configurations(2500):
        ours, gradient = cross_entropy_with_grad(x, labels, 1, **options)
        theirs, their_gradient = torch_result(torch, x, labels, options)
        ours, theirs = np.ravel(ours), np.ravel(theirs)
        with np.errstate(all="ignore"):
            near = abs(ours - theirs) <= 8 * np.spacing(abs(ours))
        differs = ~(near | (ours == theirs) | (np.isnan(ours) & np.isnan(theirs)))
        strange = ~np.isclose(gradient, their_gradient, rtol=1e-9, atol=1e-13, equal_nan=True)
        equal += not differs.any() and not strange.any()
        if not differs.any() and not strange.any():
            continue
        losses, rows, q, divisor = exact_result(x, labels, options)
        limit = 1.5 if options["reduction"] == "none" else 3
        for k in np.flatnonzero(differs):
            assert oracle.error(ours[k], losses[k], np.float64) <= limit
            assert oracle.error(theirs[k], losses[k], np.float64) > 4
            kind = difference(x, theirs[k], losses[k])
            seen.setdefault(kind, []).append((x, labels, options, ours[k], theirs[k], losses[k]))
        flat = [
            np.moveaxis(g, 1, -1).reshape(rows.shape) for g in (gradient, their_gradient, strange)
        ]
        for k in np.flatnonzero(flat[2].any(axis=1)):
            check_gradient(*(g[k] for g in flat[:2]), rows[k], q[k], divisor)
            seen.setdefault("NaN in the gradient", []).append((rows[k], labels, options))
    for kind, cases in sorted(seen.items()):
        print(f"{kind}: {len(cases)}, first {cases[0]}")
    assert seen.keys() == {kind for kind, *_ in DIFFERENCES} | {"NaN in the gradient"}
    assert equal > 1900


def check_gradient(ours, theirs, x, q, divisor):
    """Ours is right to 4 ULP of the greater of p and q, and torch's has a NaN too many."""
    exact = oracle.gradient(x, q) if q else [oracle.mpf(0)] * len(x)
    if not divisor:
        exact = [oracle.CONTEXT.nan if q else value for value in exact]
    exact = [value / divisor if divisor else value for value in exact]
    for a, b, c in zip(ours, exact, q or exact, strict=True):
        if oracle.CONTEXT.isnan(b):
            assert np.isnan(a)
            continue
        size = max(oracle.ulp(b, np.float64), oracle.ulp(c / (divisor or 1), np.float64))
        assert abs(oracle.mpf(float(a)) - b) <= 5 * size
    assert any(np.isnan(t) and not np.isnan(a) for a, t in zip(ours, theirs, strict=True))


# The kinds of difference, with examples: logits, label, options, torch 2.13's answer (float64), and
# the exact one by mpmath.
DIFFERENCES = [
    ("NaN of 0 * inf", [0.0, -INF], [1.0, 0.0], {}, NAN, 0.0),
    ("NaN of 0 * inf", [0.0, -INF, 0.0], [0.5, 0.0, 0.5], {}, NAN, 0.6931471805599453),
    (
        "NaN of 0 * inf",
        [0.0, -INF],
        0,
        {"label_smoothing": 0.1, "weight": [1.0, 0.0]},
        NAN,
        0.0,
    ),
    ("NaN for +inf", [0.0, -INF, -INF], [0.5, 0.5, 0.0], {}, NAN, INF),
    ("0 for a small loss", [0.0, -40.0], 0, {}, 0.0, 4.248354255291589e-18),
    ("0 for a small loss", [0.0, -700.0], 0, {}, 0.0, 9.85967654375977e-305),
    ("0 for a small loss", [3.0, -34.0], [1.0, 0.0], {}, 0.0, 8.533047625744066e-17),
    ("digits of a small loss", [5.0, -25.0], 0, {}, 9.348077867343381e-14, 9.357622968839737e-14),
    ("NaN of +inf", [INF, 0.0], 0, {}, NAN, 0.0),
    ("NaN of +inf", [INF, 0.0], 1, {}, NAN, INF),
]


@pytest.mark.parametrize(("kind", "x", "label", "options", "torchs", "exact"), DIFFERENCES)
def test_differences_from_torch(kind, x, label, options, torchs, exact):
    """With the value at 300 bits, or the limit."""
    ours = cross_entropy(x, np.array(label), **options)
    assert oracle.error(ours, oracle.mpf(exact), np.float64) <= 1.5
    assert ours != torchs
    q = oracle.weights(len(x), label, **options)
    assert oracle.error(exact, oracle.loss(x, q), np.float64) <= 0.51
    assert difference(np.array(x), torchs, oracle.mpf(exact)) == kind


@pytest.mark.interop
@pytest.mark.parametrize(("kind", "x", "label", "options", "torchs", "exact"), DIFFERENCES)
def test_torch_still_differs(kind, x, label, options, torchs, exact):
    torch = library("torch")
    options = {"weight": None, "reduction": "mean"} | options
    if options["weight"] is not None:
        options["weight"] = np.array(options["weight"])
    theirs, _ = torch_result(torch, np.array([x]), np.array([label]), options)
    np.testing.assert_array_equal(theirs * (options["weight"] is None or 1), torchs)


def test_every_pair_of_options_runs():
    """Each dtype with each kind of label, weight, smoothing, mask and reduction."""
    rng = np.random.default_rng(0)
    kinds = itertools.product(
        DTYPES.values(),
        (False, True),
        (False, True),
        (0.0, 0.3),
        (False, True),
        ("none", "sum", "mean"),
    )
    for dtype, soft, weighted, smoothing, masked, reduction in kinds:
        x = normal((3, 5), dtype)
        labels = rng.dirichlet(np.ones(5), 3) if soft else np.array([0, 4, 2])
        where = np.array([True, True, True, False, True]) if masked else None
        if soft and masked:
            labels[:, 3] = 0
        weight = np.linspace(0.5, 2, 5) if weighted else None
        got = cross_entropy(
            x, labels, weight=weight, label_smoothing=smoothing, where=where, reduction=reduction
        )
        p = np.where(True if where is None else where, x.astype(float), -INF)
        with np.errstate(all="ignore"):
            logp = p - np.log(np.exp(p).sum(-1, keepdims=True))
            given = labels if soft else np.eye(5)[labels]
            part = np.ones(5) if where is None else where
            q = ((1 - smoothing) * given + smoothing * part / part.sum()) * (
                1 if weight is None else weight
            )
            rows = np.where(q == 0, 0, -q * logp).sum(-1)
        count = 3 if soft or not weighted else weight[labels].sum()
        wanted = {"none": rows, "sum": rows.sum(), "mean": rows.sum() / count}[reduction]
        eps = float(ml_dtypes.finfo(dtype).eps)
        np.testing.assert_allclose(np.asarray(got, float), wanted, rtol=4 * max(eps, 1e-14))


@pytest.mark.parametrize("temperature", [1.0, 0.5, 0.0])
def test_selection_with_where_has_the_bits_of_log_softmax(dtype, temperature):
    x = normal((6, 40), dtype, 5)
    where = np.random.default_rng(3).random((6, 40)) < 0.6
    x[~where] = np.nan
    where[0], where[1, :] = False, np.arange(40) == 7
    options = {"where": where, "temperature": temperature}
    index = np.tile(np.arange(40), (6, 1))
    chosen = selected_log_softmax(x, index, **options)
    assert bits(chosen) == bits(log_softmax(x, **options))
    assert (chosen[~where].astype(float) == -np.inf).all()
    assert bits(selected_log_softmax(x[1], 7, where=where[1])) == bits(x.dtype.type(0))
