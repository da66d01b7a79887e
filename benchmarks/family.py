"""The losses beside their rivals: time and peak memory of cross_entropy and its kin.

Each library runs in a process of its own for each cell, pinned to as many CPUs as it gets threads.
The time is the least of several calls after a first one; the memory is how far that first call
raised the process's peak, results included. Rivals are handed their own tensors.

Biases: torch is eager, JAX is jitted, SciPy is the composition that its users write. torch has no
selected_log_softmax: it is `log_softmax` and `gather`. A gradient is asked of torch's and JAX's own
differentiation. Logits are N(0, 1), labels uniform; CPUs only.

    python benchmarks/family.py [--quick] [--threads 2]
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np
from cells import SEED, numpy_dtype
from rounds import environment
from worker import pin

OPS = ("cross_entropy", "cross_entropy_with_grad", "selected_log_softmax")
SHAPES = ((4096, 32000), (512, 128256))
DTYPES = ("float32", "bfloat16")
RIVALS = ("stablesoftmax", "torch", "jax", "scipy")


def make_input(shape: tuple[int, int], dtype: str) -> tuple[np.ndarray, np.ndarray]:
    """Logits and classes, the same in every process."""
    rng = np.random.default_rng(SEED)
    row = rng.standard_normal(shape[1] + 997, np.float32).astype(numpy_dtype(dtype))
    x = np.empty(shape, row.dtype)
    for i in range(shape[0]):
        x[i] = row[i % 997 : i % 997 + shape[1]]
    return x, rng.integers(0, shape[1], shape[0])


def stablesoftmax(op: str, x: np.ndarray, y: np.ndarray, threads: int) -> Callable[[], Any]:
    import stablesoftmax as library

    library.set_num_threads(threads)
    return lambda: getattr(library, op)(x, y)


def torch(op: str, x: np.ndarray, y: np.ndarray, threads: int) -> Callable[[], Any]:
    import torch

    torch.set_num_threads(threads)
    narrow = x.dtype.name == "bfloat16"
    logits = (
        torch.from_numpy(x.view(np.int16)).view(torch.bfloat16) if narrow else torch.from_numpy(x)
    )
    labels = torch.from_numpy(y)
    cross_entropy, log_softmax = torch.nn.functional.cross_entropy, torch.log_softmax
    if op == "selected_log_softmax":
        return lambda: log_softmax(logits, -1).gather(-1, labels[:, None])
    if op == "cross_entropy":
        return lambda: cross_entropy(logits, labels)
    logits.requires_grad_()

    def both() -> Any:
        loss = cross_entropy(logits, labels)
        return loss.detach(), torch.autograd.grad(loss, logits)

    return both


def jax(op: str, x: np.ndarray, y: np.ndarray, threads: int) -> Callable[[], Any]:
    os.environ["JAX_PLATFORMS"] = "cpu"
    import jax
    from jax import numpy as jnp

    logits, labels = jnp.asarray(x), jnp.asarray(y)

    def selected(x: Any, y: Any) -> Any:
        return jnp.take_along_axis(jax.nn.log_softmax(x), y[:, None], -1)

    def loss(x: Any, y: Any) -> Any:
        return -selected(x, y).mean()

    function = {
        "cross_entropy": jax.jit(loss),
        "cross_entropy_with_grad": jax.jit(jax.value_and_grad(loss)),
        "selected_log_softmax": jax.jit(selected),
    }[op]
    return lambda: jax.block_until_ready(function(logits, labels))


def scipy(op: str, x: np.ndarray, y: np.ndarray, threads: int) -> Callable[[], Any]:
    from scipy.special import log_softmax, softmax

    rows = np.arange(len(x))

    def both() -> Any:
        gradient = softmax(x, -1)
        loss = -np.log(gradient[rows, y]).mean()
        gradient[rows, y] -= 1
        gradient /= len(x)
        return loss, gradient

    return {
        "cross_entropy": lambda: -log_softmax(x, -1)[rows, y].mean(),
        "cross_entropy_with_grad": both,
        "selected_log_softmax": lambda: log_softmax(x, -1)[rows, y],
    }[op]


def resident(key: str) -> int:
    """VmRSS or VmHWM, in bytes. Linux."""
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) * 1024 for line in status if line.startswith(key))


def measure(
    rival: str, op: str, shape: tuple[int, int], dtype: str, threads: int, calls: int
) -> dict:
    pin(threads)
    x, y = make_input(shape, dtype)
    call = globals()[rival](op, x, y, threads)
    with open("/proc/self/clear_refs", "w") as reset:
        reset.write("5")  # the peak is what is resident now
    before = resident("VmRSS")
    call()
    peak = resident("VmHWM") - before
    times = []
    for _ in range(calls):
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
    return {"seconds": min(times), "bytes": peak}


def ask(*arguments: Any, threads: int) -> dict[str, Any]:
    run = subprocess.run(
        [sys.executable, __file__, "--cell", json.dumps(arguments), "--threads", str(threads)],
        env=environment(threads),
        capture_output=True,
        text=True,
        check=False,
    )
    return json.loads(run.stdout) if run.returncode == 0 else {"error": run.stderr.strip()[-200:]}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--quick", action="store_true", help="an eighth of the rows, two calls")
    parser.add_argument("--cell", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.cell:
        rival, op, shape, dtype, calls = json.loads(given.cell)
        print(json.dumps(measure(rival, op, tuple(shape), dtype, given.threads, calls)))
        return
    print("| function | dtype | shape |", *(f"{rival} |" for rival in RIVALS))
    print("|" + " --- |" * (3 + len(RIVALS)))
    for op in OPS:
        for dtype in DTYPES:
            for rows, columns in SHAPES:
                shape = (rows // 8 if given.quick else rows, columns)
                calls = 2 if given.quick else 5
                found = [ask(r, op, shape, dtype, calls, threads=given.threads) for r in RIVALS]
                text = [
                    f"{1e3 * one['seconds']:.1f} ms, {one['bytes'] / 2**20:.0f} MB"
                    if "seconds" in one
                    else "no"
                    for one in found
                ]
                print(f"| {op} | {dtype} | {shape} |", " | ".join(text), "|", flush=True)


if __name__ == "__main__":
    main()
