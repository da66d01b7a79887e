"""What `--thorough` looks at after each line, and which functions it leaves alone."""

import sys
import time

import numpy as np
import pytest

from stablesoftmax import _core, doctor
from stablesoftmax.doctor import lines

SPECIAL = [np.nan, -np.nan, np.inf, -np.inf, 0.0, -0.0]


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
@pytest.mark.parametrize("place", [0, 4095, 4096, 9000])
def test_all_finite(dtype, place):
    limits = np.finfo(dtype)
    for value in [*SPECIAL, limits.max, -limits.max, limits.tiny, limits.smallest_subnormal]:
        x = np.ones(9001, dtype)
        x[place] = value
        assert _core.all_finite(x) is bool(np.isfinite(value)), value
        assert _core.all_finite(np.frombuffer(b"x" + x.tobytes(), dtype, offset=1)) is bool(
            np.isfinite(value)
        )


@pytest.mark.parametrize(
    "other",
    [None, 1.0, [1.0], np.arange(3), np.ones(4)[::2], np.ones(3, ">f8"), np.ones(2, complex),
     np.array([None]), np.ma.ones(2)],
    ids=repr,
)  # fmt: skip
def test_all_finite_does_not_know(other):
    assert _core.all_finite(other) is None


@pytest.mark.parametrize("shape", [(0,), (), (2, 0, 3), (3, 4)])
def test_all_finite_of_every_shape(shape):
    assert _core.all_finite(np.ones(shape)) is True
    assert _core.all_finite(np.asfortranarray(np.ones(shape))) is True


WAYS = ["traced", "monitored"] if sys.version_info >= (3, 12) else ["traced"]


def followed(way, done, returned):
    if way == "traced":
        return lines._Traced(done, returned)
    return lines.lines(done, returned)


@pytest.mark.parametrize("way", WAYS)
def test_lines_are_told_when_they_are_done(tmp_path, way):
    path = tmp_path / "followed.py"
    path.write_text("def f(n):\n    for i in range(n):\n        a = i\n    return a\nb = f(2)\n")
    code, told = compile(path.read_text(), str(path), "exec"), []

    def done(frame, line):
        if frame.f_code.co_filename == str(path):
            told.append((line, frame.f_locals.get("a")))

    def returned(frame, line, value):
        told.append(("returned", value))

    ways = followed(way, done, returned)
    ways.start(sys._getframe())
    try:
        exec(code, {})
    finally:
        ways.stop()
    inside = [item for item in told if item[0] in (2, 3, 4, "returned")]
    assert inside[:6] == [(2, None), (3, 0), (2, 0), (3, 1), (2, 1), (4, 1)]
    assert ("returned", 1) in inside
    assert sys.gettrace() is None or way == "monitored"


def test_a_function_of_short_lines_is_left_alone(monkeypatch):
    clock = iter(np.arange(10) * 1.0)  # a second for all the lines, and one for a hundred tellings
    monkeypatch.setattr(time, "perf_counter", lambda: next(clock))
    told = []
    pace = lines._Pace(lambda frame, line: told.append(line))
    frame = sys._getframe()
    asked = [pace.too_fast(frame, 7) for _ in range(pace.EVERY)]
    assert asked == [False] * (pace.EVERY - 1) + [True]
    assert pace.codes == {id(frame.f_code): frame.f_code}
    assert told == [7] * 100


def test_a_function_of_long_lines_is_followed(monkeypatch):
    clock = iter([0.0, 1.0, 1.0 + 1e-6])
    monkeypatch.setattr(time, "perf_counter", lambda: next(clock))
    pace = lines._Pace(lambda frame, line: None)
    assert not any(pace.too_fast(sys._getframe(), 7) for _ in range(pace.EVERY))


def test_what_was_left_alone_is_noted(monkeypatch):
    monkeypatch.setattr(lines._Pace, "EVERY", 10)
    monkeypatch.setattr(lines._Pace, "TELLINGS", 1e9)
    with doctor.watch(thorough=True) as watched:
        for _ in range(20):
            pass
    (note,) = watched.report.notes
    assert note.startswith("test_what_was_left_alone_is_noted (")
    assert "too short to follow" in note
