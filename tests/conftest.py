"""What the tests of the Python side share."""

import gc
import itertools
import os
import subprocess
import sys
import tracemalloc

import ml_dtypes
import numpy as np
import pytest
from watched_scripts import Doctor

import stablesoftmax
from stablesoftmax import _core

FLOATS = {
    "float16": np.dtype(np.float16),
    "bfloat16": np.dtype(ml_dtypes.bfloat16),
    "float32": np.dtype(np.float32),
    "float64": np.dtype(np.float64),
}


@pytest.fixture(params=FLOATS.values(), ids=FLOATS)
def dtype(request):
    """Every dtype that has a kernel."""
    return request.param


@pytest.fixture(params=["softmax", "log_softmax", "logsumexp"])
def function(request):
    """Every function, the last axis being the default of each."""
    return last_axis(request.param)


@pytest.fixture(params=["softmax", "log_softmax"])
def mapping(request):
    """The functions whose result has the shape of the input."""
    return last_axis(request.param)


INTEROP = ("torch", "jax", "onnx", "autograd")  # pyproject's extra of that name
running: pytest.Item | None = None


def pytest_runtest_setup(item):
    global running
    running = item


def library(name):
    """An optional library, without which a test is skipped; `make interop` must find its test."""
    if name in INTEROP:
        assert running.get_closest_marker("interop"), f"{name} is for tests marked interop"
    return pytest.importorskip(name, reason=f"{name} is not installed")


INTEROP_KINDS = [pytest.param(kind, marks=pytest.mark.interop) for kind in ("Torch", "Jit")]


@pytest.fixture(params=[*INTEROP_KINDS, "Strict"])
def lib(request):
    """How to make and call arrays of another library: see tensor_kinds, which needs this file."""
    import tensor_kinds

    kind = getattr(tensor_kinds, request.param)
    if kind is tensor_kinds.Jit:
        with library("jax").enable_x64(True):
            yield kind()
    else:
        yield kind()


@pytest.fixture
def strict():
    """Turn what NumPy would warn of into errors."""
    with np.errstate(all="raise"):
        yield


def last_axis(name):
    public = getattr(stablesoftmax, name)

    def call(x, axis=-1, **options):
        return public(x, axis, **options)

    call.__name__ = name
    return call


def in_turn(functions, **values):
    """Each combination of the values with one of the functions, and every pair of all in some case.

    The place of the function is the sum of the places of the values: where one list is as long as
    `functions`, each value of the others meets every function.
    """
    cases = []
    for places in itertools.product(*(range(len(v)) for v in values.values())):
        name = functions[sum(places) % len(functions)]
        chosen = [v[i] for v, i in zip(values.values(), places, strict=True)]
        cases.append(pytest.param(last_axis(name), *chosen, id="-".join(map(str, (name, *chosen)))))
    return pytest.mark.parametrize(("function", *values), cases)


def python(code, *, environment=None, timeout=300):
    """Run code to its end in a fresh interpreter."""
    run = subprocess.run(
        [sys.executable, "-c", code],
        env=os.environ | (environment or {}),
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )
    assert run.returncode == 0, run.stdout + run.stderr
    return run


LEVELS = ("v2", "v3", "v4")


def rerun_at_level(level, path, *options):
    """Run a test file once more, on the kernels of another ISA level of this CPU."""
    here, asked = _core.isa(), os.environ.get("STABLESOFTMAX_ISA")
    if asked:
        pytest.skip(f"this run is at level {here} alone, as STABLESOFTMAX_ISA asks")
    if here not in LEVELS or LEVELS.index(level) > LEVELS.index(here):
        pytest.skip(f"this CPU lacks level {level}: its best is {here}")
    if level == here:
        pytest.skip(f"level {level} is what the other tests of this file run at")
    run = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", path, *options],
        env=os.environ | {"STABLESOFTMAX_ISA": level},
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stdout[-8000:] + run.stderr[-2000:]


def normal(shape, dtype, scale=1, seed=0):
    """Normally distributed numbers."""
    with np.errstate(under="ignore"):
        return (np.random.default_rng(seed).normal(size=shape) * scale).astype(dtype)


def bits(a):
    """The bytes of an array in C order: equal for equal bits, NaN and signed zeros included."""
    a = np.ascontiguousarray(a)
    if a.dtype.char in "gG":  # whose padding holds anything
        with np.errstate(all="ignore"):
            parts = a.view(np.longdouble)
            high = parts.astype(np.float64)
            return high.tobytes() + (parts - high).astype(np.float64).tobytes()
    return a.tobytes()


def arrangements(x):
    """A matrix in every layout that is not plain, under the name of the layout."""
    yield "swapped", np.asfortranarray(x)
    yield "skipping", np.repeat(x, 2, axis=1)[:, ::2]
    yield "backwards", x[::-1, ::-1].copy()[::-1, ::-1]
    if x.dtype.kind == "f" and x.dtype.itemsize > 1 and x.dtype.name != "bfloat16":
        yield "foreign", x.astype(x.dtype.newbyteorder())
    raw = np.empty(x.nbytes + 1, np.uint8)[1:].view(x.dtype).reshape(x.shape)
    raw[...] = x
    yield "unaligned", raw


def peak(call):
    """The most bytes that a call has allocated at one time."""
    gc.collect()
    tracemalloc.start()
    try:
        call()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.fixture
def doctor(tmp_path):
    """The doctor's command line, in a folder of its own."""
    return Doctor(tmp_path)
