"""`audit`: the user's own function, run over adversarial inputs against the exact values."""

import contextlib
import inspect
import io
import threading
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np

from ..findings import Finding
from ..reporting import Report
from .calls import LIBRARIES, Caller, Stopped
from .stages import Examination

__all__ = ["audit"]

KINDS = ("softmax", "log_softmax", "logsumexp", "cross_entropy")
#: Where two causes are found, the one that makes the others appear comes first.
ORDER = (
    "SMX027", "SMX028", "SMX020", "SMX006", "SMX007", "SMX002", "SMX009", "SMX024", "SMX013",
    "SMX001", "SMX005", "SMX003", "SMX010", "SMX008", "SMX023", "SMX004", "SMX012", "SMX016",
    "SMX011", "SMX025", "SMX022", "SMX026", "SMX014", "SMX015",
)  # fmt: skip
_SEVERITIES = ("error", "warning", "info")


def audit(
    fn: Callable[..., Any],
    kind: str = "softmax",
    *,
    axis: int = -1,
    arrays: str | None = None,
    time_limit: float = 10.0,
) -> Report:
    """Run a function of the user's over adversarial inputs, and name what is wrong with it.

    Parameters
    ----------
    fn : callable
        ``fn(x)``, or ``fn(logits, labels)`` with one loss a row for a cross-entropy. Where it has
        a parameter ``axis`` or ``dim``, every axis is tried.
    kind : {"softmax", "log_softmax", "logsumexp", "cross_entropy"}
        What it should compute.
    axis : int, default -1
        The axis of the classes: -1, or 0 for a function that works on columns.
    arrays : {"numpy", "torch", "jax"}, optional
        What is given to it: by default NumPy's, then those that its module has imported.
    time_limit : float, default 10
        Seconds for all calls together. A function that hangs is left in a daemon thread.

    Returns
    -------
    Report
        The root cause first. A matter of taste or of contract (one +inf, a fully masked row, lists,
        empty arrays, vectors alone, integers) is "info". The notes say what passed and what failed.

    Raises
    ------
    TypeError, ValueError
        If an argument is none of these.

    Notes
    -----
    The function is executed, some hundred times. What it prints is not shown, and NumPy's error
    settings are put back.

    Examples
    --------
    >>> import numpy as np
    >>> from stablesoftmax import doctor
    >>> def softmax(x):
    ...     e = np.exp(x - np.max(x))
    ...     return e / e.sum(axis=-1, keepdims=True)
    >>> doctor.audit(softmax).findings[0].name
    'shared-shift'
    """
    _check(fn, kind, axis, arrays, time_limit)
    caller = Caller(fn, kind, arrays)
    examination = Examination(caller, kind, axis, _place(fn))
    failure: list[BaseException] = []

    def examine() -> None:
        try:
            with np.errstate(all="ignore"):
                caller.open(arrays)
                examination.run()
        except Stopped:
            pass
        except BaseException as error:
            failure.append(error)

    thread = threading.Thread(target=examine, name="stablesoftmax audit", daemon=True)
    printed = io.StringIO()
    with (
        warnings.catch_warnings(),
        contextlib.redirect_stdout(printed),
        contextlib.redirect_stderr(printed),
    ):
        warnings.simplefilter("ignore")
        thread.start()
        thread.join(time_limit)
        caller.stopped = True
    if failure:
        raise failure[0]
    findings = list(examination.findings)
    if thread.is_alive():
        message = f"no result within {time_limit:g} s, on {caller.now}"
        findings.append(Finding("SMX027", "error", message, examination.place))
    findings = [f for i, f in enumerate(findings) if f.code not in _severe(findings[:i])]
    findings.sort(key=lambda f: (_SEVERITIES.index(f.severity), _rank(f)))
    return Report(findings, tool="audit", notes=_notes(examination, printed.getvalue()))


def _rank(finding: Finding) -> int:
    """The place in `ORDER`; what is refused (info) says less than what is given."""
    refused = finding.severity == "info" and finding.code == "SMX027"
    return len(ORDER) if refused else ORDER.index(finding.code)


def _severe(findings: list[Finding]) -> set[str]:
    """The causes that need not be told again."""
    return {finding.code for finding in findings if finding.severity != "info"}


def _check(fn: Any, kind: Any, axis: Any, arrays: Any, time_limit: Any) -> None:
    if not callable(fn):
        raise TypeError(f"fn must be callable, got {type(fn).__name__}")
    if kind not in KINDS:
        raise ValueError(f"kind must be one of {', '.join(KINDS)}, got {kind!r}")
    if axis not in (-1, 0, 1) or isinstance(axis, bool):
        raise ValueError(f"axis must be -1, 0 or 1, got {axis!r}")
    if arrays is not None and arrays not in LIBRARIES:
        raise ValueError(f"arrays must be one of {', '.join(LIBRARIES)}, or None, got {arrays!r}")
    if arrays in LIBRARIES[1:]:
        __import__(arrays)
    if not isinstance(time_limit, int | float) or not 0 < time_limit < threading.TIMEOUT_MAX:
        raise ValueError(f"time_limit must be a positive number of seconds, got {time_limit!r}")


def _place(fn: Any) -> dict[str, Any]:
    """Where the function is written, if it is in a file."""
    code = getattr(inspect.unwrap(fn), "__code__", None)
    if code is None or code.co_filename.startswith("<"):
        return {}
    return {"file": code.co_filename, "line": code.co_firstlineno, "function": code.co_name}


def _notes(examination: Examination, printed: str) -> list[str]:
    caller = examination.caller
    notes = [
        f"{what}: {', '.join(dict.fromkeys(topics))}"
        for what, topics in (("failed", examination.failed), ("passed", examination.passed))
        if topics
    ]
    if printed:
        notes.append(f"it prints: {len(printed.splitlines())} lines were not shown")
    if caller.sets_errors:
        notes.append("it changes NumPy's error settings (np.seterr); they were put back")
    if caller.draws:
        notes.append("it draws from NumPy's global random numbers")
    return notes
