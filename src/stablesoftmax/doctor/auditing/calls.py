"""Calls of the user's function: what it gave back, raised, printed or changed."""

import contextlib
import inspect
import pickle
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..arrays import as_array
from .inputs import Probe, labels_of

__all__ = ["LIBRARIES", "Caller", "Outcome", "Stopped"]

LIBRARIES = ("numpy", "torch", "jax")


class Stopped(BaseException):
    """The time limit has passed: nothing more is called."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What one call gave: an array, or an error in one line."""

    value: NDArray[Any] | None
    kind: str
    error: str = ""
    name: str = ""  # the result's type


class Caller:
    """The user's function, called with fresh arrays of one library; it keeps what was changed."""

    def __init__(self, fn: Callable[..., Any], kind: str, arrays: str | None) -> None:
        self.fn, self.kind = fn, kind
        self.keyword: str | None = None
        self.library = arrays or "numpy"
        self.now = ""
        self.stopped = self.mutates = self.sets_errors = self.draws = False
        self.mutated: NDArray[Any] | None = None

    def open(self, arrays: str | None) -> None:
        """Find the name of the axis and the library whose arrays are taken."""
        libraries = [arrays] if arrays else ["numpy", *_imported(self.fn)]
        tries = [(library, name) for library in libraries for name in _axis_names(self.fn)]
        for self.library, self.keyword in tries:
            for shape in ((2, 3), (3,)):
                probe = Probe("the first call", np.zeros(shape))
                outcome = self(probe)
                if not outcome.error and outcome.kind in (self.library, "other"):
                    return
        self.library, self.keyword = tries[0]

    def given(self, x: NDArray[Any]) -> NDArray[Any]:
        """The array as the function sees it: JAX narrows float64 to float32."""
        return np.asarray(self._converted(x))

    def _converted(self, x: NDArray[Any]) -> Any:
        if self.library == "torch":
            return sys.modules["torch"].from_numpy(x.copy())
        if self.library == "jax":
            return sys.modules["jax"].numpy.asarray(x)
        return x.copy()

    def __call__(self, probe: Probe, *, raw: Any = None) -> Outcome:
        if self.stopped:
            raise Stopped
        self.now = probe.topic
        keywords = {self.keyword: probe.axis} if self.keyword else {}
        try:
            array = self._converted(probe.x) if raw is None else raw
            arguments = [array]
            if self.kind == "cross_entropy":
                arguments.append(self._converted(np.asarray(labels_of(probe.x, probe.axis))))
        except Exception as error:
            return Outcome(None, "", _line(error))
        before = np.geterr()
        state = _global_state()
        try:
            result = self.fn(*arguments, **keywords)
            outcome = _outcome(result)
        except Stopped:
            raise
        except BaseException as error:  # sys.exit in a function ends no audit
            outcome = Outcome(None, "", _line(error))
        self._watch(before, state)
        if raw is None and not _same(self._seen(array), self.given(probe.x)):
            self.mutated = probe.x if self.mutated is None else self.mutated
        return outcome

    def kept(self, probe: Probe, other: Probe) -> bool:
        """Whether a result is still the same after another call."""
        keywords = {self.keyword: probe.axis} if self.keyword else {}
        arguments = [
            [self._converted(p.x)]
            + ([self._converted(labels_of(p.x, p.axis))] if self.kind == "cross_entropy" else [])
            for p in (probe, other)
        ]
        first = self.fn(*arguments[0], **keywords)
        before = np.array(as_array(first), copy=True)
        self.fn(*arguments[1], **keywords)
        return _same(np.asarray(as_array(first)), before)

    def _seen(self, array: Any) -> NDArray[Any]:
        return np.asarray(as_array(array))

    def _watch(self, before: Any, state: Any) -> None:
        if np.geterr() != before:
            self.sets_errors = True
            np.seterr(**before)
        self.draws |= state != _global_state()


def _global_state() -> bytes:
    """NumPy's global random numbers, which the function should leave alone."""
    return pickle.dumps(np.random.get_state(legacy=False))  # noqa: NPY002


def _same(a: NDArray[Any], b: NDArray[Any]) -> bool:
    return a.shape == b.shape and a.dtype == b.dtype and a.tobytes() == b.tobytes()


def _outcome(result: Any) -> Outcome:
    kind, name = _kind(result), type(result).__name__
    try:
        value = as_array(result) if kind != "other" else np.asarray(result)
    except ValueError:  # a tuple of arrays
        value = None
    return Outcome(None if value is None else value.copy(), kind, name=name)


def _line(error: BaseException) -> str:
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text[:160]}" if text else type(error).__name__


def _kind(result: Any) -> str:
    if isinstance(result, np.ndarray | np.generic):
        return "numpy"
    root = type(result).__module__.partition(".")[0]
    return {"torch": "torch", "jax": "jax", "jaxlib": "jax"}.get(root, "other")


def _axis_names(fn: Callable[..., Any]) -> list[str | None]:
    """How the axis may be named: by the signature, or else by trying."""
    try:
        parameters = inspect.signature(fn).parameters
    except (TypeError, ValueError):
        return ["axis", "dim", None]
    return [name for name in ("axis", "dim") if name in parameters] or [None]


def _imported(fn: Callable[..., Any]) -> list[str]:
    """The libraries that the function's module has imported; of a builtin all that are loaded."""
    bare = inspect.unwrap(fn)
    names = getattr(bare, "__globals__", None)
    loaded = [library for library in LIBRARIES[1:] if library in sys.modules]
    if names is None:
        return loaded
    values = [*names.values(), names.get("__name__")]
    for cell in getattr(bare, "__closure__", None) or ():
        with contextlib.suppress(ValueError):  # a name that is not bound yet
            values.append(cell.cell_contents)
    roots = {_module_of(value).partition(".")[0] for value in values}
    return [library for library in loaded if library in roots]


def _module_of(value: Any) -> str:
    """The name of a module, or of the one that a function or a class is from."""
    if isinstance(value, str):
        return value
    name = getattr(value, "__name__" if inspect.ismodule(value) else "__module__", "")
    return str(name)
