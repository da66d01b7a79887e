"""README, docs/ and every docstring run; what they repeat from the code is what the code says."""

import doctest
import importlib
import pkgutil
import re
from pathlib import Path

import pytest

import stablesoftmax
from stablesoftmax import accuracy

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
PROSE = [*PAGES, ROOT / "CHANGELOG.md", ROOT / "CONTRIBUTING.md"]
MODULES = ["stablesoftmax"] + [
    f"stablesoftmax.{module.name}"
    for module in pkgutil.iter_modules(stablesoftmax.__path__)
    if module.name != "_core"
]


def short(path):
    return str(path.relative_to(ROOT))


def python_blocks(text):
    """Blank everything outside ```python fences, so that a failure still names its line."""
    inside, lines = False, []
    for line in text.splitlines():
        fence = line.startswith("```")
        lines.append(line if inside and not fence else "")
        inside = line == "```python" if fence else inside
    return "\n".join(lines)


def run(test):
    report = []
    runner = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS)
    result = runner.run(test, out=report.append)
    assert result.failed == 0, "".join(report)


@pytest.mark.parametrize("page", PAGES, ids=short)
def test_page_runs(page):
    code = python_blocks(page.read_text(encoding="utf-8"))
    test = doctest.DocTestParser().get_doctest(code, {}, page.name, str(page), 0)
    assert test.examples
    run(test)


@pytest.mark.parametrize("module", MODULES)
def test_docstrings_run(module):
    tests = doctest.DocTestFinder(exclude_empty=False).find(importlib.import_module(module))
    for test in tests:
        run(test)


def test_docstrings_behind_the_front_door_are_found():
    tests = doctest.DocTestFinder().find(importlib.import_module("stablesoftmax.functions"))
    ran = {test.name.rpartition(".")[2] for test in tests if test.examples}
    assert ran == {"softmax", "log_softmax", "logsumexp"}


def test_accuracy_tables_are_the_one_that_is_tested():
    found = {
        short(page): table
        for page in PAGES
        for table in re.findall(
            r"<!-- accuracy -->\n(.*?)\n<!-- /accuracy -->", page.read_text(encoding="utf-8"), re.S
        )
    }
    assert found == dict.fromkeys(["README.md", "docs/contract.md"], accuracy.markdown())


@pytest.mark.parametrize("page", PROSE, ids=short)
def test_links_lead_somewhere(page):
    text = page.read_text(encoding="utf-8")
    for target in re.findall(r"\]\((?!https?://|#)([^)#]+)", text):
        assert (page.parent / target).exists(), f"{short(page)} links to {target}"
