"""The command line beside `run`: diagnose, trace, explain, info; and reports in every form."""

import json
import os
import pty
import re
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from conftest import python
from scripts import SCRIPTS, THOROUGH
from test_diagnosis import ROWS, SICK

from stablesoftmax import cli, doctor
from stablesoftmax.doctor import CAUSES, Finding, Report
from stablesoftmax.doctor.causes import markdown

ROOT = Path(__file__).parents[2]
OVERFLOW = [[1.0, 2.0], [np.nan, 0.0]]


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def command(*arguments):
    return cli.main(list(arguments))


def write(folder, name, values):
    if name.endswith(".npz"):
        np.savez(folder / name, **values)
    elif name.endswith(".npy"):
        np.save(folder / name, values)
    else:
        np.savetxt(folder / name, values, delimiter="," if name.endswith(".csv") else " ")


@pytest.mark.parametrize("name", ["x.npy", "x.csv", "x.txt"])
def test_diagnose_a_file(folder, capsys, name):
    write(folder, name, OVERFLOW)
    assert command("diagnose", name) == 1
    assert "SMX015 bad-input (error)\n  logits holds 1 NaN" in capsys.readouterr().out


def test_diagnose_what_is_clean(folder, capsys):
    write(folder, "x.npy", [[1.0, 2.0]])
    assert command("diagnose", "x.npy") == 0
    assert capsys.readouterr().out == "stablesoftmax diagnose: nothing found\n"


def test_diagnose_takes_every_array(folder, capsys):
    for name, values in {
        "x.npy": [[1.0, 2.0], [3.0, 4.0]], "p.npy": [[0.5, 0.5], [0.5, 0.5]], "y.npy": [1, 2],
        "mask.npy": [True, True], "layers.npz": {"W1": np.zeros((8, 8)), "b1": np.zeros(8)},
        "grads.npz": {"W1": [np.inf]},
    }.items():  # fmt: skip
        write(folder, name, values)
    options = shlex.split("--probs p.npy --labels y.npy --mask mask.npy --weights layers.npz")
    assert command("diagnose", "x.npy", *options, "--grads", "grads.npz", "--axis", "1") == 1
    told = capsys.readouterr().out
    assert {"SMX020", "SMX018", "SMX019"} == set(re.findall(r"^SMX\d+", told, re.M))
    assert "layer W1" in told


def test_diagnose_one_array_of_an_npz(folder, capsys):
    write(folder, "one.npz", {"anything": [1.0, np.nan]})
    assert command("diagnose", "one.npz") == 1
    write(folder, "two.npz", {"logits": [1.0, np.nan], "other": [1.0]})
    assert command("diagnose", "two.npz") == 1
    write(folder, "none.npz", {"a": [1.0], "b": [1.0]})
    assert command("diagnose", "none.npz") == 2
    assert "the file holds a, b, and none is named logits" in capsys.readouterr().err


def bad_file(folder, name):
    match name:
        case "pickled.npy":
            np.save(folder / name, np.array([{"a": 1}]), allow_pickle=True)
        case "truncated.npz":
            np.savez(folder / name, x=np.arange(1000.0))
            (folder / name).write_bytes((folder / name).read_bytes()[:500])
        case "truncated.npy":
            np.save(folder / name, np.arange(1000.0))
            (folder / name).write_bytes((folder / name).read_bytes()[:500])
        case "text.csv":
            (folder / name).write_text("a,b\n1,x\n")
        case "ragged.csv":
            (folder / name).write_text("1,2\n1\n")
        case "empty.npy" | "noise.npy":
            (folder / name).write_bytes(b"\x00\xff" * (name == "noise.npy"))
        case "binary.csv":
            (folder / name).write_bytes(bytes(range(256)))
        case "folder.npy":
            (folder / name).mkdir()
    return name


BAD_FILES = [
    "pickled.npy", "truncated.npz", "truncated.npy", "text.csv", "ragged.csv", "empty.npy",
    "noise.npy", "binary.csv", "folder.npy", "absent.npy",
]  # fmt: skip


@pytest.mark.parametrize("tool", ["diagnose", "trace"])
@pytest.mark.parametrize("name", BAD_FILES)
def test_a_file_that_cannot_be_read(folder, capsys, name, tool):
    bad_file(folder, name)
    assert command(tool, name) == 2
    told = capsys.readouterr()
    assert told.out == ""
    assert re.fullmatch(rf"stablesoftmax {tool}: [^\n]*{name}[^\n]*\n", told.err)


def test_nothing_is_unpickled(folder, capsys):
    class Bomb:
        def __reduce__(self):
            return (Path.touch, (folder / "exploded",))

    np.save("bomb.npy", np.array([Bomb()]), allow_pickle=True)
    np.savez("bomb.npz", x=np.array([Bomb()]))
    assert [command("diagnose", name) for name in ("bomb.npy", "bomb.npz")] == [2, 2]
    assert not (folder / "exploded").exists()


REFUSED = {
    "diagnose": "no array: pass a file of logits, or --probs, --labels, --grads, --weights",
    "diagnose x.npy --axis 3": "axis must be from -2 to 1 for logits, got 3",
    "diagnose x.npy --report x.pdf": "a report's suffix must be .json, .html, .htm, .sarif, .txt, "
    ".log, got 'x.pdf'",
    "trace 1 two": "numbers or one file are accepted, got 1 two",
    "trace x.npy": "row must be one row and not empty, got shape (2, 2)",
    "explain SMX999": "there is no cause SMX999; `stablesoftmax explain` lists them",
}


@pytest.mark.parametrize("line", REFUSED)
def test_refused_in_one_line(folder, capsys, line):
    write(folder, "x.npy", OVERFLOW)
    assert command(*line.split()) == 2
    assert capsys.readouterr() == ("", f"stablesoftmax {line.split()[0]}: {REFUSED[line]}\n")


def test_trace(capsys):
    assert command("trace", "1000", "-999", "0") == 1
    told = capsys.readouterr().out
    assert "exp     inf, 0, 1 " in told
    assert "SMX001" in told
    assert command("trace", "--dtype", "float16", "10", "-10") == 0
    assert "nothing found" in capsys.readouterr().out


@pytest.mark.parametrize("code", CAUSES)
def test_explain(capsys, code):
    assert command("explain", code.lower()) == 0
    told = capsys.readouterr().out
    assert told.startswith(f"{code} {CAUSES[code].name}\n")
    assert " ".join(CAUSES[code].fix.split()) in " ".join(told.split())


def test_explain_lists_every_cause(capsys):
    assert command("explain") == 0
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()] == list(CAUSES)


def test_info(capsys):
    assert command("info") == 0
    told = capsys.readouterr().out
    for name in ("stablesoftmax", "NumPy", "Python", "CPU level", "threads"):
        assert re.search(rf"^{name} +\S+", told, re.M)


def test_the_examples_in_the_help_run(folder):
    np.save("logits.npy", [[1.0, 2.0]])
    np.save("labels.npy", [0])
    (folder / "train.py").write_text("import sys\nprint(sys.argv[1:])\n")
    for name in ("run", "diagnose", "trace", "explain", "info"):
        done = python(f"from stablesoftmax.cli import main; main(['{name}', '--help'])")
        example = shlex.split(re.search(r"example: stablesoftmax (.*)", done.stdout)[1])
        done = subprocess.run([sys.executable, "-m", "stablesoftmax", *example], check=False)
        assert done.returncode == (1 if name == "trace" else 0)
    assert "<html" in (folder / "why.html").read_text(encoding="utf-8")


# ---- the catalogue -------------------------------------------------------------------------------


def test_the_catalogue_is_whole():
    assert list(CAUSES) == [f"SMX{number:03}" for number in range(1, 32)]
    assert len({cause.name for cause in CAUSES.values()}) == 31
    for cause in CAUSES.values():
        assert ">>>" in cause.example
        assert ">>>" in cause.cure
        assert "\n" not in cause.fix


# Of the others, the source or the function itself must be looked at.
SEEN = {*range(1, 11), 12, *range(14, 22), 24, 29, 30, 31}


def test_every_cause_that_is_seen_has_a_fixture():
    """In which it is named first, as the tests of `run`, `diagnose` and `trace` show."""
    fixtures = [*SCRIPTS.values(), *THOROUGH.values(), *SICK.values(), *ROWS.values()]
    assert {fixture[1] for fixture in fixtures} == {f"SMX{number:03}" for number in SEEN}


def test_the_page_of_causes_is_made_from_the_catalogue():
    """`python -m stablesoftmax.doctor.causes > docs/causes.md` makes it anew."""
    assert (ROOT / "docs" / "causes.md").read_text(encoding="utf-8") == markdown() + "\n"


# ---- reports -------------------------------------------------------------------------------------

FINDINGS = [
    Finding("SMX015", "error", "x holds <b>1</b> NaN", {"file": "a&b.py", "line": 3, "column": 5}),
    Finding("SMX021", "info", "row 3", {"indices": np.array([[3]])}, {"sums": [np.nan, np.inf]}),
]
REPORT = Report(FINDINGS, tool="diagnose", notes=["a thread \x1b[31m"])


def test_a_report_in_json(tmp_path):
    doctor.reporting.write(REPORT, tmp_path / "r.json")
    report = json.loads((tmp_path / "r.json").read_text(encoding="utf-8"))
    assert list(report) == ["version", "tool", "findings", "notes"]
    assert report["tool"] == "diagnose"
    first, second = report["findings"]
    assert list(first) == ["code", "name", "severity", "message", "where", "evidence", "fix"]
    assert (first["name"], first["where"]["line"]) == ("bad-input", 3)
    assert (second["where"], second["evidence"]) == ({"indices": [[3]]}, {"sums": ["nan", "inf"]})


def test_a_report_in_sarif(tmp_path):
    doctor.reporting.write(REPORT, tmp_path / "r.sarif")
    (run,) = json.loads((tmp_path / "r.sarif").read_text(encoding="utf-8"))["runs"]
    first, second = run["results"]
    rules = run["tool"]["driver"]["rules"]
    assert rules[first["ruleIndex"]]["id"] == first["ruleId"] == "SMX015"
    assert [first["level"], second["level"]] == ["error", "note"]
    place = first["locations"][0]["physicalLocation"]
    assert place["artifactLocation"]["uri"] == "a&b.py"
    assert place["region"] == {"startLine": 3, "startColumn": 5}


def test_a_report_as_text(tmp_path):
    doctor.reporting.write(REPORT, tmp_path / "r.txt")
    text = (tmp_path / "r.txt").read_text(encoding="utf-8")
    assert text == str(REPORT) + "\n"
    assert "\x1b" not in text
    assert "note: a thread \\x1b[31m" in text


def test_a_report_in_a_notebook_is_escaped():
    assert "&lt;b&gt;" in REPORT._repr_html_()
    assert "<b>" not in REPORT._repr_html_()


def test_a_report_is_whole_or_as_it_was(tmp_path, monkeypatch):
    path = tmp_path / "r.json"
    path.write_text("before")
    monkeypatch.setattr(os, "replace", lambda *_: (_ for _ in ()).throw(OSError("disk full")))
    with pytest.raises(OSError, match="disk full"):
        doctor.reporting.write(REPORT, path)
    assert path.read_text() == "before"
    assert list(tmp_path.iterdir()) == [path]


def test_ok_is_neither_an_error_nor_a_warning():
    assert Report(FINDINGS[1:], tool="run").ok
    assert not Report(FINDINGS, tool="run").ok
    assert not Report([Finding("SMX001", "warning", "x")], tool="run").ok
    with pytest.raises(ValueError, match="code must be one of the catalogue's, got 'SMX999'"):
        Finding("SMX999", "error", "x")


@pytest.mark.parametrize("name", ["jinja2", "matplotlib"])
def test_without_the_extra_a_page_is_refused_before_the_script_runs(folder, name):
    (folder / "script.py").write_text("print('ran')\n")
    code = (
        f"import sys; sys.modules[{name!r}] = None\nfrom stablesoftmax.cli import main\n"
        "sys.exit(main(['run', '--report', 'why.html', 'script.py']))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    told = f"stablesoftmax run: {name} is needed for this: pip install 'stablesoftmax[doctor]'\n"
    assert (done.returncode, done.stdout, done.stderr) == (2, "", told)


def test_every_command_runs_with_numpy_alone(folder):
    """What an environment of NumPy and this package lacks is hidden, and nothing asks for it."""
    (folder / "script.py").write_text("import numpy as np\nnp.log(np.array([0.0]))\n")
    np.save("x.npy", OVERFLOW)
    code = """
import sys
class Hidden:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("rich", "jinja2", "matplotlib", "scipy", "pandas", "torch"):
            raise ModuleNotFoundError(name=name)
sys.meta_path.insert(0, Hidden())
from stablesoftmax.cli import main
for line in ("diagnose x.npy --report r.json", "trace 1000", "explain SMX001", "info",
             "run --report r.sarif script.py", "run --thorough script.py"):
    print(main(line.split()))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    statuses = [line for line in done.stdout.splitlines() if line.isdigit()]
    assert statuses == ["1", "1", "0", "0", "1", "1"], done


def test_colour_where_there_is_a_terminal(folder):
    (folder / "script.py").write_text("import numpy as np\nnp.exp(np.array([1000.0]))\n")
    ours, theirs = pty.openpty()
    environment = os.environ | {"TERM": "xterm-256color", "PYTHONWARNINGS": "ignore"}
    environment.pop("NO_COLOR", None)
    command = [sys.executable, "-m", "stablesoftmax", "run", "script.py"]
    subprocess.run(command, stderr=theirs, env=environment, check=False)
    os.close(theirs)
    told = os.read(ours, 10_000).decode()
    assert "\x1b[1;33mSMX001 unshifted-exp (warning)" in told
