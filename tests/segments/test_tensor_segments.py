"""The segment functions of torch tensors, JAX arrays and the array API: what NumPy's are."""

import re

import ml_dtypes
import numpy as np
import pytest
from conftest import FLOATS, library, python
from tensor_kinds import Compiled, Jax, Jit, Strict, Torch
from test_segments import BAD_CALLS

import stablesoftmax as s
from stablesoftmax.segments import formulas, scatter

INF, NAN = np.inf, np.nan
MAPPINGS = (s.segment_softmax, s.segment_log_softmax)
FUNCTIONS = (*MAPPINGS, s.segment_logsumexp)

pytestmark = [pytest.mark.interop, pytest.mark.usefixtures("strict")]


def all_three(*args, **options):
    """In one call, which the compilers compile once."""
    return [function(*args, **options) for function in FUNCTIONS]


def same(lib, *args, ulp=4, scale=0.0, num_segments=None, **options):
    """Compare to the compiled functions of NumPy arrays; `scale` is of what may cancel."""
    wanted = all_three(*args, num_segments=num_segments, **options)
    given = {k: lib.array(v) for k, v in options.items()}
    got = lib.call(all_three, *map(lib.array, args), num_segments=num_segments, **given)
    for one, other in zip(map(lib.numpy, got), wanted, strict=True):
        assert one.dtype == other.dtype
        assert one.shape == other.shape
        eps = float(ml_dtypes.finfo(other.dtype).eps)
        with np.errstate(all="ignore"):
            np.testing.assert_allclose(
                one.astype(float), other.astype(float), rtol=ulp * eps, atol=scale * eps
            )


# ---- values ----------------------------------------------------------------------------------


def test_values(lib):
    rng = np.random.default_rng(0)
    x, ids = rng.normal(size=(60, 2, 2)) * 5, rng.integers(0, 9, 60)
    same(lib, x, ids, num_segments=11, scale=4)
    same(lib, x[:, 0, 0], indptr=np.array([0, 0, 7, 7, 30, 60]), scale=4)


@pytest.mark.parametrize("name", ["float16", "bfloat16", "float32", "int8"])
def test_dtypes(lib, name):
    dtype = FLOATS.get(name, name)
    if isinstance(lib, Strict) and name in ("float16", "bfloat16"):
        pytest.skip(f"the array API has no {name}")
    rng = np.random.default_rng(1)
    with np.errstate(all="ignore"):
        x = (rng.normal(size=40) * 9).astype(dtype)
    ulp = 1 if name in ("float16", "bfloat16") else 16 if name == "float32" else 4
    same(lib, x, rng.integers(0, 6, 40), num_segments=6, ulp=ulp, scale=ulp)


def test_integers_past_the_floats(lib):
    """2**60 and 2**60 + 1 are no tie, though they are one number in float64."""
    x = np.array([2**60, 5, 2**60 + 1, -(2**60), 6])
    same(lib, x, np.array([0, 1, 0, 2, 1]), num_segments=4)


GROUPS = {
    "dominated": [0.0, -40.0],
    "far apart": [800.0, 0.0, -800.0],
    "ties": [3.0, 3.0, 3.0, 2.0],
    "zeros of both signs": [0.0, -0.0],
    "one": [7.0],
    "some -inf": [-INF, 1.0, -INF, 0.0],
    "one +inf": [1.0, INF, -INF, 0.0],
    "several +inf": [INF, 1.0, INF, -INF],
    "all -inf": [-INF, -INF],
    "one -inf": [-INF],
    "NaN": [NAN, 1.0, 2.0],
    "NaN alone": [NAN],
    "NaN and +inf": [NAN, INF, 1.0],
    "NaN and -inf": [NAN, -INF],
    "overflow": [1.7e308, -1.7e308],
}


def test_degenerate_groups(lib):
    """All in one call, their members scattered: so no group is touched by another."""
    x = np.concatenate(list(GROUPS.values()))
    ids = np.repeat(np.arange(len(GROUPS)), [len(group) for group in GROUPS.values()])
    shuffled = np.random.default_rng(2).permutation(len(x))
    same(lib, x[shuffled], ids[shuffled], num_segments=len(GROUPS) + 2)


def test_nothing_there(lib):
    x, none = np.zeros((0, 2)), np.zeros(0, int)
    same(lib, x, none, num_segments=3)
    same(lib, x, indptr=np.zeros(1, int))
    same(lib, np.zeros((3, 0)), np.array([0, 1, 1]), num_segments=2)
    if not isinstance(lib, Jit):
        same(lib, x, none)


def test_digits_of_a_dominated_group(lib):
    x, ids = lib.array([0.0, 9, -40]), lib.array(np.array([1, 0, 1]))
    y = lib.call(s.segment_log_softmax, x, ids, num_segments=2)
    np.testing.assert_allclose(lib.numpy(y), [-4.248354255291589e-18, 0, -40], rtol=1e-15)


def test_a_long_group():
    """torch adds one by one: 3e5 equal numbers, in float32, would be off in the fourth digit."""
    x = np.concatenate([np.full(300_000, 0.1), [2.0], np.full(10, 5.0)]).astype(np.float32)
    same(Torch(), x, np.repeat([0, 1], [300_001, 10]), num_segments=2)


def test_numpy_has_the_words_of_cupy():
    """CuPy needs a GPU, but its words are NumPy's."""
    xp = library("array_api_compat.numpy")
    rng = np.random.default_rng(3)
    x, ids = rng.normal(size=(50, 2)), rng.integers(0, 7, 50)
    groups = scatter.Scatter(xp, ids, 9)
    for name, wanted in zip(
        ("softmax", "log_softmax", "logsumexp"), all_three(x, ids, num_segments=9), strict=True
    ):
        y = getattr(formulas, name)(x, groups, xp)
        np.testing.assert_allclose(y, wanted, rtol=1e-15, atol=1e-15)
    np.testing.assert_array_equal(groups.maximum(ids)[:7], np.arange(7))


def test_words_agree():
    """Each library's maxima and sums are those of the sorted scan."""
    strict = library("array_api_strict")
    rng = np.random.default_rng(4)
    x, ids = rng.integers(-9, 9, (80, 3)).astype(np.float32), rng.integers(0, 20, 80)
    compat = library("array_api_compat").array_namespace
    scan = scatter.Scatter(compat(strict.asarray(x)), strict.asarray(ids), 22)
    total, top = (np.asarray(f(strict.asarray(x))) for f in (scan.sum, scan.maximum))
    np.testing.assert_array_equal(top[20:], -INF)
    np.testing.assert_array_equal(total[20:], 0)
    for lib in (Torch(), Jax()):
        a = lib.array(x)
        own = scatter.Scatter(compat(a), lib.array(ids), 22)
        np.testing.assert_array_equal(lib.numpy(own.sum(a)), total)
        np.testing.assert_array_equal(lib.numpy(own.maximum(a)), top)


# ---- gradients -------------------------------------------------------------------------------

PRODUCTS = (s.softmax_vjp, s.log_softmax_vjp, s.logsumexp_vjp)


def torch_gradient(function, x, g, *args, **options):
    torch = library("torch")
    x = torch.tensor(x, requires_grad=True)
    y = function(x, *args, **options)
    return torch.autograd.grad(y, x, torch.tensor(g))[0].numpy()


def jax_gradient(function, x, g, *args, **options):
    jax = library("jax")

    def pulled(x, g):
        return jax.vjp(lambda x: function(x, *args, **options), x)[1](g)[0]

    with jax.enable_x64(True):
        return np.asarray(jax.jit(pulled)(x, g))


GRADIENTS = pytest.mark.parametrize("gradient", [torch_gradient, jax_gradient])


def by_group(product, x, g, ids):
    """The compiled product, of each group as a row."""
    out = np.empty_like(x)
    for group in np.unique(ids):
        here = ids == group
        v = g[group] if product is s.logsumexp_vjp else g[here]
        out[here] = product(x[here], v, axis=0)
    return out


@GRADIENTS
@pytest.mark.parametrize(("function", "product"), [*zip(FUNCTIONS, PRODUCTS, strict=True)])
def test_gradients(gradient, function, product):
    rng = np.random.default_rng(5)
    x, ids = rng.normal(size=(60, 2)) * 5, rng.integers(0, 8, 60)
    x[rng.random(x.shape) < 0.2] = -INF
    x[rng.random(x.shape) < 0.2] = 1.0  # ties, some of them at the maximum
    x[np.flatnonzero(ids == 3)[0]] = 60.0  # one dominates
    x[np.flatnonzero(ids == 4)[0]] = 900.0
    x[np.flatnonzero(ids == 5)[0]] = INF
    x[np.flatnonzero(ids == 6)[:2]] = 20.0  # two do
    g = rng.normal(size=np.asarray(function(x, ids)).shape)
    wanted = by_group(product, x, g, ids)
    assert np.isfinite(wanted).all()
    scale = s.segment_softmax(x, ids) if function is s.segment_softmax else 0  # of what cancels
    error = abs(gradient(function, x, g, ids, num_segments=8) - wanted)
    np.testing.assert_array_less(error, 1e-14 * (abs(wanted) + scale) + 1e-300)


@GRADIENTS
def test_gradient_of_a_dominated_group(gradient):
    x, ids = np.array([40.0, 7, 0]), np.array([1, 0, 1])
    got = gradient(s.segment_softmax, x, np.array([1.0, 1, 0]), ids)
    digits = [4.248354255291589e-18, 0, -4.248354255291589e-18]
    np.testing.assert_allclose(got, digits, rtol=1e-15)
    got = gradient(s.segment_log_softmax, x, np.array([1.0, 1, 0]), ids)
    np.testing.assert_allclose(got, digits, rtol=1e-15)
    got = gradient(s.segment_logsumexp, x, np.ones(2), ids)
    np.testing.assert_allclose(got, [1, 1, 4.248354255291589e-18], rtol=1e-15)


@GRADIENTS
def test_gradients_of_one_group_are_untouched_by_others(gradient):
    """Nor do groups without a limit make a NaN."""
    members = [group for name, group in GROUPS.items() if "NaN" not in name]
    rng = np.random.default_rng(6)
    mine, g = np.array([1.0, 2.0, 2.0]), rng.normal(size=3)
    x = np.concatenate([mine, [NAN, 1.0], *members])
    sizes = [3, 2, *map(len, members)]
    ids = np.repeat(np.arange(len(sizes)), sizes)
    for function in FUNCTIONS:
        one = g[:1] if function is s.segment_logsumexp else g
        wanted = gradient(function, mine, one, np.zeros(3, int))
        rest = np.ones(len(sizes) - 1 if function is s.segment_logsumexp else len(x) - 3)
        got = gradient(function, x, np.concatenate([one, rest]), ids)
        np.testing.assert_allclose(got[:3], wanted, rtol=4e-16)
        assert np.isfinite(got[5:]).all()


# which torch itself uses in forward mode
SCRIPT = pytest.mark.filterwarnings("ignore:`torch.jit.script` is deprecated:DeprecationWarning")


@SCRIPT
def test_gradcheck():
    """First and second order, backward and forward, against torch's finite differences."""
    torch = library("torch")
    torch.manual_seed(0)
    x = torch.randn(7, 2, dtype=torch.float64, requires_grad=True)
    ids = torch.tensor([0, 2, 0, 0, 2, 4, 0])
    for function in FUNCTIONS:

        def of(x, function=function):
            return function(x, ids, num_segments=5)[[0, 2, 4]]

        assert torch.autograd.gradcheck(of, x, check_forward_ad=True)
        assert torch.autograd.gradgradcheck(of, x)


@SCRIPT
def test_second_order_at_ties():
    """The Hessian of logsumexp is that of softmax: diag(p) - p p'."""
    torch, jax = library("torch"), library("jax")
    x, ids = np.array([1.0, 1.0, 5.0, 0.0]), np.array([0, 0, 1, 0])
    p = s.segment_softmax(x, ids)
    wanted = np.diag(p) - np.outer(p, p) * (ids[:, None] == ids)
    got = torch.func.hessian(lambda x: s.segment_logsumexp(x, ids).sum())(torch.tensor(x))
    np.testing.assert_allclose(got, wanted, rtol=1e-14, atol=1e-16)
    with jax.enable_x64(True):
        got = jax.jit(jax.hessian(lambda x: s.segment_logsumexp(x, ids).sum()))(x)
    np.testing.assert_allclose(got, wanted, rtol=1e-14, atol=1e-16)


# ---- tracing ---------------------------------------------------------------------------------


def test_jit_of_a_gradient():
    jax = library("jax")
    x, ids = np.array([40.0, 7, 0]), np.array([1, 0, 1])
    with jax.enable_x64(True):

        def first(x, ids):
            return s.segment_softmax(x, ids, num_segments=2)[0]

        got = jax.jit(jax.grad(first))(jax.numpy.asarray(x), jax.numpy.asarray(ids))
    np.testing.assert_allclose(got, [4.248354255291589e-18, 0, -4.248354255291589e-18], rtol=1e-15)


def test_ids_from_outside_of_a_trace():
    """They have values, so that they are counted and checked."""
    jax = library("jax")
    x, ids = np.float32([1, 2, 3]), [1, 0, 1]
    for given in (ids, np.array(ids), jax.numpy.asarray(ids)):
        y = jax.jit(lambda x, ids=given: s.segment_logsumexp(x, ids))(x)
        np.testing.assert_allclose(y, [2, np.logaddexp(1, 3)], rtol=1e-6)
        with pytest.raises(ValueError, match="below num_segments = 1, got 1 at position 0"):
            jax.jit(lambda x, ids=given: s.segment_softmax(x, ids, num_segments=1))(x)
    offsets = jax.numpy.asarray([0, 1, 2])
    with pytest.raises(ValueError, match="indptr must end at 3"):
        jax.jit(lambda x: s.segment_softmax(x, indptr=offsets))(x)


def test_traced_ids_need_a_number_of_groups():
    torch, jax = library("torch"), library("jax")
    message = "^num_segments must be given with traced segments, whose values are not known"
    with pytest.raises(TypeError, match=message):
        jax.jit(s.segment_softmax)(jax.numpy.ones(2), jax.numpy.asarray([0, 1]))
    with pytest.raises(TypeError, match=message):
        jax.vmap(s.segment_softmax)(jax.numpy.ones((1, 2)), jax.numpy.asarray([[0, 1]]))
    with pytest.raises(TypeError, match=message):
        torch.func.vmap(s.segment_softmax)(torch.ones(1, 2), torch.tensor([[0, 1]]))
    with pytest.raises(TypeError, match=r"^num_segments must be an int or None, got"):
        jax.jit(s.segment_softmax)(
            jax.numpy.ones(2), jax.numpy.asarray([0, 1]), num_segments=jax.numpy.asarray(2)
        )


@pytest.mark.parametrize("kind", [Compiled, Jit])
def test_traced_strays(kind):
    """A row whose traced id is out of range is in no group: NaN, or left out; no gradient."""
    lib = kind()
    x, ids = np.float32([1, 2, 3, 4]), np.array([0, -1, 7, 0], np.int32)
    for function in MAPPINGS:
        got = lib.call(function, lib.array(x), lib.array(ids), num_segments=2)
        wanted = function(x[[0, 3]], [0, 0])
        np.testing.assert_allclose(lib.numpy(got), [wanted[0], NAN, NAN, wanted[1]], rtol=1e-6)
    got = lib.call(s.segment_logsumexp, lib.array(x), lib.array(ids), num_segments=2)
    np.testing.assert_allclose(lib.numpy(got), [np.logaddexp(1, 4), -INF], rtol=1e-6)
    for offsets, wanted in (([1, 2], [NAN, 1, NAN, NAN]), ([2, 0], NAN)):
        got = lib.call(s.segment_softmax, lib.array(x), indptr=lib.array(np.array(offsets)))
        np.testing.assert_allclose(lib.numpy(got), np.broadcast_to(wanted, 4), rtol=1e-6)


def test_strays_have_no_gradient():
    jax = library("jax")

    def loss(x, ids):
        return jax.numpy.nansum(s.segment_softmax(x, ids, num_segments=2) * jax.numpy.arange(4.0))

    x, ids = jax.numpy.asarray([1.0, 2, INF, 4]), jax.numpy.asarray([0, -1, 7, 0])
    gradient = np.asarray(jax.jit(jax.grad(loss))(x, ids))
    wanted = s.softmax_vjp(np.float32([1, 4]), [0, 3])
    np.testing.assert_allclose(gradient, [wanted[0], 0, 0, wanted[1]], rtol=1e-5)


def test_vmap():
    jax, torch = library("jax"), library("torch")
    rng = np.random.default_rng(7)
    x, ids = rng.normal(size=(3, 6)), rng.integers(0, 3, (3, 6))

    def of(x, ids):
        return all_three(x, ids, num_segments=3)

    wanted = zip(*(of(*row) for row in zip(x, ids, strict=True)), strict=True)
    with jax.enable_x64(True):
        by_jax = jax.jit(jax.vmap(of))(x, ids)
    by_torch = torch.func.vmap(of)(torch.tensor(x), torch.tensor(ids))
    for one, other, rows in zip(by_jax, by_torch, wanted, strict=True):
        np.testing.assert_allclose(one, rows, rtol=1e-14)
        np.testing.assert_allclose(other, rows, rtol=1e-14)


def test_torch_compile():
    """What the other libraries are asked, in one graph without a break."""
    test_degenerate_groups(Compiled())
    same(Compiled(), np.float32([1, 2, 3]), indptr=np.array([0, 1, 1, 3]))


def test_compiled_gradient():
    """torch.compile through autograd."""
    torch = library("torch")
    torch.compiler.reset()

    def loss(x, ids):
        return s.segment_softmax(x, ids, num_segments=2)[0]

    x = torch.tensor([40.0, 7, 0], dtype=torch.float64, requires_grad=True)
    compiled = torch.compile(loss, fullgraph=True, backend="aot_eager")
    compiled(x, torch.tensor([1, 0, 1])).backward()
    np.testing.assert_allclose(
        x.grad, [4.248354255291589e-18, 0, -4.248354255291589e-18], rtol=1e-15
    )


# ---- kinds and devices -----------------------------------------------------------------------


@pytest.mark.parametrize("kind", [Torch, Jax, Strict], ids=lambda kind: kind.__name__)
def test_other_kinds_beside(kind):
    """Ids need not be of x's library."""
    lib, x, ids = kind(), np.float32([1, 2, 3]), [0, 1, 0]
    for given in (ids, tuple(ids), np.array(ids, np.uint8), lib.array(ids)):
        got = s.segment_softmax(lib.array(x), given)
        np.testing.assert_allclose(lib.numpy(got), s.segment_softmax(x, ids), rtol=1e-6)
    got = s.segment_softmax(lib.array(x), indptr=[0, 2, 3])
    np.testing.assert_allclose(lib.numpy(got), s.segment_softmax(x, indptr=[0, 2, 3]), rtol=1e-6)


def test_torch_kinds_and_devices():
    torch = library("torch")
    ids = torch.tensor([0, 1, 0])
    x = torch.nn.Parameter(torch.zeros(3))
    assert s.segment_softmax(x, ids).requires_grad
    with torch.no_grad():  # by the kernels
        assert not s.segment_softmax(x, ids).requires_grad
    meta = torch.zeros(3, 2, device="meta", dtype=torch.float16)
    y = s.segment_logsumexp(meta, ids.to("meta"), num_segments=4)
    assert (y.device.type, y.dtype, tuple(y.shape)) == ("meta", torch.float16, (4, 2))
    assert s.segment_softmax(meta, indptr=ids.to("meta")).shape == (3, 2)


def test_jax_device():
    library("jax")
    code = """
import jax, stablesoftmax as s
there = jax.devices()[1]
x = jax.device_put(jax.numpy.ones(3), there)
assert s.segment_logsumexp(x, [0, 0, 1]).devices() == {there}
assert s.sample(x).devices() == {there}
"""
    python(code, environment={"XLA_FLAGS": "--xla_force_host_platform_device_count=2"})


def test_jax_without_float64():
    jax = library("jax")
    x = jax.numpy.asarray([2**24, 2**24 + 1, 5])  # a tie in float32
    wanted = all_three(np.asarray(x), [0, 0, 1])
    for y, other in zip(jax.jit(lambda x: all_three(x, [0, 0, 1]))(x), wanted, strict=True):
        assert y.dtype == np.float32
        np.testing.assert_allclose(y, other, rtol=1e-6)


# ---- bad input -------------------------------------------------------------------------------


def has_no_equal(x, options):
    """Text, of which no such array is made, and bool, for which the hint differs."""
    kinds = {np.asarray(a).dtype.kind for a in (x, *options.values()) if a is not None}
    return bool(kinds & set("UOb"))


@pytest.mark.parametrize("kind", [Torch, Jax, Strict], ids=lambda kind: kind.__name__)
@pytest.mark.parametrize("case", [case for case in BAD_CALLS if not has_no_equal(*case[:2])])
def test_bad_input(kind, case):
    """One message, whatever kind of array it is of, and be the ids a list."""
    x, options, error, _ = case
    lib = kind()
    with pytest.raises(error) as wanted:
        s.segment_softmax(x, **options)
    message = f"^{re.escape(str(wanted.value))}$"
    with library("jax").enable_x64(True):
        array = lib.array(np.asarray(x))
        with pytest.raises(error, match=message):
            s.segment_softmax(array, **options)
        made = {
            k: lib.array(np.asarray(v, None if np.size(v) else int))
            for k, v in options.items()
            if k != "num_segments"
        }
        with pytest.raises(error, match=message):
            s.segment_softmax(array, **{**options, **made})


def test_complex_is_refused():
    torch = library("torch")
    x = torch.zeros(2, dtype=torch.complex64, requires_grad=True)
    message = "^x has dtype complex64; accepted are integers and real floating-point$"
    with pytest.raises(TypeError, match=message):
        s.segment_softmax(x, [0, 1])


# ---- planted bugs ----------------------------------------------------------------------------


def shifted_by_a_constant(x, groups, xp):
    value = groups.maximum(formulas.constant(x))
    ties = x == groups.gather(value)
    return formulas._Maximum(value, value * 0 + 2, ties, ties & False)


def tie_counted_once(terms, groups, top, xp):
    return groups.accurate_sum(xp.where(top.ties, 0.0, terms))


def infinities_subtracted(x, groups, top, xp):
    return x - groups.gather(top.value)


def plain_sum(groups, values):
    return groups.sum(values)


PLANTED = [
    (formulas, "_maximum", shifted_by_a_constant,
     lambda: test_digits_of_a_dominated_group(Torch())),
    (formulas, "_maximum", shifted_by_a_constant,
     lambda: test_gradient_of_a_dominated_group(torch_gradient)),
    (formulas, "_rest", tie_counted_once, lambda: test_degenerate_groups(Torch())),
    (formulas, "_below", infinities_subtracted, lambda: test_degenerate_groups(Torch())),
    (formulas, "_has_no_limit", lambda x, top: x != x,
     lambda: test_degenerate_groups(Strict())),
    (formulas, "constant", lambda a: a * 1.0000001, lambda: test_values(Torch())),
    (scatter.Scatter, "accurate_sum", plain_sum, test_a_long_group),
]  # fmt: skip


@pytest.mark.parametrize(("module", "part", "bug", "test"), PLANTED)
def test_planted_bug_is_seen(monkeypatch, module, part, bug, test):
    library("torch")
    monkeypatch.setattr(module, part, bug)
    with pytest.raises(AssertionError):
        test()


@pytest.mark.parametrize("whole", [False, True], ids=["floats", "integers"])
def test_where(lib, whole):
    """What takes no part, NaN or not, changes no result."""
    rng = np.random.default_rng(5)
    ids, where = rng.integers(0, 4, 40), rng.random((40, 2)) < 0.6
    where[ids == 1] = False
    x = rng.normal(size=(40, 2)) * 3
    x = np.where(where, x.round(), 99).astype(np.int32) if whole else np.where(where, x, NAN)
    same(lib, x, ids, num_segments=4, where=where, scale=4)


@pytest.mark.parametrize("function", FUNCTIONS)
def test_gradient_with_where(function):
    """It is 0 for what takes no part, and finite differences agree for the rest."""
    torch = library("torch")
    rng = np.random.default_rng(5)
    ids, where = torch.tensor(rng.integers(0, 4, 20)), rng.random((20, 2)) < 0.6
    x, mask = rng.normal(size=(20, 2)) * 3, torch.tensor(where)

    def finite(a):
        y = function(a, ids, num_segments=5, where=mask)
        return torch.where(y.isinf(), 0.0, y)

    given = torch.tensor(np.where(where, x, NAN), requires_grad=True)
    (gradient,) = torch.autograd.grad((finite(given) ** 2).sum(), given)
    assert (gradient[~mask] == 0).all()
    assert gradient.isfinite().all()
    assert torch.autograd.gradcheck(finite, (torch.tensor(x, requires_grad=True),))
