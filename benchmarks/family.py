"""The losses and the draws beside their rivals: time and peak memory.

Each library runs in a process of its own for each cell, pinned to as many CPUs as it gets threads.
The time is the least of several calls after a first one; the memory is how far that first call
raised the process's peak, results included. Rivals are handed their own tensors.

Biases: torch is eager, JAX is jitted, SciPy is the composition that its users write. torch has no
selected_log_softmax: it is `log_softmax` and `gather`. A gradient is asked of torch's and JAX's own
differentiation. torch draws with `multinomial`, JAX with `categorical`, SciPy's users along the
cumulated probabilities; the kept of `top_k` and `top_p` are sorted out as their users do it. Logits
are N(0, 1), labels uniform; CPUs only.

    python benchmarks/family.py [--quick] [--threads 2] [--only sample]
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

LOSSES = ("cross_entropy", "cross_entropy_with_grad", "selected_log_softmax")
LOSS_SHAPES = ((4096, 32000), (512, 128256))
DRAWS = {"sample": {}, "sample, top_k=50": {"top_k": 50}, "sample, top_p=0.9": {"top_p": 0.9}}
DRAW_SHAPES = ((100000, 10), (4096, 1024), (128, 50257))
CELLS = [
    *(
        (op, dtype, shape)
        for op in LOSSES
        for dtype in ("float32", "bfloat16")
        for shape in LOSS_SHAPES
    ),
    *(
        (op, "float32", shape)
        for op in DRAWS
        for shape in DRAW_SHAPES
        if op == "sample" or shape[1] > 50
    ),
]
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
    if op in DRAWS:
        generator = np.random.default_rng(SEED)
        return lambda: library.sample(x, rng=generator, **DRAWS[op])
    return lambda: getattr(library, op)(x, y)


def torch(op: str, x: np.ndarray, y: np.ndarray, threads: int) -> Callable[[], Any]:
    import torch

    torch.set_num_threads(threads)
    narrow = x.dtype.name == "bfloat16"
    logits = (
        torch.from_numpy(x.view(np.int16)).view(torch.bfloat16) if narrow else torch.from_numpy(x)
    )
    labels = torch.from_numpy(y)
    if op in DRAWS:
        return lambda: torch_draws(torch, logits, **DRAWS[op])
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


def torch_draws(torch: Any, logits: Any, top_k: int | None = None, top_p: float = 1) -> Any:
    if top_k is not None:
        values, places = logits.topk(top_k)
        return places.gather(-1, torch.multinomial(torch.softmax(values, -1), 1))
    p = torch.softmax(logits, -1)
    if top_p == 1:
        return torch.multinomial(p, 1)
    falling, places = p.sort(-1, descending=True)
    falling[falling.cumsum(-1) - falling > top_p] = 0
    return places.gather(-1, torch.multinomial(falling, 1))


def jax(op: str, x: np.ndarray, y: np.ndarray, threads: int) -> Callable[[], Any]:
    os.environ["JAX_PLATFORMS"] = "cpu"
    import jax
    from jax import numpy as jnp

    logits, labels = jnp.asarray(x), jnp.asarray(y)

    def selected(x: Any, y: Any) -> Any:
        return jnp.take_along_axis(jax.nn.log_softmax(x), y[:, None], -1)

    def loss(x: Any, y: Any) -> Any:
        return -selected(x, y).mean()

    if op in DRAWS:
        draw = jax.jit(lambda key, x: jax_draws(jax, key, x, **DRAWS[op]))
        keys = iter(jax.random.split(jax.random.key(SEED), 100))
        return lambda: jax.block_until_ready(draw(next(keys), logits))
    function = {
        "cross_entropy": jax.jit(loss),
        "cross_entropy_with_grad": jax.jit(jax.value_and_grad(loss)),
        "selected_log_softmax": jax.jit(selected),
    }[op]
    return lambda: jax.block_until_ready(function(logits, labels))


def jax_draws(jax: Any, key: Any, x: Any, top_k: int | None = None, top_p: float = 1) -> Any:
    if top_k is not None:
        values, places = jax.lax.top_k(x, top_k)
        drawn = jax.random.categorical(key, values)
        return jax.numpy.take_along_axis(places, drawn[:, None], -1)
    if top_p < 1:
        p = jax.nn.softmax(x)
        falling = jax.numpy.sort(p, axis=-1, descending=True)
        kept = falling.cumsum(-1) - falling <= top_p
        least = jax.numpy.where(kept, falling, 1).min(-1, keepdims=True)
        x = jax.numpy.where(p < least, -jax.numpy.inf, x)
    return jax.random.categorical(key, x)


def scipy_draws(x: np.ndarray, rng: Any, top_k: int | None = None, top_p: float = 1) -> Any:
    from scipy.special import softmax

    if top_k is not None:
        x = np.where(x < np.partition(x, -top_k, -1)[:, -top_k, None], -np.inf, x)
    p = softmax(x, -1)
    if top_p < 1:
        falling = np.sort(p, -1)[:, ::-1]
        last = (falling.cumsum(-1) < top_p).sum(-1, keepdims=True)
        p = np.where(p < np.take_along_axis(falling, last, -1), 0, p)
    total = p.cumsum(-1)
    return (total <= rng.random((len(x), 1)) * total[:, -1:]).sum(-1)


def scipy(op: str, x: np.ndarray, y: np.ndarray, threads: int) -> Callable[[], Any]:
    from scipy.special import log_softmax, softmax

    if op in DRAWS:
        rng = np.random.default_rng(SEED)
        return lambda: scipy_draws(x, rng, **DRAWS[op])
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
    parser.add_argument("--only", default="", help="functions whose names begin so")
    parser.add_argument("--cell", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.cell:
        rival, op, shape, dtype, calls = json.loads(given.cell)
        print(json.dumps(measure(rival, op, tuple(shape), dtype, given.threads, calls)))
        return
    print("| function | dtype | shape |", *(f"{rival} |" for rival in RIVALS))
    print("|" + " --- |" * (3 + len(RIVALS)))
    for op, dtype, (rows, columns) in CELLS:
        if not op.startswith(given.only):
            continue
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
