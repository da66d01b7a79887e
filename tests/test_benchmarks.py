"""The benchmark's own arithmetic and plumbing. Nothing here asserts a time."""

import json
import subprocess
import sys
from itertools import product
from math import nan
from pathlib import Path

import numpy as np
import pytest

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"
sys.path.insert(0, str(BENCHMARKS))

import cells  # noqa: E402
import report  # noqa: E402
import rounds  # noqa: E402
import worker  # noqa: E402

FEW = cells.Cell("softmax", "float32", (3, 4), -1)


def figures(**medians):
    """The modes of one rival, with a minimum of half the median."""
    return {mode: {"median": t, "minimum": t / 2} for mode, t in medians.items()}


def entry(cell=FEW, threads=1, **rivals):
    return {**vars(cell), "shape": list(cell.shape), "threads": threads, "rivals": rivals}


def results(*entries):
    machine = {"date": "2026-01-01", "cpu": "a CPU", "cpus": 2, "caches": ["L2 1M"], "load": 0.0}
    machine |= {"memory": "1 GiB", "system": "Linux", "python": "3.11"}
    return {
        "machine": machine,
        "rounds": 1,
        "versions": {},
        "missing": {"torch": "No module named 'torch'"},
        "cells": list(entries),
    }


# ---- arithmetic on made-up times


def test_the_ratio_is_between_the_fastest_modes_of_us_and_of_the_fastest_rival():
    row = report.make_row(
        entry(
            stablesoftmax=figures(fresh=4.0, out=2.0),
            scipy=figures(fresh=9.0),
            torch=figures(fresh=6.0, out=5.0),
            jax={"unsupported": "no such dtype"},
            copy=figures(out=1.0),
        )
    )
    assert (row.ours, row.theirs, row.rival) == (2.0, 5.0, "torch")
    assert (row.ratio, row.by_minima, row.fresh, row.copies) == (2.5, 2.5, 1.5, 2.0)
    assert not row.lost


def test_a_cell_is_lost_below_one_and_only_there():
    ours = figures(out=2.0)
    assert report.make_row(entry(stablesoftmax=ours, torch=figures(out=1.9))).lost
    assert not report.make_row(entry(stablesoftmax=ours, torch=figures(out=2.0))).lost
    assert not report.make_row(entry(stablesoftmax=ours)).lost  # nobody to lose to
    assert not report.make_row(entry(torch=figures(out=2.0))).lost  # nobody to lose


def test_the_geometric_mean_leaves_out_what_is_not_known():
    assert report.geometric_mean([2.0, 8.0, nan]) == pytest.approx(4.0)
    assert np.isnan(report.geometric_mean([]))


def test_the_summary_counts_lists_and_admits():
    float64 = cells.Cell("logsumexp", "float64", (5,), -1)
    text = report.markdown(
        results(
            entry(stablesoftmax=figures(fresh=1.0), torch=figures(fresh=0.5)),
            entry(stablesoftmax=figures(fresh=1.0), torch=figures(fresh=8.0), threads=2),
            entry(
                float64,
                stablesoftmax=figures(fresh=1.0),
                scipy=figures(fresh=4.0),
                sklearn={"unsupported": "softmax only"},
            ),
        )
    )
    cut = [[word.strip() for word in line.split("|")] for line in text.splitlines() if "|" in line]
    table = {words[1]: words[2:-1] for words in cut}
    wanted = {"mean": "2.52", "least": "0.50", "most": "8.00", "cells": "3", "lost": "1"}
    assert wanted.items() <= dict(zip(table["rival / ours"], table["all"], strict=True)).items()
    assert table["softmax"][0] == table["float32"][0] == "2.00"
    assert table["2 threads"][0] == "8.00"
    assert "Lost: 1 of 3 cells.\n- softmax float32 3x4, 1 thread: 0.50" in text
    assert "- torch is missing: No module named 'torch'" in text
    assert "- sklearn in 1 of 3 cells (float64; logsumexp): softmax only" in text


@pytest.mark.parametrize("shape", [(10,), [10]])  # before and after a JSON file
def test_ten_numbers_are_compared_by_new_outputs(shape):
    rivals = {"torch": figures(fresh=4e-7, out=1e-9), "scipy": figures(fresh=6e-6)}
    ten = {**entry(stablesoftmax=figures(fresh=2e-7), **rivals), "shape": shape}
    assert report.ten_numbers([ten]).endswith(": 200 ns, 0.50 of torch's time, 1/30 of SciPy's")
    assert report.ten_numbers([entry(stablesoftmax=figures(fresh=2e-7), **rivals)]) == ""


@pytest.mark.parametrize(
    ("seconds", "text"), [(2.5, "2.5 s"), (0.0284, "28.4 ms"), (6.83e-7, "683 ns"), (nan, "-")]
)
def test_durations(seconds, text):
    assert report.duration(seconds) == text


# ---- the grid


def test_words_narrow_the_kinds_that_they_name():
    some = cells.select(["softmax", "float32", "float64", "10"])
    assert [cell.words for cell in some] == [("softmax", f"float{bits}", "10") for bits in (32, 64)]
    assert cells.select([]) == list(cells.GRID)
    with pytest.raises(ValueError, match="float31; choose from "):
        cells.select(["float31"])


def test_quick_keeps_every_op_dtype_and_axis():
    quick = [cell for cell in cells.GRID if cell.quick]
    assert {(c.op, c.dtype) for c in quick} == {(c.op, c.dtype) for c in cells.GRID}
    assert {(c.op, c.axis) for c in quick} == {(c.op, c.axis) for c in cells.GRID}
    assert len(quick) < len(cells.GRID) / 1.5


# ---- what is checked before it is timed


def cases():
    places = [((7,), -1), ((3, 5), -1), ((5, 3), 0), ((2, 5, 3), 1)]
    for op, dtype, (shape, axis) in product(cells.OPS, cells.DTYPES, places):
        yield cells.Cell(op, dtype, shape, axis)


def right(cell, x):
    value = cells.expression(cell.op, np.moveaxis(x, cell.axis, -1).astype(np.float64))
    return value if cell.op == "logsumexp" else np.moveaxis(value, -1, cell.axis)


@pytest.mark.parametrize("cell", list(cases()), ids=str)
def test_a_wrong_result_is_seen(cell):
    x = cells.make_input(cell)
    value = right(cell, x).astype(x.dtype)
    assert cells.mistake(cell, x, value) is None
    for wrong in (value * x.dtype.type(1.25), np.full_like(value, np.nan), np.zeros_like(value)):
        assert " is right" in cells.mistake(cell, x, wrong)


def test_the_wrong_axis_is_seen():
    cell = cells.Cell("softmax", "float64", (4, 4), 0)
    x = cells.make_input(cell)
    assert cells.mistake(cell, x, right(cells.Cell("softmax", "float64", (4, 4), -1), x))


class Rival:
    to_numpy = staticmethod(np.asarray)

    def __init__(self, statement):
        self.statement = statement

    def prepare(self, op, x, axis):
        return {"fresh": self.statement}, {"x": x, "np": np}


@pytest.mark.parametrize(
    ("statement", "key", "text"),
    [
        ("np.exp(x) / np.exp(x).sum(-1, keepdims=True)", "modes", "np.exp"),
        ("np.exp(x) / np.exp(x).sum()", "unsupported", "wrong result"),
        ("x.no_such_method()", "unsupported", "no attribute 'no_such_method'"),
    ],
)
def test_a_rival_is_timed_only_if_it_is_right(statement, key, text):
    child = worker.Worker(Rival(statement))
    assert text in str(child.prepare(vars(FEW))[key])
    assert bool(child.timers) == (key == "modes")


# ---- turns


class Puppet:
    """A worker whose modes take the given times."""

    def __init__(self, name, **seconds):
        self.name, self.seconds = name, seconds

    def ask(self, verb, argument=None):
        if verb == "prepare":
            return {"modes": dict.fromkeys(self.seconds, argument["op"])}
        return {mode: [self.seconds[mode]] for mode in argument} if verb == "sample" else {}


def test_a_slow_mode_sits_out_but_never_because_we_are_fast():
    workers = [
        Puppet("stablesoftmax", out=0.001),
        Puppet("copy", out=0.001),
        Puppet("torch", fresh=0.9, out=0.2),
        Puppet("scipy", fresh=0.59),
        Puppet("jax", fresh=0.61),
    ]
    measured = rounds.measure(FEW, workers, 3)
    played = {
        (name, mode): len(figures["rounds"])
        for name, modes in measured.items()
        for mode, figures in modes.items()
    }
    assert played == {
        ("stablesoftmax", "out"): 3,
        ("copy", "out"): 3,
        ("torch", "fresh"): 1,
        ("torch", "out"): 3,
        ("scipy", "fresh"): 3,
        ("jax", "fresh"): 1,
    }
    assert measured["copy"]["out"]["statement"] == "copy"


def test_another_one_begins_each_round():
    played = []

    class Recorder(Puppet):
        def ask(self, verb, argument=None):
            played.extend([self.name] * (verb == "sample"))
            return super().ask(verb, argument)

    rounds.measure(FEW, [Recorder("torch", out=1e-3), Recorder("scipy", out=1e-3)], 3)
    assert played == ["torch", "scipy", "scipy", "torch", "torch", "scipy"]


def test_summary_takes_the_median_of_rounds_and_the_minimum_of_all():
    summary = rounds.summary([[1.0, 2.0, 9.0], [4.0, 4.0, 0.5], [3.0]])
    assert summary == {"median": 3.0, "minimum": 0.5, "rounds": [2.0, 4.0, 3.0]}


def test_a_worker_that_dies_says_why_and_is_replaced():
    child = rounds.Worker("numpy_expression", 1)
    try:
        assert child.hello == {"version": f"numpy {np.__version__}"}
        answer = child.ask("no_such_verb")["unsupported"]
        assert answer.startswith("its process died with code 1: AttributeError")
        assert child.ask("prepare", vars(FEW)).keys() == {"modes"}
    finally:
        child.close()


# ---- the whole


def run(*arguments, **environment):
    command = [sys.executable, str(BENCHMARKS / "run.py"), "--threads", "1", *arguments]
    variables = rounds.environment(1) | environment
    return subprocess.run(command, capture_output=True, text=True, env=variables)


def test_one_cell_from_end_to_end(tmp_path):
    (tmp_path / "torch.py").write_text("print('noise')\nraise ImportError('no torch today')")
    rivals = "stablesoftmax,numpy_expression,torch,copy"
    options = ["--only", "softmax,float32,10", "--rounds", "2", "--rivals", rivals]
    done = run(*options, "--output", str(tmp_path), PYTHONPATH=str(tmp_path))
    assert (done.returncode, done.stderr) == (0, "")
    assert "Biases, so that you can judge" in done.stdout
    assert "- torch is missing: no torch today" in done.stdout

    found = json.loads((tmp_path / "results.json").read_text())
    assert found.keys() == {"machine", "rounds", "versions", "missing", "cells"}
    assert found["versions"].keys() == {"stablesoftmax", "numpy_expression", "copy"}
    [cell] = found["cells"]
    measured = cell.pop("rivals")
    assert cell == {"op": "softmax", "dtype": "float32", "shape": [10], "axis": -1, "threads": 1}
    assert {name: set(modes) for name, modes in measured.items()} == {
        "stablesoftmax": {"fresh", "out"},
        "numpy_expression": {"fresh", "out"},
        "copy": {"out"},
    }
    for modes in measured.values():
        for figures in modes.values():
            assert figures.keys() == {"statement", "median", "minimum", "rounds"}
            assert len(figures["rounds"]) == 2
            assert 0 < figures["minimum"] <= figures["median"]

    assert (tmp_path / "ratios.png").read_bytes().startswith(b"\x89PNG")
    again = run("--markdown", str(tmp_path / "results.json"))
    assert again.stdout == (tmp_path / "summary.md").read_text() != ""


def test_every_installed_rival_computes_what_we_compute(tmp_path):
    done = run("--only", "32x10", "--rounds", "1", "--output", str(tmp_path))
    assert done.returncode == 0, done.stderr
    found = json.loads((tmp_path / "results.json").read_text())
    here = set(rounds.RIVALS).difference(found["missing"])
    assert here >= {"stablesoftmax", "numpy_expression", "copy"}
    for cell in found["cells"]:
        wrong = {n for n, r in cell["rivals"].items() if r.get("unsupported") == "wrong result"}
        assert not wrong, cell
        if (cell["op"], cell["dtype"]) == ("softmax", "float32"):
            assert not any("unsupported" in result for result in cell["rivals"].values())


@pytest.mark.parametrize(
    ("option", "value"), [("--rivals", "nobody"), ("--only", "float31"), ("--threads", "0")]
)
def test_a_wrong_option_is_named(option, value):
    done = run(option, value)
    assert done.returncode == 2
    assert f"error: {option}: {value}" in done.stderr
