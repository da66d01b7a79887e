"""The events of a run, from the frame that each happened in to the findings: what led to what."""

import ast
import threading
from collections.abc import Iterable, Iterator
from types import FrameType
from typing import Any

from .attribution import attribute
from .expressions import Reader
from .findings import Finding, Severity
from .scenes import Event, Scene, Suspicion
from .sources import is_library, place_of, stack_of

__all__ = ["Record", "event_of", "findings_of", "user_frame"]

_GROWTH = {"SMX017", "SMX019", "SMX031"}  # one run out of range overflows at many lines
_NAN_FREE = {"SMX004", "SMX005"}  # causes whose -inf or inf is the wrong result itself


class Record:
    """The events of a run so far, each with those that made what it was given."""

    def __init__(self) -> None:
        self.events: dict[Any, Event] = {}
        self.busy = threading.local()
        """``now`` is set where what NumPy tells is our own doing."""

    def add(self, key: Any, event: Event, scene: Scene) -> None:
        """Take an event, and note which earlier ones it follows from."""
        parts = scene.parts() if scene.module else ()
        _link(event, self.events.values(), parts, scene.given())
        self.events[key] = event

    def knows(self, *kinds: str) -> bool:
        """Whether an event of one of these kinds was told."""
        return any(event.kind in kinds for event in self.events.values())

    def findings(self) -> list[Finding]:
        return findings_of(self.events.values())


def user_frame(frame: FrameType) -> tuple[FrameType, str]:
    """The nearest frame of the user's own files, and the library that it was in, if not NumPy.

    Where no frame is the user's, as in a package's own tests, the nearest one outside NumPy.
    """
    inside, nearest, step = "", None, frame
    while step is not None:
        name = step.f_globals.get("__name__", "").partition(".")[0]
        if not is_library(step.f_code.co_filename):
            return step, inside
        if name != "numpy":
            nearest = nearest or step
            inside = inside or name
        step = step.f_back  # type: ignore[assignment]
    return nearest or frame, ""


def event_of(
    frame: FrameType, offset: int | None, kind: str, operation: str, inside: str = ""
) -> tuple[Event, Scene]:
    """Look at an operation that just failed: its expression, operands, and suspected cause."""
    place, module, node = place_of(frame, offset)
    expression = " ".join(module.text(node).split()) if module and node else place.source.strip()
    failing = None if inside else node
    reader = Reader(frame, overwritten(failing))
    scene = Scene(kind, operation, failing, module, reader, stack_of(frame, module, node))
    what, suspicion = attribute(scene)
    if inside:
        suspicion = Suspicion(suspicion.code, f"inside {inside}: {suspicion.message}")
    event = Event(kind, operation, place, what, expression, scene.summaries(), suspicion)
    event.node, event.inside = failing, inside
    return event, scene


def overwritten(node: ast.AST | None) -> set[str]:
    """The names whose arrays an operation writes: `x` in `x -= y` and in `out=x`."""
    written: list[ast.AST] = []
    if isinstance(node, ast.AugAssign):
        written.append(node.target)
    elif isinstance(node, ast.Call):
        written += [word.value for word in node.keywords if word.arg == "out"]
    return {name.id for part in written for name in ast.walk(part) if isinstance(name, ast.Name)}


def _link(event: Event, earlier: Iterable[Event], closure: Iterable[ast.AST], given: str) -> None:
    """Note which earlier events made what this one was given.

    Parameters
    ----------
    event : Event
        The one that just happened.
    earlier : iterable of Event
        Those before it, the first one first.
    closure : iterable of ast.AST
        The parts of its expression, and of what its names were assigned.
    given : {"", "inf", "nan"}
        What its operands hold that something must have made.
    """
    earlier = list(earlier)
    parts = {id(part) for part in closure}
    makers = [e for e in earlier if given == "nan" or e.kind != "invalid"]
    near = [e for e in makers if id(e.node) in parts] if given else []
    if near:
        event.causes = near
    elif given and makers:
        event.causes = [makers[-1]]
    elif event.suspicion.code in _GROWTH:
        event.causes = [e for e in earlier if e.suspicion.code in _GROWTH and not e.causes][:1]


def findings_of(events: Iterable[Event]) -> list[Finding]:
    """The findings of a run: roots with the chain that follows from each, the worst first."""
    events = list(events)
    followers: dict[int, list[Event]] = {id(e): [] for e in events}
    for event in events:
        for root in _roots(event):
            if root is not event:
                followers[id(root)].append(event)
    found: dict[tuple[str, str, int], Finding] = {}
    for event in events:
        if not event.causes:
            for finding in _findings(event, followers[id(event)]):
                where = finding.where
                found.setdefault((finding.code, where["file"], where["line"]), finding)
    order = {"error": 0, "warning": 1, "info": 2}
    return sorted(found.values(), key=lambda finding: order[finding.severity])


def _roots(event: Event) -> list[Event]:
    if not event.causes:
        return [event]
    return [root for cause in event.causes for root in _roots(cause)]


def _findings(root: Event, followers: list[Event]) -> Iterator[Finding]:
    invalid = next((e for e in (root, *followers) if e.kind == "invalid"), None)
    code, message = root.suspicion.code, root.suspicion.message
    # y * log(p) of a p that is 0: it is the product that makes the NaN.
    if invalid is not None and invalid.suspicion.code == "SMX012" and code in ("SMX004", "SMX030"):
        code, message = "SMX012", f"{invalid.suspicion.message}; {message}"
    chain = [root, *followers]
    if invalid is not None and invalid is not root:
        chain = chain[: chain.index(invalid) + 1]
    evidence = {
        "expression": root.expression,
        "operation": root.what,
        "times": root.times,
        "operands": root.operands,
        "chain": [{**e.place.to_dict(), "what": e.what} for e in chain],
        "ends_in_nan": invalid is not None,
    }
    yield Finding(code, _severity(root, invalid), message, _where(root), evidence)
    for other, text in root.suspicion.also:
        yield Finding(other, "warning", text, _where(root), {"expression": root.expression})


def _where(event: Event) -> dict[str, str | int]:
    place = event.place.to_dict()
    return {key: place[key] for key in ("file", "line", "column", "end_line", "function")}


def _severity(root: Event, invalid: Event | None) -> Severity:
    if root.most != "error" and (invalid is None or invalid.most != "error"):
        return root.most
    if root.inside:  # a library's own line, whose author may know what happens there
        return "warning" if invalid else "info"
    if root.suspicion.harmless and (invalid is None or invalid.suspicion.harmless):
        return "info"
    if invalid is not None or root.suspicion.code in _NAN_FREE:
        return "error"
    return "warning"
