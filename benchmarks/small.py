"""Small calls as users write them, beside NumPy, SciPy and torch: what a call itself costs.

    python benchmarks/small.py [FORM ...]

10 to 40 elements, each form as a user of each library would write it, one thread, all in turn in
one process; medians of rounds. A rival that lacks a form is not asked. Bias: ours is written by us,
and the rivals' spellings are the shortest that we know.
"""

from __future__ import annotations

import os
import sys
import timeit
from collections.abc import Callable
from math import prod
from statistics import median
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import scipy.special as sp
import torch
import torch.nn.functional as F
from machine import machine

import stablesoftmax as ss

ROUNDS, SECONDS = 7, 0.01
Form = dict[str, Callable[[], Any]]

rng = np.random.default_rng(0)
x, z, z3 = rng.normal(size=10), rng.normal(size=(4, 10)), rng.normal(size=(3, 4, 3))
y, numbers, integers, w = x.copy(), x.tolist(), np.arange(10), rng.random(10)
half, strided = x.astype(np.float16), rng.normal(size=20)[::2]
temperatures, mask = np.full((4, 1), 2.0), z > -1
labels, class_weights, ids = (
    np.array([3, 0, 9, 1]),
    rng.random(10),
    np.array([0, 0, 1, 1, 1, 2, 2, 3, 3, 3]),
)
generator = np.random.default_rng(0)
tx, tz, tz3, ty = map(torch.from_numpy, (x, z, z3, y.copy()))
tint, thalf, tstrided, ttemp = map(torch.from_numpy, (integers, half, strided, temperatures))
tmask, tlabels, tweights, tids = map(torch.from_numpy, (mask, labels, class_weights, ids))
inf = float("inf")


def numpy_softmax(a: Any, axis: int = -1) -> Any:
    e = np.exp(a - a.max(axis=axis, keepdims=True))
    return e / e.sum(axis=axis, keepdims=True)


def torch_entropy(t: Any) -> Any:
    log_p = torch.log_softmax(t, -1)
    return -(log_p.exp() * log_p).sum(-1)


def torch_vjp(t: Any, g: Any) -> Any:
    p = torch.softmax(t, -1)
    return p * (g - (p * g).sum(-1, keepdim=True))


def torch_loss_and_gradient() -> Any:
    t = tz.detach().requires_grad_()
    loss = F.cross_entropy(t, tlabels)
    loss.backward()
    return loss, t.grad


def torch_segments() -> Any:
    high = torch.full((4,), -inf, dtype=tx.dtype).scatter_reduce(0, tids, tx, "amax")
    e = (tx - high[tids]).exp()
    return e / torch.zeros(4, dtype=tx.dtype).index_add(0, tids, e)[tids]


def torch_top_k() -> Any:
    values, places = tx.topk(3)
    return places[torch.multinomial(torch.softmax(values, -1), 1)]


FORMS: dict[str, Form] = {
    "softmax(x)": {
        "ours": lambda: ss.softmax(x),
        "torch": lambda: torch.softmax(tx, -1),
        "scipy": lambda: sp.softmax(x),
        "numpy": lambda: numpy_softmax(x),
    },
    "softmax(x=x)": {
        "ours": lambda: ss.softmax(x=x),
        "torch": lambda: torch.softmax(input=tx, dim=-1),
    },
    "softmax(z, axis=1)": {
        "ours": lambda: ss.softmax(z, axis=1),
        "torch": lambda: torch.softmax(tz, dim=1),
        "numpy": lambda: numpy_softmax(z),
    },
    "softmax(z, axis=None)": {
        "ours": lambda: ss.softmax(z, axis=None),
        "scipy": lambda: sp.softmax(z),
        "torch": lambda: torch.softmax(tz.flatten(), 0).view(tz.shape),
    },
    "softmax(z3, axis=(0, 2))": {
        "ours": lambda: ss.softmax(z3, axis=(0, 2)),
        "scipy": lambda: sp.softmax(z3, axis=(0, 2)),
        "torch": lambda: (tz3 - tz3.logsumexp((0, 2), keepdim=True)).exp(),
    },
    "softmax(list)": {
        "ours": lambda: ss.softmax(numbers),
        "scipy": lambda: sp.softmax(numbers),
        "torch": lambda: torch.softmax(torch.tensor(numbers), -1),
    },
    "softmax(integers)": {
        "ours": lambda: ss.softmax(integers),
        "torch": lambda: torch.softmax(tint, -1, dtype=torch.float64),
    },
    "softmax(float16)": {
        "ours": lambda: ss.softmax(half),
        "torch": lambda: torch.softmax(thalf, -1),
    },
    "softmax(strided)": {
        "ours": lambda: ss.softmax(strided),
        "torch": lambda: torch.softmax(tstrided, -1),
    },
    "temperature=2.0": {
        "ours": lambda: ss.softmax(x, temperature=2.0),
        "torch": lambda: torch.softmax(tx / 2.0, -1),
    },
    "temperature=array": {
        "ours": lambda: ss.softmax(z, temperature=temperatures),
        "torch": lambda: torch.softmax(tz / ttemp, -1),
    },
    "where=mask": {
        "ours": lambda: ss.softmax(z, where=mask),
        "torch": lambda: torch.softmax(tz.masked_fill(~tmask, -inf), -1),
    },
    "out=y": {"ours": lambda: ss.softmax(x, out=y), "torch": lambda: torch.softmax(tx, -1, out=ty)},
    "dtype=float32": {
        "ours": lambda: ss.softmax(x, dtype=np.float32),
        "torch": lambda: torch.softmax(tx, -1, dtype=torch.float32),
    },
    "log_softmax(z)": {
        "ours": lambda: ss.log_softmax(z),
        "torch": lambda: torch.log_softmax(tz, -1),
        "scipy": lambda: sp.log_softmax(z, axis=-1),
    },
    "logsumexp(x)": {
        "ours": lambda: ss.logsumexp(x),
        "torch": lambda: torch.logsumexp(tx, -1),
        "numpy": lambda: np.logaddexp.reduce(x),
    },
    "logsumexp(z, axis=1, keepdims=True)": {
        "ours": lambda: ss.logsumexp(z, axis=1, keepdims=True),
        "numpy": lambda: np.logaddexp.reduce(z, axis=1, keepdims=True),
        "torch": lambda: torch.logsumexp(tz, 1, keepdim=True),
    },
    "logsumexp(x, b=w)": {
        "ours": lambda: ss.logsumexp(x, b=w),
        "scipy": lambda: sp.logsumexp(x, b=w),
        "numpy": lambda: np.log((w * np.exp(x - (high := x.max()))).sum()) + high,
    },
    "cross_entropy(z, y)": {
        "ours": lambda: ss.cross_entropy(z, labels),
        "torch": lambda: F.cross_entropy(tz, tlabels),
    },
    'cross_entropy, reduction="none"': {
        "ours": lambda: ss.cross_entropy(z, labels, reduction="none"),
        "torch": lambda: F.cross_entropy(tz, tlabels, reduction="none"),
    },
    "cross_entropy, weight": {
        "ours": lambda: ss.cross_entropy(z, labels, weight=class_weights),
        "torch": lambda: F.cross_entropy(tz, tlabels, tweights),
    },
    "cross_entropy_with_grad": {
        "ours": lambda: ss.cross_entropy_with_grad(z, labels),
        "torch": torch_loss_and_gradient,
    },
    "selected_log_softmax": {
        "ours": lambda: ss.selected_log_softmax(z, labels),
        "torch": lambda: torch.log_softmax(tz, -1).gather(-1, tlabels[:, None])[:, 0],
    },
    "entropy": {"ours": lambda: ss.entropy(z), "torch": lambda: torch_entropy(tz)},
    "kl_divergence": {
        "ours": lambda: ss.kl_divergence(x, y),
        "torch": lambda: F.kl_div(
            torch.log_softmax(ty, -1), torch.log_softmax(tx, -1), log_target=True, reduction="sum"
        ),
    },
    "logcumsumexp": {
        "ours": lambda: ss.logcumsumexp(x),
        "torch": lambda: torch.logcumsumexp(tx, -1),
        "numpy": lambda: np.logaddexp.accumulate(x),
    },
    "softmax_vjp": {"ours": lambda: ss.softmax_vjp(x, w), "torch": lambda: torch_vjp(tx, ty)},
    "segment_softmax": {"ours": lambda: ss.segment_softmax(x, ids), "torch": torch_segments},
    "sample(x, rng=generator)": {
        "ours": lambda: ss.sample(x, rng=generator),
        "torch": lambda: torch.multinomial(torch.softmax(tx, -1), 1),
        "numpy": lambda: (x + generator.gumbel(size=10)).argmax(),
    },
    "sample(x, top_k=3, rng=generator)": {
        "ours": lambda: ss.sample(x, top_k=3, rng=generator),
        "torch": torch_top_k,
    },
    "softmax(torch tensor)": {
        "ours": lambda: ss.softmax(tx),
        "torch": lambda: torch.softmax(tx, -1),
    },
    "cross_entropy(torch tensors)": {
        "ours": lambda: ss.cross_entropy(tz, tlabels),
        "torch": lambda: F.cross_entropy(tz, tlabels),
    },
}


def measure(form: Form) -> dict[str, float]:
    """Seconds a call for each library: medians of rounds in which they take turns."""
    count = {}
    for name, call in form.items():
        loops, taken = timeit.Timer(call).autorange()
        count[name] = max(1, int(loops * SECONDS / taken))
    rounds = [
        {name: timeit.timeit(call, number=count[name]) / count[name] for name, call in form.items()}
        for _ in range(ROUNDS)
    ]
    return {name: median(taken[name] for taken in rounds) for name in form}


def main() -> None:
    """Print the table, lost forms in bold."""
    torch.set_num_threads(1)
    chosen = sys.argv[1:] or list(FORMS)
    here = machine()
    print(f"{here['cpu']}, Python {here['python']}, load {here['load']}, {here['date']}\n")
    print(
        "| form | ours, µs | fastest rival, µs | which | rival / ours |\n"
        "| --- | ---: | ---: | --- | ---: |"
    )
    ratios = []
    for name in chosen:
        taken = measure(FORMS[name])
        ours = taken.pop("ours")
        which = min(taken, key=taken.__getitem__)
        ratios.append(taken[which] / ours)
        ratio = f"{ratios[-1]:.2f}" if ratios[-1] >= 0.97 else f"**{ratios[-1]:.2f}**"
        print(
            f"| `{name}` | {ours * 1e6:.2f} | {taken[which] * 1e6:.2f} | {which} | {ratio} |",
            flush=True,
        )
    lost = sum(ratio < 0.97 for ratio in ratios)
    mean = prod(ratios) ** (1 / len(ratios))
    print(
        f"\n{lost} of {len(ratios)} forms are slower than the fastest rival; "
        f"geometric mean {mean:.2f}."
    )


if __name__ == "__main__":
    main()
