"""The rest of the family on large arrays, beside torch as its users write it.

    python benchmarks/large.py [FUNCTION ...]

Gradients, information, weights, temperatures, masks; float32 and float64, rows and columns, fresh
results, one thread, all in turn in one process; medians of rounds. A gradient is torch's own
softmax and its backward step, the fastest that we know; the others are compositions. Bias: ours is
written by us, and torch may fuse more under `torch.compile`, which needs a compiler of the user's.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from math import prod
from statistics import median
from time import perf_counter
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import torch
from machine import machine

import stablesoftmax as ss

ROUNDS = 7
SHAPES = [
    ((4096, 1024), 1),
    ((128, 50257), 1),
    ((100000, 10), 1),
    ((100000, 3), 1),
    ((64, 50, 1000), 1),
]
DTYPES = ("float32", "float64")


def softmax_backward(x: Any, g: Any, axis: int) -> Any:
    return torch._softmax_backward_data(g, torch.softmax(x, axis), axis, x.dtype)


def log_softmax_backward(x: Any, g: Any, axis: int) -> Any:
    return torch._log_softmax_backward_data(g, torch.log_softmax(x, axis), axis, x.dtype)


def softmax_forward(x: Any, g: Any, axis: int) -> Any:
    p = torch.softmax(x, axis)
    return p * (g - (p * g).sum(axis, keepdim=True))


def entropy(x: Any, g: Any, axis: int) -> Any:
    log_p = torch.log_softmax(x, axis)
    return -(log_p.exp() * log_p).sum(axis)


def kl_divergence(x: Any, g: Any, axis: int) -> Any:
    log_p, log_q = torch.log_softmax(x, axis), torch.log_softmax(g, axis)
    return torch.nn.functional.kl_div(log_q, log_p, log_target=True, reduction="none").sum(axis)


def masked(x: Any, g: Any, axis: int) -> Any:
    return torch.softmax(x.masked_fill(g < 0, -torch.inf), axis)


FUNCTIONS: dict[str, tuple[Callable[..., Any], Callable[..., Any]]] = {
    "softmax_vjp": (ss.softmax_vjp, softmax_backward),
    "log_softmax_vjp": (ss.log_softmax_vjp, log_softmax_backward),
    "softmax_jvp": (ss.softmax_jvp, softmax_forward),
    "entropy": (lambda x, g, axis: ss.entropy(x, axis), entropy),
    "kl_divergence": (ss.kl_divergence, kl_divergence),
    "logsumexp(b=)": (
        lambda x, g, axis: ss.logsumexp(x, axis, b=g),
        lambda x, g, axis: torch.logsumexp(x + g.abs().log(), axis),
    ),
    "softmax(temperature=0.7)": (
        lambda x, g, axis: ss.softmax(x, axis, temperature=0.7),
        lambda x, g, axis: torch.softmax(x / 0.7, axis),
    ),
    "softmax(where=)": (lambda x, g, axis: ss.softmax(x, axis, where=g >= 0), masked),
    "logcumsumexp": (
        lambda x, g, axis: ss.logcumsumexp(x, axis),
        lambda x, g, axis: torch.logcumsumexp(x, axis),
    ),
}


def seconds(call: Callable[[], Any]) -> float:
    start = perf_counter()
    call()
    return perf_counter() - start


def measure(ours: Callable[[], Any], theirs: Callable[[], Any]) -> tuple[float, float]:
    """The medians of both, in turn."""
    ours(), theirs()
    rounds = [(seconds(ours), seconds(theirs)) for _ in range(ROUNDS)]
    return median(a for a, _ in rounds), median(b for _, b in rounds)


def main() -> None:
    """Print the table, lost cells in bold."""
    torch.set_num_threads(1)
    ss.set_num_threads(1)
    here = machine()
    print(f"{here['cpu']}, Python {here['python']}, load {here['load']}, {here['date']}\n")
    columns = [f"{shape} {dtype}" for dtype in DTYPES for shape, _ in SHAPES]
    print("| torch / ours |", " | ".join(columns), "|")
    print("| --- |" + " ---: |" * len(columns))
    ratios: list[float] = []
    rng = np.random.default_rng(0)
    for name in sys.argv[1:] or list(FUNCTIONS):
        ours, theirs = FUNCTIONS[name]
        cells = []
        for dtype in DTYPES:
            for shape, axis in SHAPES:
                x, g = (rng.normal(size=shape).astype(dtype) for _ in range(2))
                tx, tg = torch.from_numpy(x), torch.from_numpy(g)
                a, b = measure(lambda: ours(x, g, axis), lambda: theirs(tx, tg, axis))  # noqa: B023
                ratios.append(b / a)
                cells.append(f"{b / a:.2f}" if b >= 0.97 * a else f"**{b / a:.2f}**")
        print(f"| `{name}` |", " | ".join(cells), "|", flush=True)
    lost = sum(ratio < 0.97 for ratio in ratios)
    mean = prod(ratios) ** (1 / len(ratios))
    print(f"\n{lost} of {len(ratios)} cells are slower than torch; geometric mean {mean:.2f}.")


if __name__ == "__main__":
    main()
