"""A finding: one cause of the catalogue, at one place."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

from .causes import CAUSES

__all__ = ["Finding", "Reported", "Severity"]

Severity = Literal["error", "warning", "info"]


@dataclass(frozen=True, slots=True)
class Finding:
    """One cause of the catalogue, found at one place.

    Parameters
    ----------
    code : str
        The cause: "SMX001" to "SMX031".
    severity : {"error", "warning", "info"}
        "info" is harmless here, and does not make a report fail.
    message : str
        What was found, in one line.
    where : dict
        The place: "file", "line", "column", "end_line"; or "indices"; or "step", "layer".
    evidence : dict
        The numbers that show it.
    fix : str
        How to mend it; by default what the catalogue says.

    Examples
    --------
    >>> from stablesoftmax.doctor import Finding
    >>> finding = Finding("SMX015", "error", "logits holds 1 NaN", {"indices": [[0, 2]]})
    >>> finding.name
    'bad-input'
    >>> print(finding)
    SMX015 bad-input, error: logits holds 1 NaN
    """

    code: str
    severity: Severity
    message: str
    where: Mapping[str, Any] = field(default_factory=dict)
    evidence: Mapping[str, Any] = field(default_factory=dict)
    fix: str = ""

    def __post_init__(self) -> None:
        if self.code not in CAUSES:
            raise ValueError(f"code must be one of the catalogue's, got {self.code!r}")
        if not self.fix:
            object.__setattr__(self, "fix", CAUSES[self.code].fix)

    @property
    def name(self) -> str:
        """The cause's name, such as "unshifted-exp"."""
        return CAUSES[self.code].name

    def __str__(self) -> str:
        return f"{self.code} {self.name}, {self.severity}: {self.message}"

    def to_dict(self) -> dict[str, Any]:
        """Return the finding as plain lists, dicts, numbers and strings.

        Returns
        -------
        dict
            "code", "name", "severity", "message", "where", "evidence" and "fix". Numbers that JSON
            has no word for are the strings "nan", "inf" and "-inf".
        """
        return {
            "code": self.code,
            "name": self.name,
            "severity": self.severity,
            "message": self.message,
            "where": _plain(self.where),
            "evidence": _plain(self.evidence),
            "fix": self.fix,
        }


class Reported(Protocol):
    """What is shown of a report."""

    findings: tuple[Finding, ...]
    tool: str
    notes: tuple[str, ...]


def _plain(value: Any) -> Any:
    """The value as JSON has it; NumPy's scalars and arrays become numbers and lists."""
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, str) or value is None or isinstance(value, bool):
        return value
    if hasattr(value, "tolist"):
        return _plain(value.tolist())
    if isinstance(value, Iterable):
        return [_plain(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    return value if isinstance(value, int | float) else str(value)
