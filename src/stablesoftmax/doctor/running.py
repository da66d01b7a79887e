"""Run a script, or a block, and watch NumPy's floating-point status: nothing is patched.

NumPy looks at the processor's flags after every operation, and tells an object of ours which
operation overflowed, divided by zero or was invalid. The object looks up the user's line and
reads what the operation was given.
"""

import os
import re
import runpy
import sys
import threading
import types
import warnings
from collections.abc import Sequence
from types import FrameType, TracebackType
from typing import Any, NamedTuple

import numpy as np

from .arrays import as_array
from .events import Record, event_of, user_frame
from .exceptions import of_exception
from .findings import Finding, Severity
from .following import Follower
from .reporting import Report

__all__ = ["Outcome", "Watch", "run", "watch"]

_TOLD = re.compile(r"(?:Warning: )?(overflow|divide|invalid)[\w ]* encountered in (.+?)\s*$")
_WATCHED = ("over", "divide", "invalid")  # underflow is nothing


class Outcome(NamedTuple):
    """What a run came to: the report, and the exit status that the script itself asked for."""

    report: Report
    status: int


class Watch:
    """Watch the NumPy operations of a block; use it as a context manager.

    Parameters
    ----------
    thorough : bool, default False
        Also follow the lines of your own files, and say after which one a variable first held a
        NaN or an infinity, whoever made it.
    """

    def __init__(self, *, thorough: bool = False) -> None:
        self._record = Record()
        self._extra: list[Finding] = []
        self._notes: list[str] = []
        self._pid, self._busy = os.getpid(), self._record.busy
        self._threads: set[int | None] = set()
        self._silenced: list[str] = []
        self._followed = Follower(self._record) if thorough else None

    @property
    def report(self) -> Report:
        """What was found so far, the root cause first."""
        found = [*self._record.findings(), *self._extra]
        order = {"error": 0, "warning": 1, "info": 2}
        return Report(sorted(found, key=lambda f: order[f.severity]), tool="run", notes=self._notes)

    def __enter__(self) -> "Watch":
        self._before = np.geterr(), np.geterrcall()
        self._unwatched = {thread.ident for thread in threading.enumerate()}
        self._begin()
        threading.setprofile(self._begin_thread)
        self._show_before, warnings.showwarning = warnings.showwarning, self._show
        if self._followed:
            self._followed.start(sys._getframe(1))
        return self

    def __exit__(self, *exception: object) -> None:
        if self._followed:
            self._followed.stop()
            self._notes += self._followed.notes()
        threading.setprofile(None)
        if warnings.showwarning == self._show:
            warnings.showwarning = self._show_before
        self._note_silence()
        self._note_threads()
        modes, call = self._before
        np.seterr(**modes)
        np.seterrcall(call)

    def _begin(self) -> None:
        modes: Any = np.geterr()
        watched: Any = {name: "log" for name in _WATCHED if modes[name] == "warn"}
        np.seterr(**watched)
        np.seterrcall(self)
        self._threads.add(threading.get_ident())

    def _begin_thread(self, *_: object) -> None:
        """Watch a new thread, at its first step: NumPy's modes are each thread's own."""
        sys.setprofile(None)
        self._begin()

    def write(self, message: str) -> None:
        """Take note of what NumPy tells, and warn as it would have done."""
        if getattr(self._busy, "now", False):
            return
        self._hear(message, sys._getframe(1))
        self._busy.now = True
        try:
            text = message.removeprefix("Warning: ").rstrip("\n")
            warnings.warn(text, RuntimeWarning, stacklevel=2)
        finally:
            self._busy.now = False

    def _show(self, message: Any, category: type[Warning], *place: Any, **options: Any) -> None:
        """Take note of a warning of NumPy's: np.seterr(all="warn") has it told to nobody else."""
        if issubclass(category, RuntimeWarning) and not getattr(self._busy, "now", False):
            frame: FrameType | None = sys._getframe(1)
            while frame is not None and frame.f_globals.get("__name__") == "warnings":
                frame = frame.f_back
            if frame is not None:
                self._hear(str(message), frame)
        self._show_before(message, category, *place, **options)

    def _hear(self, message: str, frame: FrameType) -> None:
        told = _TOLD.match(message)
        if told and os.getpid() == self._pid:
            self._busy.now = True
            try:
                self._note(told[1], told[2], frame)
            except Exception as error:
                self._note_failure(told[2], error)
            finally:
                self._busy.now = False

    def _note(self, kind: str, operation: str, frame: FrameType) -> None:
        operation = operation.removeprefix("scalar ")
        user, inside = user_frame(frame)
        key = (user.f_code, user.f_lasti, kind, operation)
        if event := self._record.events.get(key):
            event.times += 1
            return
        with np.errstate(all="ignore"), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            event, scene = event_of(user, None, kind, operation, inside)
            self._record.add(key, event, scene)

    def note_exception(self, error: BaseException) -> None:
        """Explain what ended the script, where a cause of the catalogue did."""
        try:
            found = of_exception(error)
        except Exception as failure:
            self._note_failure("the exception", failure)
        else:
            self._extra += [found] if found else []

    def _note_failure(self, what: str, error: Exception) -> None:
        """The program must not fail for what its watcher cannot do."""
        self._notes.append(f"{what} could not be looked at: {type(error).__name__}: {error}")

    def note_remains(self, names: dict[str, Any]) -> None:
        """Tell of NaN that is left in variables, where no operation was seen to make one."""
        if self._record.knows("invalid"):
            return
        found, whole = [], False
        for name, value in list(names.items()):
            array = None if name.startswith("_") else as_array(value)
            if array is not None and array.dtype.kind in "fc" and np.isnan(array).any():
                found.append(name)
                whole = whole or bool(np.isnan(array).all())
        if found:
            severity: Severity = "warning" if whole or self._silenced else "info"
            told = ", ".join(found[:5]) + (", ..." if len(found) > 5 else "")
            message = f"NaN at the end in {told}, and no operation was seen to make it"
            fix = "Run it with --thorough, which says after which line the NaN first stood."
            self._extra.append(Finding("SMX015", severity, message, {"names": found}, {}, fix))

    def _note_silence(self) -> None:
        modes: Any = np.geterr()
        before: Any = self._before[0]
        self._silenced = [name for name in _WATCHED if modes[name] == "ignore" != before[name]]
        if self._silenced and not self._followed:
            what = "everything" if len(self._silenced) == 3 else " and ".join(self._silenced)
            self._notes.append(
                f"np.seterr silenced {what} in this program, and what came after it was not seen: "
                "--thorough follows the variables themselves"
            )

    def _note_threads(self) -> None:
        for thread in threading.enumerate():
            if thread.ident not in self._threads | self._unwatched:
                self._notes.append(f"the thread {thread.name!r} could not be watched")


def watch(*, thorough: bool = False) -> Watch:
    """Watch a block, as `run` watches a script: which operation made the NaN, at which line.

    Parameters
    ----------
    thorough : bool, default False
        Also follow the lines of your own files, and say after which one a variable first held a
        NaN or an infinity, whoever made it: BLAS, a file, another library. Costs up to three
        times the block's time.

    Returns
    -------
    Watch
        A context manager, whose ``report`` says what was found. NumPy's warnings still appear.

    Examples
    --------
    >>> import warnings
    >>> import numpy as np
    >>> from stablesoftmax import doctor
    >>> x = np.array([1000.0, 0.0])
    >>> with warnings.catch_warnings(), doctor.watch() as watched:
    ...     warnings.simplefilter("ignore")
    ...     p = np.exp(x) / np.sum(np.exp(x))
    >>> watched.report.findings[0].name
    'unshifted-exp'
    """
    return Watch(thorough=thorough)


def run(
    script: str, arguments: Sequence[str] = (), *, module: bool = False, thorough: bool = False
) -> Outcome:
    """Run a script as `python` would, and say what made its NaN.

    Parameters
    ----------
    script : str
        The path of a script, or a module's name.
    arguments : sequence of str
        What the script finds in ``sys.argv``.
    module : bool, default False
        Whether `script` names a module, as after ``python -m``.
    thorough : bool, default False
        Also follow the lines of the script, as in `watch`.

    Returns
    -------
    Outcome
        The report, and the exit status that the script asked for.

    Raises
    ------
    OSError
        Where there is no such script, or it cannot be read.
    """
    namespace: dict[str, Any] = {}
    if module:
        _find(script)
        body = lambda: namespace.update(runpy.run_module(script, None, "__main__", True))  # noqa: E731
        sys.argv = [script, *arguments]
        sys.path.insert(0, os.getcwd())
    else:
        path = os.path.abspath(script)
        with open(path, "rb") as file:
            text = file.read()
        main = types.ModuleType("__main__")
        main.__dict__.update(__file__=path, __builtins__=__builtins__)
        namespace = main.__dict__
        sys.modules["__main__"] = main
        sys.argv = [script, *arguments]
        sys.path[0] = os.path.dirname(path)
        body = lambda: exec(compile(text, path, "exec", dont_inherit=True), namespace)  # noqa: E731
    pid, watched = os.getpid(), Watch(thorough=thorough)
    with watched:
        status, error = _status(body)
    if os.getpid() != pid:  # a child of os.fork came to the end of the script: it has no report
        raise SystemExit(status)
    if error is not None:
        watched.note_exception(error)
    watched.note_remains(namespace)
    return Outcome(watched.report, status)


def _find(module: str) -> None:
    import importlib.util

    try:
        spec = importlib.util.find_spec(module)
    except (ImportError, ValueError):
        spec = None
    if spec is None:
        raise FileNotFoundError(2, "No such module", module)


def _status(body: Any) -> tuple[int, BaseException | None]:
    """Run the script as Python would, traceback and all; return its exit status."""
    try:
        body()
    except SystemExit as stop:
        if stop.code is None or isinstance(stop.code, int):
            return stop.code or 0, None
        print(stop.code, file=sys.stderr)
        return 1, None
    except BaseException as error:
        error.__traceback__ = _own(error.__traceback__)
        sys.excepthook(type(error), error, error.__traceback__)
        return (130 if isinstance(error, KeyboardInterrupt) else 1), error
    return 0, None


def _own(trace: TracebackType | None) -> TracebackType | None:
    """A traceback without the frames of this module that called the script."""
    while trace is not None and trace.tb_frame.f_code.co_filename in (__file__, runpy.__file__):
        trace = trace.tb_next
    return trace
