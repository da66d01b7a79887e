"""Where the numbers of an array lie, against the lines at which exp of them overflows."""

import io
import math
import re
from collections.abc import Mapping
from itertools import pairwise
from typing import TYPE_CHECKING, Any, NamedTuple

from .findings import Finding, Report
from .reporting import require

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["Drawing", "as_svg", "drawing_of", "figure"]

# exp overflows above the first, and is 0 below the second.
_LIMITS = {"float16": (11.09, -17.33), "float32": (88.72, -103.97), "float64": (709.78, -745.13)}
_BFLOAT16 = (88.72, -92.88)
_FEW = 20  # numbers, of which the extremes tell as much as a drawing


class _Colours(NamedTuple):
    ink: str
    bar: str
    line: str


_PLAIN = _Colours("black", "tab:blue", "tab:red")
_PAGE = _Colours("#010203", "#040506", "#070809")  # stand-ins, for which a page puts its own


class Drawing(NamedTuple):
    """An array that is worth drawing, and whether it goes into exp."""

    operand: Mapping[str, Any]
    goes_into_exp: bool

    @property
    def limits(self) -> tuple[float, float]:
        """The numbers above which exp is inf and below which it is 0, in the array's dtype."""
        dtype = self.operand["dtype"]
        return _BFLOAT16 if dtype == "bfloat16" else _LIMITS.get(dtype, _LIMITS["float64"])

    @property
    def caption(self) -> str:
        """What is seen, in words."""
        name, low, high = (self.operand[key] for key in ("name", "min", "max"))
        text = f"How the numbers of {name} are distributed, on a logarithmic scale of counts."
        over, under = self.limits
        dtype = self.operand["dtype"] if self.operand["dtype"] in _LIMITS else "its dtype"
        if self.goes_into_exp and high > over:
            text += f" Above {over:g}, exp is inf in {dtype}."
        elif self.goes_into_exp and low < under:
            text += f" Below {under:g}, exp is 0 in {dtype}."
        return text


def drawing_of(finding: Finding) -> Drawing | None:
    """The first array of a finding that is worth drawing."""
    operation = finding.evidence.get("operation", "")
    for operand in finding.evidence.get("operands", []):
        if operand.get("histogram", {}).get("counts"):
            fed = re.search(r"\bexp(m1)?\b", operation) if operation else None
            drawing = Drawing(operand, bool(fed) or operand["name"] in ("logits", "row"))
            if drawing.goes_into_exp or math.prod(operand["shape"]) >= _FEW:
                return drawing
    return None


def figure(report: Report) -> "Figure":
    """Draw the first array of the report that is worth it."""
    for finding in report.findings:
        if drawing := drawing_of(finding):
            return _histogram(drawing, _PLAIN)
    raise ValueError("the report has no array to draw: no finding holds one")


def as_svg(drawing: Drawing, key: str) -> str:
    """Return the same as SVG whose colours are a page's: --ink, --bar and --line.

    The key makes its ids differ from those of the other drawings of the page.
    """
    require("matplotlib")
    import matplotlib as mpl

    text = io.StringIO()
    nothing = dict.fromkeys(("Date", "Creator", "Format", "Type"))
    drawn = _histogram(drawing, _PAGE)
    with mpl.rc_context({"svg.fonttype": "none", "svg.hashsalt": key}):
        drawn.savefig(text, format="svg", transparent=True, metadata=nothing)
    svg = text.getvalue()
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r' id="[a-zA-Z0-9.]+_\d+"', "", svg)  # axes_1 and the like: nothing refers to them
    for colour, name in zip(_PAGE, ("--ink", "--bar", "--line"), strict=True):
        svg = svg.replace(colour, f"var({name})")
    return svg


def _histogram(drawing: Drawing, colours: _Colours) -> "Figure":
    require("matplotlib")
    import matplotlib as mpl
    from matplotlib.figure import Figure

    histogram = drawing.operand["histogram"]
    edges, counts = histogram["edges"], histogram["counts"]
    with mpl.rc_context({"font.size": 9}):
        drawn = Figure(figsize=(4.2, 2.1), layout="constrained")
        axes = drawn.add_subplot()
        over = drawing.limits[0] if drawing.goes_into_exp else math.inf
        axes.stairs(counts, edges, fill=True, color=colours.bar)
        middles = [(low + high) / 2 for low, high in pairwise(edges)]
        beyond = [n if x > over else 0 for x, n in zip(middles, counts, strict=True)]
        axes.stairs(beyond, edges, fill=True, color=colours.line)
        _draw_axes(axes, drawing, max(counts), colours)
        if drawing.goes_into_exp:
            _draw_limits(axes, drawing, colours)
    return drawn


def _draw_axes(axes: "Axes", drawing: Drawing, most: float, colours: _Colours) -> None:
    ticks = [10**k for k in range(len(str(int(most))))]
    axes.set_yscale("symlog", linthresh=1)
    axes.set_yticks(ticks, [f"{tick:,}" for tick in ticks])
    axes.set_yticks([], minor=True)
    axes.set_ylim(0, 1.3 * most)
    axes.set_xlabel(drawing.operand["name"][:60].replace("$", r"\$"), color=colours.ink)
    axes.tick_params(colors=colours.ink, length=3)
    for side, spine in axes.spines.items():
        spine.set_color(colours.ink)
        spine.set_visible(side == "bottom")


def _draw_limits(axes: "Axes", drawing: Drawing, colours: _Colours) -> None:
    """Draw the line that is crossed, and those of the other dtypes where they are in sight."""
    over, under = drawing.limits
    left, right = axes.get_xlim()
    low, high = drawing.operand["min"], drawing.operand["max"]
    dtype = drawing.operand["dtype"]
    lines = {limits[0]: f"{name}: {limits[0]}" for name, limits in _LIMITS.items()}
    lines[over] = f"{dtype}: inf above {over}"
    if high > over:
        left = min(left, over - 0.05 * (right - over))
    elif low < under:
        lines[under] = f"{dtype}: 0 below {under}"
        right = max(right, under + 0.05 * (under - left))
    axes.set_xlim(left, right)
    shown = sorted(place for place in lines if left < place < right)
    for level, place in enumerate(reversed(shown)):
        own = place in (over, under)
        height = 1.12 + 0.13 * level  # one above another: 11, 89 and 710 may lie close together
        colour = colours.line if own else colours.ink
        axes.plot(
            [place, place], [0, height], color=colour, linewidth=1.4 if own else 0.7,
            linestyle="-" if own else (0, (2, 2)), transform=axes.get_xaxis_transform(),
            clip_on=False,
        )  # fmt: skip
        axes.annotate(
            lines[place], (place, height), (4, 0), xycoords=axes.get_xaxis_transform(),
            textcoords="offset points", color=colour, ha="left", va="top",
        )  # fmt: skip
