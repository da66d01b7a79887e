"""Who is told of what the rules find."""

import ast
from typing import Protocol

from .values import Values

__all__ = ["CLEARED", "Reporter", "RuleBook"]

CLEARED = "not "
"""Before a code: the place was looked at, and is right with what this caller gives it."""


class Reporter(Protocol):
    """Who notes the findings."""

    imported: set[str]

    def report(self, code: str, node: ast.AST) -> None:
        """Note a cause at a place."""

    def retract(self, code: str, node: ast.AST) -> None:
        """Take a note back."""


class RuleBook:
    """Rules over one module's values.

    Parameters
    ----------
    values : Values
        Where values are made.
    reporter : Reporter
        Who is told.
    """

    def __init__(self, values: Values, reporter: Reporter) -> None:
        self.values = values
        self.reporter = reporter

    def _say(self, code: str, node: ast.AST) -> None:
        self.reporter.report(code, node)
