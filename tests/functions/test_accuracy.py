"""softmax, log_softmax and logsumexp are as accurate as promised, at every ISA level.

The limits are those of `stablesoftmax.accuracy`; nothing here has a tolerance of its own.
"""

import os
import subprocess
import sys

import numpy as np
import pytest
from inputs import DTYPES, FAMILIES, FUNCTIONS, LENGTH, ROWS, table

import stablesoftmax
from stablesoftmax import _core, testing

LEVELS = ("v2", "v3", "v4")
ASKED = os.environ.get("STABLESOFTMAX_ISA")

every_dtype = pytest.mark.parametrize("dtype", DTYPES.values(), ids=str)
every_function = pytest.mark.parametrize("function", FUNCTIONS)
both = pytest.mark.parametrize("function", ["softmax", "log_softmax"])


def check(function, x, axis=-1, *, out=None, **options):
    expected = getattr(testing, function)(x, axis, **options)
    filled = {} if out is None else {"out": out}
    actual = getattr(stablesoftmax, function)(x, axis, **options, **filled)
    testing.assert_max_ulp(actual, expected)
    return actual


@pytest.mark.parametrize("family", FAMILIES)
@every_function
@every_dtype
def test_family(dtype, function, family):
    x = table(family, dtype)
    check(function, x)
    check(function, np.ascontiguousarray(x.T), axis=0)


@pytest.mark.parametrize("temperature", [0.1, 0.7, 3, 100])
@pytest.mark.parametrize(
    "family", ["normal", "uniform", "offset", "largest", "dominant", "special"]
)
@both
@every_dtype
def test_temperature(dtype, function, family, temperature):
    check(function, table(family, dtype), temperature=temperature)


@both
@every_dtype
def test_temperature_for_each_row(dtype, function):
    rng = np.random.default_rng(0)
    x = table("uniform", dtype).reshape(ROWS // 4, 4, LENGTH)
    temperature = rng.choice([0.0, 0.1, 0.7, 1.0, 3.0, 100.0, np.inf], (ROWS // 4, 4, 1))
    check(function, x, temperature=temperature)
    check(function, x, axis=0, temperature=temperature[0])
    check(function, x, axis=(0, 2), temperature=temperature[0])
    check(function, x, axis=1, temperature=temperature[:, :1])


@pytest.mark.parametrize("family", ["normal", "offset", "dominant", "special"])
@every_function
@every_dtype
def test_where(dtype, function, family):
    x = table(family, dtype)
    where = np.random.default_rng(0).random((ROWS, LENGTH)) < np.linspace(0, 1, ROWS)[:, None]
    check(function, np.where(where, x, dtype.type(np.nan)), where=where)
    check(function, x, where=where[7])
    check(function, x, axis=0, where=where[:, :1])


@pytest.mark.parametrize("name", ["i1", "u1", "i2", "u2", "i4", "u4", "i8", "u8"])
@every_function
def test_integers(name, function):
    low, high = np.iinfo(name).min, np.iinfo(name).max
    rng = np.random.default_rng(0)
    anywhere = rng.integers(low, high, (ROWS, LENGTH), name, endpoint=True)
    together = rng.integers(high - 60, high, (ROWS, LENGTH), name, endpoint=True)
    for x in (anywhere, together, np.array([[low, high], [high, high - 1]], name)):
        check(function, x)
        check(function, x, axis=0)


@every_function
@pytest.mark.parametrize("dtype", [d for d in DTYPES.values() if d != np.float64], ids=str)
def test_wider_result(dtype, function):
    check(function, table("uniform", dtype), dtype=np.float64)


@every_function
@every_dtype
def test_lengths(dtype, function):
    rng = np.random.default_rng(0)
    powers = [2**k + step for k in range(7, 18) for step in (-1, 0, 1)]
    for n in [*range(1, 71), *powers]:
        x = (rng.normal(size=(max(1, min(37, 4000 // n)), n)) * 5).astype(dtype)
        check(function, x)
        check(function, x.T.copy(), axis=0)


@every_function
@every_dtype
def test_widths(dtype, function):
    rng = np.random.default_rng(0)
    for width in range(1, 71):
        check(function, (rng.normal(size=(3, 11, width)) * 5).astype(dtype), axis=1)


@every_function
@every_dtype
def test_a_million(dtype, function):
    x = np.random.default_rng(0).normal(size=10**6).astype(dtype)
    check(function, x)


@every_function
@every_dtype
def test_one_and_a_million_halves_of_an_ulp(dtype, function):
    x = np.full(10**6, -16.7, dtype)
    x[-1] = 0
    check(function, x)
    check(function, np.stack([x, x[::-1]], axis=-1), axis=0)


@every_dtype
def test_zeros_in_long_columns(dtype):
    p = stablesoftmax.softmax(np.zeros((2**25, 2), dtype), axis=0)
    right = np.array(2.0**-25, dtype)  # 0 in float16, the tie's even side
    assert p.dtype == dtype
    assert p.min() == p.max() == right


@every_function
@pytest.mark.parametrize("dtype", [DTYPES["float16"], DTYPES["bfloat16"]], ids=str)
def test_two_classes_exhaustively(dtype, function):
    x = np.zeros((65536, 2), dtype)
    x[:, 0] = np.arange(65536, dtype=np.uint16).view(dtype)
    check(function, x)
    check(function, x[:, ::-1].T.copy(), axis=0)


def strided(x):
    y = np.zeros([2 * n for n in x.shape], x.dtype)[tuple(slice(None, None, 2) for _ in x.shape)]
    y[...] = x
    return y


def reversed_strides(x):
    return np.ascontiguousarray(x[::-1, ::-1, ::-1])[::-1, ::-1, ::-1]


def transposed(x):
    return np.ascontiguousarray(x.transpose(1, 2, 0)).transpose(2, 0, 1)


def unaligned(x):
    y = np.ndarray(x.shape, x.dtype, bytearray(x.nbytes + 1), offset=1)
    y[...] = x
    return y


def byte_swapped(x):
    return x.astype(x.dtype.newbyteorder())


def broadcast(x):
    return np.broadcast_to(x[:, :1, :1], x.shape)


LAYOUTS = [
    strided,
    reversed_strides,
    np.asfortranarray,
    transposed,
    unaligned,
    byte_swapped,
    broadcast,
]


@pytest.mark.parametrize("axis", [0, 1, 2, -2, (0, 2), (2, 1), None])
@every_function
@every_dtype
def test_layouts(dtype, function, axis):
    rng = np.random.default_rng(0)
    x = (rng.normal(size=(9, 21, 35)) * 10).astype(dtype)
    for layout in LAYOUTS:
        y = layout(x)
        before = y.tobytes()
        given = check(function, y, axis)
        np.testing.assert_array_equal(
            given, getattr(stablesoftmax, function)(y.astype(dtype, order="C"), axis)
        )
        assert y.tobytes() == before
        assert given.dtype == dtype


@pytest.mark.parametrize("axis", [0, 1, 2, (0, 2), None])
@both
@every_dtype
def test_in_place(dtype, function, axis):
    x = (np.random.default_rng(0).normal(size=(9, 21, 35)) * 10).astype(dtype)
    for layout in (np.array, strided, reversed_strides, np.asfortranarray, transposed, unaligned):
        y = layout(x)
        assert check(function, y, axis, out=y) is y


@pytest.mark.huge
@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("float32", "normal"),
        ("float32", "adversarial"),
        ("float64", "normal"),
        ("float64", "adversarial"),
        ("float16", "normal"),
        ("bfloat16", "adversarial"),
    ],
)
@every_function
def test_a_hundred_million(function, name, kind):
    x = np.full(10**8, -16.7, DTYPES[name])
    if kind == "normal":
        rng = np.random.default_rng(0)
        for part in np.split(x, 100):
            part[:] = rng.standard_normal(part.size, np.float32)
    x[-1] = 0
    check(function, x, out=None if function == "logsumexp" else x)


def test_the_level_is_the_one_that_was_asked_for():
    assert ASKED in (None, _core.isa())


@pytest.mark.parametrize("level", LEVELS)
def test_level(level):
    """All of the above once more at the level."""
    here = _core.isa()
    if ASKED:
        pytest.skip(f"this run is at level {here} alone, as STABLESOFTMAX_ISA asks")
    if here not in LEVELS or LEVELS.index(level) > LEVELS.index(here):
        pytest.skip(f"this CPU lacks level {level}: its best is {here}")
    if level == here:
        pytest.skip(f"level {level} is what the tests above ran at")
    command = [sys.executable, "-m", "pytest", "-q", "--tb=line", "-m", "not huge", __file__]
    environment = os.environ | {"STABLESOFTMAX_ISA": level}
    run = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert run.returncode == 0, f"level {level}:\n{run.stdout[-8000:]}{run.stderr[-2000:]}"
