"""Type checkers see array kind in, array kind out: tests/typing says what they must infer."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FILES = sorted((Path(__file__).parent / "typing").glob("*.py"))
SOURCE = ROOT / "src"


def mypy(path):
    return check([sys.executable, "-m", "mypy", "--strict", "--no-error-summary", path])


def pyright(path):
    if shutil.which("node") is None:
        pytest.skip("node, which pyright needs, is not installed")
    code, output = check([sys.executable, "-m", "pyright", "--version"])
    if code:  # pip's pyright is a wrapper that fetches the real one
        pytest.skip(f"pyright cannot be fetched: {output.strip()[-200:]}")
    return check([sys.executable, "-m", "pyright", "--pythonpath", sys.executable, path])


def check(command):
    run = subprocess.run(
        command,
        cwd=ROOT,
        env=os.environ | {"MYPYPATH": str(SOURCE), "PYRIGHT_PYTHON_IGNORE_WARNINGS": "1"},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    return run.returncode, run.stdout + run.stderr


checker = pytest.mark.parametrize("checker", [mypy, pyright], ids=lambda f: f.__name__)


@checker
@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_inferred_types(checker, path):
    code, output = checker(path)
    assert code == 0, output


@checker
def test_a_wrong_type_is_noticed(checker, tmp_path):
    """The test above can fail."""
    wrong = tmp_path / "wrong.py"
    text = (Path(__file__).parent / "typing" / "numpy_arrays.py").read_text(encoding="utf-8")
    wrong.write_text(re.sub(r"NDArray\[Any\]\)", "int)", text, count=1), encoding="utf-8")
    code, output = checker(wrong)
    assert code == 1
    assert "assert" in output
