"""The products of torch tensors, JAX arrays and the array API: what NumPy's are."""

import re

import ml_dtypes
import numpy as np
import pytest
from conftest import FLOATS, library
from tensor_kinds import Compiled, Jax, Jit, Strict, Torch

import stablesoftmax as s
from stablesoftmax.gradients import formulas, tensors

INF, NAN = np.inf, np.nan
PRODUCTS = tensors.__all__
MAPPINGS = [name for name in PRODUCTS if "logsumexp" not in name]

pytestmark = [pytest.mark.interop, pytest.mark.usefixtures("strict")]


def vector(name, v):
    """For logsumexp's cotangent a number for each row of the last axis."""
    return v[..., 0] if name == "logsumexp_vjp" else v


def every(names, x, v, axis=-1, **options):
    """In one call, which the compilers compile once."""
    return [getattr(s, name)(x, vector(name, v), axis, **options) for name in names]


def same(lib, x, v, *, names=PRODUCTS, ulp=8, scale=0.0, axis=-1, **options):
    """Compare to the functions of NumPy arrays; `scale` is of what may cancel."""
    static = {k: a for k, a in options.items() if not isinstance(a, np.ndarray)}
    arrays = {k: a for k, a in options.items() if k not in static}
    wanted = every(names, x, v, axis, **options)

    def call(x, v, **arrays):
        return every(names, x, v, axis, **arrays, **static)

    given = {k: lib.array(a) for k, a in arrays.items()}
    got = lib.call(call, lib.array(x), lib.array(v), **given)
    for name, one, other in zip(names, map(lib.numpy, got), wanted, strict=True):
        assert one.dtype == other.dtype
        assert one.shape == other.shape
        info = ml_dtypes.finfo(other.dtype)
        with np.errstate(all="ignore"):
            np.testing.assert_allclose(
                one.astype(float),
                np.asarray(other).astype(float),
                rtol=ulp * float(info.eps),
                atol=scale * float(info.eps) + float(info.tiny),  # XLA makes subnormals 0
                err_msg=name,
            )


# ---- values ----------------------------------------------------------------------------------


@pytest.mark.parametrize("masked", [False, True])
def test_values(lib, masked):
    rng = np.random.default_rng(0)
    x, v = rng.normal(size=(2, 3, 4, 5))
    x = x * 5
    options = {"where": rng.random(x.shape) < 0.7} if masked else {}
    if masked:
        x[~options["where"]] = NAN
    same(lib, x, v, scale=8, **options)
    same(lib, x, v, names=MAPPINGS, axis=(0, 2), scale=8, temperature=0.5, **options)
    warm = np.array([0.5, 3.0, 0.0, INF]).reshape(1, 4, 1)
    same(lib, x, v, names=MAPPINGS, axis=(0, 2), scale=16, temperature=warm, **options)


def test_axes_and_shapes(lib):
    rng = np.random.default_rng(1)
    x, v = rng.normal(size=(3, 4)), rng.normal(size=4)

    def products(x, v, g):
        return [
            s.logsumexp_vjp(x, g),
            s.logsumexp_vjp(x, v, 0),
            s.logsumexp_vjp(x, v, 0, keepdims=True),
            s.logsumexp_jvp(x, v),
            s.logsumexp_jvp(x, v, (0, 1), keepdims=True),
            s.logsumexp_jvp(x, v, 0),
            s.softmax_vjp(x, v, None),
            s.log_softmax_jvp(x, g, 0),
            s.log_softmax_vjp(x[0, 0], g),
            s.softmax_jvp(x[:, :0], g),
            s.logsumexp_jvp(x[:, :0], g, axis=1),
        ]

    given = (x, v, np.array(2.0))
    got = lib.call(products, *map(lib.array, given))
    for one, wanted in zip(map(lib.numpy, got), products(*given), strict=True):
        assert one.shape == np.shape(wanted)
        np.testing.assert_allclose(one, wanted, rtol=1e-14, atol=1e-15)


ROWS = np.array(
    [
        [40.0, 0.0, 0.0],
        [700.0, 0.0, 1.0],
        [30.0, 30.0, 0.0],
        [0.0, -INF, 1.0],
        [0.0, INF, -INF],
        [0.0, INF, INF],
        [-INF, -INF, -INF],
        [NAN, 0.0, INF],
    ]
)
VECTORS = np.array([[1.0, 3.0, 2.0], [1.0, 1.0, 1.0], [1e300, 1.0, -1e300], [0.0, 0.0, 5.0]])


def test_limits(lib):
    """Dominated rows, and those without a limit; an infinite v counts nothing where p is 0."""
    x, v = np.repeat(ROWS, len(VECTORS), axis=0), np.tile(VECTORS, (len(ROWS), 1))
    names = [name for name in PRODUCTS if name != "log_softmax_vjp"]
    same(lib, x, v, names=names, ulp=16)
    same(lib, x, v, names=["log_softmax_vjp"], ulp=16, scale=4)
    v = np.where(x == -INF, INF, 1.5)
    same(lib, x, v, names=["softmax_vjp", "log_softmax_jvp", "logsumexp_jvp"])
    # p = 1e-347 is 0 in the formulas, but not in the kernel: 1e300 would show it.
    same(lib, np.array([[800.0, 0.0, 1.0]] * 3), VECTORS[[0, 1, 3]], names=names)


def test_digits(lib):
    """The textbook gives 0 for the first of each."""
    x, v = lib.array([40.0, 0.0]), lib.array([1.0, 3.0])
    y = lib.call(s.softmax_vjp, x, v)
    np.testing.assert_allclose(lib.numpy(y), [-8.496708510583178e-18, 8.496708510583178e-18], 1e-15)
    y = lib.call(s.log_softmax_vjp, x, lib.array([-1.0, 0.0]))
    np.testing.assert_allclose(lib.numpy(y), [-4.248354255291589e-18, 4.248354255291589e-18], 1e-15)


@pytest.mark.parametrize("name", ["float16", "bfloat16", "float32", "int64"])
def test_dtypes(lib, name):
    """Computed in float64, and rounded once."""
    dtype = FLOATS.get(name, name)
    if isinstance(lib, Strict) and name in ("float16", "bfloat16"):
        pytest.skip(f"the array API has no {name}")
    rng = np.random.default_rng(2)
    with np.errstate(all="ignore"):
        x, v = (rng.normal(size=(2, 6, 5)) * 7).astype(dtype)
    if name == "int64":
        x[0, :2] = 2**60, 2**60 + 1
    same(lib, x, v, ulp=1 if name != "int64" else 16, scale=0 if name != "int64" else 16)


def test_jax_without_float64():
    x, v = np.random.default_rng(3).normal(size=(2, 6, 5)).astype(np.float32)
    same(Jit(), x, v, ulp=16, scale=16)


# ---- differentiated once more ------------------------------------------------------------------

# which torch itself uses in forward mode
SCRIPT = pytest.mark.filterwarnings("ignore:.*torch.jit.script.*:DeprecationWarning")


@SCRIPT
@pytest.mark.parametrize("name", PRODUCTS)
def test_gradcheck(name):
    """With respect to x, to v and to the temperature, against torch's finite differences."""
    torch = library("torch")
    torch.manual_seed(0)
    x, v = torch.randn(2, 3, 4, dtype=torch.float64, requires_grad=True)
    given = [x, vector(name, v)]
    if name in MAPPINGS:
        given.append(torch.tensor([[0.5], [2.0], [1.5]], dtype=torch.float64, requires_grad=True))

    def product(x, v, temperature=None):
        options = {} if temperature is None else {"temperature": temperature}
        return getattr(s, name)(x, v, -1, **options)

    assert torch.autograd.gradcheck(product, given, check_forward_ad=True)
    assert torch.autograd.gradgradcheck(product, given[:2])


def torch_pull(product, at, v):
    """The cotangent v of a product, pulled back to its vector."""
    torch = library("torch")
    at = torch.tensor(at, requires_grad=True)
    return torch.autograd.grad(product(at), at, torch.tensor(v))[0].numpy()


def jax_pull(product, at, v):
    jax = library("jax")
    with jax.enable_x64(True):
        return np.asarray(jax.jit(lambda at, v: jax.vjp(product, at)[1](v)[0])(at, v))


@pytest.mark.parametrize("pull", [torch_pull, jax_pull])
def test_second_derivatives_of_dominated_rows_keep_their_digits(pull):
    """A product is linear in its vector, so that pulling back is the other product."""
    x, u = np.array([[40.0, 0.0, 1.0], [0.3, 0.1, 0.2]]), np.array([[1.0, 3.0, -2.0]] * 2)
    at = np.array([[2.0, 7.0, 1.0], [0.5, -1.0, 2.0]])
    pairs = [
        (s.softmax_vjp, s.softmax_vjp),
        (s.log_softmax_vjp, s.log_softmax_jvp),
        (s.log_softmax_jvp, s.log_softmax_vjp),
    ]
    for product, transposed in pairs:
        got = pull(lambda v, product=product: product(like(v, x), v), at, u)
        np.testing.assert_allclose(got, transposed(x, u), rtol=1e-14)


@pytest.mark.parametrize("pull", [torch_pull, jax_pull])
def test_gradients_are_finite_at_infinities(pull):
    x = np.array([[0.0, -INF, 1.0], [0.0, INF, 1.0], [700.0, NAN, 0.0]])
    where, v = np.array([[1, 1, 1], [1, 1, 1], [1, 0, 1]], bool), np.array([1.0, 2.0, -1.0])
    for name in PRODUCTS:
        options = (
            {"where": where} if pull is jax_pull else {"where": library("torch").tensor(where)}
        )

        def product(x, name=name, options=options):
            u = like(x, np.broadcast_to(v, (3, 3)).copy())
            return getattr(s, name)(x, vector(name, u), axis=-1, **options)

        got = pull(product, x, vector("logsumexp_vjp", np.ones((3, 3))) if name == "logsumexp_jvp"
                   else np.ones((3, 3)))  # fmt: skip
        assert np.isfinite(got).all()


def like(v, a):
    """Make a an array of v's library."""
    if type(v).__module__.startswith("torch"):
        return library("torch").tensor(a)
    return library("jax").numpy.asarray(a)


# ---- tracing and kinds -----------------------------------------------------------------------


def test_torch_compile():
    rng = np.random.default_rng(5)
    x, v = rng.normal(size=(2, 3, 4))
    same(Compiled(), x, v, scale=8, where=rng.random((3, 4)) < 0.7)


def test_vmap():
    jax, torch = library("jax"), library("torch")
    x, v = np.random.default_rng(6).normal(size=(2, 3, 4))
    wanted = every(PRODUCTS, x, v)
    with jax.enable_x64(True):
        by_jax = jax.jit(jax.vmap(lambda x, v: every(PRODUCTS, x, v)))(x, v)
    by_torch = torch.func.vmap(lambda x, v: every(PRODUCTS, x, v))(*map(torch.tensor, (x, v)))
    for one, other, rows in zip(by_jax, by_torch, wanted, strict=True):
        np.testing.assert_allclose(one, rows, rtol=1e-13)
        np.testing.assert_allclose(other, rows, rtol=1e-13)


@pytest.mark.parametrize("kind", [Torch, Jax, Strict], ids=lambda kind: kind.__name__)
def test_other_kinds_beside(kind):
    """The vector need not be of x's library."""
    lib, x = kind(), np.float32([[1, 2, 4]])
    wanted = s.softmax_vjp(x, [1, 0, 2])
    for v in ([1, 0, 2], np.array([1, 0, 2]), lib.array(np.float32([1, 0, 2]))):
        y = s.softmax_vjp(lib.array(x), v)
        np.testing.assert_allclose(lib.numpy(y), wanted, rtol=2e-6)
    y = s.softmax_vjp(x=lib.array(x), g=[1, 0, 2], axis=-1)
    np.testing.assert_allclose(lib.numpy(y), wanted, rtol=2e-6)


def test_torch_kinds_and_devices():
    torch = library("torch")
    x = torch.nn.Parameter(torch.ones(2, 3))
    y = s.log_softmax_vjp(x, torch.ones(3))
    assert y.requires_grad
    with torch.no_grad():  # by the kernels
        assert not s.log_softmax_vjp(x, torch.ones(3)).requires_grad
    g = torch.ones(3, requires_grad=True)
    assert s.log_softmax_vjp(torch.ones(2, 3), g).requires_grad
    meta = torch.ones(2, 3, device="meta", dtype=torch.float16)
    y = s.logsumexp_jvp(meta, meta, axis=1)
    assert (y.device.type, y.dtype, tuple(y.shape)) == ("meta", torch.float16, (2,))


# ---- bad input -------------------------------------------------------------------------------

Z = np.zeros((2, 3))
BAD = [
    ("softmax_vjp", Z * 1j, Z, {}),
    ("softmax_vjp", Z, Z * 1j, {}),
    ("softmax_jvp", Z, Z > 0, {}),
    ("softmax_vjp", Z, np.zeros(2), {}),
    ("softmax_jvp", Z, np.zeros((2, 2, 3)), {}),
    ("log_softmax_vjp", Z, Z, {"axis": 2}),
    ("log_softmax_vjp", Z, Z, {"axis": (0, 0)}),
    ("log_softmax_jvp", Z, Z, {"axis": 0.5}),
    ("log_softmax_jvp", Z, Z, {"where": np.ones(3)}),
    ("log_softmax_jvp", Z, Z, {"where": np.ones(2, bool)}),
    ("softmax_vjp", Z, Z, {"temperature": -1.0}),
    ("softmax_vjp", Z, Z, {"temperature": NAN}),
    ("softmax_vjp", Z, Z, {"temperature": [1.0, 2.0]}),
    ("logsumexp_vjp", Z, Z, {}),
    ("logsumexp_vjp", Z, np.zeros(3), {"axis": 1}),
    ("logsumexp_vjp", Z, np.zeros((1, 3)), {"axis": 1, "keepdims": True}),
    ("logsumexp_jvp", Z, np.zeros(2), {"axis": 1}),
]


@pytest.mark.parametrize("kind", [Torch, Strict], ids=lambda kind: kind.__name__)
@pytest.mark.parametrize(("name", "x", "v", "options"), BAD)
def test_bad_input(kind, name, x, v, options):
    """One message, whatever kind of array it is of."""
    lib, function = kind(), getattr(s, name)
    with pytest.raises(Exception) as error:  # noqa: PT011 (what is compared to)
        function(x, v, **options)
    options = {k: lib.array(a) if isinstance(a, np.ndarray) else a for k, a in options.items()}
    with pytest.raises(type(error.value), match=f"^{re.escape(str(error.value))}$"):
        function(lib.array(x), lib.array(v), **options)


@pytest.mark.parametrize("name", PRODUCTS)
def test_unknown_options(name):
    """The formulas take no more than the functions do."""
    x = library("torch").ones(2, requires_grad=True)
    for option in ("dtype", "out", "undefined", "b"):
        with pytest.raises(TypeError, match=f"unexpected keyword argument '{option}'"):
            getattr(s, name)(x, 1.0, **{option: None})


# ---- planted bugs ----------------------------------------------------------------------------


def textbook_mean(p, v, xp):
    mean = xp.sum(p * xp.where(p != 0, v, 0.0), axis=-1, keepdims=True)
    return v - mean, mean, mean * 0


def second_order():
    test_second_derivatives_of_dominated_rows_keep_their_digits(torch_pull)


def plain_sum(v, xp):
    return xp.sum(v, axis=-1), 0 * v[..., 0]


PLANTED = [
    ("_mean", textbook_mean, lambda: test_digits(Torch())),
    ("_mean", textbook_mean, lambda: test_limits(Torch())),
    ("_mean", textbook_mean, second_order),
    ("accurate_sum", plain_sum, lambda: test_limits(Torch())),
    ("logsumexp_transposed", lambda p, v, xp: p * v, lambda: test_limits_of_infinities(Torch())),
]


def test_limits_of_infinities(lib):
    """0 times inf counts 0."""
    same(lib, np.array([[0.0, -INF]]), np.array([[INF, 1.0]]), names=["logsumexp_vjp"])


@pytest.mark.parametrize(("part", "bug", "test"), PLANTED)
def test_planted_bug_is_seen(monkeypatch, part, bug, test):
    library("torch")
    monkeypatch.setattr(formulas, part, bug)
    with pytest.raises(AssertionError):
        test()
