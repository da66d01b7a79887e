"""The node tests of the ONNX standard, all of them, for the operators that this library has.

Their tolerance is 1e-3: they judge what is computed, not how well.
"""

import subprocess
import sys
from pathlib import Path

import pytest
from conftest import library

SCRIPT = Path(__file__).with_name("onnx_node_tests.py")
CASES = {
    "Softmax": 7,
    "LogSoftmax": 7,
    "ReduceLogSumExp": 9,
    "SoftmaxCrossEntropyLoss": 34,
    "NegativeLogLikelihoodLoss": 18,
}


@pytest.fixture(scope="module")
def outcome():
    """What all node tests print: onnx takes ten seconds to make them, whichever is wanted."""
    return subprocess.run(
        [sys.executable, "-W", "ignore", str(SCRIPT)], capture_output=True, text=True, check=False
    )


@pytest.mark.interop
@pytest.mark.parametrize(("operator", "count"), CASES.items(), ids=CASES)
def test_node_tests(operator, count, request):
    library("onnx")
    run = request.getfixturevalue("outcome")
    assert (run.returncode, run.stderr[-3000:]) == (0, "")
    passed = [
        line.split()[1] for line in run.stdout.splitlines() if line.startswith(f"{operator} ")
    ]
    assert len(set(passed)) == len(passed) >= count, passed
