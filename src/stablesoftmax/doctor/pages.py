"""A report as one page of HTML that needs nothing beside it: no script, no request."""

import re
import textwrap
from collections import Counter
from importlib.resources import files
from typing import TYPE_CHECKING, Any

from .causes import CAUSES
from .findings import Finding, Reported
from .plots import Drawing, Series, as_svg, drawing_of
from .sources import module_of, short_path
from .texts import code_of, described, escaped, require

if TYPE_CHECKING:
    from markupsafe import Markup

__all__ = ["as_page"]

_AROUND = 2  # lines of source above and below
_MOST = 8  # lines of an expression


def as_page(report: Reported) -> str:
    """Return the page."""
    require("jinja2", "matplotlib")
    from jinja2 import Environment

    from stablesoftmax import __version__

    source = files(__package__).joinpath("templates", "report.html").read_text(encoding="utf-8")
    environment = Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True)
    views = [_view(finding, number) for number, finding in enumerate(report.findings, 1)]
    for view, drawing in zip(views, _drawings(report), strict=True):
        if drawing:
            view["plot"] = _markup(as_svg(drawing, view["id"]))
            view["caption"] = escaped(drawing.caption)
    text: str = environment.from_string(source).render(
        tool=report.tool,
        verdict=_verdict(report),
        findings=views,
        notes=[_prose(note) for note in report.notes],
        version=__version__,
    )
    return text


def _verdict(report: Reported) -> str:
    counts = Counter(str(finding.severity) for finding in report.findings)
    words = {"error": "error", "warning": "warning", "info": "remark"}
    parts = [f"{counts[s]} {word}{'s' * (counts[s] > 1)}" for s, word in words.items() if counts[s]]
    return ", ".join(parts) or "Nothing found"


def _drawings(report: Reported) -> list[Drawing | Series | None]:
    """What is drawn beside each finding: each array once, and nothing beside a later remark."""
    drawings: list[Drawing | Series | None] = []
    for number, finding in enumerate(report.findings):
        drawing = drawing_of(finding) if number == 0 or finding.severity != "info" else None
        drawings.append(None if drawing in drawings else drawing)
    return drawings


def _view(finding: Finding, number: int) -> dict[str, Any]:
    """What the template shows of a finding; what is the user's text is spelt out here."""
    cause, evidence = CAUSES[finding.code], finding.evidence
    chain = evidence.get("chain", [])
    return {
        "id": f"finding-{number}",
        "code": finding.code,
        "name": finding.name,
        "severity": finding.severity,
        "message": escaped(finding.message),
        "place": _place(finding),
        "lines": _excerpt(chain[0]) if chain else [],
        "operands": [_operand(operand) for operand in evidence.get("operands", [])],
        "chain": [_step(step, chain[0]) for step in chain],
        "ends_in_nan": evidence.get("ends_in_nan", False),
        "fix": _prose(finding.fix),
        "cure": "\n".join(code_of(cause.cure)) if finding.fix == cause.fix else "",
        "why": _prose(f"{cause.summary} {cause.mechanism}"),
        "example": cause.example.strip(),
    }


def _markup(html: str) -> "Markup":
    from markupsafe import Markup

    return Markup(html)


def _prose(text: str) -> "Markup":
    """The text, in which `this` is code."""
    from markupsafe import escape

    return _markup(re.sub(r"`([^`]+)`", r"<code>\1</code>", str(escape(escaped(text)))))


def _source(text: str) -> str:
    """Source text spelt out, but for its tabs."""
    return "\t".join(map(escaped, text.split("\t")))


def _operand(operand: dict[str, Any]) -> dict[str, str]:
    name = escaped(operand["name"])
    return {"name": name, "facts": escaped(described(operand)).removeprefix(f"{name}: ")}


def _step(step: dict[str, Any], first: dict[str, Any]) -> dict[str, Any]:
    file = "" if step["file"] == first["file"] else f"{short_path(step['file'])}, "
    return {
        "place": escaped(f"{file}line {step['line']}"),
        "what": escaped(step["what"]),
        "source": escaped(step["source"].strip()),
    }


def _place(finding: Finding) -> str:
    where, times = finding.where, finding.evidence.get("times", 1)
    if "file" in where:
        cell = f"cell {where['cell']}, " if "cell" in where else ""  # of a notebook
        parts = [short_path(where["file"]), f"{cell}line {where['line']}"]
        function = where.get("function", "<module>")
        parts += [] if function == "<module>" else [f"in {function}"]
    else:
        parts = [f"{key} {value}" for key, value in where.items() if key != "indices"]
        parts += ["at " + ", ".join(map(str, where["indices"]))] if where.get("indices") else []
    parts += [f"{times} times"] if times > 1 else []
    return escaped(", ".join(parts))


def _excerpt(step: dict[str, Any]) -> list[dict[str, Any]]:
    """The source around the failing expression: number, and the text before, in, after the mark."""
    first, last = step["line"], min(step["end_line"], step["line"] + _MOST)
    module = module_of(step["file"])
    texts = dict(enumerate((line.rstrip("\n") for line in module.lines), 1)) if module else {}
    if texts.get(first) != step["source"]:  # the file is another by now
        texts, last = {first: step["source"]}, first
    numbers = [n for n in range(first - _AROUND, last + _AROUND + 1) if n in texts]
    while not texts[numbers[0]].strip() and numbers[0] < first:
        del numbers[0]
    while not texts[numbers[-1]].strip() and numbers[-1] > last:
        del numbers[-1]
    code = [texts[n] for n in numbers if texts[n].strip()]
    margin = len(code[0]) - len(textwrap.dedent("\n".join(code)).split("\n")[0])
    shown = []
    for number in numbers:
        text, hit = texts[number], first <= number <= last
        start = step["column"] - 1 if number == first else len(text) - len(text.lstrip())
        end = step["end_column"] - 1 if number == step["end_line"] else len(text)
        if not hit:
            start = end = len(text)
        parts = {"before": text[margin:start], "marked": text[start:end], "after": text[end:]}
        view = {"number": number, "hit": hit, "last": number == last}
        shown.append(view | {key: _source(part) for key, part in parts.items()})
    return shown
