"""softmax, log_softmax and logsumexp: stablesoftmax beside its rivals.

Each library runs in a process of its own, pinned to as many CPUs as it gets threads. The libraries
take turns, round after round, on every cell of a grid of arrays; only one works at any moment. A
library's time is the median over the rounds of its fastest mode (a new output for each call, or a
preallocated one). The ratio is the fastest rival's time over ours: below 1 the cell is LOST.
The whole grid takes about 40 minutes and 12 GiB; --quick (or QUICK=1), some minutes and 5 GiB.

Biases, so that you can judge the figures:
- The authors of stablesoftmax chose the grid and wrote every rival's settings (for us).
- Logits are N(0, 1): no infinities, no NaN, few ties. Other data may favour anyone.
- The same array is used again and again: small ones stay in the caches.
- Inputs are the rival's own tensors, made outside the timing. With NumPy arrays in hand, torch,
  JAX and TensorFlow would pay for the way in and out (for them).
- The fastest rival is picked for each cell after the fact, luck included (for them).
- Speed alone: rivals err by up to hundreds of ULP where stablesoftmax keeps to 2 (for them).
- A preallocated output spares page faults that most users pay; `fresh` is the ratio without it.
- Rivals are the wheels that pip installs, and torch is eager, not torch.compile (for us).
- A mode that takes over 0.1 s and 3 times as long as the fastest rival sits out the later rounds.
- A result wrong by far more than its dtype's rounding takes a rival out of the cell.
- CPUs only, of this one machine, and whatever else runs on it: see the load, compare the minima.
"""

from __future__ import annotations

import argparse
import json
import os
from math import isfinite
from pathlib import Path
from typing import Any

import report
from cells import Cell, select
from machine import machine
from rounds import RIVALS, Worker, measure

CPUS = len(os.sched_getaffinity(0))


def words(text: str) -> list[str]:
    return text.split(",")


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    quick = os.environ.get("QUICK", "0") != "0"
    counts = [str(count) for count in (1, 2) if count <= CPUS]
    add = parser.add_argument
    add("--quick", action="store_true", default=quick, help="some minutes; also by QUICK=1")
    add("--rounds", type=int, help="rounds per cell: 5, or 3 when quick")
    add("--threads", type=words, default=counts, help="such as 1,2, which is the default")
    add("--only", type=words, default=[], help="such as softmax,float32,float64,128x1000")
    add("--rivals", type=words, default=RIVALS, help=",".join(RIVALS))
    add("--output", type=Path, default=Path(__file__).parent / "results", help="a folder")
    add("--markdown", type=Path, metavar="JSON", help="print the summary of this file, no more")
    given = parser.parse_args()
    if unknown := set(given.rivals).difference(RIVALS):
        parser.error(f"--rivals: {', '.join(sorted(unknown))}; choose from {', '.join(RIVALS)}")
    if not all(text.isdecimal() and 1 <= int(text) <= CPUS for text in given.threads):
        parser.error(f"--threads: {','.join(given.threads)}; there are {CPUS} CPUs")
    try:
        given.cells = [cell for cell in select(given.only) if cell.quick or not given.quick]
    except ValueError as error:
        parser.error(f"--only: {error}")
    given.rounds = given.rounds or (3 if given.quick else 5)
    return given


def run(results: dict[str, Any], cells: list[Cell], threads: list[int], rivals: list[str]) -> None:
    """Measure into `results`, printing each row of the table as soon as it is known."""
    for count in threads:
        workers = []
        for worker in (Worker(name, count) for name in rivals):
            if version := worker.hello.get("version"):
                results["versions"][worker.name] = version
                workers.append(worker)
            else:
                results["missing"][worker.name] = worker.hello["unsupported"]
                worker.close()
        for cell in cells:
            entry = {**vars(cell), "threads": count}
            entry["rivals"] = measure(cell, workers, results["rounds"])
            results["cells"].append(entry)
            progress = f"{len(results['cells'])}/{len(cells) * len(threads)}"
            print(f"{progress:>9} {report.line(report.make_row(entry))}", flush=True)
        for worker in workers:
            worker.close()


def save(results: dict[str, Any], folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "results.json").write_text(json.dumps(results, indent=1) + "\n")
    (folder / "summary.md").write_text(report.markdown(results))
    rows = [report.make_row(entry) for entry in results["cells"]]
    if rows := [row for row in rows if isfinite(row.ratio)]:
        try:
            from plot import draw
        except ImportError as error:
            print(f"no plot: {error}")
        else:
            subject = f"{results['machine']['cpu']}, {results['machine']['date']}"
            draw(rows, subject, folder / "ratios.png")
    print(f"written: {', '.join(str(path) for path in sorted(folder.iterdir()))}")


def main() -> None:
    given = arguments()
    if given.markdown:
        print(report.markdown(json.loads(given.markdown.read_text())), end="")
        return
    results = {"machine": machine(), "rounds": given.rounds, "versions": {}, "missing": {}}
    results["cells"] = []
    print(__doc__, report.HEADER, sep="\n")
    try:
        run(results, given.cells, [int(text) for text in given.threads], given.rivals)
    except KeyboardInterrupt:
        print("stopped; what follows is what was measured until then")
    print("", report.markdown(results), sep="\n")
    save(results, given.output)


if __name__ == "__main__":
    main()
