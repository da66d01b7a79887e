"""Follow the lines of the user's files: after which one did a variable first hold NaN or inf?

That finds what NumPy's status does not tell of: BLAS, files, other libraries, and all that runs
under `np.errstate(all="ignore")`. A line is looked at when the next one begins: only the names that
it wrote to, or passed to a call, are.
"""

from __future__ import annotations

import ast
import contextlib
import math
from collections.abc import Iterator
from types import BuiltinFunctionType, CodeType, FrameType, FunctionType, ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .. import _core
from .arrays import as_array
from .attribution import attribute
from .events import Record
from .expressions import Reader, Unreadable, operands
from .lines import lines
from .scenes import Event, Scene, Suspicion
from .sources import module_of, short_path, stack_of

__all__ = ["Follower"]

_ITEMS = 100  # of a container that are looked into
_OPERATIONS = {
    ast.Div: "divide", ast.FloorDiv: "floor_divide", ast.Sub: "subtract", ast.Add: "add",
    ast.Mult: "multiply", ast.MatMult: "matmul", ast.Pow: "power", ast.Mod: "remainder",
}  # fmt: skip
_LITERALS = ("nan", "inf", "NaN", "Inf", "infty", "NINF", "PINF")


class Follower:
    """Follow the program's lines until the first NaN.

    Parameters
    ----------
    record : Record
        Where what is found goes.
    """

    def __init__(self, record: Record) -> None:
        self._record, self._busy = record, record.busy
        self._infinite: set[tuple[str, int]] = set()  # lines that are known to make infinities
        self._known: set[tuple[CodeType, str]] = set()  # names that have held infinities
        self._written: dict[int, dict[int, tuple[tuple[str, str], ...]]] = {}  # by code and line
        self._codes: list[CodeType] = []  # kept alive: their ids are keys
        self._silenced: tuple[list[Event], tuple[str, int], str] | None = None
        self._lines = lines(self._done, self._returned)

    def start(self, frame: FrameType) -> None:
        """Follow what is called from now on, and the frame that asked for it."""
        self._lines.start(frame)

    def stop(self) -> None:
        """Follow no more."""
        self._lines.stop()

    def notes(self) -> list[str]:
        """What was not followed, a line for each function."""
        told = "ran lines too short to follow each of them: what it returned was looked at"
        return [
            f"{code.co_name} ({short_path(code.co_filename)}:{code.co_firstlineno}) {told}"
            for code in self._lines.pace.codes.values()
        ]

    def _done(self, frame: FrameType, line: int) -> None:
        """Look at what a line wrote. Most lines write a finite number, which is told at once."""
        code = frame.f_code
        written = self._lines_of(code)
        names = written.get(line)
        if names is None:
            names = written[line] = _written(code, line)
        if not names:
            return
        local = frame.f_locals
        for name, attribute_of_it in names:
            held: Any = local[name] if name in local else frame.f_globals.get(name)
            if not _is_fine(held):
                self._look(frame, line, name, attribute_of_it, held)

    def _returned(self, frame: FrameType, line: int, value: Any) -> None:
        if not _is_fine(value):
            self._look_at(frame, line, "the value returned", value)

    def _lines_of(self, code: CodeType) -> dict[int, tuple[tuple[str, str], ...]]:
        lines = self._written.get(id(code))  # a code object's own hash costs a microsecond
        if lines is None:
            self._codes.append(code)
            lines = self._written[id(code)] = {}
        return lines

    def _look(
        self, frame: FrameType, line: int, name: str, attribute_of_it: str, held: Any
    ) -> None:
        if attribute_of_it:
            fields = getattr(held, "__dict__", None)
            held = fields.get(attribute_of_it) if type(fields) is dict else None
            name = f"{name}.{attribute_of_it}"
        if held is not None:
            self._look_at(frame, line, name, held)

    def _look_at(self, frame: FrameType, line: int, name: str, value: Any) -> None:
        self._busy.now = True  # what our own sums overflow is no event
        try:
            held = _held(value)
        finally:
            self._busy.now = False
        place = frame.f_code.co_filename, line
        if held == "nan":
            self._look_at_nan(frame, place, name)
        elif held == "inf" and place not in self._infinite:
            self._infinite.add(place)
            if not self._record.knows("overflow", "divide"):
                self._explain(frame, line, name, held)

    def _look_at_nan(self, frame: FrameType, place: tuple[str, int], name: str) -> None:
        """The first NaN ends the search; one that was silenced, when it is found elsewhere, too.

        `with np.errstate(invalid="ignore"): q = a / b`, then `np.where(b == 0, 0, q)` does no harm.
        """
        if self._silenced is None:
            if self._record.knows("invalid"):
                return self.stop()
            silent = np.geterr()["invalid"] == "ignore"
            events = self._explain(frame, place[1], name, "nan")
            if not silent:
                return self.stop()
            self._silenced = events, place, name
            for event in events:
                event.most = "info"
        elif self._silenced[1:] != (place, name):
            for event in self._silenced[0]:
                event.most = "error"
            self.stop()
        return None

    def _explain(self, frame: FrameType, line: int, name: str, held: str) -> list[Event]:
        """Compute the line again, part by part, and name the operations that fail."""
        module = module_of(frame.f_code.co_filename)
        statement = module.statement_at(line) if module else None
        if module is None or statement is None:
            return []
        reader = Reader(frame, _assigned(statement))
        with np.errstate(all="ignore"):
            makers = list(_makers(reader, statement, held))
            meant = _says_so(statement)
            if held == "inf":
                known = (frame.f_code, name) in self._known
                self._known.add((frame.f_code, name))
                # np.full(3, -np.inf) is meant; scores + mask holds what the mask held.
                if not makers and (known or meant or _reads_infinity(reader, statement)):
                    return []
            events = []
            for node, kind, operation in makers or [(statement, "", "")]:
                stack = stack_of(frame, module, node)
                scene = Scene(kind, operation, node, module, reader, stack)
                event = _event(scene, name, held, frame.f_code.co_name)
                if not makers:
                    event.most = "info" if held == "inf" or meant else "warning"
                self._record.add(("followed", event.place, event.kind), event, scene)
                events.append(event)
        return events


def _event(scene: Scene, name: str, held: str, function: str) -> Event:
    assert scene.module
    assert scene.node
    what, cause = attribute(scene) if scene.kind else _unknown(scene, name, held)
    message = f"{cause.message}; {name} first held {_NAMES[held]} after this line"
    suspicion = Suspicion(cause.code, message, cause.harmless or held == "inf", cause.also)
    return Event(
        scene.kind or ("invalid" if held == "nan" else "overflow"),
        scene.operation,
        scene.module.place(scene.node, function),
        what,
        scene.text(scene.node),
        scene.summaries(),
        suspicion,
        node=scene.node,
    )


_NUMBERLESS = {
    int,
    bool,
    str,
    bytes,
    type(None),
    FunctionType,
    BuiltinFunctionType,
    ModuleType,
    type,
}
_NAMES = {"nan": "NaN", "inf": "an infinity"}


def _is_fine(value: Any) -> bool | None:
    """Whether a value is at once seen to be finite, or nothing that could be otherwise."""
    kind = type(value)
    if kind is float or kind is np.float64:
        return math.isfinite(value)
    if kind is np.ndarray:
        return _core.all_finite(value)
    if kind is list and len(value) <= _ITEMS:
        return set(map(type, value)) == {float} and math.isfinite(sum(value))
    return kind in _NUMBERLESS


def _held(value: Any, depth: int = 2) -> str:
    """ "nan" or "inf", if a value, or what it contains, is not finite."""
    kind = type(value)
    if kind is int or kind is str or kind is bool:
        return ""
    if kind is float:
        return "nan" if value != value else "inf" if value - value != 0 else ""
    if kind in (list, tuple, dict) and depth:
        items = list(value.values() if kind is dict else value)[:_ITEMS]
        found = {_held(item, depth - 1) for item in items}
        return "nan" if "nan" in found else "inf" if "inf" in found else ""
    array = value if kind is np.ndarray else as_array(value)
    if array is None or array.dtype.kind not in "fc" or not array.size or _core.all_finite(array):
        return ""
    if np.isnan(array).any():
        return "nan"
    return "inf" if np.isinf(array).any() else ""


def _written(code: CodeType, line: int) -> tuple[tuple[str, str], ...]:
    """The names, and attributes of names, that a line writes to or passes to a call."""
    module = module_of(code.co_filename)
    statement = module.statement_at(line) if module else None
    return tuple(dict.fromkeys(_targets(statement))) if statement is not None else ()


def _targets(statement: ast.stmt) -> Iterator[tuple[str, str]]:
    match statement:
        case ast.Assign(targets=targets):
            for target in targets:
                yield from _named(target)
        case ast.AugAssign(target=target) | ast.AnnAssign(target=target) | ast.For(target=target):
            yield from _named(target)
        case ast.With(items=items):
            for item in items:
                if item.optional_vars is not None:
                    yield from _named(item.optional_vars)
    if isinstance(statement, ast.Expr | ast.Assign) and isinstance(statement.value, ast.Call):
        call = statement.value
        for part in [call.func, *call.args, *(word.value for word in call.keywords)]:
            base = part.value if isinstance(part, ast.Attribute) and part is call.func else part
            if isinstance(base, ast.Name | ast.Attribute):
                yield from _named(base)


def _named(target: ast.expr) -> Iterator[tuple[str, str]]:
    match target:
        case ast.Name(id=name):
            yield name, ""
        case ast.Attribute(value=ast.Name(id=name), attr=attribute_of_it):
            yield name, attribute_of_it
        case ast.Subscript(value=base) | ast.Starred(value=base):
            yield from _named(base)
        case ast.Tuple(elts=parts) | ast.List(elts=parts):
            for part in parts:
                yield from _named(part)


def _makers(reader: Reader, statement: ast.stmt, held: str) -> Iterator[tuple[ast.AST, str, str]]:
    """The first operation that makes an infinity of finite numbers, and the first to make NaN."""
    infinite = False
    for node in _post_order(statement):
        if not isinstance(node, ast.BinOp | ast.Call):
            continue
        try:
            result = _held(_array(reader, node))
            given = [_array(reader, operand) for operand in operands(node)]
        except Unreadable:
            continue
        had = {_held(value) for value in given}
        if result == "nan" and "nan" not in had:
            yield node, "invalid", _operation(node)
            return
        if result == "inf" and not had & {"nan", "inf"} and not infinite:
            infinite = True
            yield node, _kind(node, given), _operation(node)
            if held == "inf":
                return


def _assigned(statement: ast.stmt) -> set[str]:
    """The names whose value before the statement is gone."""
    targets: list[ast.expr] = []
    if isinstance(statement, ast.Assign):
        targets = statement.targets
    elif isinstance(statement, ast.AugAssign | ast.AnnAssign):
        targets = [statement.target]
    words = [node for node in ast.walk(statement) if isinstance(node, ast.keyword)]
    targets = [*targets, *(word.value for word in words if word.arg == "out")]
    return {name for target in targets for name, _ in _named(target)}


def _post_order(node: ast.AST) -> Iterator[ast.AST]:
    for child in ast.iter_child_nodes(node):
        yield from _post_order(child)
    yield node


def _array(reader: Reader, node: ast.AST) -> NDArray[Any]:
    array = as_array(reader.read(node))
    if array is None:
        raise Unreadable
    return array


def _operation(node: ast.BinOp | ast.Call) -> str:
    if isinstance(node, ast.BinOp):
        return _OPERATIONS.get(type(node.op), "")
    name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
    return "reduce" if name in ("sum", "mean", "prod", "std", "var") else name


def _kind(node: ast.AST, given: list[NDArray[Any]]) -> str:
    operation = _operation(node) if isinstance(node, ast.BinOp | ast.Call) else ""
    if operation.startswith("log"):
        return "divide"
    if operation in ("divide", "floor_divide", "remainder") and not np.all(given[-1]):
        return "divide"
    return "overflow"


def _unknown(scene: Scene, name: str, held: str) -> tuple[str, Suspicion]:
    """No operation of the line could be computed again: what came in decides."""
    what = f"{name} holds {_NAMES[held]}"
    parts = ast.walk(scene.node) if scene.node else iter(())
    names = [part for part in parts if isinstance(part, ast.Name)]
    for part in names:
        value = scene.read(part) if isinstance(part.ctx, ast.Load) else None
        if value is None or value.dtype.kind != "f" or not value.ndim or not value.size:
            continue
        if np.isneginf(np.atleast_1d(value.max(axis=-1))).any():
            return what, Suspicion("SMX014", f"a row of {part.id} is -inf throughout")
    return what, Suspicion("SMX015", f"{_NAMES[held]} came in")


def _reads_infinity(reader: Reader, statement: ast.stmt) -> bool:
    for node in ast.walk(statement):
        if isinstance(node, ast.Name | ast.Attribute) and isinstance(node.ctx, ast.Load):
            with contextlib.suppress(Unreadable):
                if _held(reader.read(node)) == "inf":
                    return True
    return False


def _says_so(statement: ast.stmt) -> bool:
    """Whether the source itself writes a NaN or an infinity, which is meant."""
    for node in ast.walk(statement):
        if isinstance(node, ast.Attribute) and node.attr in _LITERALS:
            return True
        if isinstance(node, ast.Constant) and str(node.value).lower().strip("+-") in ("nan", "inf"):
            return True
    return False
