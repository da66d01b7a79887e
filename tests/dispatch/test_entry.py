"""The compiled entry beside the Python function that it stands before: same bits, or same error."""

import gc
import sys
import tracemalloc

import ml_dtypes
import numpy as np
import pytest
from conftest import bits

from stablesoftmax import (
    cross_entropy,
    cross_entropy_with_grad,
    entropy,
    kl_divergence,
    log_softmax,
    log_softmax_jvp,
    log_softmax_vjp,
    logcumsumexp,
    logsumexp,
    logsumexp_jvp,
    logsumexp_vjp,
    sample,
    selected_log_softmax,
    softmax,
    softmax_jvp,
    softmax_vjp,
)

try:
    import _testcapi as testcapi
except ModuleNotFoundError:
    testcapi = None

FUNCTIONS = [softmax, log_softmax, logsumexp]
rng = np.random.default_rng(0)
ROW, TABLE, CUBE = rng.normal(size=10), rng.normal(size=(4, 10)), rng.normal(size=(3, 4, 5))
MASK, SPARE = TABLE > -1, np.empty_like(TABLE)

# What users write: every one of these is answered without Python.
PLAIN = {
    "a row": lambda f: f(ROW),
    "x=": lambda f: f(x=ROW),
    "axis=": lambda f: f(TABLE, axis=1),
    "axis 0": lambda f: f(TABLE, 0),
    "negative axis": lambda f: f(CUBE, axis=-2),
    "all axes": lambda f: f(CUBE, axis=None),
    "axes side by side": lambda f: f(CUBE, axis=(1, 2)),
    "axes apart": lambda f: f(CUBE, axis=(-1, 0)),
    "a list": lambda f: f([1.0, 2.0]),
    "a tuple of lists of ints": lambda f: f(([1, 2], [3, 4]), axis=0),
    "integers": lambda f: f(np.arange(6, dtype="u8").reshape(2, 3), axis=1),
    "bytes": lambda f: f(np.arange(6, dtype="i1"), axis=0),
    "byte-swapped integers": lambda f: f(np.arange(6, dtype=">i8"), axis=0),
    "float16": lambda f: f(TABLE.astype("f2"), axis=1),
    "steps": lambda f: f(ROW[::3]),
    "reversed": lambda f: f(TABLE[::-1, ::-2], axis=1),
    "transposed": lambda f: f(TABLE.T, axis=1),
    "transposed, axes apart": lambda f: f(CUBE.T, axis=(0, 2)),
    "broadcast": lambda f: f(np.broadcast_to(ROW, (3, 10)), axis=0),
    "where": lambda f: f(TABLE, axis=1, where=MASK),
    "where of one row": lambda f: f(TABLE, axis=1, where=MASK[0]),
    "where of one column": lambda f: f(TABLE, axis=0, where=MASK[:, :1]),
    "its own dtype": lambda f: f(TABLE, axis=1, dtype=np.float64),
    "a narrower dtype": lambda f: f(TABLE.T, axis=1, dtype="float32"),
    "None for all": lambda f: f(TABLE, axis=1, where=None, out=None, dtype=None),
}  # fmt: skip
PLAIN_MAPS = {
    "out": lambda f: f(TABLE, out=SPARE),
    "in place": lambda f: f(x := TABLE.copy(), out=x),
    "temperature": lambda f: f(ROW, temperature=2.0),
    "integer temperature": lambda f: f(TABLE, axis=0, temperature=3),
    "temperatures": lambda f: f(TABLE, temperature=np.array([[0.0], [1.0], [0.5], [np.inf]])),
    "undefined": lambda f: f(np.full((2, 3), -np.inf), undefined="uniform"),
}
WEIGHTS, MASKED = (
    TABLE + 3,
    MASK * 2.0,
)  # here, and not in a call: a ufunc without memory raises SystemError
PLAIN_LOGSUMEXP = {
    "b": lambda f: f(TABLE, axis=1, b=WEIGHTS),
    "b of one row": lambda f: f(TABLE, axis=1, b=ROW),
    "b, a number": lambda f: f(TABLE.astype("f4"), b=0.5),
    "b, integers": lambda f: f(CUBE, axis=2, b=[1, 2, 3, 4, 5], keepdims=True),
    "b and where": lambda f: f(TABLE, axis=0, b=MASKED, where=MASK),
    "keepdims": lambda f: f(CUBE, axis=(0, 2), keepdims=True),
    "out": lambda f: f(TABLE, axis=1, out=np.empty(4)),
}
LABELS, WEIGHT = np.array([3, 0, 9, -100]), rng.random(10)
CLASSES = LABELS % 10  # here, and not in a call: a ufunc without memory raises SystemError
FEW = CLASSES % 5
PLAIN_LOSSES = {
    "classes": lambda f: f(TABLE, LABELS),
    "keywords": lambda f: f(logits=TABLE, labels=CLASSES.astype("u1"), axis=1),
    "a list of classes": lambda f: f(TABLE.tolist(), [0, 1, 2, 3]),
    "axis 1 of three": lambda f: f(CUBE, np.ones((3, 5), "i2"), 1),
    "integers": lambda f: f(np.arange(40).reshape(4, 10), LABELS),
    "float32, transposed": lambda f: f(TABLE.T.astype("f4"), LABELS, axis=0),
    "float32, none": lambda f: f(TABLE.astype("f4"), LABELS, reduction="none"),
    "none": lambda f: f(TABLE[::-1, ::2], FEW[::-1], reduction="none"),
    "sum": lambda f: f(TABLE, LABELS, reduction="sum"),
    "weight": lambda f: f(TABLE, LABELS, weight=WEIGHT),
    "smoothing": lambda f: f(TABLE, LABELS, label_smoothing=0.1, weight=WEIGHT),
    "where": lambda f: f(TABLE, LABELS, where=MASK),
    "all ignored": lambda f: f(TABLE, np.full(4, 7), ignore_index=7),
}
PLAIN_SELECTIONS = {
    "one a row": lambda f: f(TABLE, CLASSES),
    "several": lambda f: f(TABLE, [[0, 1], [2, 2], [9, 0], [1, 1]]),
    "axis 0": lambda f: f(TABLE, LABELS[:1].repeat(10), axis=0),
    "temperature": lambda f: f(x=TABLE.astype("f2"), index=CLASSES, temperature=0.5),
    "where": lambda f: f(TABLE.astype("f4"), CLASSES, where=MASK),
    "where, colder": lambda f: f(
        TABLE, [[0, 1], [2, 2], [9, 0], [1, 1]], where=MASK[0], temperature=0.5
    ),
}
PLAIN_SCANS = {
    "a row": lambda f: f(ROW),
    "axis": lambda f: f(CUBE.T, axis=1),
    "a list": lambda f: f([1, 2, 3]),
    "where": lambda f: f(TABLE.T, 0, where=MASK[:, 0]),
}
PLAIN_ENTROPIES = {
    "rows": lambda f: f(TABLE),
    "axes apart": lambda f: f(CUBE.astype("f4"), axis=(0, 2)),
    "float16": lambda f: f(TABLE.astype("f2").T, axis=None),
    "a list": lambda f: f([1, 2, 3]),
    "where": lambda f: f(TABLE, 0, where=MASK),
    "keepdims": lambda f: f(CUBE, axis=(0, 2), keepdims=True),
    "temperatures": lambda f: f(TABLE, temperature=np.array([[0.0], [1.0], [0.5], [np.inf]])),
}
NEAR, OTHER, THIRD = TABLE + 1e-9 * MASK, -TABLE, CUBE.astype("f4") * 3
PLAIN_DIVERGENCES = {
    "rows": lambda f: f(TABLE, TABLE[::-1]),
    "near": lambda f: f(TABLE, NEAR, axis=0),
    "keywords": lambda f: f(p_logits=TABLE, q_logits=OTHER, axis=None),
    "axes apart": lambda f: f(CUBE.astype("f4"), THIRD, axis=(0, 2)),
    "float16, transposed": lambda f: f(TABLE.astype("f2").T, OTHER.astype("f2").T),
    "lists": lambda f: f([1, 2, 3], [3.0, 2.0, 1.0]),
    "where": lambda f: f(TABLE, OTHER, where=MASK),
    "keepdims": lambda f: f(TABLE, OTHER, 0, keepdims=True),
}
PLAIN_PRODUCTS = {
    "rows": lambda f: f(TABLE, OTHER, axis=-1),
    "a row for all": lambda f: f(TABLE, ROW, 1),
    "columns": lambda f: f(TABLE.T, OTHER.T, axis=0),
    "axes apart": lambda f: f(CUBE.astype("f4"), CUBE, axis=(0, 2)),
    "float16": lambda f: f(TABLE.astype("f2"), TABLE.astype("f4"), axis=1),
    "lists of integers": lambda f: f([1, 2, 3], [3, 2, 1], axis=0),
    "all axes": lambda f: f(CUBE, THIRD, axis=None),
    "where": lambda f: f(TABLE, OTHER, 0, where=MASK),
}
PLAIN_PRODUCTS_OF_MAPS = {
    "temperatures": lambda f: f(TABLE, ROW, temperature=np.array([[0.0], [1.0], [0.5], [np.inf]])),
    "temperature": lambda f: f(ROW, TABLE[0], temperature=2),
}
EACH = np.arange(4.0)
PLAIN_COTANGENTS = {
    "one a row": lambda f: f(TABLE, EACH, axis=1),
    "kept": lambda f: f(TABLE, EACH[:, None], axis=1, keepdims=True),
    "one for all": lambda f: f(TABLE, [2.0], axis=1),
    "where": lambda f: f(TABLE.astype("f4"), EACH, axis=1, where=MASK),
}
PRODUCTS = [softmax_vjp, softmax_jvp, log_softmax_vjp, log_softmax_jvp]
GENERATOR = np.random.default_rng(0)
STATE = GENERATOR.bit_generator.state


def seeded():
    """The generator, at its first number."""
    GENERATOR.bit_generator.state = STATE
    return GENERATOR


PLAIN_DRAWS = {
    "a row": lambda f: f(ROW, rng=seeded()),
    "a list": lambda f: f([1, 2, 3], rng=seeded()),
    "rows": lambda f: f(TABLE, rng=seeded()),
    "draws": lambda f: f(TABLE, 20, rng=seeded()),
    "keywords": lambda f: f(logits=CUBE.T, size=(2, 3), axis=1, rng=seeded()),
    "axis 0": lambda f: f(TABLE.astype("f4"), None, 0, rng=seeded()),
    "float16": lambda f: f(TABLE.astype("f2"), 2, top_k=None, rng=seeded()),
    "steps": lambda f: f(TABLE[::-1, ::-2], rng=seeded()),
    "top_k": lambda f: f(ROW, 5, top_k=3, rng=seeded()),
    "top_p": lambda f: f(TABLE, 5, top_p=0.7, rng=seeded()),
    "min_p": lambda f: f(TABLE, 5, min_p=0.1, rng=seeded()),
    "all": lambda f: f(TABLE, 9, top_k=7, top_p=0.9, min_p=0.01, temperature=2.0, rng=seeded()),
    "where": lambda f: f(TABLE, 5, where=MASK, rng=seeded()),
    "temperatures": lambda f: f(TABLE, temperature=np.array([[0.0], [1.0], [0.5], [np.inf]]),
                                rng=seeded()),
}  # fmt: skip
MEMBERS = [
    *[(f, PLAIN_PRODUCTS) for f in [*PRODUCTS, logsumexp_jvp]],
    *[(f, PLAIN_PRODUCTS_OF_MAPS) for f in PRODUCTS],
    (logsumexp_vjp, PLAIN_COTANGENTS),
    *[(f, PLAIN) for f in FUNCTIONS],
    *[(f, PLAIN_MAPS) for f in FUNCTIONS[:2]],
    (logsumexp, PLAIN_LOGSUMEXP),
    (cross_entropy, PLAIN_LOSSES),
    (cross_entropy_with_grad, PLAIN_LOSSES),
    (selected_log_softmax, PLAIN_SELECTIONS),
    (logcumsumexp, PLAIN_SCANS),
    (entropy, PLAIN_ENTROPIES),
    (kl_divergence, PLAIN_DIVERGENCES),
    (sample, PLAIN_DRAWS),
]
CALLS = [(f, call) for f, calls in MEMBERS for call in calls.values()]
NAMES = [f"{f.__name__}-{name}" for f, calls in MEMBERS for name in calls]


def outcome(function, *args, **options):
    """The bits of the results and their place in memory, or the error in words."""
    try:
        results = function(*args, **options)
    except Exception as error:
        return type(error), str(error)
    return [described(a) for a in (results if isinstance(results, tuple) else (results,))]


def described(result):
    steps = [
        step for n, step in zip(np.shape(result), np.asarray(result).strides, strict=True) if n > 1
    ]
    return type(result), result.dtype, result.shape, steps, bits(result)


def entered(call, f):
    """Whether the call reached Python code of the package."""
    seen = []

    def profile(frame, event, _):
        if event == "call" and frame.f_globals.get("__name__", "").startswith("stablesoftmax"):
            seen.append(frame.f_code.co_name)

    sys.setprofile(profile)
    try:
        call(f)
    finally:
        sys.setprofile(None)
    return bool(seen)


@pytest.mark.parametrize(("f", "call"), CALLS, ids=NAMES)
def test_plain(f, call):
    compiled = outcome(call, f)
    assert compiled == outcome(call, f.__wrapped__)
    assert isinstance(compiled, list)
    assert not entered(call, f)


@pytest.mark.parametrize("f", FUNCTIONS)
def test_what_is_not_plain_reaches_python(f):
    assert entered(lambda f: f(np.array([2**60, 2**60 + 1])), f)
    assert entered(lambda f: f(ROW.astype(np.longdouble)), f)
    assert entered(lambda f: f(TABLE, dtype=np.longdouble), f)


def test_what_would_wrap_or_pass_for_something_else():
    """uint64 that an int64 takes for ignore_index; axes where one is asked for."""
    with pytest.raises(ValueError, match="got 18446744073709551516 at"):
        cross_entropy(TABLE, np.full(4, 2**64 - 100, "u8"))
    for f, args in [
        (cross_entropy, (ROW, 1)),
        (selected_log_softmax, (ROW, [1])),
        (logcumsumexp, (ROW,)),
    ]:
        with pytest.raises(TypeError, match=r"axis must be an int, got \(0,\)"):
            f(*args, axis=(0,))
        with pytest.raises(TypeError, match="axis must be an int, got None"):
            f(*args, axis=None)


def random_call(rng):
    """Arguments that are plain, hardly plain, or wrong."""
    shape = tuple(rng.integers(0, 4, rng.integers(0, 5)))
    dtypes = ["f4", "f8", "f2", ml_dtypes.bfloat16, "i1", "i8", "u4", ">f4", ">i4", "?", "g", "c8"]
    x = (rng.normal(size=shape) * 30).astype(dtypes[rng.integers(len(dtypes))])
    x = x.transpose(rng.permutation(x.ndim))
    x = x[tuple(slice(None, None, rng.choice([1, 1, -1, 2])) for _ in x.shape)]
    if rng.random() < 0.15:
        x = x.tolist() if x.dtype.char in "fdl" else x
    ndim = np.ndim(x)
    options = {}

    def maybe(name, p, *values):
        if rng.random() < p:
            options[name] = values[rng.integers(len(values))]()

    def mask():
        kept = tuple(n if rng.random() < 0.7 else 1 for n in np.shape(x))
        whole = np.asarray(rng.random(kept) < 0.7)
        return whole[0] if whole.ndim and rng.random() < 0.2 and len(whole) else whole

    def temperatures():
        kept = tuple(1 if rng.random() < 0.5 else n for n in np.shape(x))
        return rng.choice([0.0, 0.5, 1.0, 2.0, np.inf], kept)

    axis = [lambda: None, lambda: int(rng.integers(-4, 4)), lambda: -1,
            lambda: tuple(rng.integers(-ndim, ndim, 2).tolist()) if ndim else ()]  # fmt: skip
    maybe("axis", 0.8, *axis, *axis, lambda: True, lambda: 2**70, lambda: (), lambda: 0.0)
    maybe("where", 0.3, mask, mask, lambda: True, lambda: np.ones(7, "?"), lambda: x)
    maybe(
        "dtype",
        0.3,
        lambda: "f4",
        lambda: np.float64,
        lambda: np.float16,
        lambda: int,
        lambda: "?!",
    )
    maybe(
        "temperature",
        0.3,
        lambda: 2.0,
        lambda: 1,
        lambda: 0,
        lambda: -1.0,
        lambda: np.nan,
        temperatures,
        temperatures,
        lambda: -temperatures(),
        lambda: np.float32(0.5),
        lambda: "hot",
        lambda: 10**400,
    )
    maybe(
        "undefined",
        0.2,
        lambda: "zero",
        lambda: "uniform",
        lambda: "raise",
        lambda: "no",
        lambda: 0,
    )
    maybe("keepdims", 0.2, lambda: True, lambda: False, lambda: 1)
    maybe("b", 0.05, lambda: 2.0, lambda: None)
    return x, options


@pytest.mark.parametrize("f", [*FUNCTIONS, entropy])
def test_random(f):
    """The words of errors, the bits, and the strides of what is returned."""
    rng = np.random.default_rng(0)
    answered = 0
    for _ in range(4000):
        x, options = random_call(rng)
        if f is entropy:
            options = {k: v for k, v in options.items() if k not in ("dtype", "undefined", "b")}
        compiled = outcome(f, x, **options)
        assert compiled == outcome(f.__wrapped__, x, **options), (x, options)
        answered += isinstance(compiled, list)
    assert answered > 800  # and the others raised


def random_labels(rng, f):
    """Labels or places, that fit or hardly fit logits, and options."""
    shape = tuple(rng.integers(0 if rng.random() < 0.1 else 1, 4, rng.integers(1, 4)))
    x = (rng.normal(size=shape) * 30).astype(["f4", "f8", "f2", "i8", "g", ">f8"][rng.integers(6)])
    axis = int(rng.integers(-len(shape), len(shape)))
    masks = [rng.random(shape) < 0.8, rng.random(shape[-1:]) < 0.8, x, np.ones(7, "?")]
    where = {"where": masks[rng.integers(4)]} if rng.random() < 0.3 else {}
    if f is logcumsumexp:
        return (x,), {"axis": axis, **where}
    rows = list(shape)
    n = rows.pop(axis)
    low = 0 if rng.random() < 0.8 else -2
    given = rng.integers(low, n + (rng.random() < 0.1) + 1, rows).clip(low, max(n - 1, 0))
    given = given.astype(["i8", "i4", "u1", "u8", ">i2", "f8"][rng.integers(6)])
    options = {"axis": axis} if rng.random() < 0.9 else {}
    if f is selected_log_softmax:
        several = rng.random() < 0.3
        given = np.stack([given, given], axis) if several else given
        if rng.random() < 0.2:
            options["temperature"] = [0.5, 0.0, -1.0][rng.integers(3)]
        return (x, given), {**options, **where}
    chosen = {
        "ignore_index": [-1, 0, 2**64 - 2, "no", 2**70],
        "label_smoothing": [0.1, 0.0, 1, 1.5, np.nan],
        "reduction": ["none", "sum", "mean", "average"],
        "weight": [rng.random(n), -rng.random(n), rng.random(n + 1), np.zeros(n), None],
        "where": [rng.random(shape) < 0.8, rng.random(n) < 0.8, x],
    }
    for name, values in chosen.items():
        if rng.random() < 0.3:
            options[name] = values[rng.integers(len(values))]
    return (x, given), options


ONE_AXIS = [cross_entropy, cross_entropy_with_grad, selected_log_softmax, logcumsumexp]


@pytest.mark.parametrize("f", ONE_AXIS)
def test_random_losses(f):
    rng = np.random.default_rng(ONE_AXIS.index(f))
    answered = 0
    for _ in range(4000):
        args, options = random_labels(rng, f)
        compiled = outcome(f, *args, **options)
        assert compiled == outcome(f.__wrapped__, *args, **options), (args, options)
        answered += isinstance(compiled, list)
    assert answered > 800  # and the others raised


def test_random_divergences():
    rng = np.random.default_rng(0)
    for _ in range(3000):
        p, options = random_call(rng)
        options = {k: v for k, v in options.items() if k in ("axis", "where", "keepdims")}
        q = np.asarray(p) * rng.choice([1, -1, 0.5]) if rng.random() < 0.7 else random_call(rng)[0]
        compiled = outcome(kl_divergence, p, q, **options)
        assert compiled == outcome(kl_divergence.__wrapped__, p, q, **options), (p, q, options)


@pytest.mark.parametrize("f", [*PRODUCTS, logsumexp_jvp, logsumexp_vjp])
def test_random_products(f):
    rng = np.random.default_rng(0)
    known = {"axis", "where"} | ({"keepdims"} if "logsumexp" in f.__name__ else {"temperature"})
    answered = 0
    for _ in range(3000):
        x, options = random_call(rng)
        options = {k: v for k, v in options.items() if k in known}
        v = random_call(rng)[0] if rng.random() < 0.3 else vector_for(f, x, options, rng)
        compiled = outcome(f, x, v, **options)
        assert compiled == outcome(f.__wrapped__, x, v, **options), (x, v, options)
        answered += isinstance(compiled, list)
    assert answered > 500  # and the others raised


def test_random_weights():
    rng = np.random.default_rng(0)
    answered = 0
    for _ in range(3000):
        x, options = random_call(rng)
        known = ("axis", "where", "keepdims", "out")
        options = {k: v for k, v in options.items() if k in known}
        b = vector_for(softmax_vjp, x, options, rng) if rng.random() < 0.8 else random_call(rng)[0]
        if rng.random() < 0.2 and isinstance(b, np.ndarray) and b.dtype in ("f4", "f8") and b.size:
            b[(0,) * b.ndim] = rng.choice([0, np.inf, np.nan, 1e30, -1e-30])
        compiled = outcome(logsumexp, x, b=b, **options)
        assert compiled == outcome(logsumexp.__wrapped__, x, b=b, **options), (x, b, options)
        answered += isinstance(compiled, list)
    assert answered > 500  # and the others raised


def vector_for(f, x, options, rng):
    """What x may be multiplied by, in one of the dtypes."""
    shape = np.shape(x)
    if f is logsumexp_vjp:
        try:
            axis = options.get("axis")
            shape = np.sum(np.zeros(shape), axis=axis, keepdims=bool(options.get("keepdims"))).shape
        except (TypeError, ValueError, OverflowError):  # which the call says itself
            return 1.0
    v = (rng.normal(size=shape) * 3).astype(["f4", "f8", "f2", "i8", "g", ">f8"][rng.integers(6)])
    return v.tolist() if rng.random() < 0.1 else v.T.copy().T if rng.random() < 0.3 else v


def test_random_draws():
    rng = np.random.default_rng(0)
    answered = 0
    for _ in range(4000):
        x, options = random_call(rng)
        options = {k: v for k, v in options.items() if k in ("axis", "where", "temperature")}
        options["axis"] = options.get("axis", -1) if rng.random() < 0.2 else -1
        chosen = {
            "size": [1, 4, (2, 3), (), 0, -1, 2.0, True, None, (2, "3"), 2**70],
            "top_k": [1, 2, 100, 0, -1, 2**70, True, 1.5, None],
            "top_p": [0.5, 1.0, 0.0, 1, np.nan, "half", None, np.float32(0.5), 2.0],
            "min_p": [0.1, 0.0, 1.0, -0.1, 1, np.nan, None, 1j],
        }
        for name, values in chosen.items():
            if rng.random() < 0.25:
                options[name] = values[rng.integers(len(values))]
        if rng.random() < 0.5:
            options["rng"] = [1, -1, "seed", np.random.RandomState(0)][rng.integers(4)]
        outcomes = [
            (outcome(f, x, **{"rng": seeded(), **options}), GENERATOR.bit_generator.state)
            for f in (sample, sample.__wrapped__)
        ]
        assert outcomes[0] == outcomes[1], (x, options)
        answered += isinstance(outcomes[0][0], list)
    assert answered > 500  # and the others raised


def test_overlapping_out():
    """What overlaps is not written before it is read."""
    memory = rng.normal(size=60)
    x, out = memory[:40].reshape(4, 10), memory[5:45].reshape(4, 10)
    exact = softmax(x.copy())
    softmax(x, out=out)
    assert (out == exact).all()
    temperature = memory[:4].reshape(4, 1)
    memory[:] = np.abs(rng.normal(size=60)) + 0.5
    exact = softmax(TABLE, temperature=temperature.copy())
    softmax(TABLE, temperature=temperature, out=memory[:40].reshape(4, 10))
    assert (memory[:40].reshape(4, 10) == exact).all()


def test_nothing_leaks():
    arrays = [ROW, TABLE, CUBE, MASK, SPARE]
    for f, call in CALLS:
        call(f)
    gc.collect()
    counts = [sys.getrefcount(a) for a in arrays]
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        for f, call in CALLS:
            for _ in range(300):
                call(f)
        gc.collect()
        grown = tracemalloc.get_traced_memory()[0] - before
    finally:
        tracemalloc.stop()
    assert [sys.getrefcount(a) for a in arrays] == counts
    assert grown < 20_000  # one lost array a call would be 300 times 80 bytes, for one form alone


@pytest.mark.skipif(testcapi is None, reason="this Python comes without _testcapi")
def test_no_memory():
    """An allocation that fails, each in turn: MemoryError, or the result, and nothing lost."""
    for f, call in CALLS:
        exact = outcome(call, f)
        for skipped in range(12):
            testcapi.set_nomemory(skipped, skipped + 1)
            try:  # and no context manager, which would need memory itself
                call(f)
            except MemoryError:
                pass
            finally:
                testcapi.remove_mem_hooks()
        assert outcome(call, f) == exact
