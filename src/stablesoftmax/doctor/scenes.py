"""A floating-point event while it happens: the expression, its operands, a way to read others."""

import ast
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .arrays import as_array, summary
from .expressions import Reader, Unreadable, operands
from .findings import Severity
from .patterns import Meaning
from .sources import Module, Place

__all__ = ["Event", "Scene", "Suspicion", "closure"]


@dataclass(frozen=True, slots=True)
class Suspicion:
    """What a rule says: the cause, in one line, before anything is known of what follows."""

    code: str
    message: str
    harmless: bool = False
    """Whether no result of the program is spoilt, unless an invalid value follows."""
    also: tuple[tuple[str, str], ...] = ()
    """Further causes seen at the same place: code and message."""


@dataclass(slots=True)
class Event:
    """One operation that overflowed, divided by zero or was invalid, however often it did."""

    kind: str
    """ "overflow", "divide" or "invalid", as NumPy calls them."""
    operation: str
    """The ufunc, such as "exp" or "divide"."""
    place: Place
    what: str
    """In a few words: "inf / inf", "overflow in exp"."""
    expression: str
    operands: list[dict[str, Any]]
    suspicion: Suspicion
    causes: list["Event"] = field(default_factory=list)
    """Earlier events whose infinity or NaN this one was given."""
    node: ast.AST | None = None
    inside: str = ""
    """The library whose own line it was, called from the user's."""
    times: int = 1
    most: Severity = "error"
    """The severity that a finding of it may have."""


@dataclass
class Scene:
    """An event while it happens: the expression, its operands, and a way to read others."""

    kind: str
    operation: str
    node: ast.AST | None
    module: Module | None
    reader: Reader
    stack: list[tuple[Module, ast.AST]]
    """The user's calls that led here, with the loops that they stand in."""

    @cached_property
    def meaning(self) -> Meaning:
        assert self.module
        return Meaning(self.module)

    @cached_property
    def nodes(self) -> list[ast.expr]:
        return operands(self.node) if self.node is not None else []

    @cached_property
    def values(self) -> list[NDArray[Any] | None]:
        return [self.read(node) for node in self.nodes]

    def read(self, node: ast.AST) -> NDArray[Any] | None:
        """The value of an expression as an array, or None where it can no longer be had."""
        try:
            return as_array(self.reader.read(node))
        except Unreadable:
            return None

    def text(self, node: ast.AST) -> str:
        assert self.module
        text = " ".join(self.module.text(node).split())
        return text if len(text) <= 60 else text[:57] + "..."

    def given(self) -> str:
        """What the operands hold that something must have made: "nan", "inf" or ""."""
        held = [v for v in self.values if v is not None and v.dtype.kind == "f"]
        if any(np.isnan(v).any() for v in held):
            return "nan"
        if not self.kind:  # no operation is known to have failed
            return ""
        unknown = len(held) < len(self.nodes) or not self.nodes
        if any(np.isinf(v).any() for v in held) or (unknown and self.kind == "invalid"):
            return "inf"
        return ""

    def parts(self) -> Iterator[ast.AST]:
        """The parts of the expression, and of what its names were assigned."""
        return closure(self.meaning, self.node) if self.node is not None else iter(())

    def summaries(self) -> list[dict[str, Any]]:
        result = []
        for node, value in zip(self.nodes, self.values, strict=True):
            if isinstance(node, ast.Constant):
                continue
            gone = {"name": self.text(node), "gone": "overwritten since, or not safe to read again"}
            result.append(gone if value is None else summary(self.text(node), value))
        return result

    @cached_property
    def dtype(self) -> np.dtype[Any] | None:
        """The dtype that the operation computes in, where its operands are known."""
        known = [value.dtype for value in self.values if value is not None]
        if not known:
            return None
        if len(self.nodes) == 1 and known[0].kind in "iub":  # what ufuncs of one integer use
            return np.dtype({1: np.float16, 2: np.float32}.get(known[0].itemsize, np.float64))
        strong = [v for v in self.values if v is not None and v.ndim] or self.values
        dtype = np.result_type(*(v for v in strong if v is not None))
        return dtype if dtype.kind == "f" else np.dtype(float) if dtype.kind in "iub" else None

    @cached_property
    def loops(self) -> list[tuple[Meaning, ast.AST]]:
        """The loops that the event happened in, those of callers included."""
        return [
            (Meaning(module), loop) for module, node in self.stack for loop in module.loops(node)
        ]


def closure(meaning: Meaning, node: ast.AST, depth: int = 6) -> Iterator[ast.AST]:
    """The parts of an expression, and of what its names were assigned."""
    for part in ast.walk(node):
        yield part
        if isinstance(part, ast.Name) and isinstance(part.ctx, ast.Load) and depth:
            value = meaning.definition(part)
            if value is not None:
                yield from closure(meaning, value, depth - 1)
