"""A report as text, with NumPy alone: the root cause on one screen."""

import html
import textwrap
from collections.abc import Iterator, Mapping
from typing import Any, TextIO

from .causes import CAUSES, Cause
from .findings import Finding, Reported
from .sources import short_path

__all__ = [
    "as_fragment",
    "as_text",
    "code_of",
    "described",
    "escaped",
    "explained",
    "require",
    "show",
]

_STYLES = {"error": "bold red", "warning": "bold yellow", "info": "bold cyan"}
_INSTALL = "pip install 'stablesoftmax[doctor]'"


def escaped(text: object) -> str:
    """The text with everything that could move a cursor or turn the reading direction spelt out."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in str(text))


def as_text(report: Reported) -> str:
    """Return the report as plain text: the root cause on one screen, the others shorter."""
    return "\n".join(line for line, _ in _lines(report))


def show(report: Reported, stream: TextIO) -> None:
    """Print the report, in colour where rich is installed and the stream is a terminal."""
    if stream.isatty():
        try:
            from rich.console import Console
            from rich.text import Text
        except ModuleNotFoundError:
            pass
        else:
            console = Console(file=stream, highlight=False, soft_wrap=True)
            for line, style in _lines(report):
                console.print(Text(line, style=style))
            return
    print(as_text(report), file=stream)


def _lines(report: Reported) -> Iterator[tuple[str, str]]:
    """The lines of the text, each with the style that a terminal may give it."""
    if not report.findings:
        yield f"stablesoftmax {report.tool}: nothing found", "green"
    for number, finding in enumerate(report.findings):
        if number:
            yield "", ""
        title = f"{finding.code} {finding.name} ({finding.severity})"
        yield title, _STYLES[finding.severity]
        yield f"  {escaped(finding.message)}", "bold"
        yield from _place(finding)
        if number == 0 or finding.severity == "error":
            yield from _evidence(finding)
            yield from _fix(finding)
    for note in report.notes:
        yield f"note: {escaped(note)}", "dim"


def _place(finding: Finding) -> Iterator[tuple[str, str]]:
    where = finding.where
    if "file" in where:
        function = where.get("function", "<module>")
        inside = "" if function == "<module>" else f" in {function}"
        cell = f"cell {where['cell']}:" if "cell" in where else ""  # of a notebook
        yield f"  {escaped(short_path(where['file']))}:{cell}{where['line']}{escaped(inside)}", ""
    elif where:
        yield "  " + ", ".join(f"{key} {escaped(value)}" for key, value in where.items()), ""
    for step in finding.evidence.get("chain", [])[:1]:
        yield from _marked(step)


def _marked(step: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """The source line, with the failing part underlined."""
    source = step["source"]
    indent = len(source) - len(source.lstrip())
    start, end = step["column"] - 1, step["end_column"] - 1
    if step["end_line"] > step["line"] or end <= start:
        end = len(source)
    before, marked = escaped(source[indent:start]), escaped(source[start:end])
    yield f"    {before}{marked}{escaped(source[end:])}", ""
    yield f"    {' ' * len(before)}{'^' * max(len(marked), 1)}", "red"


def _evidence(finding: Finding) -> Iterator[tuple[str, str]]:
    for operand in finding.evidence.get("operands", []):
        yield f"  {escaped(described(operand))}", ""
    steps = finding.evidence.get("chain", [])
    if len(steps) > 1:
        told = [f"line {step['line']}: {step['what']}" for step in steps]
        ends = ", the first NaN" if finding.evidence.get("ends_in_nan") else ""
        yield "  " + escaped(" → ".join(told)) + ends, ""
    if finding.evidence.get("times", 1) > 1:
        yield f"  {finding.evidence['times']} times", ""


def described(operand: Mapping[str, Any]) -> str:
    """An array in one line."""
    if "gone" in operand:
        return f"{operand['name']}: {operand['gone']}"
    shape = "×".join(map(str, operand["shape"])) or "scalar"
    parts = [f"{operand['name']}: {operand['dtype']} {shape}"]
    if operand["min"] is not None:
        parts.append(f"{operand['min']:.5g} to {operand['max']:.5g}")
    odd = [f"{operand[kind]} {kind}" for kind in ("nan", "inf", "-inf") if operand[kind]]
    parts += odd
    if operand["at"]:
        what = "first at" if odd else "maximum at"
        parts.append(f"{what} {operand['at']}")
    return ", ".join(parts)


def _fix(finding: Finding) -> Iterator[tuple[str, str]]:
    yield f"  Fix: {escaped(finding.fix)}", "green"
    cause = CAUSES[finding.code]
    if finding.fix == cause.fix:
        for line in code_of(cause.cure):
            yield f"      {line}", ""


def code_of(doctest: str) -> list[str]:
    """The statements of a doctest, without their results."""
    lines = doctest.strip().splitlines()
    return [line[4:] for line in lines if line.startswith((">>> ", "... "))]


def explained(cause: Cause) -> str:
    """Return what the catalogue says of a cause, as text."""
    return "\n".join(
        [
            f"{cause.code} {cause.name}",
            "",
            *_filled(cause.summary),
            *_filled(cause.mechanism),
            *("    " + line for line in cause.example.strip().splitlines()),
            "",
            *_filled(f"Fix: {cause.fix}"),
            *("    " + line for line in cause.cure.strip().splitlines()),
        ]
    )


def _filled(text: str) -> list[str]:
    return [*textwrap.wrap(text, 80, break_on_hyphens=False), ""]


def as_fragment(report: Reported) -> str:
    """Return the report for a notebook: preformatted text, escaped."""
    return f"<pre>{html.escape(as_text(report))}</pre>"


def require(*modules: str) -> None:
    """Say in one line what to install, where one of these modules lacks."""
    from importlib.util import find_spec

    for name in modules:
        if find_spec(name) is None:
            raise ModuleNotFoundError(f"{name} is needed for this: {_INSTALL}", name=name)
