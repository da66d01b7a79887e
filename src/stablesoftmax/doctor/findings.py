"""What the doctor's tools return: findings, and a report of them that prints and is written."""

import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from os import PathLike
from typing import TYPE_CHECKING, Any, Literal

from .causes import CAUSES

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["Finding", "Report", "Severity"]

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


class Report:
    """What a tool of the doctor found, the root cause first.

    Parameters
    ----------
    findings : iterable of Finding
        The root cause first: the one whose mending makes others go away.
    tool : str
        The tool that made it: "run", "diagnose", "trace" and so on.
    notes : iterable of str
        What the reader must know beside the findings, such as threads that were not watched.

    Examples
    --------
    >>> from stablesoftmax.doctor import Finding, Report
    >>> report = Report([Finding("SMX021", "info", "row 3 is one-hot")], tool="diagnose")
    >>> report.ok
    True
    >>> report.to_dict()["findings"][0]["code"]
    'SMX021'
    """

    def __init__(
        self, findings: Iterable[Finding], *, tool: str, notes: Iterable[str] = ()
    ) -> None:
        self.findings = tuple(findings)
        self.tool = tool
        self.notes = tuple(notes)

    @property
    def ok(self) -> bool:
        """Whether nothing was found that is an error or a warning."""
        return all(finding.severity == "info" for finding in self.findings)

    def __repr__(self) -> str:
        codes = ", ".join(finding.code for finding in self.findings) or "nothing found"
        return f"<Report of {self.tool}: {codes}>"

    def __str__(self) -> str:
        from .reporting import as_text

        return as_text(self)

    def _repr_html_(self) -> str:
        from .reporting import as_fragment

        return as_fragment(self)

    def to_dict(self) -> dict[str, Any]:
        """Return the report as plain lists, dicts, numbers and strings.

        Returns
        -------
        dict
            "version" of this package, "tool", "findings" and "notes".
        """
        from stablesoftmax import __version__

        return {
            "version": __version__,
            "tool": self.tool,
            "findings": [finding.to_dict() for finding in self.findings],
            "notes": list(self.notes),
        }

    def to_json(self) -> str:
        """Return `to_dict` as JSON that any parser takes: no NaN, no Infinity.

        Returns
        -------
        str
            The text.
        """
        return json.dumps(self.to_dict(), indent=2, allow_nan=False)

    def to_html(self, path: str | PathLike[str]) -> None:
        """Write the report as one HTML page that needs nothing beside it.

        Parameters
        ----------
        path : path
            The file, named .html, which is written whole or not at all.

        Raises
        ------
        ModuleNotFoundError
            Where jinja2 or matplotlib is missing: ``pip install 'stablesoftmax[doctor]'``.
        """
        from .reporting import write

        write(self, path)

    def plot(self) -> "Figure":
        """Draw the arrays of the first finding against the overflow lines of the dtypes.

        Returns
        -------
        matplotlib.figure.Figure
            The figure.

        Raises
        ------
        ModuleNotFoundError
            Where matplotlib is missing: ``pip install 'stablesoftmax[doctor]'``.
        """
        from .plots import figure

        return figure(self)


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
