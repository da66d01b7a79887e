"""`stablesoftmax check`: options, formats, fixes, notebooks, bad input, flake8."""

import ast
import gc
import io
import json
import os
import re
import sys
from pathlib import Path

import numpy as np
import pytest

from stablesoftmax import cli
from stablesoftmax.doctor import check
from stablesoftmax.doctor.checking.plugin import Plugin
from stablesoftmax.doctor.checking.suppression import READABLE

ROOT = Path(__file__).parents[2]
QUOTIENT = "import numpy as np\n\n\ndef f(x):\n    return np.exp(x) / np.exp(x).sum()\n"
LOG = (
    "from scipy.special import softmax\nimport numpy as np\n\n\n"
    "def g(x):\n    return np.log(softmax(x, axis=1))\n"
)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def command(*arguments):
    return cli.main(["check", *map(str, arguments)])


def write(folder, **files):
    for name, text in files.items():
        path = folder / name.replace("__", "/").replace("_py", ".py").replace("_nb", ".ipynb")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text if isinstance(text, bytes) else text.encode())


def notebook(*cells, **metadata):
    listed = [{"cell_type": kind, "source": source} for kind, source in cells]
    return json.dumps({"cells": listed, "metadata": metadata, "nbformat": 4})


def test_a_line_for_each_finding(folder, capsys):
    write(folder, a_py=QUOTIENT, b_py=LOG)
    assert command("a.py", "b.py") == 1
    assert capsys.readouterr().out.splitlines() == [
        "a.py:5:12: SMX001 unshifted-exp: exp is not shifted by the maximum before it is divided "
        "by its sum",
        "b.py:6:12: SMX004 log-of-softmax: log of a softmax is -inf where a probability underflows",
        "stablesoftmax check: 2 findings; `stablesoftmax explain SMX001` says what to do",
    ]


def test_nothing_found(folder, capsys):
    write(folder, a_py="x = 1\n")
    assert command() == 0
    assert capsys.readouterr().out == "stablesoftmax check: nothing found\n"


def test_folders_in_order_without_what_is_no_source(folder, capsys):
    left_out = ("_hidden/.x", "venv", "build", "node_modules", "__pycache__")
    for name in left_out:
        write(folder / name, a_py=QUOTIENT)
    write(folder / "my-venv", a_py=QUOTIENT)
    (folder / "my-venv" / "pyvenv.cfg").touch()
    write(folder, b__z_py=QUOTIENT, b__a_py=QUOTIENT, a_py=QUOTIENT)
    (folder / "a.txt").write_text(QUOTIENT)
    report = check(".")
    assert [f.where["file"] for f in report.findings] == ["./a.py", "./b/a.py", "./b/z.py"]
    assert len(check(["venv"]).findings) == 1  # it was named
    assert len(check(["a.py", ".", "b"]).findings) == 3  # each once


def test_exclude(folder):
    write(folder, a_py=QUOTIENT, tests__a_py=QUOTIENT, src__vendored__b_py=QUOTIENT)
    found = check(".", exclude=["tests", "*/vendored/*"]).findings
    assert [f.where["file"] for f in found] == ["./a.py"]


def test_standard_input(capsys, monkeypatch):
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(QUOTIENT.encode())))
    assert command("-") == 1
    assert capsys.readouterr().out.startswith("<stdin>:5:12: SMX001")


@pytest.mark.parametrize(
    ("options", "codes"),
    [
        ("--select SMX004", ["SMX004"]),
        ("--select smx004,SMX001", ["SMX001", "SMX004"]),
        ("--select SMX00 --ignore SMX001", ["SMX004"]),
        ("--ignore SMX", []),
    ],
)
def test_select_and_ignore(folder, capsys, options, codes):
    write(folder, a_py=QUOTIENT, b_py=LOG)
    assert command(".", *options.split()) == int(bool(codes))
    assert re.findall(r": (SMX\d+)", capsys.readouterr().out) == codes


@pytest.mark.parametrize(
    ("comment", "silent"),
    [
        ("# noqa", True),
        ("#NOQA:SMX001", True),
        ("# noqa: E501, SMX001", True),
        ("# noqa: E501 SMX001", True),
        ("# noqa: SMX004", False),
        ("# noqa: E501", False),
        ("# noqable", False),
        ("# see noqa", False),
    ],
)
def test_noqa(folder, comment, silent):
    write(folder, a_py=QUOTIENT.replace(".sum()", f".sum()  {comment}"))
    assert bool(check("a.py").findings) is not silent


def test_noqa_on_any_line_of_an_expression(folder):
    text = QUOTIENT.replace(
        "np.exp(x) / np.exp(x)", "(\n        np.exp(x)  # noqa\n        / np.exp(x)"
    )
    write(folder, a_py=text.replace(".sum()", ".sum()\n    )"))
    assert not check("a.py").findings


def test_a_baseline_knows_findings_by_their_line(folder, capsys):
    write(folder, a_py=QUOTIENT)
    assert command("a.py", "--write-baseline", "known.json") == 0
    assert "1 findings are known now" in capsys.readouterr().out
    assert command("a.py", "--baseline", "known.json") == 0
    moved = "# a line more\n" + QUOTIENT
    write(folder, a_py=moved)
    assert command("a.py", "--baseline", "known.json") == 0
    write(folder, a_py=moved + moved)  # twice, and one is known
    capsys.readouterr()
    assert command("a.py", "--baseline", "known.json") == 1
    assert "1 finding;" in capsys.readouterr().out


def test_settings_of_the_nearest_pyproject(folder, capsys):
    write(folder, src__a_py=QUOTIENT, src__b_py=LOG, src__old__c_py=LOG)
    (folder / "pyproject.toml").write_text(
        '[tool.stablesoftmax]\nignore = ["SMX001"]\nexclude = ["old"]\nbaseline = "known.json"\n'
    )
    (folder / "known.json").write_text('{"findings": []}')
    assert command("src") == 1
    assert re.findall(r": (SMX\d+)", capsys.readouterr().out) == ["SMX004"]
    assert command("src", "--ignore", "SMX004") == 1  # the command's own come first
    assert re.findall(r": (SMX\d+)", capsys.readouterr().out) == ["SMX001"]
    (folder / "src" / "pyproject.toml").write_text("[project]\n")
    assert command("src") == 1
    assert re.findall(r": (SMX\d+)", capsys.readouterr().out) == ["SMX001", "SMX004", "SMX004"]


REFUSED = {
    "--select SMX017": "select must be of SMX001 to SMX013, SMX016, SMX022, SMX023, or a beginning "
    "such as SMX00, got 'SMX017'",
    "--ignore E501": "ignore must be of SMX001 to SMX013, SMX016, SMX022, SMX023, or a beginning "
    "such as SMX00, got 'E501'",
    "absent.py": "no such file or folder: absent.py",
    "--baseline absent.json": "no such baseline: absent.json; --write-baseline makes one",
    "--baseline a.py": "baseline must be a file that --write-baseline made, got a.py",
    "--write-baseline absent/known.json": "no folder for the baseline: absent/known.json",
    "--fix -": "--fix and --diff need files, and not the standard input",
    "--report a.pdf": "a report's suffix must be .json, .html, .htm, .sarif, .txt, .log, got "
    "'a.pdf'",
}


@pytest.mark.parametrize("line", REFUSED)
def test_refused_in_one_line(folder, capsys, line):
    write(folder, a_py=QUOTIENT)
    assert command(*line.split()) == 2
    assert capsys.readouterr() == ("", f"stablesoftmax check: {REFUSED[line]}\n")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "[tool.stablesoftmax]\nselects = []",
            "takes select, ignore, exclude, baseline, got selects",
        ),
        (
            "[tool.stablesoftmax]\nselect = 'SMX001'",
            "select must be a list of strings, got 'SMX001'",
        ),
        ("[tool.stablesoftmax]\nbaseline = 1", "baseline must be a string, got 1"),
        ("[tool]\nstablesoftmax = 1", "tool.stablesoftmax must be a table, got 1"),
        ("[tool", "pyproject.toml cannot be read: "),
        (b"\xff", "pyproject.toml cannot be read: "),
    ],
)
def test_settings_that_are_refused(folder, capsys, text, message):
    write(folder, a_py=QUOTIENT)
    (folder / "pyproject.toml").write_bytes(text if isinstance(text, bytes) else text.encode())
    assert command("a.py") == 2
    told = capsys.readouterr()
    assert told.out == ""
    assert message in told.err
    assert told.err.count("\n") == 1


def test_codes_must_be_a_sequence():
    with pytest.raises(TypeError, match="select must be a sequence of codes such as"):
        check(".", select="SMX001")
    with pytest.raises(TypeError, match="ignore must be a sequence of codes, got 3"):
        check(".", ignore=[3])


BAD_FILES = {
    "syntax.py": (b"x = (\n", "line 1: '(' was never closed"),
    "null.py": (b"x = 1\x00\n", "source code string cannot contain null bytes"),
    "utf8.py": (b"x = 1\ny = '\xff'\n", "line 2 is not utf-8: byte 0xff"),
    "encoding.py": (b"# -*- coding: klingon -*-\n", "unknown encoding: klingon"),
    "python2.py": (b"print 'softmax'\n", "line 1: Missing parentheses in call to 'print'"),
    "noise.ipynb": (b"\x00\xff", "no JSON: "),
    "text.ipynb": (b"softmax", "no JSON: "),
    "list.ipynb": (b"[]", "JSON, and no notebook: it has no list of cells"),
    "other.ipynb": (b'{"cells": 3}', "JSON, and no notebook: it has no list of cells"),
    "cells.ipynb": (b'{"cells": [1, null]}', "JSON, and no notebook: it has no list of cells"),
    "deep.ipynb": (b"[" * 100_000, "no JSON: "),
    "deep.py": (b"x = " + b"(" * 500 + b")" * 500, "line 1: too many nested parentheses"),
    "r.ipynb": (
        notebook(("code", "x <- 1"), language_info={"name": "R"}).encode(),
        "a notebook in R, and not in Python",
    ),
}


@pytest.mark.parametrize("name", BAD_FILES)
def test_a_file_that_cannot_be_read_is_one_line(folder, capsys, name):
    data, reason = BAD_FILES[name]
    (folder / name).write_bytes(data)
    assert command(name) == 2  # nothing could be read
    out = capsys.readouterr().out
    assert out.startswith(f"note: {name} is not read: {reason}")
    assert out.count("\n") == 2
    write(folder, good_py=QUOTIENT)
    assert command(".") == 1
    told = capsys.readouterr().out.splitlines()
    assert told[0].startswith("good.py:5:12: SMX001")  # the others are still checked
    assert told[1].startswith(f"note: ./{name} is not read: {reason}")


def test_a_folder_that_is_a_file_by_name_and_a_file_that_may_not_be_read(folder):
    (folder / "folder.py").mkdir()
    write(folder, folder_py__a_py=QUOTIENT)
    assert len(check(".").findings) == 1
    os.symlink("nowhere.py", folder / "dangling.py")
    report = check(".")
    assert report.notes == ("./dangling.py is not read: No such file or directory",)


def test_other_encodings_are_read(folder):
    latin = "# -*- coding: latin-1 -*-\n# é\n" + QUOTIENT
    (folder / "latin.py").write_bytes(latin.encode("latin-1"))
    (folder / "mark.py").write_bytes(b"\xef\xbb\xbf" + QUOTIENT.encode())
    (folder / "windows.py").write_bytes(QUOTIENT.replace("\n", "\r\n").encode())
    (folder / "mac.py").write_bytes(QUOTIENT.replace("\n", "\r").encode())
    found = {f.where["file"]: f.where["line"] for f in check(".").findings}
    assert found == {"./latin.py": 7, "./mark.py": 5, "./windows.py": 5, "./mac.py": 5}


def test_a_form_feed_ends_no_line(folder):
    write(folder, a_py="import numpy as np\n\f\n" + QUOTIENT.replace(".sum()", ".sum()  # noqa"))
    assert not check("a.py").findings
    write(folder, a_py="import numpy as np\n\f\n" + QUOTIENT)
    assert check("a.py").findings[0].where["source"] == QUOTIENT.splitlines()[-1]


def test_columns_count_characters(folder):
    write(folder, a_py="import numpy as np\né = 1; xx = p = np.exp(x) / np.exp(x).sum()\n")
    where = check("a.py").findings[0].where
    assert (where["line"], where["column"], where["end_column"]) == (2, 17, 44)
    assert where["source"][where["column"] - 1 : where["end_column"] - 1].startswith("np.exp(x) /")


def test_an_expression_of_ten_thousand_operators(folder):
    write(folder, a_py=QUOTIENT + "y = " + " + ".join(["x"] * 900) + "\n" + QUOTIENT)
    assert len(check("a.py").findings) == 2
    write(folder, a_py=QUOTIENT + "y = x" + ".real" * 900 + "\n")
    assert len(check("a.py").findings) == 1
    write(folder, a_py=QUOTIENT + "y = x" + ".exp()" * 400 + "\n")  # each link is read once
    assert len(check("a.py").findings) == 1


def test_the_collector_is_left_as_it_was(folder):
    write(folder, a_py=QUOTIENT)
    check("a.py")
    assert gc.isenabled()
    gc.disable()
    try:
        check("a.py")
        assert not gc.isenabled()
    finally:
        gc.enable()


def test_nothing_is_executed(folder):
    write(folder, a_py="open('executed', 'w')\n" + QUOTIENT)
    check("a.py")
    assert not (folder / "executed").exists()


def test_a_notebook_is_read_cell_by_cell(folder, capsys):
    write(
        folder,
        a_nb=notebook(
            ("markdown", "# np.exp(x) / np.exp(x).sum()"),
            ("code", ["import numpy as np\n", "%matplotlib inline\n", "!pip install x\n", "x?"]),
            ("code", "%%bash\nnp.exp(x) / np.exp(x).sum()"),
            ("code", "%%time\ne = np.exp(x)\nfiles = !ls\nif x:\n    %time y = 2\nawait y"),
            ("code", "\np = e / e.sum()"),
        ),
    )
    assert command("a.ipynb") == 1
    assert capsys.readouterr().out.startswith("a.ipynb:cell 5:2:5: SMX001 unshifted-exp: ")
    assert check("a.ipynb").findings[0].where["cell"] == 5
    for form, message in (
        ("sarif", '"text": "cell 5: exp is not'),
        ("github", "::cell 5: exp is not"),
    ):
        command("a.ipynb", "--format", form)
        assert message in capsys.readouterr().out


def test_a_cell_that_does_not_parse_leaves_the_others(folder):
    cells = [("code", "import numpy as np"), ("code", "x = ("), ("code", QUOTIENT)]
    write(folder, a_nb=notebook(*cells))
    report = check("a.ipynb")
    assert report.findings[0].where["cell"] == 3
    assert report.notes == ("a.ipynb is not read in cell 2: line 1: '(' was never closed",)


def test_an_old_notebook_and_an_empty_one(folder):
    cells = [{"cell_type": "code", "input": [QUOTIENT]}]
    (folder / "a.ipynb").write_text(json.dumps({"worksheets": [{"cells": cells}], "nbformat": 3}))
    (folder / "b.ipynb").write_text(notebook())
    assert len(check(".").findings) == 1


def test_json(folder, capsys):
    write(folder, a_py=QUOTIENT)
    assert command("a.py", "--format", "json") == 1
    (finding,) = json.loads(capsys.readouterr().out)["findings"]
    assert finding["code"] == "SMX001"
    assert finding["where"] == {
        "file": "a.py",
        "line": 5,
        "column": 12,
        "end_line": 5,
        "end_column": 39,
        "function": "f",
        "source": "    return np.exp(x) / np.exp(x).sum()",
    }


def test_sarif_has_the_whole_region(folder, capsys):
    write(folder, a_py=QUOTIENT)
    assert command("a.py", "--format", "sarif") == 1
    (run,) = json.loads(capsys.readouterr().out)["runs"]
    (place,) = run["results"][0]["locations"]
    assert place["physicalLocation"] == {
        "artifactLocation": {"uri": "a.py"},
        "region": {"startLine": 5, "startColumn": 12, "endLine": 5, "endColumn": 39},
    }


def test_github_annotates(folder, capsys):
    write(folder / "50%, a:b", a_py=QUOTIENT)
    (folder / "bad.py").write_text("x = (\n")
    assert command(".", "--format", "github") == 1
    first, second = capsys.readouterr().out.splitlines()
    assert first.startswith(
        "::error title=SMX001 unshifted-exp,file=50%25%2C a%3Ab/a.py,line=5,endLine=5,col=12,"
        "endColumn=39::exp is not shifted by the maximum"
    )
    assert second == (
        "::warning title=stablesoftmax::./bad.py is not read: line 1: '(' was never closed"
    )


def test_statistics(folder, capsys):
    write(folder, a_py=QUOTIENT * 2, b_py=LOG)
    assert command(".", "--statistics") == 1
    assert capsys.readouterr().out == (
        "     2  SMX001  unshifted-exp\n     1  SMX004  log-of-softmax\n"
    )
    write(folder, c_py="def (")
    assert command("b.py", "c.py", "--statistics") == 1
    assert "note: c.py is not read: line 1" in capsys.readouterr().out


def test_a_report_beside_the_output(folder, capsys):
    write(folder, a_py=QUOTIENT)
    assert command("a.py", "--report", "why.sarif") == 1
    assert json.loads((folder / "why.sarif").read_text())["version"] == "2.1.0"
    assert command("a.py", "--report", "why.txt") == 1
    assert (
        "  a.py:5 in f\n    return np.exp(x) / np.exp(x).sum()\n           ^^^^^^^^^^^^^^^^^^^"
    ) in (folder / "why.txt").read_text()


FIXED = {
    "from scipy.special import softmax\ny = np.log(softmax(x, axis=1))\n": (
        "from scipy.special import softmax\nfrom scipy.special import log_softmax\n"
        "y = log_softmax(x, axis=1)\n"
    ),
    "import scipy.special\ny = np.log(scipy.special.softmax(x, axis=1))\n": (
        "import scipy.special\ny = scipy.special.log_softmax(x, axis=1)\n"
    ),
    "import torch\ny = torch.log(torch.softmax(x, dim=1))\n": (
        "import torch\ny = torch.log_softmax(x, dim=1)\n"
    ),
    "import torch.nn.functional as F, torch\ny = torch.log(F.softmax(x, -1))\n": (
        "import torch.nn.functional as F, torch\ny = F.log_softmax(x, -1)\n"
    ),
    "import jax, jax.numpy as jnp\ny = jnp.log(jax.nn.softmax(x))\n": (
        "import jax, jax.numpy as jnp\ny = jax.nn.log_softmax(x)\n"
    ),
    "from stablesoftmax import softmax\ny = np.log(softmax(x))\n": (
        "from stablesoftmax import softmax\nfrom stablesoftmax import log_softmax\n"
        "y = log_softmax(x)\n"
    ),
    "y = np.log(np.sum(np.exp(x), axis=1, keepdims=True))\n": (
        "import stablesoftmax\ny = stablesoftmax.logsumexp(x, axis=1, keepdims=True)\n"
    ),
    "y = np.log(np.sum(np.exp(a @ b)))\n": (
        "import stablesoftmax\ny = stablesoftmax.logsumexp(a @ b, axis=None)\n"
    ),
    "import torch\ny = torch.log(torch.sum(torch.exp(x), 1))\n": (
        "import torch\ny = torch.logsumexp(x, dim=1)\n"
    ),
}
FIXED["from scipy.special import softmax\ny = np.log(np.sum(np.exp(np.log(softmax(x)))))\n"] = (
    "from scipy.special import softmax\nfrom scipy.special import log_softmax\n"
    "y = np.log(np.sum(np.exp(log_softmax(x))))\n"  # the inner first
)
NOT_FIXED = [
    "from stablesoftmax import softmax\ny = np.log(softmax(x, where=m))\n",
    "from .layers import softmax\ny = np.log(softmax(x))\n",
    "from scipy.special import softmax\ny = np.log(softmax(x), out=z)\n",
    "from scipy.special import softmax\nlog_softmax = 1\n"
    "y = np.log(softmax(x)) + (lambda softmax: 1)(2)\n",
    "from scipy.special import softmax\ny = np.log2(softmax(x))\n",
    "import torch\ny = np.log(torch.softmax(x, 1))\n",
    "import torch\ny = torch.log(torch.sum(torch.exp(x)))\n",
    "y = np.log(np.sum(np.exp(x), axis=1, where=m))\n",
    "y = np.log(np.sum(np.exp(x), axis=1))  # noqa\n",
    "y = np.log(sum(np.exp(x)))\n",
    "e = np.exp(x)\ny = np.log(e.sum())\n",
    "y = np.exp(x) / np.exp(x).sum()\n",
]


@pytest.mark.parametrize("text", FIXED)
def test_fix(folder, capsys, text):
    before = "#!/usr/bin/env python\n'''Doc.'''\nimport numpy as np\n" + text
    write(folder, a_py=before)
    os.chmod("a.py", 0o755)
    assert command("a.py", "--diff") == 1
    assert (folder / "a.py").read_text() == before  # nothing was written
    shown = capsys.readouterr().out
    assert shown.startswith("--- a/a.py\n+++ b/a.py\n")
    assert command("a.py", "--fix") == 0
    assert capsys.readouterr().out == shown + "stablesoftmax check: nothing found\n"
    assert (folder / "a.py").read_text() == before.replace(text, FIXED[text])
    assert (folder / "a.py").stat().st_mode & 0o777 == 0o755
    assert [path.name for path in folder.iterdir()] == ["a.py"]


@pytest.mark.parametrize("text", NOT_FIXED)
def test_what_is_not_safe_is_not_fixed(folder, capsys, text):
    before = "import numpy as np\n" + text
    write(folder, a_py=before)
    command("a.py", "--fix")
    assert (folder / "a.py").read_text() == before


def test_fix_keeps_encoding_and_line_ends(folder):
    text = "# -*- coding: latin-1 -*-\r\nimport numpy as np\r\né = np.log(np.sum(np.exp(x)))\r\n"
    (folder / "a.py").write_bytes(text.encode("latin-1"))
    command("a.py", "--fix")
    assert (folder / "a.py").read_bytes() == (
        "# -*- coding: latin-1 -*-\r\nimport numpy as np\r\nimport stablesoftmax\r\n"
        "é = stablesoftmax.logsumexp(x, axis=None)\r\n"
    ).encode("latin-1")


def test_fix_heeds_select(folder):
    write(folder, a_py=LOG)
    command("a.py", "--fix", "--select", "SMX001")
    assert (folder / "a.py").read_text() == LOG


def test_a_fix_computes_the_same(folder):
    text = "def f(x):\n    return np.log(np.sum(np.exp(x), axis=0))\n"
    write(folder, a_py="import numpy as np\n" + text)
    command("a.py", "--fix")
    spaces = [{}, {}]
    exec("import numpy as np\n" + text, spaces[0])
    exec((folder / "a.py").read_text(), spaces[1])
    x = np.arange(6.0).reshape(2, 3)
    np.testing.assert_allclose(spaces[0]["f"](x), spaces[1]["f"](x), rtol=1e-15)


def test_flake8_plugin():
    found = list(Plugin(ast.parse(QUOTIENT)).run())
    assert found == [
        (5, 11, "SMX001 exp is not shifted by the maximum before it is divided by its sum", Plugin)
    ]
    assert list(Plugin(ast.parse(QUOTIENT), QUOTIENT.splitlines(keepends=True)).run()) == found
    assert Plugin.name == "stablesoftmax"
    assert re.match(r"\d", Plugin.version)
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    assert 'SMX = "stablesoftmax.doctor.checking.plugin:Plugin"' in text


def test_pre_commit_hook():
    text = (ROOT / ".pre-commit-hooks.yaml").read_text(encoding="utf-8")
    assert "entry: stablesoftmax check" in text
    assert "types_or: [python, jupyter]" in text


def test_the_codes_are_those_of_the_page():
    page = (ROOT / "docs" / "check.md").read_text(encoding="utf-8")
    assert re.findall(r"^\| (SMX\d+) ", page, re.M) == list(READABLE)
