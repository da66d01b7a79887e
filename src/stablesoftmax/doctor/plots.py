"""Where an array lies against the lines at which exp overflows and underflows."""

import io
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from .findings import Report
from .reporting import require

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["as_svg", "figure"]

# exp overflows above the first, and is 0 below the second.
_LINES = {"float16": (11.09, -17.33), "float32": (88.72, -103.97), "float64": (709.78, -745.13)}
_INK, _BAR, _LINE = "#010203", "#040506", "#070809"  # stand-ins, for which a page puts its own


def figure(report: Report) -> "Figure":
    """Draw the first array of the report that has a distribution."""
    for finding in report.findings:
        for operand in finding.evidence.get("operands", []):
            if operand.get("histogram", {}).get("counts"):
                return _histogram(operand, "black", "tab:blue", "tab:red")
    raise ValueError("the report has no array to draw: no finding holds one")


def as_svg(operand: Mapping[str, Any]) -> str:
    """Return the same as SVG whose colours are a page's: --ink, --bar and --line."""
    text = io.StringIO()
    drawn = _histogram(operand, _INK, _BAR, _LINE)
    drawn.savefig(text, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    svg = text.getvalue()
    svg = svg[svg.index("<svg") :]
    for colour, name in ((_INK, "--ink"), (_BAR, "--bar"), (_LINE, "--line")):
        svg = svg.replace(colour, f"var({name})")
    return svg


def _histogram(operand: Mapping[str, Any], ink: str, bar: str, line: str) -> "Figure":
    require("matplotlib")
    import matplotlib as mpl
    from matplotlib.figure import Figure

    edges, counts = operand["histogram"]["edges"], operand["histogram"]["counts"]
    with mpl.rc_context({"svg.fonttype": "none", "font.size": 9, "svg.hashsalt": "stablesoftmax"}):
        drawn = Figure(figsize=(6.4, 2.4), layout="constrained")
        axes = drawn.add_subplot()
        axes.stairs(counts, edges, fill=True, color=bar)
        axes.set_yscale("symlog", linthresh=1)
        low, high = edges[0], edges[-1]
        for name, limits in _LINES.items():
            for limit in limits:
                near = low - 0.5 * (high - low) - 50 < limit < high + 0.5 * (high - low) + 50
                if near:
                    axes.axvline(limit, color=line, linestyle="--", linewidth=1)
                    label = f"{name}: {'inf' if limit > 0 else '0'}"
                    place = axes.get_xaxis_transform()
                    axes.text(
                        limit, 0.98, label, color=line, rotation=90, va="top", ha="right",
                        transform=place, fontsize=7,
                    )  # fmt: skip
        axes.set_xlabel(f"{operand['name']}, and where its exp is inf or 0", color=ink)
        axes.set_ylabel("count", color=ink)
        axes.tick_params(colors=ink)
        for spine in axes.spines.values():
            spine.set_color(ink)
        for side in ("top", "right"):
            axes.spines[side].set_visible(False)
    return drawn
