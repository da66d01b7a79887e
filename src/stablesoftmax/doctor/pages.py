"""A report as one page of HTML that needs nothing beside it: no script, no request."""

from importlib.resources import files
from typing import Any

from .causes import CAUSES
from .findings import Finding, Report
from .plots import as_svg
from .reporting import code_of, described, escaped, require
from .sources import module_of, short_path

__all__ = ["as_page"]

_AROUND = 2  # lines of source above and below


def as_page(report: Report) -> str:
    """Return the page."""
    require("jinja2", "matplotlib")
    from jinja2 import Environment

    source = files(__package__).joinpath("templates", "report.html").read_text(encoding="utf-8")
    environment = Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True)
    findings = [_view(finding) for finding in report.findings]
    text: str = environment.from_string(source).render(
        report=report, findings=findings, version=report.to_dict()["version"]
    )
    return text


def _view(finding: Finding) -> dict[str, Any]:
    """What the template shows of a finding, as plain strings."""
    from markupsafe import Markup

    cause = CAUSES[finding.code]
    operands = finding.evidence.get("operands", [])
    drawn = next((o for o in operands if o.get("histogram", {}).get("counts")), None)
    chain = finding.evidence.get("chain", [])
    return {
        "finding": finding,
        "cause": cause,
        "place": _place(finding),
        "lines": _excerpt(chain[0]) if chain else [],
        "operands": [escaped(described(operand)) for operand in operands],
        "chain": [{**step, "file": short_path(step["file"])} for step in chain],
        "plot": Markup(as_svg(drawn)) if drawn else None,
        "plot_title": escaped(f"Distribution of {drawn['name']}") if drawn else "",
        "code": "\n".join(code_of(cause.cure)),
        "example": cause.example.strip(),
    }


def _place(finding: Finding) -> str:
    where = finding.where
    if "file" in where:
        return escaped(f"{short_path(where['file'])}, line {where['line']}")
    return escaped(", ".join(f"{key} {value}" for key, value in where.items()))


def _excerpt(step: dict[str, Any]) -> list[dict[str, Any]]:
    """The source around the failing line: number, and the text before, in and after the mark."""
    module = module_of(step["file"])
    lines = [line.rstrip("\n") for line in module.lines] if module else []
    if not lines or lines[step["line"] - 1] != step["source"]:
        lines = [""] * (step["line"] - 1) + [step["source"]]
    first = max(step["line"] - 1 - _AROUND, 0)
    shown = []
    for number, text in enumerate(lines[first : step["line"] + _AROUND], first + 1):
        hit = number == step["line"]
        start, end = (step["column"] - 1, step["end_column"] - 1) if hit else (len(text), len(text))
        if step["end_line"] > step["line"]:
            end = len(text)
        before, marked, after = text[:start], text[start:end], text[end:]
        parts = {"before": before, "marked": marked, "after": after}
        shown.append({"number": number, "hit": hit} | {k: escaped(v) for k, v in parts.items()})
    return shown
