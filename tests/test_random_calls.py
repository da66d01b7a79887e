"""Random calls of every public function of arrays: any shape, layout, mask, temperature and output.

Each is judged twice: by the formula in long double, and by the bits of the same call on contiguous
arrays. STABLESOFTMAX_RANDOM_CALLS=1000 tries as many of each function, new ones each time:
about five minutes.
"""

import inspect
import os

import ml_dtypes
import numpy as np
import pytest
from conftest import FLOATS, LEVELS, bits, rerun_at_level
from hypothesis import HealthCheck, given, note, settings
from hypothesis import strategies as st
from long_double import REFERENCES

import stablesoftmax

CALLS = int(os.environ.get("STABLESOFTMAX_RANDOM_CALLS", "0"))
profile = settings(
    max_examples=CALLS or 25,
    derandomize=not CALLS,
    deadline=None,
    database=None,
    suppress_health_check=list(HealthCheck),
)

INF, NAN = np.inf, np.nan
DTYPES = [*FLOATS.values(), *map(np.dtype, ("i1", "u1", "i4", "u8"))]
SEGMENTS = {"segment_softmax", "segment_log_softmax", "segment_logsumexp"}
ONE_AXIS = {"logcumsumexp", "cross_entropy", "cross_entropy_with_grad", "selected_log_softmax"}
SPECIALS = {"softmax", "log_softmax", "logsumexp"}  # whose infinities and NaN the reference knows
MAPS = {"softmax", "log_softmax"}

integers = st.integers
chance = st.booleans()


# ---- arrays ---------------------------------------------------------------------------------


@st.composite
def layouts(draw, values, *, thin=True):
    """The values in memory of their own: strides of any order, sign and size, any address.

    Along an axis of length 1 that `thin` says to stretch, the stride is 0.
    """
    dtype = values.dtype
    if dtype.kind in "iuf" and dtype.name != "bfloat16" and draw(integers(0, 3)) == 0:
        dtype = dtype.newbyteorder()
    strides, size = [0] * values.ndim, dtype.itemsize
    start = 0
    for axis in draw(st.permutations(range(values.ndim))):
        n, gap = values.shape[axis], draw(st.sampled_from([1, 1, -1, 2, -3]))
        if thin and n > 1 and (values == values.take([0], axis)).all():
            continue
        strides[axis] = gap * size
        start += max(-gap, 0) * size * max(n - 1, 0)
        size *= abs(gap) * max(n, 1)
    start += draw(st.sampled_from([0, 0, 1, 2, 8, 63]))
    memory = np.zeros(start + 2 * size + 64, np.uint8)
    laid = np.ndarray(values.shape, dtype, memory, start, strides)
    laid[...] = values
    return laid


SCALES = {"N(0, 1)": 1, "N(0, 30)": 30, "N(0, 300)": 300, "ties": 0, "offset": 1}


def numbers(draw, shape, dtype, *, special=False):
    """Finite numbers of one kind, and with `special` infinities and NaN among them."""
    rng = np.random.default_rng(draw(integers(0, 2**32 - 1)))
    kind = draw(st.sampled_from(list(SCALES)))
    part = [1 if draw(integers(0, 4)) == 0 else n for n in shape]
    x = rng.normal(size=part) * SCALES[kind] + (900 if kind == "offset" else 0)
    if kind == "ties":
        x = rng.integers(0, 3, part) * 1.0
    if dtype.kind in "iu":
        info = np.iinfo(dtype)
        x = np.clip(np.rint(x), max(info.min, -120), 120).astype(dtype)
        if draw(integers(0, 3)) == 0:  # near either end, where differences overflow
            x = x // dtype.type(20) + (info.max - dtype.type(7))
        return np.broadcast_to(x, shape)
    x = x.astype(dtype)
    if special and draw(chance):
        odd = draw(st.sampled_from([[-INF], [INF], [NAN], [-INF, INF], [-INF, INF, NAN]]))
        x = np.where(rng.random(part) < 0.3, rng.choice(odd, part), x.astype(float)).astype(dtype)
    return np.broadcast_to(x, shape)


# ---- calls ----------------------------------------------------------------------------------


@st.composite
def calls(draw, name):
    """x and options of one call, every array of which has a layout."""
    shape = tuple(draw(st.lists(integers(1, 7), min_size=0, max_size=4)))
    if shape and draw(integers(0, 9)) == 0:
        shape = (*shape[:-1], draw(st.sampled_from([0, 40, 130])))
    dtype = draw(st.sampled_from(DTYPES))
    x = numbers(draw, shape or (1,), dtype, special=name in SPECIALS).reshape(shape)
    options = {}
    if name in SEGMENTS or name in ONE_AXIS or name == "sample":
        x = x if shape and x.size else np.ones((3, 2), dtype)
    options |= axes(draw, name, x)
    options |= companions(draw, name, x, options)
    if name in SPECIALS and draw(integers(0, 4)) == 0:
        options["dtype"] = draw(st.sampled_from([np.float16, np.float32, np.float64]))
    if name in MAPS:
        options["undefined"] = draw(st.sampled_from(["nan", "nan", "zero", "uniform"]))
    if name in ("logsumexp", "logmeanexp", "entropy", "kl_divergence"):
        options["keepdims"] = draw(chance)
    return x, options


def axes(draw, name, x):
    if name in SEGMENTS:
        return {}
    one = integers(-x.ndim, x.ndim - 1) if x.ndim else st.none()
    if name in ONE_AXIS or name == "sample":
        return {"axis": draw(one)}
    several = st.lists(integers(0, x.ndim - 1), unique=True).map(tuple) if x.ndim else st.none()
    return {"axis": draw(st.one_of(one, several, st.none()))}


def over(x, axis):
    """The axes that a row runs along, and x's shape with each of them 1."""
    every = range(x.ndim) if axis is None else np.atleast_1d(axis).astype(int) % max(x.ndim, 1)
    return [1 if i in set(every) else n for i, n in enumerate(x.shape)]


def companions(draw, name, x, options):
    """The other arrays, as this function takes them."""
    float_dtype = x.dtype if x.dtype.kind not in "iu" else np.dtype(float)
    like = lambda shape: numbers(draw, shape, float_dtype)  # noqa: E731
    rng = np.random.default_rng(draw(integers(0, 2**32 - 1)))
    if name in SEGMENTS:
        count = draw(integers(1, 5))
        more = {"segments": rng.integers(0, count, len(x)), "num_segments": count}
        return more | ({"where": rng.random(x.shape) < 0.7} if draw(chance) else {})
    kept, more = over(x, options["axis"]), {}
    if name == "sample":
        more = {"rng": draw(integers(0, 99)), "size": draw(st.sampled_from([None, 3, (2, 9)]))}
        kept_some = {"top_k": integers(1, 9), "top_p": st.floats(0.01, 1), "min_p": st.floats(0, 1)}
        more |= {option: draw(values) for option, values in kept_some.items() if draw(chance)}
    if name.endswith("_vjp") and not name.startswith("logsumexp"):
        more["g"] = like(x.shape)
    if name == "logsumexp_vjp":
        more["g"] = like(np.sum(np.zeros(x.shape), axis=options["axis"]).shape)
    if name.endswith("_jvp"):
        more["dx"] = like(x.shape)
    if name == "kl_divergence":
        more["q_logits"] = like(x.shape)
    classes = x.shape[options["axis"]] if name in ONE_AXIS else 0
    batch = [n for i, n in enumerate(x.shape) if name in ONE_AXIS and i != options["axis"] % x.ndim]
    if name.startswith("cross_entropy"):
        more["labels"] = rng.integers(0, classes, batch)
        more["reduction"] = "sum" if name.endswith("grad") else "none"
        if draw(chance):
            more["weight"] = rng.integers(1, 9, classes) / 4
        if draw(chance):
            more["ignore_index"] = draw(integers(-1, classes))
    if name == "selected_log_softmax":
        more["index"] = rng.integers(0, classes, batch)
    if takes(name, "where") and not name.startswith("cross_entropy") and draw(chance):
        part = [n if draw(integers(0, 3)) else 1 for n in x.shape]
        more["where"] = np.broadcast_to(rng.random(part) < 0.7, x.shape)
    if name == "sample" and "where" in more:  # or a row would have nothing to draw from
        first = np.indices(x.shape, sparse=True)[options["axis"]] == 0
        more["where"] = more["where"] | first
    if takes(name, "temperature") and draw(chance):
        each = [0.3, 1, 2, 7.5] + ([0, INF] if name in MAPS else [])
        part = [n if draw(chance) else 1 for n in kept]
        more["temperature"] = np.broadcast_to(rng.choice(each, part), kept)
    if name == "logsumexp" and draw(integers(0, 4)) == 0:
        more["b"] = rng.integers(1, 5, x.shape) / 2
    return more


def takes(name, option):
    return option in inspect.signature(getattr(stablesoftmax, name)).parameters


# ---- what is checked ------------------------------------------------------------------------


def outputs(draw, x, result):
    """Somewhere to write: of any layout, x itself, or over a part of x's memory."""
    where = draw(st.sampled_from(["apart", "apart", "x", "over x", "over x"]))
    apart = all(stride or n < 2 for stride, n in zip(x.strides, x.shape, strict=True))
    if where == "x" and apart and x.shape == result.shape and x.dtype == result.dtype:
        return x
    if where == "over x" and x.base is not None and x.base.nbytes >= result.nbytes:
        first = draw(integers(0, x.base.nbytes - result.nbytes))
        return np.ndarray(result.shape, result.dtype, x.base, first)
    return draw(layouts(np.zeros(result.shape, result.dtype), thin=False))


def parts(y):
    return y if isinstance(y, tuple) else (y,)


def ulps(actual, exact, dtype):
    """Distance in units in the last place of the exact number, rounded to the dtype or not."""
    info = ml_dtypes.finfo(dtype)
    with np.errstate(all="ignore"):
        size = np.maximum(np.abs(exact), np.longdouble(info.smallest_normal))
        unit = np.exp2(np.floor(np.log2(size)) - info.nmant)
        apart = np.abs(actual.astype(np.longdouble) - exact) / unit
        rounded = exact.astype(dtype)
    same = (actual == rounded) | (np.isnan(actual) & np.isnan(rounded))
    return np.where(same, 0, np.where(np.isnan(apart), INF, apart))


def assert_right(name, x, options, result):
    reference = REFERENCES[name]
    exact = reference(x.astype(np.longdouble), **{k: v for k, v in options.items() if k != "dtype"})
    for actual, (value, allowed) in zip(parts(result), exact, strict=True):
        actual = np.asarray(actual)
        assert actual.shape == value.shape
        error = ulps(actual, value, actual.dtype)
        limit = allowed(value, actual.dtype)
        assert (error <= limit).all(), (error - limit).max()


def seeded(x, *, rng, **options):
    """Draw with a generator of its own: a number would go to the Python function."""
    return stablesoftmax.sample(x, rng=np.random.default_rng(rng), **options)


@pytest.mark.parametrize("name", [*REFERENCES, "sample"])
@profile
@given(data=st.data())
def test_random_call(name, data):
    draw = data.draw
    public = seeded if name == "sample" else getattr(stablesoftmax, name)
    x, options = draw(calls(name))
    note(f"{name}({x!r}, **{options})")
    plain = {
        k: np.array(v, order="C") if isinstance(v, np.ndarray) else v for k, v in options.items()
    }
    expected = public(np.array(x, order="C"), **plain)
    if name in REFERENCES:
        assert_right(name, np.array(x, order="C"), plain, expected)
    x = draw(layouts(x))
    laid = {
        k: draw(layouts(v)) if isinstance(v, np.ndarray) and k != "rng" else v
        for k, v in options.items()
    }
    before = [a.tobytes() for a in (x, *laid.values()) if isinstance(a, np.ndarray)]
    for y, wanted in zip(parts(public(x, **laid)), parts(expected), strict=True):
        assert bits(y) == bits(wanted)
    assert before == [a.tobytes() for a in (x, *laid.values()) if isinstance(a, np.ndarray)]
    if takes(name, "out"):
        wanted = np.asarray(expected)
        out = outputs(draw, x, wanted)
        assert public(x, out=out, **laid) is out
        assert bits(out.astype(wanted.dtype)) == bits(wanted)


@pytest.mark.parametrize("level", LEVELS)
def test_level(level):
    """The same calls on the kernels of the other levels."""
    rerun_at_level(level, __file__)
