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


@pytest.mark.interop
@pytest.mark.parametrize(("operator", "count"), CASES.items(), ids=CASES)
def test_node_tests(operator, count):
    library("onnx")
    run = subprocess.run(
        [sys.executable, "-W", "ignore", str(SCRIPT), operator],
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stderr[-3000:]
    passed = run.stdout.split()
    assert len(set(passed)) == len(passed) >= count, passed
