"""The report of a check as text: a line a finding, as linters have it, and counts."""

from collections import Counter
from collections.abc import Callable

from ..causes import CAUSES
from ..findings import Finding
from ..reporting import Report, as_github, as_sarif
from ..sources import short_path
from ..texts import escaped

__all__ = ["FORMATS", "statistics"]


def as_lines(report: Report) -> str:
    """A line for each finding, with place, code and message, and a last line that counts them."""
    lines = [f"{_place(f)}: {f.code} {f.name}: {escaped(f.message)}" for f in report.findings]
    lines += [f"note: {escaped(note)}" for note in report.notes]
    lines.append(_summary(report))
    return "".join(f"{line}\n" for line in lines)


def _place(finding: Finding) -> str:
    where = finding.where
    cell = f"cell {where['cell']}:" if "cell" in where else ""
    return f"{escaped(short_path(where['file']))}:{cell}{where['line']}:{where['column']}"


def _summary(report: Report) -> str:
    if not report.findings:
        return "stablesoftmax check: nothing found"
    count = len(report.findings)
    codes = list(dict.fromkeys(finding.code for finding in report.findings))
    return (
        f"stablesoftmax check: {count} finding{'s' * (count > 1)}; "
        f"`stablesoftmax explain {codes[0]}` says what to do"
    )


def statistics(report: Report) -> str:
    """How often each cause was found, the most frequent first; and what could not be read."""
    counts = Counter(finding.code for finding in report.findings)
    rows = sorted(counts.items(), key=lambda row: (-row[1], row[0]))
    lines = [f"{n:>6}  {code}  {CAUSES[code].name}" for code, n in rows]
    return "".join(f"{line}\n" for line in (*lines, *(f"note: {note}" for note in report.notes)))


FORMATS: dict[str, Callable[[Report], str]] = {
    "text": as_lines,
    "json": lambda report: report.to_json() + "\n",
    "sarif": as_sarif,
    "github": as_github,
}
