"""A report: findings, the root cause first, as an object, text, JSON, SARIF or a page."""

import json
import os
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .causes import CAUSES
from .findings import Finding
from .sources import short_path
from .texts import as_fragment, as_text, require

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["Report", "as_github", "as_sarif", "check_writable", "write", "write_whole"]

_SARIF_LEVELS = {"error": "error", "warning": "warning", "info": "note"}


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
        return as_text(self)

    def _repr_html_(self) -> str:
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

    def to_html(self, path: str | os.PathLike[str]) -> None:
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


def _as_json(report: Report) -> str:
    return report.to_json() + "\n"


def _as_plain(report: Report) -> str:
    return as_text(report) + "\n"


def _as_html(report: Report) -> str:
    from .pages import as_page

    return as_page(report)


def as_sarif(report: Report) -> str:
    """Return the report as SARIF 2.1.0, which code hosts show beside the lines."""
    rules = [
        {
            "id": cause.code,
            "name": cause.name,
            "shortDescription": {"text": cause.summary},
            "fullDescription": {"text": cause.mechanism},
            "help": {"text": cause.fix},
        }
        for cause in CAUSES.values()
    ]
    driver = {"name": "stablesoftmax", "version": report.to_dict()["version"], "rules": rules}
    run = {
        "tool": {"driver": driver},
        "columnKind": "unicodeCodePoints",
        "results": [_sarif_result(finding) for finding in report.findings],
    }
    schema = "https://json.schemastore.org/sarif-2.1.0.json"
    return json.dumps({"$schema": schema, "version": "2.1.0", "runs": [run]}, indent=2) + "\n"


def _sarif_result(finding: Finding) -> dict[str, Any]:
    result: dict[str, Any] = {
        "ruleId": finding.code,
        "ruleIndex": list(CAUSES).index(finding.code),
        "level": _SARIF_LEVELS[finding.severity],
        "message": {"text": _told(finding)},
    }
    if "file" in finding.where:
        where = finding.where
        region = {"startLine": where["line"], "startColumn": where.get("column", 1)}
        ends = {
            "endLine": "end_line",
            "endColumn": "end_column",
        }  # a place at run time has no column
        region |= {name: where[key] for name, key in ends.items() if key in where}
        path = Path(short_path(where["file"])).as_posix()
        location = {"artifactLocation": {"uri": path}, "region": region}
        result["locations"] = [{"physicalLocation": location}]
    return result


_GITHUB_LEVELS = {"error": "error", "warning": "warning", "info": "notice"}


def as_github(report: Report) -> str:
    """Return the report as commands of GitHub's workflows, which annotate the lines."""
    lines = [_github_command(finding) for finding in report.findings]
    lines += [f"::warning title=stablesoftmax::{_github_text(note)}" for note in report.notes]
    return "".join(f"{line}\n" for line in lines)


def _github_command(finding: Finding) -> str:
    where = finding.where
    places = {"title": f"{finding.code} {finding.name}"}
    if "file" in where:
        places["file"] = Path(short_path(where["file"])).as_posix()
        names = {"line": "line", "endLine": "end_line", "col": "column", "endColumn": "end_column"}
        places |= {key: str(where[name]) for key, name in names.items() if name in where}
    properties = ",".join(
        f"{key}={_github_text(value).replace(':', '%3A').replace(',', '%2C')}"
        for key, value in places.items()
    )
    return f"::{_GITHUB_LEVELS[finding.severity]} {properties}::{_github_text(_told(finding))}"


def _told(finding: Finding) -> str:
    """Message and fix; of a notebook, whose lines are those of a cell, which cell."""
    cell = f"cell {finding.where['cell']}: " if "cell" in finding.where else ""
    return f"{cell}{finding.message}. {finding.fix}"


def _github_text(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


_WRITERS: dict[str, Callable[[Report], str]] = {
    ".json": _as_json, ".html": _as_html, ".htm": _as_html, ".sarif": as_sarif,
    ".txt": _as_plain, ".log": _as_plain,
}  # fmt: skip


def check_writable(path: str | os.PathLike[str]) -> None:
    """Refuse a report that could not be written, before anything is run.

    Parameters
    ----------
    path : path
        The file: .json, .html, .sarif or .txt.

    Raises
    ------
    ValueError, OSError, ModuleNotFoundError
        In one line: an unknown suffix, no such folder, a folder in its place, a package that lacks.
    """
    target = Path(path)
    if target.suffix.lower() not in _WRITERS:
        raise ValueError(f"a report's suffix must be {', '.join(_WRITERS)}, got {target.name!r}")
    if not target.absolute().parent.is_dir():
        raise FileNotFoundError(f"no folder for the report: {target.absolute().parent}")
    if target.is_dir() or not os.access(target.absolute().parent, os.W_OK):
        raise PermissionError(f"the report cannot be written: {target}")
    if _WRITERS[target.suffix.lower()] is _as_html:
        require("jinja2", "matplotlib")


def write(report: Report, path: str | os.PathLike[str]) -> None:
    """Write the report by its suffix; the file is whole, or as it was before."""
    check_writable(path)
    target = Path(path).absolute()
    write_whole(target, _WRITERS[target.suffix.lower()](report).encode())


def write_whole(target: Path, data: bytes, mode: int | None = None) -> None:
    """Write a file whole, or leave it as it was; its mode is given, or what a new file's is."""
    descriptor, name = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.")
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
        if mode is None:
            umask = os.umask(0)
            os.umask(umask)
            mode = 0o666 & ~umask
        os.chmod(name, mode)
        os.replace(name, target)
    except BaseException:
        os.unlink(name)
        raise
