"""A torch tensor beside that of a NumPy array: float32 (4096, 1024), the same kernel.

    python benchmarks/tensors.py [CALLS]

Each array is its own library's, and so is its alignment: torch's starts at a whole cache line,
NumPy's at 16 bytes. The calls come in random order in one process, pinned to as many CPUs as it
has threads. What a tensor costs more, 7 us and up to 150 after a large call, is mostly torch's
own code, which has to come back into the caches.
"""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import time
from statistics import median
from typing import Any

import numpy as np
from cells import SEED
from machine import machine
from rounds import environment
from worker import pin

FUNCTIONS = ("softmax", "log_softmax", "logsumexp")
SHAPE = (4096, 1024)


def measure(threads: int, calls: int) -> dict[str, dict[str, list[float]]]:
    import torch

    import stablesoftmax

    x = np.random.default_rng(SEED).standard_normal(SHAPE, np.float32)
    tensor = torch.empty(SHAPE).copy_(torch.from_numpy(x))
    stablesoftmax.set_num_threads(threads)
    torch.set_num_threads(threads)
    times: dict[str, dict[str, list[float]]] = {}
    for name in FUNCTIONS:
        found: dict[str, list[float]] = {"numpy": [], "torch": []}
        arrays: list[tuple[str, Any]] = [("numpy", x), ("torch", tensor)]
        for _ in range(calls):
            for kind, array in random.sample(arrays, 2):
                start = time.perf_counter()
                getattr(stablesoftmax, name)(array, axis=-1)
                found[kind].append(time.perf_counter() - start)
        times[name] = found
    return times


def main(calls: int) -> None:
    facts = machine()
    print(f"{facts['cpu']}, {facts['cpus']} CPUs, load {facts['load']:.1f}; {calls} calls")
    print("median us (least)")
    print("| threads | function | NumPy array | torch tensor | tensor / array |")
    print("| --- | --- | --- | --- | --- |")
    for threads in range(1, min(2, len(os.sched_getaffinity(0))) + 1):
        command = [sys.executable, __file__, "--serve", str(threads), str(calls)]
        run = subprocess.run(
            command, env=environment(threads), capture_output=True, text=True, check=True
        )
        for name, found in json.loads(run.stdout).items():
            cells = [f"{1e6 * median(t):.0f} ({1e6 * min(t):.0f}) |" for t in found.values()]
            ratio = median(found["torch"]) / median(found["numpy"])
            print(f"| {threads} | {name} |", *cells, f"{ratio:.2f} |", flush=True)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--serve"]:
        pin(int(sys.argv[2]))
        print(json.dumps(measure(int(sys.argv[2]), int(sys.argv[3]))))
    else:
        main(int(sys.argv[1]) if sys.argv[1:] else 500)
