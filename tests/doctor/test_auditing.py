"""`audit`: every mistake has its own cause first, and what is sound is left alone."""

import os
import subprocess
import sys
import time
import warnings
from pathlib import Path

import mistakes
import numpy as np
import pytest
from conftest import library
from mistakes import MISTAKES, stable
from scipy import special

import stablesoftmax
from stablesoftmax import cli, doctor


def loop_over_rows(x):
    out = np.empty(x.shape, x.dtype if x.dtype.kind == "f" else float)
    for i in range(len(x)):
        e = np.exp(x[i] - x[i].max())
        out[i] = e / e.sum()
    return out


def of_a_vector(x):
    """Return the softmax of a vector."""
    e = np.exp(x - x.max())
    return e / e.sum()


def whole(x):
    e = np.exp(x - np.max(x))
    return e / np.sum(e)


def loss(x, labels):
    return stablesoftmax.cross_entropy(x, labels, reduction="none")


def loop_of_losses(x, labels):
    rows = zip(x, labels, strict=True)
    losses = [-special.log_softmax(np.asarray(row))[label] for row, label in rows]
    return np.array(losses, getattr(x, "dtype", None))


SOUND = {
    "ours": (stablesoftmax.softmax, "softmax"),
    "ours, log": (stablesoftmax.log_softmax, "log_softmax"),
    "ours, sum": (stablesoftmax.logsumexp, "logsumexp"),
    "ours, loss": (loss, "cross_entropy"),
    "scipy": (special.softmax, "softmax"),
    "scipy, log": (special.log_softmax, "log_softmax"),
    "scipy, sum": (special.logsumexp, "logsumexp"),
    "the stable answer": (stable, "softmax"),
    "rows": (loop_over_rows, "softmax"),
    "a vector": (of_a_vector, "softmax"),
    "the answer for vectors": (
        lambda x: np.exp(x - x.max()) / np.exp(x - x.max()).sum(),
        "softmax",
    ),
    "numpy": (np.logaddexp.reduce, "logsumexp"),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_each_mistake_has_its_own_cause_first(name):
    code, kind, function = MISTAKES[name]
    report = doctor.audit(function, kind)
    assert report.tool == "audit"
    assert report.findings[0].code == code, str(report)
    assert not report.ok


def test_there_are_fifty():
    assert len(MISTAKES) >= 50


@pytest.mark.parametrize("name", SOUND)
def test_what_is_sound_is_left_alone(name):
    function, kind = SOUND[name]
    report = doctor.audit(function, kind)
    assert report.ok, str(report)
    doctor.assert_sound(function, kind)


def test_scikit_learn():
    report = doctor.audit(library("sklearn.utils.extmath").softmax)
    assert report.ok, str(report)


@pytest.mark.interop
@pytest.mark.parametrize("kind", ["softmax", "log_softmax", "logsumexp"])
def test_torch(kind):
    torch = library("torch")
    for function in (getattr(torch, kind), lambda x: getattr(torch, kind)(x, -1)):
        report = doctor.audit(function, kind)
        assert report.ok, str(report)


@pytest.mark.interop
@pytest.mark.parametrize("kind", ["softmax", "log_softmax", "logsumexp"])
def test_jax(kind):
    jax = library("jax")
    report = doctor.audit(getattr(jax.nn, kind), kind, time_limit=60)  # each shape is compiled
    assert report.ok, str(report)


@pytest.mark.interop
def test_a_mistake_in_torch():
    torch = library("torch")
    naive = doctor.audit(lambda x: torch.exp(x) / torch.exp(x).sum(-1, keepdim=True))
    assert naive.findings[0].code == "SMX001"
    log = doctor.audit(lambda x: torch.log(torch.softmax(x, -1)), "log_softmax", arrays="torch")
    assert log.findings[0].code == "SMX004"


def test_the_smallest_input_is_told():
    finding = doctor.audit(mistakes.global_maximum).findings[0]
    assert np.shape(finding.evidence["input"]) == (2, 1)
    assert finding.where["function"] == "global_maximum"
    assert finding.where["file"] == mistakes.__file__


def test_a_hang_is_ended():
    start = time.monotonic()
    report = doctor.audit(mistakes.hangs, time_limit=0.3)
    assert time.monotonic() - start < 5
    assert "no result within 0.3 s" in report.findings[0].message
    assert report.findings[0].code == "SMX027"


def test_what_is_printed_and_set_does_not_disturb(capsys):
    before = np.geterr()
    printing, setting = doctor.audit(mistakes.prints), doctor.audit(mistakes.sets_errors)
    assert capsys.readouterr() == ("", "")
    assert np.geterr() == before
    assert any("it prints" in note for note in printing.notes)
    assert any("np.seterr" in note for note in setting.notes)
    assert printing.ok
    assert setting.ok


def test_warnings_and_exits_stay_inside():
    def warns(x):
        warnings.warn("look", stacklevel=1)
        return stable(x)

    assert doctor.audit(warns).ok
    assert doctor.audit(lambda x: sys.exit("no")).findings[0].message == "it raises SystemExit: no"


def test_global_random_numbers_are_noted():
    def draws(x):
        np.random.seed(0)  # noqa: NPY002
        np.random.rand()  # noqa: NPY002
        return stable(x)

    report = doctor.audit(draws)
    assert report.ok
    assert any("random" in note for note in report.notes)


@pytest.mark.parametrize(
    "result", [None, "text", {"p": 1}, 3, [], (np.zeros(2), 0), np.zeros((7, 7)), 1j, object()]
)
def test_whatever_comes_back_is_a_finding(result):
    report = doctor.audit(lambda x: result)
    assert not report.ok
    assert str(report)
    assert report.to_json()


def test_work_in_place_that_is_documented():
    def softmax(x):
        """Return the softmax, computed in place."""
        x -= np.max(x, axis=-1, keepdims=True)
        return stable(x)

    report = doctor.audit(softmax)
    assert report.ok
    assert "SMX022" in {finding.code for finding in report.findings}


def test_a_default_axis_is_worth_a_word():
    codes = {f.code: f.severity for f in doctor.audit(special.softmax).findings}
    assert codes["SMX007"] == "info"
    assert "SMX007" not in {f.code for f in doctor.audit(stable).findings}


def test_columns_where_they_are_asked():
    assert doctor.audit(lambda x: stable(x, axis=0), axis=0).ok
    assert doctor.audit(stable_last, axis=0).findings[0].code == "SMX007"


def stable_last(x):
    return stable(x, axis=-1)


def test_assert_sound_tells_the_report():
    with pytest.raises(AssertionError, match="SMX001 unshifted-exp"):
        doctor.assert_sound(mistakes.naive)


@pytest.mark.parametrize(
    ("arguments", "options", "message"),
    [
        ((3,), {}, "fn must be callable, got int"),
        ((stable, "softplus"), {}, "kind must be one of softmax"),
        ((stable,), {"axis": 5}, "axis must be -1, 0 or 1, got 5"),
        ((stable,), {"arrays": "cupy"}, "arrays must be one of numpy"),
        ((stable,), {"time_limit": 0}, "time_limit must be a positive number"),
        ((stable,), {"time_limit": float("nan")}, "time_limit must be a positive number"),
    ],
)
def test_arguments_are_checked(arguments, options, message):
    with pytest.raises((TypeError, ValueError), match=message):
        doctor.audit(*arguments, **options)


# ---- the command ---------------------------------------------------------------------------------


@pytest.fixture
def module(tmp_path, monkeypatch):
    text = "import numpy as np\ndef softmax(x):\n    return np.exp(x) / sum(np.exp(x))\n"
    (tmp_path / "softmax_of_mine.py").write_text(text)
    (tmp_path / "broken_module.py").write_text("1 / 0")
    monkeypatch.setattr(sys, "path", [str(Path(path).absolute()) for path in sys.path if path])
    monkeypatch.chdir(tmp_path)
    yield tmp_path
    sys.modules.pop("softmax_of_mine", None)


def test_the_command(module, capsys):
    assert cli.main(["audit", "softmax_of_mine:softmax", "--report", "why.json"]) == 1
    assert "SMX007 wrong-axis (error)" in capsys.readouterr().out
    assert (module / "why.json").exists()
    assert cli.main(["audit", "scipy.special:log_softmax", "--kind", "log_softmax"]) == 0


def test_the_command_ends_what_never_lets_go(module):
    text = "import re\ndef softmax(x):\n    return re.match('(a+)+$', 'a' * 40 + 'b')\n"
    (module / "never.py").write_text(text)
    line = [sys.executable, "-m", "stablesoftmax", "audit", "never:softmax", "--time-limit", "0.1"]
    paths = os.pathsep.join(str(Path(path).absolute()) for path in sys.path if path)
    ended = subprocess.run(
        line, capture_output=True, text=True, timeout=60, env=os.environ | {"PYTHONPATH": paths}
    )
    assert ended.returncode == 1
    assert "never.py" in ended.stderr


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("softmax_of_mine", "MODULE:FUNCTION is accepted"),
        ("softmax_of_mine:other", "softmax_of_mine has no other"),
        ("softmax_of_mine:np.pi", "fn must be callable, got float"),
        ("broken_module:softmax", "broken_module cannot be imported: ZeroDivisionError"),
        ("no_such_module:softmax", "no_such_module cannot be imported"),
    ],
)
def test_the_command_refuses_in_one_line(module, capsys, name, message):
    assert cli.main(["audit", name]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
