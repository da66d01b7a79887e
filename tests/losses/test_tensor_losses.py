"""The losses and their kin of torch tensors, JAX arrays and the array API: what NumPy's are."""

import itertools
import re

import numpy as np
import pytest
from conftest import library

import stablesoftmax as s

INF, NAN = np.inf, np.nan

pytestmark = [pytest.mark.interop, pytest.mark.usefixtures("strict")]


class Torch:
    """Tensors that need a gradient, which the kernels cannot take."""

    def array(self, a):
        torch = library("torch")
        tensor = torch.tensor(np.asarray(a))
        return tensor.requires_grad_() if tensor.is_floating_point() else tensor

    def call(self, function, x, *args, **options):
        return function(x, *args, **options)

    def numpy(self, y):
        assert type(y) is library("torch").Tensor
        return y.detach().numpy()


class Jax(Torch):
    """Arrays of JAX, and under jit, where they have no values."""

    def __init__(self, jit):
        self.jit = jit

    def array(self, a):
        return library("jax").numpy.asarray(a)

    def call(self, function, x, *args, **options):
        jax = library("jax")
        if not self.jit:
            return function(x, *args, **options)
        arrays = {k: v for k, v in options.items() if isinstance(v, jax.Array)}
        static = {k: v for k, v in options.items() if k not in arrays}
        traced = jax.jit(lambda x, args, arrays: function(x, *args, **arrays, **static))
        return traced(x, args, arrays)

    def numpy(self, y):
        assert isinstance(y, library("jax").Array)
        return np.asarray(y)


class Strict(Torch):
    def array(self, a):
        return library("array_api_strict").asarray(np.asarray(a))

    def numpy(self, y):
        assert type(y).__module__.startswith("array_api_strict")
        return np.asarray(y)


@pytest.fixture(params=[Torch, Jax, Strict])
def lib(request):
    if request.param is not Jax:
        yield request.param()
        return
    with library("jax").enable_x64(True):
        yield Jax(jit=request.function in (test_cross_entropy, test_kin))


def same(lib, function, x, *args, ulp=8, scale=0.0, **options):
    """Compare to the same function of NumPy arrays; `scale` is of what may cancel."""

    def given(value):
        return lib.array(value) if isinstance(value, np.ndarray) else value

    wanted = function(x, *args, **options)
    got = lib.call(
        function, given(x), *map(given, args), **{k: given(v) for k, v in options.items()}
    )
    pairs = zip(got, wanted, strict=True) if isinstance(wanted, tuple) else [(got, wanted)]
    for one, other in pairs:
        one, other = lib.numpy(one), np.asarray(other)
        assert one.dtype == other.dtype
        assert one.shape == other.shape
        eps = np.finfo(other.dtype).eps
        with np.errstate(all="ignore"):
            np.testing.assert_allclose(
                one.astype(float), other.astype(float), rtol=ulp * eps, atol=scale * eps
            )


def configurations(seed, count):
    """Random logits, labels and options of a cross-entropy."""
    rng = np.random.default_rng(seed)
    for _ in range(count):
        shape = tuple(int(n) for n in rng.integers(1, 6, rng.integers(1, 4)))
        axis = int(rng.integers(-len(shape), len(shape)))
        n, batch = shape[axis], np.delete(shape, axis)
        dtype = rng.choice([np.float32, np.float64])
        x = (rng.normal(size=shape) * rng.choice([1, 30])).astype(dtype)
        x[rng.random(shape) < 0.1] = -INF
        options = {"reduction": str(rng.choice(["none", "sum", "mean"]))}
        if rng.random() < 0.5:
            options["weight"] = rng.choice([0, 0.5, 2], n).astype(dtype)
        if rng.random() < 0.5:
            options["label_smoothing"] = float(rng.random())
        if rng.random() < 0.4:
            options["where"] = rng.random(shape) < 0.8
        if rng.random() < 0.3:
            labels = rng.dirichlet(np.ones(n), tuple(batch)).astype(dtype)
            labels = np.moveaxis(labels, -1, axis)
        else:
            labels = rng.integers(0, n, tuple(batch))
            ignored = rng.random(tuple(batch)) < 0.2
            labels = np.where(ignored, options.setdefault("ignore_index", -1), labels)
        yield x, labels, axis, options


@pytest.mark.parametrize("seed", range(3))
def test_cross_entropy(lib, seed):
    count = 2 if isinstance(lib, Jax) else 30  # JAX compiles each
    for x, labels, axis, options in configurations(seed, count):
        same(lib, s.cross_entropy, x, labels, axis=axis, **options)
        same(lib, s.cross_entropy_with_grad, x, labels, axis=axis, scale=8, **options)


ROWS = [
    ([0.0, -40.0], 0),
    ([40.0, 0.0], 1),
    ([0.0, -INF], 1),
    ([0.0, INF], 1),
    ([0.0, INF], 0),
    ([INF, INF, 0.0], 0),
    ([INF, INF, 0.0], 2),
    ([-INF, -INF], 0),
    ([NAN, 1.0], 1),
    ([NAN, INF], -100),
    ([1e308, -1e308], 1),
]


@pytest.mark.parametrize(("x", "label"), ROWS)
def test_limits(lib, x, label):
    x, label = np.array(x), np.array(label)
    same(lib, s.cross_entropy, x, label, reduction="sum")
    same(lib, s.cross_entropy_with_grad, x, label, reduction="sum")
    same(lib, s.cross_entropy, x, np.zeros(len(x)))
    if label >= 0:
        same(lib, s.cross_entropy, x, np.eye(len(x))[label])
        same(lib, s.selected_log_softmax, x, label)
    same(lib, s.entropy, x)
    same(lib, s.logmeanexp, x)
    same(lib, s.logcumsumexp, x)
    same(lib, s.kl_divergence, x, np.zeros(len(x)))
    same(lib, s.kl_divergence, np.zeros(len(x)), x)


def test_nothing_to_divide_by(lib):
    x = np.zeros((2, 3))
    same(lib, s.cross_entropy_with_grad, x, np.array([-100, -100]))
    options = {"weight": np.array([0.0, 1, 1]), "label_smoothing": 0.5}
    same(lib, s.cross_entropy_with_grad, x, np.array([0, 0]), **options)
    same(lib, s.cross_entropy_with_grad, x[:0], np.array([], int))
    same(lib, s.cross_entropy, x[:0], x[:0])
    same(lib, s.cross_entropy, x[:, :0], np.array([-100, -100]), reduction="none")
    same(lib, s.entropy, x[:, :0])
    same(lib, s.kl_divergence, x[:, :0], x[:, :0])
    same(lib, s.logcumsumexp, x[:, :0])
    same(lib, s.logmeanexp, x[:, :0], axis=1)
    same(lib, s.selected_log_softmax, x, np.zeros((2, 0), int))


def test_all_excluded(lib):
    x, nothing = np.array([[1.0, NAN]]), np.zeros((1, 2), bool)
    for reduction in ("none", "mean"):
        same(lib, s.cross_entropy, x, np.array([0]), where=nothing, reduction=reduction)
    same(lib, s.entropy, x, where=nothing)
    same(lib, s.kl_divergence, x, x, where=nothing)
    same(lib, s.logmeanexp, x, where=nothing)


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.float16, np.int64])
def test_kin(lib, dtype):
    rng = np.random.default_rng(2)
    if dtype is np.float16 and isinstance(lib, Strict):
        pytest.skip("the array API has no float16")
    x, y = ((rng.normal(size=(3, 4, 5)) * 9).astype(dtype) for _ in range(2))
    where, index = rng.random(x.shape) < 0.7, rng.integers(0, 4, (3, 2, 5))
    ulp = 1 if dtype is np.float16 else 12
    for axis in (-1, (0, 2)):
        same(lib, s.entropy, x, axis=axis, where=where, ulp=ulp)
        same(lib, s.kl_divergence, x, y, axis=axis, where=where, ulp=ulp, scale=8)
        same(lib, s.logmeanexp, x, axis=axis, where=where, keepdims=True, ulp=ulp, scale=8)
    same(lib, s.logmeanexp, x, ulp=ulp, scale=8)
    same(lib, s.logcumsumexp, x, axis=1, ulp=ulp, scale=8)
    same(lib, s.kl_divergence, x[0], y, ulp=ulp, scale=8)
    same(lib, s.selected_log_softmax, x, index, axis=1, ulp=ulp)
    same(lib, s.selected_log_softmax, x, index[:, 0], axis=1, ulp=ulp)
    if dtype is not np.float16:  # 16 bits of temperature are few
        warm = np.array([[0.5], [2.0], [0.0]]).reshape(3, 1, 1)
        same(lib, s.entropy, x, temperature=warm, ulp=40)
        same(lib, s.selected_log_softmax, x, index[:, :1], axis=1, temperature=warm, ulp=ulp)


def test_near_distributions_have_a_divergence(lib):
    x = np.random.default_rng(0).normal(size=(4, 9))
    z = np.random.default_rng(1).normal(size=(4, 9))
    for step in (1e-12, 1e-6, 0.1):
        same(lib, s.kl_divergence, x, x + step * z, ulp=45)


def test_a_long_scan(lib):
    x = np.random.default_rng(0).normal(size=1000) * 20
    same(lib, s.logcumsumexp, x, scale=8)
    x[[3, 500, 700]] = -INF, INF, NAN
    x[0] = -INF
    same(lib, s.logcumsumexp, x, scale=8)


# ---- gradients -----------------------------------------------------------------------------


def torch_gradient(function, *arrays, **options):
    """Of the sum of what a function returns, with respect to each array."""
    torch = library("torch")
    options = {k: torch.tensor(v) if isinstance(v, np.ndarray) else v for k, v in options.items()}
    given = [torch.tensor(a, requires_grad=True) for a in arrays]
    function(*given, **options).sum().backward()
    return [a.grad.numpy() for a in given]


def jax_gradient(function, *arrays, **options):
    jax = library("jax")
    with jax.enable_x64(True):
        every = tuple(range(len(arrays)))
        loss = jax.jit(jax.grad(lambda *arrays: function(*arrays, **options).sum(), every))
        return [np.asarray(g) for g in loss(*map(jax.numpy.asarray, arrays))]


GRADIENTS = pytest.mark.parametrize("gradient", [torch_gradient, jax_gradient])


@GRADIENTS
def test_gradient_of_the_loss(gradient):
    count = 6 if gradient is jax_gradient else 40
    for x, labels, axis, options in configurations(7, count):
        x = np.asarray(x, float)
        (got,) = gradient(s.cross_entropy, x, labels=labels, axis=axis, **options)
        _, wanted = s.cross_entropy_with_grad(x, labels, axis, **options)
        lost = np.isnan(wanted)  # rows without a limit: their NaN loss is a constant
        assert not np.isnan(got[~lost]).any()
        with np.errstate(all="ignore"):
            np.testing.assert_allclose(got[~lost], wanted[~lost], rtol=1e-13, atol=1e-14)


@GRADIENTS
def test_a_dominated_row_has_a_gradient(gradient):
    x = np.array([40.0, 0.0])
    (got,) = gradient(s.cross_entropy, x, labels=np.array(0))
    np.testing.assert_allclose(got, [-4.248354255291589e-18, 4.248354255291589e-18], rtol=1e-15)
    (got,) = gradient(s.cross_entropy, x, labels=np.array([1.0, 0.0]))
    np.testing.assert_allclose(got, [-4.248354255291589e-18, 4.248354255291589e-18], rtol=1e-15)
    (got,) = gradient(s.selected_log_softmax, x, index=np.array(0))
    np.testing.assert_allclose(got, [4.248354255291589e-18, -4.248354255291589e-18], rtol=1e-15)


@GRADIENTS
@pytest.mark.parametrize(("x", "label"), [row for row in ROWS if not np.isnan(row[0][0])])
def test_gradients_at_the_limits(gradient, x, label):
    (got,) = gradient(s.cross_entropy, np.array(x), labels=np.array(label))
    _, wanted = s.cross_entropy_with_grad(x, label)
    assert np.isfinite(got).all()
    if np.isfinite(wanted).all():
        np.testing.assert_allclose(got, wanted, rtol=1e-15, atol=1e-300)


@GRADIENTS
def test_what_takes_no_part_has_no_gradient(gradient):
    x = np.array([[NAN, 1.0, 2.0], [INF, NAN, 1.0], [0.0, -INF, 1.0]])
    where = np.array([[0, 1, 1], [1, 1, 1], [1, 1, 1]], bool)
    labels = np.array([1, -100, 2])
    (got,) = gradient(s.cross_entropy, x, labels=labels, where=where)
    np.testing.assert_allclose(
        got, s.cross_entropy_with_grad(x, labels, where=where)[1], rtol=1e-14
    )
    x, where = x[[0, 2]], where[[0, 2]]
    for function in (s.entropy, s.logmeanexp):
        (got,) = gradient(function, x, axis=1, where=where)
        assert np.isfinite(got).all()
    (got,) = gradient(s.logcumsumexp, np.where(np.isnan(x), -INF, x))
    assert np.isfinite(got).all()
    both = gradient(s.kl_divergence, x, x[:, ::1] * 0.5, where=where)
    assert np.isfinite(both).all()


@GRADIENTS
def test_gradients_of_the_kin(gradient):
    rng = np.random.default_rng(3)
    x, y = rng.normal(size=(2, 4, 6)) * 3
    p, q = s.softmax(x), s.softmax(y)
    (got,) = gradient(s.entropy, x)
    wanted = -p * (s.log_softmax(x) + s.entropy(x)[:, None])
    np.testing.assert_allclose(got, wanted, rtol=1e-11, atol=1e-15)
    for other in (y, x + 1e-9 * y):
        d, kl = s.log_softmax(x) - s.log_softmax(other), s.kl_divergence(x, other)[:, None]
        by_x, by_y = gradient(s.kl_divergence, x, other)
        np.testing.assert_allclose(by_x, p * (d - kl), rtol=1e-12, atol=1e-15)
        np.testing.assert_allclose(by_y, s.softmax(other) - p, rtol=1e-12, atol=1e-15)
    (got,) = gradient(s.logmeanexp, x, axis=-1)
    np.testing.assert_allclose(got, p, rtol=1e-14)
    (got,) = gradient(s.logcumsumexp, x)
    wanted = sum(np.pad(s.softmax(x[:, : i + 1]), ((0, 0), (0, 5 - i))) for i in range(6))
    np.testing.assert_allclose(got, wanted, rtol=1e-13)
    # and of probabilities, zeros among them
    t = np.where(q > 0.1, q, 0)
    (_, got) = gradient(lambda x, t: s.cross_entropy(x, t, reduction="sum"), x, t)
    np.testing.assert_allclose(got, -s.log_softmax(x), rtol=1e-14)


# ---- tracing -------------------------------------------------------------------------------


def everything(x, labels, q):
    loss = s.cross_entropy(x, labels, label_smoothing=0.1) + s.cross_entropy(x, q, where=x > -1)
    rows = s.entropy(x) + s.kl_divergence(x, q) + s.selected_log_softmax(x, labels)
    loss = loss + s.cross_entropy_with_grad(x, labels)[1].sum()
    return rows + loss + s.logmeanexp(x) + s.logcumsumexp(x)[..., 2]


def test_torch_compile():
    torch = library("torch")
    torch.manual_seed(0)
    x, labels = torch.randn(4, 5), torch.tensor([0, 4, 2, 2])
    q = torch.randn(4, 5).softmax(-1)
    compiled = torch.compile(everything, fullgraph=True, backend="eager")
    np.testing.assert_allclose(
        compiled(x, labels, q), everything(x, labels, q), rtol=1e-5, atol=1e-6
    )


def test_vmap():
    jax = library("jax")
    x = jax.random.normal(jax.random.key(0), (4, 5))
    labels = jax.numpy.asarray([0, 4, 2, 2])
    mapped = jax.vmap(s.cross_entropy)(x, labels)
    np.testing.assert_allclose(mapped, s.cross_entropy(x, labels, reduction="none"), rtol=1e-6)


def test_a_traced_class_out_of_range():
    jax = library("jax")
    x, labels = jax.numpy.zeros((3, 2)), jax.numpy.asarray([1, 2, -1])
    loss = jax.jit(lambda x, labels: s.cross_entropy(x, labels, reduction="none"))(x, labels)
    np.testing.assert_allclose(loss, [np.log(2), NAN, NAN], rtol=1e-6)
    chosen = jax.jit(s.selected_log_softmax)(x, labels)
    np.testing.assert_allclose(chosen, [-np.log(2), NAN, NAN], rtol=1e-6)
    assert np.isnan(jax.jit(s.cross_entropy)(x, labels))


# ---- bad input -----------------------------------------------------------------------------

Z = np.zeros((2, 3))
BAD = [
    (s.cross_entropy, Z, [0, 3], {}),
    (s.cross_entropy, Z, [0, -1], {"ignore_index": 7}),
    (s.cross_entropy, Z, [0], {}),
    (s.cross_entropy, Z, [[0.5, 0.5]], {}),
    (s.cross_entropy, Z, [[0, 0, -1.5], [0, 0, 0]], {}),
    (s.cross_entropy, Z, [[0, 0, NAN], [0, 0, 0]], {}),
    (s.cross_entropy, Z, [True, False], {}),
    (s.cross_entropy, Z, [0, 1], {"weight": np.ones(2)}),
    (s.cross_entropy, Z, [0, 1], {"weight": np.array([1, -1.0, 2])}),
    (s.cross_entropy, Z, [0, 1], {"weight": np.array([True, True, True])}),
    (s.cross_entropy, Z, [0, 1], {"label_smoothing": 2}),
    (s.cross_entropy, Z, [0, 1], {"ignore_index": 0.5}),
    (s.cross_entropy, Z, [0, 1], {"reduction": "average"}),
    (s.cross_entropy, Z, [0, 1], {"axis": (0, 1)}),
    (s.cross_entropy, Z, [0, 1], {"axis": 2}),
    (s.cross_entropy, Z, [0, 1], {"where": np.ones(3)}),
    (s.cross_entropy, Z, [0, 1], {"where": np.ones(2, bool)}),
    (s.cross_entropy, Z[0, 0], 0, {}),
    (s.cross_entropy, Z * 1j, [0, 1], {}),
    (s.selected_log_softmax, Z, [0, 3], {}),
    (s.selected_log_softmax, Z, [0.0, 1], {}),
    (s.selected_log_softmax, Z, [0, 1, 2], {}),
    (s.kl_divergence, Z, np.zeros(2), {}),
    (s.kl_divergence, Z, Z * 1j, {}),
]


@pytest.mark.parametrize(("function", "x", "other", "options"), BAD)
def test_bad_input(function, x, other, options):
    """One message, whatever kind of array it is of."""
    strict = Strict()
    with pytest.raises(Exception) as error:  # noqa: PT011 (what is compared to)
        function(np.asarray(x), other, **options)
    options = {k: strict.array(v) if isinstance(v, np.ndarray) else v for k, v in options.items()}
    with pytest.raises(type(error.value), match=f"^{re.escape(str(error.value))}$"):
        function(strict.array(x), strict.array(other), **options)


def test_other_kinds_beside():
    """Labels and weights need not be tensors, and a parameter's teacher keeps its gradient."""
    torch = library("torch")
    x = torch.nn.Parameter(torch.zeros(2, 3, dtype=torch.float64))
    loss = s.cross_entropy(x, [0, 1], weight=np.array([1, 2, 3]))
    np.testing.assert_allclose(loss.item(), np.log(3), rtol=1e-15)
    y = torch.ones(2, 3, dtype=torch.float64, requires_grad=True) * 2
    for a, b in itertools.permutations((x, y)):
        assert s.kl_divergence(a, b).requires_grad
        assert torch.autograd.grad(s.kl_divergence(a, b).sum(), [b])
