"""What importing the package loads, and what it shows."""

import importlib.metadata
import importlib.resources
import inspect
import pydoc
import typing

import pytest
from conftest import library, python

import stablesoftmax

PUBLIC = [
    "UndefinedSoftmaxError",
    "backend_of",
    "clip_by_global_norm",
    "clip_by_value",
    "cross_entropy",
    "cross_entropy_with_grad",
    "entropy",
    "get_num_threads",
    "initial_weights",
    "kl_divergence",
    "log_softmax",
    "log_softmax_jvp",
    "log_softmax_vjp",
    "logcumsumexp",
    "logmeanexp",
    "logsumexp",
    "logsumexp_jvp",
    "logsumexp_vjp",
    "num_threads",
    "sample",
    "segment_log_softmax",
    "segment_logsumexp",
    "segment_softmax",
    "selected_log_softmax",
    "set_num_threads",
    "softmax",
    "softmax_jvp",
    "softmax_vjp",
]

LOADED = """
import sys
import numpy
before = set(sys.modules)
import {module}
print(*(set(sys.modules) - before))
"""


def loaded(module):
    """The modules that importing this one loads beyond NumPy's, save the package's own."""
    names = python(LOADED.format(module=module)).stdout.split()
    assert "stablesoftmax" in names
    return {name for name in names if name.split(".")[0] != "stablesoftmax"}


def test_import_loads_nothing_but_numpy():
    """Nothing optional, and nothing that takes a millisecond.

    That is what keeps the import at a few milliseconds: importlib.metadata or numpy.random alone
    would take longer than all the rest of it.
    """
    types = {name for name in loaded("stablesoftmax") if name.startswith("numpy._typing")}
    assert loaded("stablesoftmax") - types <= {"__future__", "copy", "numbers", "numpy.typing"}


@pytest.mark.parametrize("module", ["threadpoolctl", "importlib.metadata", "numpy.random"])
def test_a_loaded_module_is_noticed(module):
    """The test above can fail: here is what it would see if the package imported something."""
    assert module in loaded(f"stablesoftmax, {module}")


def test_import_leaves_the_oracle_out():
    code = "import sys, stablesoftmax; assert 'stablesoftmax.testing' not in sys.modules"
    python(code)


CALLED = """
import sys
import numpy as np, stablesoftmax as s
{prepare}
before = set(sys.modules)
s.softmax({x}), s.logsumexp({x}, where=True), s.backend_of({x})
print(*(set(sys.modules) - before), "done")
"""


@pytest.mark.parametrize(
    ("prepare", "x"),
    [
        ("", "np.ones(3)"),
        ("", "[1, 2, 3]"),
        ("", "3.0"),
        ("import pandas", "np.ones(3)"),
        pytest.param("import torch", "torch.ones(3)", marks=pytest.mark.interop),
        pytest.param(
            "import torch, ml_dtypes",
            "torch.ones(3, dtype=torch.bfloat16)",
            marks=pytest.mark.interop,
        ),
    ],
)
def test_a_call_loads_nothing(prepare, x):
    """Not even array-api-compat, while the kernels compute it."""
    for name in prepare.removeprefix("import ").split(", "):
        if name:
            library(name)
    assert python(CALLED.format(prepare=prepare, x=x)).stdout.split() == ["done"]


def test_another_backend_loads_what_it_needs():
    """The test above can fail."""
    library("array_api_strict")
    code = CALLED.format(prepare="import array_api_strict", x="array_api_strict.ones(3)")
    assert "array_api_compat" in python(code).stdout.split()


def test_public_names():
    assert stablesoftmax.__all__ == PUBLIC
    assert all(hasattr(stablesoftmax, name) for name in PUBLIC)
    shown = {name for name in vars(stablesoftmax) if not name.startswith("_")}
    loaded = {
        "errors",
        "functions",
        "gradients",
        "information",
        "losses",
        "sampling",
        "segments",
        "sums",
        "threads",
        "training",
    }
    assert shown - loaded - {"accuracy", "cli", "doctor", "testing"} == set(PUBLIC)


def test_dir_shows_public_names():
    """And its modules are there without an import of their own."""
    assert dir(stablesoftmax) == sorted([*PUBLIC, "__version__", "accuracy", "doctor", "testing"])
    code = "import stablesoftmax as s; print(s.testing.__name__, s.accuracy.__name__, s.doctor)"
    names = "stablesoftmax.testing stablesoftmax.accuracy <module 'stablesoftmax.doctor'"
    assert python(code).stdout.startswith(names)


@pytest.mark.parametrize("name", [name for name in PUBLIC if name[0].islower()])
def test_functions_can_be_looked_into(name):
    """By editors, help() and type checkers at run time, compiled or not."""
    function = getattr(stablesoftmax, name)
    hints = typing.get_type_hints(function)
    assert set(inspect.signature(function).parameters) == set(hints) - {"return"}
    assert inspect.isroutine(function)
    assert pydoc.render_doc(function).splitlines()[2].replace("\b", "")


def test_version():
    assert stablesoftmax.__version__ == importlib.metadata.version("stablesoftmax")


def test_the_page_is_a_resource():
    """The template of the doctor's page lies in the package, as a wheel has it."""
    page = importlib.resources.files("stablesoftmax.doctor") / "templates" / "report.html"
    assert "<!doctype html>" in page.read_text(encoding="utf-8")


def test_unknown_attribute():
    with pytest.raises(AttributeError, match="'stablesoftmax' has no attribute 'softmin'"):
        _ = stablesoftmax.softmin
