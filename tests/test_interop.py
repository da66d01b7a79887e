"""What `make interop` runs: the tests that need a library of the extra [interop]."""

import re
import tomllib
from pathlib import Path

import pytest
from conftest import INTEROP, library

TESTS = Path(__file__).parent


def test_the_libraries_are_those_of_the_extra():
    project = tomllib.loads((TESTS.parent / "pyproject.toml").read_text())["project"]
    needs = project["optional-dependencies"]["interop"]
    assert {re.match(r"\w+", need)[0] for need in needs} == set(INTEROP)


@pytest.mark.parametrize("name", INTEROP)
def test_a_test_without_the_marker_gets_none_of_them(name):
    with pytest.raises(AssertionError, match="marked interop"):
        library(name)


def test_make_runs_the_marked():
    recipe = re.search(r"^interop:.*\n((?:\t.*\n)+)", (TESTS.parent / "Makefile").read_text(), re.M)
    assert recipe[1].strip() == "@$(BIN)/python -m pytest -m interop"


def test_there_is_no_other_way_to_skip_without_a_library():
    """What imports it outright fails where it is missing, and CI has such a run."""
    found = [path.name for path in TESTS.rglob("*.py") if ".importorskip(" in path.read_text()]
    assert sorted(found) == ["conftest.py", "test_interop.py"]
