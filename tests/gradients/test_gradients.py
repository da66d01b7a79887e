"""Products with the Jacobians: `stablesoftmax.gradients`."""

import math

import ml_dtypes
import mpmath
import numpy as np
import pytest
from conftest import FLOATS, bits, library, normal

import stablesoftmax
from stablesoftmax import gradients
from stablesoftmax._arrays import blocks
from stablesoftmax.accuracy import GRADIENT_ULP
from stablesoftmax.functions import rows
from stablesoftmax.gradients import formulas
from stablesoftmax.gradients import rows as gradient_rows

INF, NAN = np.inf, np.nan
PRODUCTS = gradients.__all__
REDUCING = ("logsumexp_jvp", "logsumexp_vjp")
LIKE_X = [name for name in PRODUCTS if name not in REDUCING]
# The textbook: which formula a product is.
FORMULA = {name: name if name == "log_softmax_vjp" else name[:-4] for name in PRODUCTS}

pytestmark = pytest.mark.usefixtures("strict")


def product(name, x, v, axis=-1, **options):
    return getattr(stablesoftmax, name)(x, v, axis, **options)


def vector(name, v):
    """The last axis' vector; for logsumexp's cotangent a number for each row."""
    return v[..., 0] if name == "logsumexp_vjp" else v


def assert_close(actual, expected, rtol=1e-12, atol=0, what=""):
    np.testing.assert_allclose(actual, expected, rtol=rtol, atol=atol, err_msg=what)


# --- against mpmath ------------------------------------------------------------------------------


def exact(name, x, v, temperature=1):
    """A row's product and the condition numbers of its sums."""
    with mpmath.workprec(1300):  # 1 + exp(-800) takes 1154
        x, v = ([mpmath.mpf(float(a)) for a in row] for row in (x, v))
        terms = [mpmath.exp((a - max(x)) / mpmath.mpf(temperature)) for a in x]
        p = [t / mpmath.fsum(terms) for t in terms]
        mean = mpmath.fdot(p, v)
        if name == "logsumexp_vjp":
            return [q * v[0] for q in p], [1] * len(p)
        if name == "logsumexp_jvp":
            return [mean], [mpmath.fdot(p, map(abs, v)) / abs(mean)]
        if name == "log_softmax_vjp":
            parts = [(a * (1 - q), q * (mpmath.fsum(v) - a)) for q, a in zip(p, v, strict=True)]
            out = [(a - b) / temperature for a, b in parts]
        else:
            spread = mpmath.fdot(p, [abs(a - mean) for a in v])
            parts = [(abs(a - mean), spread) for a in v]
            scale = [1] * len(p) if name == "log_softmax_jvp" else p
            out = [q * (a - mean) / temperature for q, a in zip(scale, v, strict=True)]
        whole = (
            [abs(a - b) for a, b in parts] if name == "log_softmax_vjp" else [a for a, _ in parts]
        )
        sums = [abs(a) + abs(b) for a, b in parts]
        return out, [s / w if w else 1 for s, w in zip(sums, whole, strict=True)]


def ulps(actual, expected):
    """The error in units in the last place of the dtype, and of its subnormals."""
    info = ml_dtypes.finfo(actual.dtype)
    least = int(math.log2(float(info.smallest_subnormal)))
    errors = []
    for a, e in zip(actual.ravel(), expected, strict=True):
        exponent = mpmath.frexp(e)[1] - 1 if e else least
        unit = mpmath.mpf(2) ** max(exponent - info.nmant, least)
        errors.append(abs(mpmath.mpf(float(a)) - e) / unit)
    return errors


def promised(dtype, kappa):
    """In ULP. The 16-bit dtypes are computed in float32, where κ has its effect, and rounded."""
    wide = GRADIENT_ULP["float64"] * kappa
    if dtype.name in ("float32", "float64"):
        return wide
    return GRADIENT_ULP[dtype.name] + wide * 2.0 ** (ml_dtypes.finfo(dtype).nmant - 23)


def worst(name, x, v, temperature=1):
    """The largest error in a batch of rows, as a share of what is promised."""
    options = {} if temperature == 1 else {"temperature": temperature}
    result = product(name, x, vector(name, v), **options)
    share = 0
    for x_row, v_row, y in zip(x, v, result, strict=True):
        out, kappa = exact(name, x_row, v_row, temperature)
        for e, k in zip(ulps(np.atleast_1d(y), out), kappa, strict=True):
            share = max(share, e / promised(y.dtype, k))
    return float(share)


def dominated(dtype, n, rng):
    """One entry above all others, by 5 to 800: what others lose is all of the result."""
    x = rng.uniform(-3, 0, (40, n)) - np.linspace(2, 797, 40)[:, None]
    x[np.arange(40), rng.integers(0, n, 40)] = 0
    return (x + rng.choice([0, 1, -20], (40, 1))).astype(dtype)


def two_dominate(dtype, n, rng):
    """Two tied entries above all others."""
    x = dominated(dtype, n, rng)
    top = x.argmax(-1)
    x[np.arange(40), (top + 1) % n] = x.max(-1)
    return x


def ordinary(dtype, n, rng):
    return (rng.normal(size=(40, n)) * rng.choice([0, 1, 10], (40, 1))).astype(dtype)


@pytest.mark.parametrize("family", [dominated, two_dominate, ordinary], ids=lambda f: f.__name__)
@pytest.mark.parametrize("n", [2, 3, 17])
@pytest.mark.parametrize("name", PRODUCTS)
def test_accuracy(dtype, name, n, family):
    rng = np.random.default_rng(n)
    x, v = family(dtype, n, rng), rng.normal(size=(40, n)).astype(dtype)
    v[::3] = np.eye(n)[np.arange(0, 40, 3) % n]  # the cotangent of a cross-entropy
    v[1::6] += 100  # which changes nothing for softmax
    assert worst(name, x, v) <= 1


@pytest.mark.parametrize("temperature", [0.3, 3.0])
@pytest.mark.parametrize("name", LIKE_X)
def test_accuracy_with_a_temperature(dtype, name, temperature):
    rng = np.random.default_rng(1)
    x, v = dominated(dtype, 5, rng), rng.normal(size=(40, 5)).astype(dtype)
    assert worst(name, x, v, temperature) <= 1


@pytest.mark.parametrize("name", PRODUCTS)
def test_accuracy_of_long_uniform_rows(dtype, name):
    """One-hot vectors: where no entry dominates, differences from the first would cancel."""
    n = 1000
    x, v = np.zeros((2, n), dtype), np.zeros((2, n), dtype)
    v[0, 0] = v[1, 500] = 1
    assert worst(name, x, v) <= 1


@pytest.mark.parametrize("name", ["softmax_vjp", "softmax_jvp", "log_softmax_jvp"])
def test_accuracy_beside_a_large_cotangent(name):
    """v less the 1e6 at the maximum, rounded, has lost 500 ULP of v less the mean, which is 1e3."""
    rng = np.random.default_rng(0)
    x, v = rng.random((2, 1000)) / 1e3, rng.normal(size=(2, 1000))
    v[[0, 1], x.argmax(-1)] = 1e6
    assert worst(name, x, v) <= 1


def test_log_softmax_vjp_sums_up_cotangents_that_cancel():
    """G = 1e-3, of terms of 1e16; an entry without a cotangent gets -p G and nothing else."""
    g = np.array([0, 1e16, 1e-3, -1e16, 0, 0, 0, 0])
    result = stablesoftmax.log_softmax_vjp(np.zeros(8), g)
    assert result[[0, 4, 5, 6, 7]].tolist() == [-1e-3 / 8] * 5


def test_equal_cotangents_change_nothing():
    x = normal((7, 100), np.float64, 30)
    assert not stablesoftmax.softmax_vjp(x, 0.7).any()
    assert not stablesoftmax.log_softmax_jvp(x, 0.7).any()
    assert (stablesoftmax.logsumexp_jvp(x, 0.7, -1) == 0.7).all()


@pytest.mark.parametrize("name", PRODUCTS)
def test_central_differences(name):
    """The derivative of the functions themselves, not of their formulas, at 60 digits."""
    rng = np.random.default_rng(5)
    x, v, t = rng.normal(size=6) * 3, rng.normal(size=6), 0.7 if name in LIKE_X else 1
    options = {"temperature": t} if name in LIKE_X else {}
    h = mpmath.mpf(10) ** -20

    def f(x):
        total = mpmath.log(mpmath.fsum(mpmath.exp(a / t) for a in x))
        logs = [a / t - total for a in x]
        if name.startswith("logsumexp"):
            return [total]
        return logs if name.startswith("log_") else [mpmath.exp(a) for a in logs]

    def directional(direction):
        step = [h * d for d in direction]
        up = f([mpmath.mpf(a) + s for a, s in zip(x, step, strict=True)])
        down = f([mpmath.mpf(a) - s for a, s in zip(x, step, strict=True)])
        return [(a - b) / (2 * h) for a, b in zip(up, down, strict=True)]

    with mpmath.workdps(60):
        if name.endswith("_jvp"):
            expected = directional(v)
        else:
            columns = [directional(unit) for unit in np.eye(6).tolist()]
            expected = [mpmath.fdot(column, v[: len(column)]) for column in columns]
    result = product(name, x, vector(name, v), **options)
    assert_close(np.atleast_1d(result), np.array(expected, float), rtol=1e-14)


# --- against torch and JAX -----------------------------------------------------------------------


def textbook_configurations():
    rng = np.random.default_rng(11)
    for shape, axis in (((9,), 0), ((4, 33), -1), ((33, 4), 0), ((3, 17, 5), 1), ((2, 1000), 1)):
        for scale in (0.1, 1, 5):
            yield rng.normal(size=shape) * scale, rng.normal(size=shape), axis


def of_rows(name, v, axis):
    return v.take(0, axis) if name == "logsumexp_vjp" else v


@pytest.mark.interop
@pytest.mark.parametrize("name", PRODUCTS)
def test_agrees_with_torch(name):
    torch = library("torch")
    functions = {"softmax": torch.softmax, "log_softmax": torch.log_softmax}
    functions["logsumexp"] = torch.logsumexp
    function = functions[name[:-4]]
    for x, v, axis in textbook_configurations():
        primal, v = torch.tensor(x), of_rows(name, v, axis)
        run = (
            torch.autograd.functional.vjp if name.endswith("vjp") else torch.autograd.functional.jvp
        )
        expected = run(lambda x, axis=axis: function(x, axis), primal, torch.tensor(v))[1].numpy()
        np.testing.assert_allclose(product(name, x, v, axis), expected, rtol=1e-11, atol=1e-15)


@pytest.mark.interop
@pytest.mark.parametrize("name", PRODUCTS)
def test_agrees_with_jax(name):
    jax = library("jax")
    functions = {"softmax": jax.nn.softmax, "log_softmax": jax.nn.log_softmax}
    functions["logsumexp"] = jax.nn.logsumexp
    function = functions[name[:-4]]
    for x, v, axis in textbook_configurations():
        x, v = x.astype(np.float32), of_rows(name, v, axis).astype(np.float32)
        if name.endswith("vjp"):
            expected = jax.vjp(lambda x, axis=axis: function(x, axis), x)[1](v)[0]
        else:
            expected = jax.jvp(lambda x, axis=axis: function(x, axis), (x,), (v,))[1]
        np.testing.assert_allclose(product(name, x, v, axis), expected, rtol=1e-4, atol=2e-6)


@pytest.mark.interop
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_digits_that_torch_loses(dtype):
    """A row with a gap of 40: torch and JAX return 0."""
    torch = library("torch")
    x, g = np.array([40, 0], dtype), np.array([1, 3], dtype)
    tensor = torch.tensor(x, requires_grad=True)
    torch.softmax(tensor, 0).backward(torch.tensor(g))
    q = math.exp(-40) / (1 + math.exp(-40))
    assert tensor.grad[0] == 0
    assert_close(stablesoftmax.softmax_vjp(x, g)[0], -2 * q, rtol=ml_dtypes.finfo(dtype).eps)


# --- limits --------------------------------------------------------------------------------------

# x, v, and what follows: softmax, log_softmax_vjp, log_softmax_jvp, logsumexp_vjp of v[0],
# logsumexp_jvp
LIMITS = {
    "some -inf": (
        [0, -INF, 0], [1, 5, 3],
        [-0.5, 0, 0.5], [-3.5, 5, -1.5], [-1, 3, 1], [0.5, 0, 0.5], 2,
    ),
    "-inf, infinite there": (
        [0, -INF, 0], [1, INF, 3],
        [-0.5, 0, 0.5], [-INF, INF, -INF], [-1, INF, 1], [0.5, 0, 0.5], 2,
    ),
    "one above -inf": ([-INF, 7], [2, 3], [0, 0], [2, -2], [-1, 0], [0, 2], 3),
    "one +inf": ([0, INF, 5], [2, 3, 4], [0, 0, 0], [2, -6, 4], [-1, 0, 1], [0, 2, 0], 3),
    "several +inf": (
        [INF, 0, INF], [2, 3, 4],
        [NAN, 0, NAN], [NAN, 3, NAN], [NAN] * 3, [NAN, 0, NAN], NAN,
    ),
    "all -inf": ([-INF, -INF], [2, 3], [NAN] * 2, [NAN] * 2, [NAN] * 2, [NAN] * 2, NAN),
    "a NaN": ([0, NAN, 5], [2, 3, 4], [NAN] * 3, [NAN] * 3, [NAN] * 3, [NAN] * 3, NAN),
    "NaN and +inf": ([INF, NAN], [2, 3], [NAN] * 2, [NAN] * 2, [NAN] * 2, [NAN] * 2, NAN),
    "a NaN in v": (
        [0, 0, 0], [NAN, 3, 4],
        [NAN] * 3, [NAN] * 3, [NAN] * 3, [NAN] * 3, NAN,
    ),
}  # fmt: skip
RESULTS = ("log_softmax_vjp", "log_softmax_jvp", "logsumexp_vjp", "logsumexp_jvp")


def limits(row):
    x, v, softmax, *others = LIMITS[row]
    yield from (("softmax_vjp", x, v, softmax), ("softmax_jvp", x, v, softmax))
    yield from ((name, x, v, y) for name, y in zip(RESULTS, others, strict=True))


@pytest.mark.parametrize("dtype", [*FLOATS.values(), np.dtype(np.longdouble)], ids=str)
@pytest.mark.parametrize("row", LIMITS)
def test_limits(dtype, row):
    for name, x, v, expected in limits(row):
        x, v = np.array(x, dtype), np.array(v, dtype)
        y = product(name, x, vector(name, v))
        assert_close(y.astype(float), expected, what=name)
        between = np.vstack([normal(x.size, dtype), x, normal(x.size, dtype)])
        y = product(name, between, vector(name, np.vstack([v, v, v])))[1]
        assert_close(y.astype(float), expected, what=name)


@pytest.mark.parametrize("row", LIMITS)
def test_where_leaves_the_others_as_they_would_be_alone(dtype, row):
    """Excluded entries hold what would change everything."""
    for name, x, v, expected in limits(row):
        x, v = ([*np.array(a, dtype)] for a in (x, v))
        poison = np.array([INF, NAN, -INF, NAN], dtype)
        where = np.repeat([True, False], [len(x), 4])
        x, v = np.concatenate([x, poison]), np.concatenate([v, poison[::-1]])
        y = product(name, x, vector(name, v), where=where)
        if y.ndim:
            assert not y[~where].any()
            y = y[where]
        assert_close(y.astype(float), expected, what=name)


@pytest.mark.parametrize("name", PRODUCTS)
def test_all_excluded(dtype, name):
    x = np.array([[NAN, INF], [0, 1]], dtype)
    result = product(name, x, vector(name, x), where=[[False], [True]])
    assert not result[0].any()
    assert bits(result[1]) == bits(product(name, x[1], vector(name, x[1])))


@pytest.mark.parametrize("name", PRODUCTS)
def test_empty(dtype, name):
    for shape, axis in (((0,), -1), ((3, 0), 1), ((0, 3), 1), ((3, 0), 0)):
        x = np.empty(shape, dtype)
        result = product(name, x, 1, axis)
        batch = np.delete(shape, axis)
        assert result.shape == (tuple(batch) if name == "logsumexp_jvp" else shape)
        assert result.dtype == dtype
        assert not result.any()


@pytest.mark.parametrize("temperature", [0, -0.0, INF])
@pytest.mark.parametrize("name", LIKE_X)
def test_temperature_limits_are_constant(dtype, name, temperature):
    x = np.array([[1, 3, 3, -INF], [1, INF, 3, 0], [5, 3, 1, 0]], dtype)
    assert not product(name, x, [1, 2, 3, 4], temperature=temperature).any()
    per_row = product(name, x, [1, 2, 3, 4], temperature=[[1], [temperature], [2]])
    assert not per_row[1].any()
    assert bits(per_row[0]) == bits(product(name, x[0], [1, 2, 3, 4]))
    assert bits(per_row[2]) == bits(product(name, x[2], [1, 2, 3, 4], temperature=2))
    assert np.isnan(product(name, [NAN, 1], [1, 2], temperature=temperature)).all()


def test_tiny_temperature():
    """1 / T is inf."""
    result = stablesoftmax.softmax_vjp([0.0, 1.0, 1.0], [1.0, 2.0, 2.0], temperature=1e-320)
    assert result.tolist() == [0, 0, 0]


# --- layouts, axes, dtypes -----------------------------------------------------------------------


@pytest.mark.parametrize("axis", [0, 1, 2, -1, (0, 1), (2, 0), (), None])
@pytest.mark.parametrize("name", PRODUCTS)
def test_axes(name, axis):
    x, v = normal((3, 4, 5), np.float64, 3), normal((3, 4, 5), np.float64, seed=1)
    where = normal(x.shape, np.float64, seed=2) > -1
    axes = range(3) if axis is None else tuple(a % 3 for a in np.atleast_1d(np.array(axis, int)))
    order = [*(a for a in range(3) if a not in axes), *sorted(axes)]
    batch = tuple(x.shape[a] for a in order[: 3 - len(axes)])
    flat_x, flat_v, flat_where = (a.transpose(order).reshape(*batch, -1) for a in (x, v, where))
    expected = product(name, flat_x, vector(name, flat_v), where=flat_where)
    given = vector(name, flat_v) if name == "logsumexp_vjp" else v
    actual = product(name, x, given, axis, where=where)
    if name != "logsumexp_jvp":
        actual = np.asarray(actual).transpose(order).reshape(expected.shape)
    assert bits(actual) == bits(expected)


@pytest.mark.parametrize("axis", [0, (0, 2), None])
def test_keepdims(axis):
    x = normal((3, 4, 5), np.float64)
    value = stablesoftmax.logsumexp(x, axis, keepdims=True)
    kept = stablesoftmax.logsumexp_vjp(x, value, axis, keepdims=True)
    assert bits(kept) == bits(stablesoftmax.logsumexp_vjp(x, value.squeeze(axis), axis))
    kept = stablesoftmax.logsumexp_jvp(x, x, axis, keepdims=True)
    assert kept.shape == value.shape
    assert bits(kept) == bits(stablesoftmax.logsumexp_jvp(x, x, axis))


@pytest.mark.parametrize("name", PRODUCTS)
def test_layouts(dtype, name):
    x, v = normal((6, 40), dtype, 5), normal((6, 40), dtype, seed=1)
    expected = product(name, x, vector(name, v))
    layouts = {
        "Fortran": np.asfortranarray,
        "backwards": lambda a: a[::-1, ::-1].copy()[::-1, ::-1],
        "strided": lambda a: np.repeat(np.repeat(a, 2, 0), 3, 1)[::2, ::3],
        "unaligned": lambda a: (
            np.frombuffer(b"\0" + a.tobytes(), np.uint8)[1:].view(a.dtype).reshape(a.shape)
        ),
        "read-only": lambda a: np.frombuffer(a.tobytes(), a.dtype).reshape(a.shape),
    }
    if dtype.kind == "f":  # ml_dtypes has no swapped bfloat16
        layouts["swapped"] = lambda a: a.astype(a.dtype.newbyteorder())
    for layout, arranged in layouts.items():
        given, other = arranged(x), arranged(v)
        before = bits(given), bits(other)
        result = product(name, given, vector(name, other))
        assert bits(result) == bits(expected), layout
        assert (bits(given), bits(other)) == before, layout
    transposed = (
        product(name, x.T, vector(name, v), 0)
        if name == "logsumexp_vjp"
        else product(name, x.T, v.T, 0)
    )
    assert bits(transposed.T) == bits(expected)


@pytest.mark.parametrize("name", PRODUCTS)
def test_blocks_change_no_bit(monkeypatch, dtype, name):
    x, v = normal((5, 7, 30), dtype, 5), normal((5, 7, 30), dtype, seed=1)
    where = normal(x.shape, np.float32) > -1
    t = {} if name in REDUCING else {"temperature": np.arange(1, 8)[:, None]}
    at_once = product(name, x, vector(name, v), where=where, **t)
    monkeypatch.setattr(rows, "BLOCK", 1000)
    assert bits(product(name, x, vector(name, v), where=where, **t)) == bits(at_once)


@pytest.mark.parametrize("name", PRODUCTS)
def test_dtype_is_that_of_x(dtype, name):
    x, v = normal((3, 4), dtype), normal((3, 4), np.float64, seed=1)
    for other in (np.float64, np.float32, ml_dtypes.bfloat16, np.longdouble, int, np.uint8):
        given = vector(name, np.abs(v * 9).astype(other))
        result = product(name, x, given)
        assert result.dtype == dtype
        wide = product(name, x.astype(np.float64), given)
        eps = ml_dtypes.finfo(dtype).eps
        assert_close(result.astype(float), wide, rtol=eps, atol=4 * eps * np.abs(wide).max())
    assert product(name, np.array([[1, 2, 4]]), 1).dtype == np.float64
    assert product(name, x.astype(np.longdouble), 1).dtype == np.longdouble


def test_integers_keep_their_differences():
    big = np.array([2**60, 2**60 + 1])
    for name in PRODUCTS:
        v = 3.0 if name == "logsumexp_vjp" else [3.0, 1.0]
        assert_close(product(name, big, v), product(name, [0, 1], v))
        assert_close(product(name, np.array([3, 4], np.uint8), v), product(name, [0, 1], v))


def test_scalars():
    for name in PRODUCTS:
        for axis in (-1, None):
            y = product(name, 3.0, 2.0, axis)
            assert isinstance(y, np.float64)
            assert y == (2 if name in REDUCING else 0)


def test_broadcast_vectors():
    x, g = normal((3, 4), np.float64), normal(4, np.float64, seed=1)
    spread = stablesoftmax.softmax_vjp(x, np.tile(g, (3, 1)))
    assert bits(stablesoftmax.softmax_vjp(x, g)) == bits(spread)
    assert_close(stablesoftmax.logsumexp_vjp(x, 1, 1), stablesoftmax.softmax(x), rtol=1e-15)


def test_memory_is_the_results_and_a_few_megabytes():
    import tracemalloc

    x = np.zeros((4000, 1000), np.float32)
    for name in LIKE_X:
        tracemalloc.start()
        try:
            product(name, x, x)
            assert tracemalloc.get_traced_memory()[1] < x.nbytes + 10 * blocks.BLOCK
        finally:
            tracemalloc.stop()


# --- bad input -----------------------------------------------------------------------------------

REAL = "must hold real numbers, got dtype"
ARRAY = "must be an array, a number or nested lists of numbers, got"
X = np.zeros((2, 3))
BAD = {
    "shape": (LIKE_X, X, np.zeros(2), {}, ValueError,
              r"^{v} of shape \(2,\) does not broadcast to \(2, 3\), the shape of x$"),
    "larger": (LIKE_X, X, np.zeros((5, 2, 3)), {}, ValueError,
               r"^{v} of shape \(5, 2, 3\) does not broadcast to \(2, 3\), the shape of x$"),
    "reduced": (["logsumexp_vjp"], X, np.zeros((2, 3)), {}, ValueError,
                r"^g of shape \(2, 3\) does not broadcast to \(2,\), the shape of logsumexp\(x\)$"),
    "kept": (["logsumexp_vjp"], X, np.zeros(2), {"keepdims": True}, ValueError,
             r"^g of shape \(2,\) does not broadcast to \(2, 1\), the shape of logsumexp\(x\)$"),
    "bool": (PRODUCTS, X, True, {}, TypeError, rf"^{{v}} {REAL} bool$"),
    "complex": (PRODUCTS, X, 1j, {}, TypeError, rf"^{{v}} {REAL} complex128$"),
    "text": (PRODUCTS, X, "a", {}, TypeError, rf"^{{v}} {ARRAY} 'a'$"),
    "None": (PRODUCTS, X, None, {}, TypeError, rf"^{{v}} {ARRAY} None$"),
    "ragged": (PRODUCTS, X, [[1], [1, 2]], {}, ValueError, "^{v} must be rectangular"),
    "complex x": (PRODUCTS, X + 1j, 1, {}, TypeError, "^x must be real, got complex128"),
    "bool x": (PRODUCTS, X > 0, 1, {}, TypeError, "^x has dtype bool; accepted are"),
    "axis": (PRODUCTS, X, 1, {"axis": 2}, IndexError, "^axis 2 is out of bounds"),
    "where": (PRODUCTS, X, 1, {"where": [1, 0, 1]}, TypeError, "^where must be bool, got dtype"),
    "temperature": (LIKE_X, X, 1, {"temperature": -1}, ValueError, "^temperature must be 0, "),
}  # fmt: skip


@pytest.mark.parametrize("bad", BAD)
def test_bad_input(bad):
    names, x, v, options, error, message = BAD[bad]
    for name in names:
        text = message.format(v="dx" if name.endswith("jvp") else "g")
        with pytest.raises(error, match=text) as caught:
            product(name, x, v, **options)
        assert "\n" not in str(caught.value)


# --- planted bugs: formulas in the kernel's place, with an error in them ------------------------


def textbook_mean(p, v, xp=np):
    """p (v - <p, v>): g_i and the mean agree to the last bit where one p is near 1."""
    mean = (p * np.where(p != 0, v, 0)).sum(-1, keepdims=True)
    return v - mean, mean, np.zeros_like(mean)


def mean_about_the_largest(p, v, xp=np):
    """What loses digits in long rows where nothing dominates."""
    live = np.where(p != 0, v, 0)
    s = np.take_along_axis(live, p.argmax(-1, keepdims=True), -1)
    return live - s, s, (p * (live - s)).sum(-1, keepdims=True)


def infinities_that_count(p, v, xp=np):
    s = np.take_along_axis(v, p.argmax(-1, keepdims=True), -1)
    return v - s, s, (p * (v - s)).sum(-1, keepdims=True)


def textbook_transposed(p, v, xp=np):
    return v - p * v.sum(-1, keepdims=True)


def plain_sum(v, xp=np):
    return v.sum(-1), np.zeros(v.shape[:-1])


PLANTED = [
    ("_mean", textbook_mean, test_accuracy, ("softmax_vjp", 3, dominated)),
    ("_mean", textbook_mean, test_accuracy, ("log_softmax_jvp", 3, dominated)),
    ("_mean", textbook_mean, test_accuracy, ("softmax_jvp", 3, two_dominate)),
    ("_mean", mean_about_the_largest, test_accuracy_of_long_uniform_rows, ("softmax_vjp",)),
    ("log_softmax_transposed", textbook_transposed, test_accuracy,
     ("log_softmax_vjp", 3, dominated)),
    ("_mean", infinities_that_count, test_limits, ("-inf, infinite there",)),
    ("log_softmax_transposed", textbook_transposed, test_limits, ("-inf, infinite there",)),
    ("accurate_sum", plain_sum, test_log_softmax_vjp_sums_up_cotangents_that_cancel, ()),
]  # fmt: skip


@pytest.mark.parametrize(("part", "bug", "test", "arguments"), PLANTED)
def test_planted_bug_is_seen(monkeypatch, part, bug, test, arguments):
    arguments = (FLOATS["float64"], *arguments) if arguments else ()
    for name in PRODUCTS:
        monkeypatch.setattr(stablesoftmax, name, getattr(stablesoftmax, name).__wrapped__)
    monkeypatch.setattr(gradient_rows, "kernel_name", lambda dtype: None)
    test(*arguments)  # the formulas pass
    monkeypatch.setattr(formulas, part, bug)
    for name, value in vars(gradient_rows).items():
        if isinstance(value, gradient_rows.Product):
            formula = getattr(formulas, value.formula.__name__)
            monkeypatch.setattr(gradients, name, value._replace(formula=formula))
    with pytest.raises(AssertionError):
        test(*arguments)
