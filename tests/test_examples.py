"""The examples run, print what they promise, and their gradients are right."""

import json
import os
import re
import runpy
import struct
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).parents[1]
DIGITS = ROOT / "examples" / "digits.py"


@pytest.fixture(scope="module")
def digits():
    return runpy.run_path(str(DIGITS))


def run(*arguments, missing=None, warnings="ignore"):
    """Run digits.py in a fresh Python without a terminal, and without the module `missing`."""
    hide = f"import runpy, sys; sys.modules[{missing!r}] = None; runpy.run_path({str(DIGITS)!r})"
    return subprocess.run(
        [
            sys.executable,
            "-W",
            warnings,
            *([DIGITS, *arguments] if missing is None else ["-c", hide]),
        ],
        capture_output=True,
        text=True,
        encoding="utf-8",
        env={**os.environ, "PYTHONIOENCODING": "utf-8"},
        timeout=120,
    )


def test_digits_reaches_nan_then_98_percent(tmp_path):
    picture = tmp_path / "digits.png"
    result = run("--out", picture)
    assert (result.returncode, result.stderr) == (0, "")
    rows = {
        cells[0]: cells[1:]
        for line in result.stdout.splitlines()
        if (cells := [cell.strip() for cell in line.split("│")[1:-1]])
    }
    steps, nan_at, loss, _ = rows["textbook"]
    assert steps == nan_at
    assert 1 < int(nan_at) < 1800
    assert loss == "nan"
    assert f"textbook: NaN at step {nan_at}\n" in result.stdout
    steps, nan_at, loss, accuracy = rows["stablesoftmax"]
    assert (steps, nan_at) == ("1800", "never")
    assert float(loss) < 0.05
    assert float(accuracy.removesuffix("%")) >= 98
    assert f"loss curves: {picture}\n" in result.stdout
    header = picture.read_bytes()[:24]
    assert header.startswith(b"\x89PNG")
    assert struct.unpack(">II", header[16:24]) == (1200, 675)


def test_the_doctor_says_why_the_digits_are_nan(tmp_path):
    """What `make demo` shows first."""
    page, report = tmp_path / "digits.html", tmp_path / "digits.json"
    for path in (page, report):
        command = [sys.executable, "-m", "stablesoftmax", "run", "--report", path, DIGITS]
        done = subprocess.run(
            [*command, "--textbook"], cwd=ROOT, capture_output=True, text=True, timeout=120,
            check=False, env={**os.environ, "PYTHONIOENCODING": "utf-8"},
        )  # fmt: skip
        assert done.returncode == 1
        assert "textbook: NaN at step " in done.stdout
        assert "RuntimeWarning: overflow encountered in exp" in done.stderr
        assert f"report: {path}\n" in done.stderr
    first, *_ = json.loads(report.read_text(encoding="utf-8"))["findings"]
    line = DIGITS.read_text(encoding="utf-8").splitlines()[first["where"]["line"] - 1]
    assert (first["code"], first["severity"]) == ("SMX001", "error")
    assert line.strip().startswith("probabilities = np.exp(logits) / np.sum(np.exp(logits)")
    readme = (DIGITS.parents[1] / "README.md").read_text(encoding="utf-8")
    shown = re.search(r"^\$ stablesoftmax run examples/.*?\n(.*?)^```", readme, re.S | re.M)
    told = [line.strip() for line in (done.stdout + done.stderr).splitlines()]
    for line in map(str.strip, shown[1].splitlines()):
        numbers = re.search("logits reaches|NaN at step|to 766", line)  # they depend on the BLAS
        assert numbers or line in told
    assert "probabilities = <mark>np.exp(logits)</mark>" in page.read_text(encoding="utf-8")


@pytest.mark.parametrize("module", ["matplotlib", "rich", "sklearn"])
def test_digits_without_its_extras_says_what_to_install(module):
    result = run(missing=module)
    assert result.returncode == 1
    assert result.stdout == ""
    pattern = rf"digits.py needs {module}[.\w]*: pip install stablesoftmax\[demo\]\n"
    assert re.fullmatch(pattern, result.stderr)


@pytest.mark.parametrize(
    ("option", "value", "message"),
    [
        ("--epochs", "0", "--epochs must be at least 1, got 0"),
        ("--seed", "-1", "--seed must not be negative, got -1"),
        ("--out", "digits.txt", "--out must be a .png file in an existing folder, got digits.txt"),
        ("--out", "no/d.png", "--out must be a .png file in an existing folder, got no/d.png"),
    ],
)
def test_digits_refuses_bad_options(digits, monkeypatch, capsys, option, value, message):
    monkeypatch.setattr(sys, "argv", ["digits.py", option, value])
    with pytest.raises(SystemExit, match="2"):
        digits["arguments"]()
    assert capsys.readouterr().err.splitlines()[-1] == f"digits.py: error: {message}"


@pytest.mark.parametrize("loss", ["textbook_loss", "stable_loss"])
def test_digits_gradient_is_that_of_finite_differences(digits, loss):
    rng = np.random.default_rng(0)
    images, labels = rng.uniform(0, 1, (7, digits["PIXELS"])), rng.integers(0, 10, 7)
    weights = digits["network"](digits["initial_weights"], rng)

    def loss_at(weights):
        return digits[loss](digits["forward"](weights, images)[1], labels)

    hidden, logits = digits["forward"](weights, images)
    gradients = digits["backward"](weights, images, hidden, digits[loss](logits, labels)[1])
    for name, gradient in gradients.items():
        direction = rng.standard_normal(gradient.shape)
        ahead, behind = (
            loss_at({**weights, name: weights[name] + step * direction})[0]
            for step in (1e-6, -1e-6)
        )
        np.testing.assert_allclose(np.sum(gradient * direction), (ahead - behind) / 2e-6, rtol=1e-6)
