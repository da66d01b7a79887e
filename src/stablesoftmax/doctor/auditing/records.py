"""What is kept of an examination: what was found, what passed, what failed."""

from typing import Any

import numpy as np

from ..arrays import summary
from ..findings import Finding, Severity
from .calls import Caller
from .cases import Case
from .inputs import Probe
from .shrinking import beside, shown, smallest
from .verdicts import exact

__all__ = ["Record"]


class Record:
    """One function under examination; what is found, and what passed, is kept as it goes."""

    def __init__(self, caller: Caller, kind: str, axis: int, place: dict[str, Any]) -> None:
        self.caller, self.kind, self.axis, self.place = caller, kind, axis, place
        self.findings: list[Finding] = []
        self.passed: list[str] = []
        self.failed: list[str] = []
        self.flat = False  # whether rows are given as vectors
        self.dtype = np.dtype(np.float64)
        self.inexact: Case | None = None
        self.documentation = str(getattr(caller.fn, "__doc__", "") or "").lower()

    def findings_of(self, *severities: str) -> list[Finding]:
        """Return what was found of these severities."""
        return [finding for finding in self.findings if finding.severity in severities]

    def findings_of_codes(self, *codes: str) -> list[Finding]:
        """Return what was found of these causes."""
        return [finding for finding in self.findings if finding.code in codes]

    def case(self, probe: Probe) -> Case:
        """Call the function, and ask the oracle."""
        given = Probe(probe.topic, self.caller.given(probe.x), probe.axis)
        outcome, verdict = self.caller(given), exact(self.kind, given)
        if given.x.dtype.kind in "iu" and outcome.value is not None:
            verdict = verdict.of_integers(outcome.value.dtype)
        return Case(given, outcome, verdict)

    def shaped(self, row: Any) -> Any:
        """One row as the function takes it: a vector, or a batch of one."""
        array = np.asarray(row)
        array = array if array.dtype.kind in "iu" else array.astype(self.dtype)
        if self.flat:
            return array
        return array[None] if self.axis in (-1, 1) else array[:, None]

    def its_axis(self) -> int:
        """The axis of such a row."""
        return -1 if self.flat else self.axis

    def mark(self, topic: str, failed: bool) -> None:
        """Keep that a property failed, or passed."""
        (self.failed if failed else self.passed).append(topic)

    def shrunk(self, bad: list[Case]) -> Case:
        """The smallest input that fails in the same way."""
        return smallest(bad, self.case)

    def add(self, code: str, severity: Severity, text: str, case: Case) -> None:
        """Keep a finding, with its input, what came back, and what is exact."""
        x, right = case.probe.x, case.verdict.values
        evidence = {
            "property": case.probe.topic, "input": x, "axis": case.probe.axis,
            "got": case.outcome.error or case.outcome.value, "exact": right,
            "operands": [summary("x", x)],
        }  # fmt: skip
        message = text
        if severity != "info" and not case.outcome.error:
            got, exactly = beside(case.outcome.value, right)
            message = f"{text}; {shown(x)} gives {got}, exactly {exactly}"
        self.findings.append(Finding(code, severity, message, self.place, evidence))
