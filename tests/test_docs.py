"""README, docs/ and every docstring run; what they repeat from the code is what the code says."""

import doctest
import importlib.util
import inspect
import pkgutil
import re
import warnings
from pathlib import Path

import pytest
from calls import CALLS, call

import stablesoftmax
from stablesoftmax import accuracy

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
PROSE = [*PAGES, ROOT / "CHANGELOG.md", ROOT / "CONTRIBUTING.md"]
MODULES = ["stablesoftmax"] + [
    module.name
    for module in pkgutil.walk_packages(stablesoftmax.__path__, "stablesoftmax.")
    if module.name != "stablesoftmax._core"
]


def short(path):
    return str(path.relative_to(ROOT))


def python_blocks(text, missing=()):
    """Blank everything outside ```python fences, so that a failure still names its line.

    A fence may name a module, as ```python torch does: it is left out where that is missing.
    """
    inside, lines = False, []
    for line in text.splitlines():
        fence = line.startswith("```")
        lines.append(line if inside and not fence else "")
        if fence:
            language, *needs = line.removeprefix("```").split() or [""]
            inside = not inside and language == "python" and not set(needs) & set(missing)
    return "\n".join(lines)


def missing_modules(text):
    needed = sorted(set(re.findall(r"^```python (\w+)$", text, re.M)))
    return [module for module in needed if importlib.util.find_spec(module) is None]


def run(test):
    report = []
    runner = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS)
    result = runner.run(test, out=report.append)
    assert result.failed == 0, "".join(report)


@pytest.mark.interop
@pytest.mark.parametrize("page", PAGES, ids=short)
def test_page_runs(page):
    text = page.read_text(encoding="utf-8")
    missing = missing_modules(text)
    code = python_blocks(text, missing)
    test = doctest.DocTestParser().get_doctest(code, {}, page.name, str(page), 0)
    assert test.examples
    with warnings.catch_warnings():  # pages show what overflows; NumPy warns of it
        warnings.simplefilter("ignore", RuntimeWarning)
        run(test)
    if missing:
        pytest.skip(f"the rest of {page.name} ran; some needs {', '.join(missing)}")


def test_blocks_that_need_what_is_missing_are_left_out():
    text = "```python\n>>> 1\n```\n>>> 2\n```python json absent\n>>> 3\n```\n```text\n>>> 4\n```"
    assert python_blocks(text).split() == [">>>", "1", ">>>", "3"]
    assert python_blocks(text, ["absent"]).split() == [">>>", "1"]
    assert missing_modules("```python json\n```\n```python no_such_module\n```") == [
        "no_such_module"
    ]


@pytest.mark.parametrize("module", MODULES)
def test_docstrings_run(module):
    tests = doctest.DocTestFinder(exclude_empty=False).find(importlib.import_module(module))
    for test in tests:
        run(test)


def test_docstrings_behind_the_compiled_entry_are_found():
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


OPTIONS = ("axis", "where", "temperature", "out", "dtype", "keepdims", "undefined")


def test_the_table_of_options_is_what_the_signatures_say():
    text = (ROOT / "docs" / "api.md").read_text(encoding="utf-8")
    header, _, *rows = re.findall(r"^\|(.*)\|$", text, re.M)
    columns = [cell.strip() for cell in header.split("|")]
    table = {}
    for row in rows:
        name, *cells = (cell.strip() for cell in row.split("|"))
        table[name.strip("`")] = dict(zip(columns[1:], cells, strict=True))
    assert list(table) == list(CALLS)
    for name, cells in table.items():
        parameters = inspect.signature(getattr(stablesoftmax, name)).parameters
        for option in OPTIONS:
            assert (cells[option] == "✓") == (option in parameters), f"{name}, {option}"
        if cells["axis tuple"] == "4":
            with pytest.raises(TypeError, match="axis must be an int"):
                call(name, CALLS[name][0], axis=(0, 1))
