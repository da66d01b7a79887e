"""SciPy's own tests of these functions, with this package's functions in place of SciPy's."""

import re

import numpy as np
import pytest
import scipy.special
from conftest import python

import stablesoftmax

# Node id: why the difference is wanted.
DIFFERENCES: dict[str, str] = {}

# The names are rebound once the module is imported; any sooner, and its decorators look for
# SciPy's functions. SciPy's softmax sums over all axes by default, ours over the last one.
RUN = """
import sys
import pytest
import stablesoftmax as ss

class Rebind:
    results = {{}}

    def pytest_collection_modifyitems(self, items):
        for item in items:
            item.module.softmax = lambda x, axis=None: ss.softmax(x, axis){error}
            item.module.log_softmax = lambda x, axis=None: ss.log_softmax(x, axis){error}
            item.module.logsumexp = self.logsumexp

    @staticmethod
    def logsumexp(a, axis=None, b=None, keepdims=False, return_sign=False):
        return ss.logsumexp(a, axis, b=b, keepdims=keepdims, return_sign=return_sign)

    def pytest_runtest_logreport(self, report):
        if report.when == "call" or report.outcome != "passed":
            self.results[report.nodeid] = report.outcome

options = ["-q", "-p", "no:cacheprovider", "-c", {null!r}, "--rootdir", {root!r}, "--pyargs"]
pytest.main([*options, "scipy.special.tests.test_logsumexp"], plugins=[Rebind()])
for node, outcome in Rebind.results.items():
    print("RESULT", outcome, node.rpartition("/")[2])
"""


def conformance(tmp_path, error=""):
    """The outcome of every test of SciPy's."""
    null = tmp_path / "pytest.ini"
    null.write_text("[pytest]\n")
    run = python(RUN.format(error=error, null=str(null), root=str(tmp_path)))
    results = re.findall(r"^RESULT (\w+) (.*)$", run.stdout, re.MULTILINE)
    return {node: outcome for outcome, node in results}


def test_scipys_own_tests(tmp_path):
    """Every one of them passes, those listed above aside."""
    results = conformance(tmp_path)
    failed = {node for node, outcome in results.items() if outcome == "failed"}
    passed = {node for node, outcome in results.items() if outcome == "passed"}
    assert failed == set(DIFFERENCES)
    assert len(passed) >= 400
    for test in ("TestLogSumExp", "TestSoftmax", "TestLogSoftmax"):
        assert any(test in node for node in passed)


def test_they_can_fail(tmp_path):
    """A function that is wrong in the twelfth digit is found out."""
    results = conformance(tmp_path, error=" * (1 + 1e-12)")
    failed = [node for node, outcome in results.items() if outcome == "failed"]
    assert any("TestSoftmax" in node for node in failed)
    assert any("TestLogSoftmax" in node for node in failed)
    assert not any("TestLogSumExp" in node for node in failed)


# ---- what SciPy's tests do not look at -----------------------------------------------------

INF, NAN = np.inf, np.nan
FIGURES_OF = ("1.15", "1.16", "1.17")  # the versions of SciPy whose answers these are
WANTED = {
    # call: SciPy's answer in the versions below, ours, why
    "one +inf": ("softmax([0, inf])", [NAN, NAN], [0, 1], "the limit exists"),
    "one +inf, logarithm": ("log_softmax([0, inf])", [-INF, NAN], [-INF, 0], "the limit exists"),
    "several +inf": ("softmax([0, inf, inf])", [NAN] * 3, [0, NAN, NAN], "0 is the limit there"),
    "dominated": (
        "log_softmax([0.0, -40.0])",
        [0, -40],
        [-4.248354255291589e-18, -40],
        "log(1 - p) is not 0",
    ),
    "small integers": (
        "softmax(np.array([1, 5], np.uint8))",
        [NAN, 0],
        [0.01798620996209156, 0.9820137900379085],
        "the difference of unsigned integers wraps",
    ),
    "large integers": (
        "softmax(np.array([-(2**63), 2**63 - 1]))",
        [0.7310585786300049, 0.2689414213699951],
        [0, 1],
        "so does that of signed ones: upside down, and no warning",
    ),
    "long float16": (
        "softmax(np.zeros(70_000, np.float16))[:1]",
        [0],
        [1.430511474609375e-05],
        "the sum of exponentials is past float16's maximum",
    ),
    "default axis": (
        "softmax([[0.0, 0.0]] * 2)[0]",
        [0.25, 0.25],
        [0.5, 0.5],
        "the last one, as in JAX and TensorFlow",
    ),
    "masked array": (
        "logsumexp(np.ma.array([0.0, 5.0], mask=[0, 1]))",
        5.006715348489118,
        0,
        "the mask is ignored",
    ),
    "sign of nothing": ("logsumexp([], return_sign=True)[1]", -1, 0, "an empty sum is 0"),
}
ERRORS = {
    # call: our error, its message, why
    "bool": (
        "logsumexp([True, False])",
        TypeError,
        "x has dtype bool; accepted are integer, floating-point and complex dtypes: "
        "pass x.astype(float), or where=x if it is a mask",
        "a mask is meant",
    ),
}


def evaluate(call, module):
    names = {name: getattr(module, name) for name in ("softmax", "log_softmax", "logsumexp")}
    with np.errstate(all="ignore"):
        return eval(call, {"np": np, "inf": INF, **names})


@pytest.mark.parametrize("case", WANTED)
def test_wanted_difference(case):
    call, _scipys, ours, _why = WANTED[case]
    np.testing.assert_allclose(evaluate(call, stablesoftmax), ours, rtol=1e-15)


@pytest.mark.parametrize("case", WANTED)
def test_it_is_a_difference(case):
    if not scipy.__version__.startswith(FIGURES_OF):
        pytest.skip(f"SciPy {scipy.__version__} may answer otherwise than {FIGURES_OF[-1]}")
    call, scipys, ours, _why = WANTED[case]
    np.testing.assert_allclose(evaluate(call, scipy.special), scipys, rtol=1e-15)
    assert not np.allclose(scipys, ours, rtol=1e-15, atol=0, equal_nan=True)


@pytest.mark.parametrize("case", ERRORS)
def test_wanted_error(case):
    call, error, message, _why = ERRORS[case]
    evaluate(call, scipy.special)
    with pytest.raises(error, match=f"^{re.escape(message)}$"):
        evaluate(call, stablesoftmax)


def test_empty_axis():
    """An empty row has an empty softmax; SciPy has no maximum of it."""
    for name in ("softmax", "log_softmax"):
        assert getattr(stablesoftmax, name)([]).shape == (0,)
        with pytest.raises(ValueError, match="zero-size"):
            getattr(scipy.special, name)([])
