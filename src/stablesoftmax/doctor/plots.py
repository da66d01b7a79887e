"""Where the numbers of an array lie, or those of a training, and where exp of them overflows."""

import io
import math
import re
from bisect import bisect
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from .findings import Finding, Reported
from .texts import require

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["Drawing", "Series", "as_svg", "drawing_of", "figure"]

# exp overflows above the first, and is 0 below the second.
_LIMITS = {"float16": (11.09, -17.33), "float32": (88.72, -103.97), "float64": (709.78, -745.13)}
_BFLOAT16 = (88.72, -92.88)
_FEW = 20  # numbers, of which the extremes tell as much as a drawing
_VAST = 1e300  # ticks from -8e307 to 8e307 are beyond matplotlib


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
    def dtype(self) -> str:
        """The dtype that its exp has."""
        dtype = str(self.operand["dtype"])
        return dtype if dtype in (*_LIMITS, "bfloat16") else "float64"

    @property
    def limits(self) -> tuple[float, float]:
        """The numbers above which exp is inf, and below which it is 0."""
        return _LIMITS.get(self.dtype, _BFLOAT16)

    @property
    def caption(self) -> str:
        """What is seen, in words."""
        name, low, high = (self.operand[key] for key in ("name", "min", "max"))
        text = f"How the numbers of {name} are distributed, on a logarithmic scale of counts."
        over, under = self.limits
        if self.goes_into_exp and high > over:
            text += f" Above {over:g}, exp is inf in {self.dtype}."
        elif self.goes_into_exp and low < under:
            text += f" Below {under:g}, exp is 0 in {self.dtype}."
        return text


class Series(NamedTuple):
    """The last steps of a training."""

    frames: Sequence[Mapping[str, Any]]

    @property
    def caption(self) -> str:
        """What is seen, in words."""
        return (
            "The logits' range by step, against the numbers above which exp overflows; the entropy "
            "of the rows' softmax, in nats; the largest norm of a gradient."
        )


def drawing_of(finding: Finding) -> Drawing | Series | None:
    """The steps of a finding, or its first array that is worth drawing."""
    if len(finding.evidence.get("frames", ())) > 1:
        return Series(finding.evidence["frames"])
    operation = finding.evidence.get("operation", "")
    for operand in finding.evidence.get("operands", []):
        drawn = operand.get("histogram", {}).get("counts")
        if drawn and 0 < operand["max"] - operand["min"] < _VAST:
            fed = re.search(r"\bexp(m1)?\b", operation) if operation else None
            drawing = Drawing(operand, bool(fed) or operand["name"] in ("logits", "row"))
            if drawing.goes_into_exp or math.prod(operand["shape"]) >= _FEW:
                return drawing
    return None


def figure(report: Reported) -> "Figure":
    """Draw the first array of the report that is worth it."""
    for finding in report.findings:
        if drawing := drawing_of(finding):
            return _drawn(drawing, _PLAIN)
    raise ValueError("the report has no array to draw: no finding holds one")


def as_svg(drawing: Drawing | Series, key: str) -> str:
    """Return the same as SVG whose colours are a page's: --ink, --bar and --line.

    The key makes its ids differ from those of the other drawings of the page.
    """
    require("matplotlib")
    import matplotlib as mpl

    text = io.StringIO()
    nothing = dict.fromkeys(("Date", "Creator", "Format", "Type"))
    drawn = _drawn(drawing, _PAGE)
    options = {"svg.fonttype": "none", "svg.hashsalt": key}
    with mpl.rc_context(options), np.errstate(all="ignore"):
        drawn.savefig(text, format="svg", transparent=True, metadata=nothing)
    svg = text.getvalue()
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r' id="[a-zA-Z0-9.]+_\d+"', "", svg)  # axes_1 and the like: nothing refers to them
    for colour, name in zip(_PAGE, ("--ink", "--bar", "--line"), strict=True):
        svg = svg.replace(colour, f"var({name})")
    return svg


def _drawn(drawing: Drawing | Series, colours: _Colours) -> "Figure":
    if isinstance(drawing, Series):
        return _steps(drawing, colours)
    return _histogram(drawing, colours)


def _steps(series: Series, colours: _Colours) -> "Figure":
    """Logits, entropy and gradients by step, one above another."""
    require("matplotlib")
    import matplotlib as mpl
    from matplotlib.figure import Figure

    steps = [frame["step"] for frame in series.frames]
    norms = [max(frame["grads"].values(), default=math.nan) for frame in series.frames]
    with mpl.rc_context({"font.size": 9}), np.errstate(all="ignore"):
        drawn = Figure(figsize=(4.2, 3.6), layout="constrained")
        logits, entropy, gradients = drawn.subplots(3, sharex=True, height_ratios=[2, 1, 1])
        low, high = ([_visible(frame[key]) for frame in series.frames] for key in ("low", "high"))
        logits.fill_between(steps, low, high, color=colours.bar, step="mid")
        logits.set_yscale("symlog", linthresh=1)
        for name, (over, _) in _LIMITS.items():
            colour = colours.line if max(high, default=0) > over else colours.ink
            logits.axhline(over, color=colour, linewidth=0.8, linestyle=(0, (2, 2)))
            logits.annotate(
                f"{name}: {over}", (steps[0], over), color=colour, va="bottom", fontsize=7
            )
        entropy.plot(steps, [frame["entropy"] for frame in series.frames], color=colours.bar)
        gradients.plot(steps, [_visible(norm) for norm in norms], color=colours.bar)
        for axes, label in ((logits, "logits"), (entropy, "entropy"), (gradients, "gradients")):
            axes.set_ylabel(label, color=colours.ink)
            axes.tick_params(colors=colours.ink, length=3)
            for side, spine in axes.spines.items():
                spine.set_color(colours.ink)
                spine.set_visible(side == "bottom")
        gradients.set_xlabel("step", color=colours.ink)
        drawn.draw_without_rendering()
    return drawn


def _visible(value: float) -> float:
    """The value, or a gap where no axis could reach."""
    return value if abs(value) < _VAST else math.nan


def _histogram(drawing: Drawing, colours: _Colours) -> "Figure":
    require("matplotlib")
    import matplotlib as mpl
    from matplotlib.figure import Figure

    edges, counts, inside = _bars(drawing)
    with mpl.rc_context({"font.size": 9}), np.errstate(all="ignore"):  # ticks of 1e308 overflow
        drawn = Figure(figsize=(4.2, 2.1), layout="constrained")
        axes = drawn.add_subplot()
        for colour, own in ((colours.bar, inside), (colours.line, [not each for each in inside])):
            shown = [n if n and mine else math.nan for n, mine in zip(counts, own, strict=True)]
            axes.stairs(shown, edges, fill=True, facecolor=colour, edgecolor=colour, linewidth=0.6)
        _draw_axes(axes, drawing, max(counts), colours)
        if drawing.goes_into_exp:
            _draw_limits(axes, drawing, colours)
        drawn.draw_without_rendering()  # the layout is near at the first pass, right at the second
    return drawn


def _bars(drawing: Drawing) -> tuple[list[float], list[float], list[bool]]:
    """Edges, counts, and whether exp of what a bar holds is finite: the line parts a bar in two."""
    edges, counts = (list(drawing.operand["histogram"][key]) for key in ("edges", "counts"))
    over = drawing.limits[0] if drawing.goes_into_exp else math.inf
    if edges[0] < over < edges[-1] and over not in edges:
        place = bisect(edges, over)
        edges.insert(place, over)
        counts.insert(place, counts[place - 1])
    return edges, counts, [left < over for left in edges[:-1]]


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
    lines = {limits[0]: f"{name}: {limits[0]}" for name, limits in _LIMITS.items()}
    lines[over] = f"{drawing.dtype}: inf above {over}"
    if high > over:
        left = min(left, over - 0.05 * (right - over))
    elif low < under:
        lines[under] = f"{drawing.dtype}: 0 below {under}"
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
