"""From raw times to ratios, means and lost cells; as text and as Markdown."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from math import exp, fsum, isfinite, log, nan
from typing import Any

from cells import DTYPES, OPS, Cell
from rounds import OURS, YARDSTICK

LARGE = 100e6  # bytes: an array far beyond the caches that a core or two can call their own
Timed = dict[str, dict[str, dict[str, Any]]]  # by rival, mode and figure
HEADER = (
    f"{'':>9} {'threads':>7}  {'op':<11} {'dtype':<8} {'shape':<18} {'ours':>8}  "
    f"{'fastest rival':<23} {'ratio':>6} {'fresh':>6} {'/copy':>6}"
)


@dataclass(frozen=True)
class Row:
    """One cell at one number of threads. Times are in seconds; NaN where there is none."""

    cell: Cell
    threads: int
    ours: float
    theirs: float
    rival: str
    ratio: float  # theirs / ours, both by medians: above 1 we are faster
    by_minima: float  # the same by minima
    fresh: float  # the same where both make a new output
    copies: float  # ours / a plain copy of the array

    @property
    def lost(self) -> bool:
        return self.ratio < 1


def fastest(timed: Timed, figure: str = "median", prefix: str = "") -> tuple[float, str]:
    """The best time over rivals and over modes whose name starts with `prefix`, and whose it is."""
    times = [
        (summary[figure], rival)
        for rival, modes in timed.items()
        for mode, summary in modes.items()
        if mode.startswith(prefix)
    ]
    return min(times, default=(nan, "-"))


def make_row(entry: dict[str, Any]) -> Row:
    cell = Cell(entry["op"], entry["dtype"], tuple(entry["shape"]), entry["axis"])
    timed = {name: r for name, r in entry["rivals"].items() if "unsupported" not in r}
    ours, copy = ({name: timed.pop(name, {})} for name in (OURS, YARDSTICK))
    theirs, rival = fastest(timed)
    time, _ = fastest(ours)
    return Row(
        cell,
        entry["threads"],
        time,
        theirs,
        rival,
        ratio=theirs / time,
        by_minima=fastest(timed, "minimum")[0] / fastest(ours, "minimum")[0],
        fresh=fastest(timed, prefix="fresh")[0] / fastest(ours, prefix="fresh")[0],
        copies=time / fastest(copy)[0],
    )


def geometric_mean(values: list[float]) -> float:
    logs = [log(value) for value in values if isfinite(value)]
    return exp(fsum(logs) / len(logs)) if logs else nan


def groups(rows: list[Row]) -> Iterator[tuple[str, list[Row]]]:
    """All rows, then by op, by dtype, by number of threads; empty groups are left out."""
    yield "all", rows
    for name in OPS:
        yield name, [row for row in rows if row.cell.op == name]
    for name in DTYPES:
        yield name, [row for row in rows if row.cell.dtype == name]
    for count in sorted({row.threads for row in rows}):
        yield threads(count), [row for row in rows if row.threads == count]


def threads(count: int) -> str:
    return "1 thread" if count == 1 else f"{count} threads"


def duration(seconds: float) -> str:
    """Three digits and a unit: "683 ns", "28.4 ms"."""
    if not isfinite(seconds):
        return "-"
    for unit, scale in (("s", 1.0), ("ms", 1e3), ("µs", 1e6)):
        if seconds * scale >= 1:
            return f"{seconds * scale:.3g} {unit}"
    return f"{seconds * 1e9:.3g} ns"


def number(value: float) -> str:
    return f"{value:.2f}" if isfinite(value) else "-"


def line(row: Row) -> str:
    """The row of the table, under HEADER from its second column on."""
    rival = f"{duration(row.theirs):>8}  {row.rival}"
    return (
        f"{row.threads:>7}  {row.cell.op:<11} {row.cell.dtype:<8} {row.cell.place:<18} "
        f"{duration(row.ours):>8}  {rival:<23} {number(row.ratio):>6} {number(row.fresh):>6} "
        f"{number(row.copies):>6}{'  LOST' if row.lost else ''}"
    )


def markdown(results: dict[str, Any]) -> str:
    """The summary: readable as it stands, and what a README can show."""
    entries = results["cells"]
    rows = [make_row(entry) for entry in entries]
    parts = [measured_on(results), means(rows), times(rows), ten_numbers(entries)]
    parts += [beside_a_copy(rows), lost_cells(rows), absences(results)]
    return "\n\n".join(part for part in parts if part) + "\n"


def table(*lines: list[str]) -> str:
    """A Markdown table, padded so that it is one in plain text too; numbers to the right."""
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]

    def draw(cells: list[str]) -> str:
        first, *others = cells
        right = (text.rjust(width) for text, width in zip(others, widths[1:], strict=True))
        return f"| {' | '.join([first.ljust(widths[0]), *right])} |"

    rule = ["-" * widths[0], *("-" * (width - 1) + ":" for width in widths[1:])]
    return "\n".join(map(draw, [lines[0], rule, *lines[1:]]))


def measured_on(results: dict[str, Any]) -> str:
    m = results["machine"]
    versions = dict.fromkeys(results["versions"].values())  # the copy is NumPy too
    return (
        f"Measured on {m['date']} in {results['rounds']} rounds: {m['cpu']}, {m['cpus']} CPUs, "
        f"{', '.join(m['caches'])}, {m['memory']}, {m['system']}, load {m['load']:.1f} at the "
        f"start, Python {m['python']}, {', '.join(versions)}."
    )


def means(rows: list[Row]) -> str:
    """The fastest rival's time over ours, by groups of cells."""
    head = ["rival / ours", "mean", "by minima", "fresh", "least", "most", "cells", "lost"]
    lines = []
    for name, some in groups([row for row in rows if isfinite(row.ratio)]):
        if not some:
            continue
        ratios = [row.ratio for row in some]
        figures = [
            geometric_mean(ratios),
            geometric_mean([row.by_minima for row in some]),
            geometric_mean([row.fresh for row in some]),
            min(ratios),
            max(ratios),
        ]
        counts = [str(len(some)), str(sum(row.lost for row in some))]
        lines.append([name, *map(number, figures), *counts])
    return table(head, *lines) if lines else ""


def times(rows: list[Row]) -> str:
    """One op, dtype and number of threads on every shape, in seconds."""
    lines = [
        [row.cell.place, duration(row.ours), duration(row.theirs), row.rival, number(row.ratio)]
        for row in rows
        if (row.cell.op, row.cell.dtype, row.threads) == ("softmax", "float32", 1)
    ]
    head = ["softmax, float32, 1 thread", OURS, "fastest rival", "which", "ratio"]
    return table(head, *lines) if lines else ""


def ten_numbers(entries: list[dict[str, Any]]) -> str:
    """A call on ten float32 numbers with a new output, as most people make it."""
    lines = []
    for entry in entries:
        if (tuple(entry["shape"]), entry["dtype"]) != ((10,), "float32"):
            continue
        rivals = entry["rivals"]
        ours, torch, scipy = (
            fastest({name: rivals.get(name, {})}, prefix="fresh")[0]
            for name in (OURS, "torch", "scipy")
        )
        if isfinite(ours * torch * scipy):
            lines.append(
                f"- {entry['op']}, {threads(entry['threads'])}: {duration(ours)}, "
                f"{number(ours / torch)} of torch's time, 1/{scipy / ours:.0f} of SciPy's"
            )
    return "\n".join(["A call on ten float32 numbers:", *lines]) if lines else ""


def beside_a_copy(rows: list[Row]) -> str:
    """Our time on arrays far larger than the caches over that of a plain copy of the array."""
    found: dict[str, list[str]] = {}
    for row in rows:
        cell = row.cell
        if cell.nbytes >= LARGE and cell.op != "logsumexp" and isfinite(row.copies):
            kind = f"- {cell.op} {cell.dtype}, {threads(row.threads)}"
            found.setdefault(kind, []).append(f"{row.copies:.2f} ({cell.place})")
    lines = [f"{kind}: {', '.join(values)}" for kind, values in found.items()]
    head = f"Our time over that of a plain copy, arrays of {LARGE / 1e6:.0f} MB and more:"
    return "\n".join([head, *lines]) if lines else ""


def lost_cells(rows: list[Row]) -> str:
    lost = sorted((row for row in rows if row.lost), key=lambda row: row.ratio)
    lines = [
        f"- {row.cell.op} {row.cell.dtype} {row.cell.place}, {threads(row.threads)}: "
        f"{row.ratio:.2f} (by minima {row.by_minima:.2f}) of {row.rival}"
        for row in lost
    ]
    return "\n".join([f"Lost: {len(lost)} of {len(rows)} cells.", *lines])


def absences(results: dict[str, Any]) -> str:
    """Who is not installed, and who does not do, or does wrongly, what."""
    lines = [f"- {name} is missing: {reason}" for name, reason in results["missing"].items()]
    cells: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for entry in results["cells"]:
        for name, result in entry["rivals"].items():
            if "unsupported" in result:
                cells.setdefault((name, result["unsupported"]), []).append(entry)
    for (name, reason), entries in cells.items():
        kinds = [", ".join(dict.fromkeys(e[kind] for e in entries)) for kind in ("dtype", "op")]
        count = f"{len(entries)} of {len(results['cells'])} cells"
        lines.append(f"- {name} in {count} ({'; '.join(kinds)}): {reason}")
    return "\n".join(["Not compared:", *lines]) if lines else ""
