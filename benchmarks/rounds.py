"""The parent's half: one process per rival, and the rounds in which they take turns."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from dataclasses import asdict
from math import inf
from pathlib import Path
from statistics import median
from typing import Any

from cells import Cell

HERE = Path(__file__).parent
RIVALS = tuple(sorted(path.stem for path in (HERE / "rivals").glob("[!_]*.py")))
OURS = "stablesoftmax"
YARDSTICK = "copy"
SLOW = 3.0  # times the fastest, and ...
LONG = 0.1  # ... seconds: a mode beyond both sits out the rounds that remain


def environment(threads: int) -> dict[str, str]:
    """Ours, with the pools sized, and without what would force BLAS to another CPU's kernels."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("OPENBLAS_")}
    pools = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
    return kept | dict.fromkeys(pools, str(threads)) | {"PYTHONWARNINGS": "ignore"}


class Worker:
    """The process of one rival. If it dies, its last words are the answer, and the next question
    starts another."""

    def __init__(self, name: str, threads: int) -> None:
        self.name = name
        self.threads = threads
        self.hello = self.start()

    def start(self) -> dict[str, Any]:
        self.errors = tempfile.TemporaryFile("w+")  # noqa: SIM115, closed by close()
        self.process = subprocess.Popen(
            [sys.executable, str(HERE / "worker.py"), self.name, str(self.threads)],
            env=environment(self.threads),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.errors,
            text=True,
        )
        return self.answer()

    def ask(self, verb: str, argument: Any = None) -> dict[str, Any]:
        if self.process.poll() is not None:
            self.close()
            self.start()
        print(json.dumps({verb: argument}), file=self.process.stdin, flush=True)
        return self.answer()

    def answer(self) -> dict[str, Any]:
        if line := self.process.stdout.readline():
            return json.loads(line)
        code = self.process.wait()
        self.errors.seek(0)
        last = (self.errors.read().strip() or "no message").splitlines()[-1]
        return {"unsupported": f"its process died with code {code}: {last}"}

    def close(self) -> None:
        self.process.kill()
        self.process.communicate()
        self.errors.close()


class Series:
    """The times of one worker on one cell, by mode: for each round, a list of seconds per call."""

    def __init__(self, worker: Worker, cell: Cell) -> None:
        self.worker = worker
        question = asdict(cell) | ({"op": "copy"} if worker.name == YARDSTICK else {})
        self.prepared = worker.ask("prepare", question)
        self.active = list(self.prepared.get("modes", ()))
        self.times: dict[str, list[list[float]]] = {mode: [] for mode in self.active}

    def play(self) -> None:
        if not self.active:
            return
        answer = self.worker.ask("sample", self.active)
        if "unsupported" in answer:
            self.prepared, self.active = answer, []
            return
        for mode, times in answer.items():
            self.times[mode].append(times)

    def fastest(self) -> float:
        return min((min(self.times[mode][0]) for mode in self.active), default=inf)

    def drop_beyond(self, seconds: float) -> None:
        self.active = [mode for mode in self.active if min(self.times[mode][0]) <= seconds]

    def finish(self) -> dict[str, Any]:
        self.worker.ask("release")
        if "unsupported" in self.prepared:
            return self.prepared
        modes = self.prepared["modes"]
        return {mode: {"statement": modes[mode]} | summary(self.times[mode]) for mode in modes}


def summary(rounds: list[list[float]]) -> dict[str, Any]:
    medians = [median(times) for times in rounds]
    return {"median": median(medians), "minimum": min(map(min, rounds)), "rounds": medians}


def measure(cell: Cell, workers: list[Worker], rounds: int) -> dict[str, dict[str, Any]]:
    """By rival, {"unsupported": reason} or {mode: summary}."""
    series = [Series(worker, cell) for worker in workers]
    for turn in range(rounds):
        first = turn % len(series)  # nobody always follows the same neighbour's spinning threads
        for one in series[first:] + series[:first]:
            one.play()
        rivals = (one for one in series if one.worker.name not in (OURS, YARDSTICK))
        limit = max(LONG, SLOW * min((one.fastest() for one in rivals), default=inf))
        for one in series:
            one.drop_beyond(limit)
    return {one.worker.name: one.finish() for one in series}
