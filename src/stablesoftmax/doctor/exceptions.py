"""Explain the exception that ended a script, where a cause of the catalogue raised it."""

import ast
import re
from types import TracebackType

import numpy as np

from .events import event_of, findings_of
from .findings import Finding
from .patterns import Meaning
from .scenes import Event
from .sources import Module, Place, is_library, place_of

__all__ = ["of_exception"]

_TOLD = re.compile(r"(overflow|divide|invalid)[\w ]* encountered in (?:scalar )?(.+)")
_LABELS = re.compile(r"label|target|class|^y(_|\d|$)", re.I)


def of_exception(error: BaseException) -> Finding | None:
    """The finding that an exception stands for, or None where it has another cause."""
    trace = _last_of_the_user(error.__traceback__)
    if trace is None:
        return None
    told = _kind(error)
    if told is not None:
        event, _ = event_of(trace.tb_frame, trace.tb_lasti, *told)
        return _raised(event)
    place, module, node = place_of(trace.tb_frame, trace.tb_lasti)
    if module is None or node is None:
        return None
    for rule in (_missing_keepdims, _bad_label, _integer_buffer):
        if found := rule(error, module, node):
            code, message = found
            return Finding(code, "error", message, _where(place), _evidence(place, error))
    return None


def _last_of_the_user(trace: TracebackType | None) -> TracebackType | None:
    found = None
    while trace is not None:
        if not is_library(trace.tb_frame.f_code.co_filename):
            found = trace
        trace = trace.tb_next
    return found


def _kind(error: BaseException) -> tuple[str, str] | None:
    """The kind of event and the operation that a floating-point exception names."""
    text = str(error)
    if isinstance(error, FloatingPointError) and (told := _TOLD.match(text)):
        return told[1], told[2]
    if isinstance(error, OverflowError):
        return "overflow", "exp" if "math range" in text else "power"
    if isinstance(error, ZeroDivisionError):
        return "divide", "divide"
    if isinstance(error, ValueError) and "math domain error" in text:
        return "invalid", "log"
    return None


def _raised(event: Event) -> Finding:
    (finding, *_) = findings_of([event])
    return Finding(finding.code, "error", finding.message, finding.where, finding.evidence)


def _where(place: Place) -> dict[str, str | int]:
    names = ("file", "line", "column", "end_line", "function")
    return {name: getattr(place, name) for name in names}


def _evidence(place: Place, error: BaseException) -> dict[str, object]:
    step = {**place.to_dict(), "what": f"{type(error).__name__}: {error}"}
    return {"expression": place.source.strip(), "operation": type(error).__name__, "chain": [step]}


def _missing_keepdims(
    error: BaseException, module: Module, node: ast.AST
) -> tuple[str, str] | None:
    """`x - x.max(axis=1)` of (3, 4): the error that NumPy raises does not name the keepdims."""
    if not isinstance(error, ValueError) or "broadcast" not in str(error):
        return None
    meaning = Meaning(module)
    for name in ("max", "sum"):
        call = meaning.contains(node, name)
        words = {word.arg for word in call.keywords} if call else set()
        if call and "keepdims" not in words and ("axis" in words or len(call.args) > 1):
            text = " ".join(module.text(call).split())
            return "SMX006", f"{text} lost its axis, and does not broadcast against the rows"
    return None


def _bad_label(error: BaseException, module: Module, node: ast.AST) -> tuple[str, str] | None:
    if not isinstance(error, IndexError) or not isinstance(node, ast.Subscript):
        return None
    names = [n.id for n in ast.walk(node.slice) if isinstance(n, ast.Name)]
    label = next(filter(_LABELS.search, names), None)
    if label is None:
        return None
    counted = re.search(r"index (\d+) is out of bounds for axis \d+ with size (\d+)", str(error))
    hint = ": counted from 1?" if counted and counted[1] == counted[2] else ""
    return "SMX020", f"{label} names a class that is not there ({error}){hint}"


def _integer_buffer(error: BaseException, module: Module, node: ast.AST) -> tuple[str, str] | None:
    casting = np.exceptions.DTypePromotionError, TypeError
    if isinstance(error, casting) and "output from dtype('float" in str(error):
        return "SMX010", f"the result does not fit an array of integers: {error}"
    return None
