"""Groups of unequal size: 1e7 float32 in 1e5 groups, stablesoftmax beside code from scatters.

    python benchmarks/segments.py [ROUNDS]

Each library runs in a process of its own, pinned to as many CPUs as it gets threads; they take
turns, and only one works at any moment. Printed are the median and the least time of the rounds,
and what one call adds to the process at its peak, the result included. Groups come as int64 ids in
random order, as ascending ids, or as offsets, which only stablesoftmax and NumPy's reduceat take:
torch and JAX then get ascending ids, made outside the timing. JAX is told which ids ascend.

Biases: those that run.py lists; and the peak of a rival is what malloc and its own pool return.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from itertools import product
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from machine import machine
from rounds import environment
from worker import pin

ROWS, GROUPS, SEED = 10**7, 10**5, 20170401
RIVALS = ("stablesoftmax", "torch", "jax", "numpy")
CELLS = tuple(product(("softmax", "logsumexp"), ("random", "ascending", "offsets")))

Call = Callable[[], Any]


def inputs(order: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(SEED)
    x, ids = rng.standard_normal(ROWS, np.float32), rng.integers(0, GROUPS, ROWS)
    ids = ids if order == "random" else np.sort(ids)
    indptr = np.concatenate([[0], np.cumsum(np.bincount(ids, minlength=GROUPS))])
    return x, ids, indptr


# ---- rivals: each makes a call of a cell, its arrays ready ------------------------------------


def prepare_stablesoftmax(op: str, order: str, threads: int) -> Call:
    import stablesoftmax

    x, ids, indptr = inputs(order)
    function = getattr(stablesoftmax, f"segment_{op}")
    if order == "offsets":
        return lambda: function(x, indptr=indptr)
    return lambda: function(x, ids, num_segments=GROUPS)


def prepare_numpy(op: str, order: str, threads: int) -> Call:
    x, ids, indptr = inputs(order)

    def scatter() -> np.ndarray:
        top = np.full(GROUPS, -np.inf, np.float32)
        np.maximum.at(top, ids, x)
        e = np.exp(x - top[ids])
        total = np.bincount(ids, e, GROUPS).astype(np.float32)
        return e / total[ids] if op == "softmax" else top + np.log(total)

    def reduceat() -> np.ndarray:  # wrong where a group is empty: none is
        lengths = np.diff(indptr)
        top = np.maximum.reduceat(x, indptr[:-1])
        e = np.exp(x - np.repeat(top, lengths))
        total = np.add.reduceat(e, indptr[:-1])
        return e / np.repeat(total, lengths) if op == "softmax" else top + np.log(total)

    return reduceat if order == "offsets" else scatter


def prepare_torch(op: str, order: str, threads: int) -> Call:
    import torch

    torch.set_num_threads(threads)
    torch.inference_mode().__enter__()
    x, ids = map(torch.from_numpy, inputs(order)[:2])

    def scatter() -> torch.Tensor:
        top = torch.full((GROUPS,), -torch.inf).scatter_reduce(0, ids, x, "amax")
        e = (x - top.gather(0, ids)).exp_()
        total = torch.zeros(GROUPS).scatter_add(0, ids, e)
        return e.div_(total.gather(0, ids)) if op == "softmax" else top + total.log()

    return scatter


def prepare_jax(op: str, order: str, threads: int) -> Call:
    import jax

    jax.config.update("jax_enable_x64", True)
    jax.config.update("jax_cpu_enable_async_dispatch", False)
    x, ids = map(jax.numpy.asarray, inputs(order)[:2])
    options = {"num_segments": GROUPS, "indices_are_sorted": order != "random"}

    @jax.jit
    def scatter(x: jax.Array, ids: jax.Array) -> jax.Array:
        top = jax.ops.segment_max(x, ids, **options)
        e = jax.numpy.exp(x - top[ids])
        total = jax.ops.segment_sum(e, ids, **options)
        return e / total[ids] if op == "softmax" else top + jax.numpy.log(total)

    return lambda: scatter(x, ids).block_until_ready()


# ---- a rival's process ------------------------------------------------------------------------


def kilobytes(name: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(name))


def peak(call: Call) -> float:
    """MB that one call adds to the process at its peak."""
    Path("/proc/self/clear_refs").write_text("5")  # resets VmHWM
    before = kilobytes("VmRSS")
    call()
    return (kilobytes("VmHWM") - before) / 1000


def serve(rival: str, op: str, order: str, threads: int) -> None:
    pin(threads)
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # a library that prints must not break the protocol
    call = globals()[f"prepare_{rival}"](op, order, threads)
    value = np.asarray(call())
    x, ids, _ = inputs(order)
    rows = np.flatnonzero(ids == 7)
    e = np.exp(x[rows].astype(float))
    right, got = (e / e.sum(), value[rows]) if op == "softmax" else (np.log(e.sum()), value[7])
    np.testing.assert_allclose(got, right, rtol=1e-5)
    del value
    print(json.dumps(peak(call)), file=answers)
    for _ in sys.stdin:
        start = time.perf_counter()
        call()
        print(json.dumps(time.perf_counter() - start), file=answers)


# ---- the parent's -----------------------------------------------------------------------------


def measure(op: str, order: str, threads: int, rounds: int) -> dict[str, dict[str, float]]:
    processes = {
        rival: subprocess.Popen(
            [sys.executable, __file__, "--serve", rival, op, order, str(threads)],
            env=environment(threads) | {"JAX_PLATFORMS": "cpu"},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for rival in RIVALS
    }
    peaks = {rival: json.loads(process.stdout.readline()) for rival, process in processes.items()}
    times: dict[str, list[float]] = {rival: [] for rival in RIVALS}
    for _, (rival, process) in product(range(rounds), processes.items()):
        print(file=process.stdin, flush=True)
        times[rival].append(json.loads(process.stdout.readline()))
    for process in processes.values():
        process.communicate()
    return {
        rival: {"median": median(times[rival]), "least": min(times[rival]), "peak": peaks[rival]}
        for rival in RIVALS
    }


def main(rounds: int) -> None:
    facts = machine()
    print(f"{facts['cpu']}, {facts['cpus']} CPUs, load {facts['load']:.1f}; {rounds} rounds")
    print("median ms (least), MB at the peak")
    print(
        "| threads | function | groups |", *(f"{rival} |" for rival in RIVALS), "fastest / ours |"
    )
    print("| --- " * (4 + len(RIVALS)) + "|")
    cpus = len(os.sched_getaffinity(0))
    for threads, (op, order) in product([n for n in (1, 2) if n <= cpus], CELLS):
        found = measure(op, order, threads, rounds)
        cells = [
            f"{f['median'] * 1e3:.0f} ({f['least'] * 1e3:.0f}), {f['peak']:.0f} MB |"
            for f in found.values()
        ]
        ours = found.pop("stablesoftmax")["median"]
        ratio = min(f["median"] for f in found.values()) / ours
        print(f"| {threads} | {op} | {order} |", *cells, f"{ratio:.2f} |", flush=True)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--serve"]:
        serve(*sys.argv[2:5], int(sys.argv[5]))
    else:
        main(int(sys.argv[1]) if sys.argv[1:] else 7)
