"""The ratio of every cell: one panel per op and dtype, log scale, red where the cell is lost."""

from __future__ import annotations

from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
from cells import DTYPES, OPS
from report import Row, geometric_mean, threads

COLORS = ("tab:blue", "tab:orange", "tab:green", "tab:purple")


def panel(axes: plt.Axes, rows: list[Row], places: list[str]) -> None:
    axes.axhspan(0.01, 1, color="tab:red", alpha=0.1, lw=0)
    axes.axhline(1, color="tab:red", lw=1)
    counts = sorted({row.threads for row in rows})
    for i, count in enumerate(counts):
        some = [row for row in rows if row.threads == count]
        x = [places.index(row.cell.place) + 0.3 * (i - (len(counts) - 1) / 2) for row in some]
        ratios = [row.ratio for row in some]
        axes.vlines(x, 1, ratios, color=COLORS[i], lw=4, alpha=0.4)
        label = f"{threads(count)}, mean {geometric_mean(ratios):.2f}"
        axes.plot(x, ratios, "o", ms=4, color=COLORS[i], label=label)
    axes.grid(axis="y", which="both", lw=0.3)
    axes.legend(fontsize=7, loc="upper right", framealpha=0.8)


def draw(rows: list[Row], subject: str, path: Path) -> None:
    places = list(dict.fromkeys(row.cell.place for row in rows))
    ops = [op for op in OPS if any(row.cell.op == op for row in rows)]
    dtypes = [dtype for dtype in DTYPES if any(row.cell.dtype == dtype for row in rows)]
    figure, grid = plt.subplots(
        len(ops),
        len(dtypes),
        figsize=(2 + 3.5 * len(dtypes), 2 + 2.4 * len(ops)),
        sharex=True,
        sharey=True,
        squeeze=False,
        layout="constrained",
    )
    for i, op in enumerate(ops):
        for j, dtype in enumerate(dtypes):
            panel(grid[i, j], [r for r in rows if (r.cell.op, r.cell.dtype) == (op, dtype)], places)
            grid[i, j].set_title(f"{op}, {dtype}", fontsize=9)
    ratios = [row.ratio for row in rows]
    grid[0, 0].set_yscale("log")
    grid[0, 0].set_ylim(min(0.7, *ratios) / 1.1, 1.1 * max(ratios))
    ticks = [tick for tick in (0.2, 0.5, 1, 2, 5, 10, 20, 50, 100) if tick <= 1.1 * max(ratios)]
    grid[0, 0].set_yticks(ticks, [f"{tick:g}" for tick in ticks])
    grid[0, 0].minorticks_off()
    for axes in grid[-1]:
        axes.set_xticks(range(len(places)), places, rotation=90, fontsize=8)
    figure.supylabel("fastest rival's time over ours (above 1 we are faster)")
    mean = f"geometric mean {geometric_mean(ratios):.2f} over {len(rows)} cells"
    figure.suptitle(f"stablesoftmax beside the fastest rival of each cell: {mean}\n{subject}")
    figure.savefig(path, dpi=120)
    plt.close(figure)
