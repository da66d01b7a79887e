"""One rival in a process of its own: a JSON line in, a JSON line out.

    python worker.py RIVAL THREADS

The first line out is {"version": ...} or, if the rival is not here, {"unsupported": reason}; then

{"prepare": {op, dtype, shape, axis}} -> {"modes": {mode: statement}} or {"unsupported": reason}
{"sample": [mode, ...]}               -> {mode: [seconds of one call, ...]}
{"release": true}                     -> {}
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from importlib import import_module
from timeit import Timer
from typing import Any

from cells import Cell, make_input, mistake

BATCH = 0.001  # seconds: the shortest interval that is timed
ROUND = 0.020  # seconds: how long a mode is timed in one round


def pin(threads: int) -> None:
    """Allow this process `threads` CPUs, whatever a library thinks: the last of those that run.py
    was given (by taskset, say), CPU 0 being where interrupts mostly go."""
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[-threads:])


def seconds_per_call(timer: Timer) -> list[float]:
    """Times of one call, each the mean over a batch; finding the batch's length warms up."""
    number = 1
    while (elapsed := timer.timeit(number)) < BATCH:
        number *= 2
    batches = int(ROUND / elapsed)
    return [timer.timeit(number) / number for _ in range(batches)] or [elapsed / number]


class Worker:
    def __init__(self, rival: Any) -> None:
        self.rival = rival
        self.timers: dict[str, Timer] = {}

    def prepare(self, fields: dict[str, Any]) -> dict[str, Any]:
        cell = Cell(**{**fields, "shape": tuple(fields["shape"])})
        try:
            x = make_input(cell)
            modes, names = self.rival.prepare(cell.op, x, cell.axis)
            for statement in modes.values():
                value = eval(statement, names)
                value = names["out"] if value is None else value
                if example := mistake(cell, x, self.rival.to_numpy(value)):
                    return {"unsupported": "wrong result", "example": example}
        except Exception as error:  # whatever a rival raises is its way to say no
            reason = str(error) or type(error).__name__
            return {"unsupported": reason.splitlines()[0][:200]}
        self.timers = {mode: Timer(text, globals=names) for mode, text in modes.items()}
        return {"modes": modes}

    def sample(self, modes: list[str]) -> dict[str, Any]:
        return {mode: seconds_per_call(self.timers[mode]) for mode in modes}

    def release(self, _: Any) -> dict[str, Any]:
        self.timers = {}
        return {}


def serve(name: str, threads: int) -> None:
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # a library that prints must not break the protocol
    pin(threads)
    try:
        rival = import_module(f"rivals.{name}")
        rival.setup(threads)
        hello = {"version": rival.VERSION}
    except ImportError as error:
        hello = {"unsupported": str(error)}
    print(json.dumps(hello), file=answers)
    if "unsupported" in hello:
        return
    worker = Worker(rival)
    for line in sys.stdin:
        [(verb, argument)] = json.loads(line).items()
        method: Callable[[Any], dict[str, Any]] = getattr(worker, verb)
        print(json.dumps(method(argument)), file=answers)


if __name__ == "__main__":
    serve(sys.argv[1], int(sys.argv[2]))
