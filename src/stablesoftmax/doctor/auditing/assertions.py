"""`assert_sound`: an audit as one line of a test."""

from collections.abc import Callable
from typing import Any

from . import audit

__all__ = ["assert_sound"]


def assert_sound(fn: Callable[..., Any], kind: str = "softmax", **options: Any) -> None:
    """Raise unless an audit of the function finds no error and no warning.

    Parameters
    ----------
    fn : callable
        The function, as `audit` has it.
    kind : {"softmax", "log_softmax", "logsumexp", "cross_entropy"}
        What it should compute.
    **options : object
        `axis`, `arrays` and `time_limit`, as `audit` has them.

    Raises
    ------
    AssertionError
        With the report's text.

    Examples
    --------
    >>> from stablesoftmax import doctor, softmax
    >>> doctor.assert_sound(softmax)
    """
    report = audit(fn, kind, **options)
    if not report.ok:
        raise AssertionError(str(report))
