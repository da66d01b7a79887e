"""What `Monitor` costs a training: the network of examples/digits.py, with and without, in turn.

python benchmarks/monitor.py
"""

from __future__ import annotations

import sys
from pathlib import Path
from statistics import median
from time import perf_counter

import numpy as np
import sklearn.datasets
from machine import machine

sys.path.insert(0, str(Path(__file__).parent.parent / "examples"))
import digits

from stablesoftmax import clip_by_global_norm, doctor, initial_weights

STEPS, ROUNDS = 900, 9


def train(monitor: doctor.Monitor | None) -> float:
    """Seconds for the healthy training; the monitor, if any, gets all that it takes."""
    images, labels = sklearn.datasets.load_digits(return_X_y=True)
    images = images / 16
    weights = digits.network(initial_weights, np.random.default_rng(0))
    velocity = {name: np.zeros_like(weights[name]) for name in weights}
    order = list(digits.batches(STEPS // digits.BATCHES, np.random.default_rng(0)))
    start = perf_counter()
    for batch in order:
        hidden, logits = digits.forward(weights, images[batch])
        loss, back = digits.stable_loss(logits, labels[batch])
        gradients = digits.backward(weights, images[batch], hidden, back)
        if monitor is not None:
            found = monitor.step(logits=logits, loss=loss, grads=gradients, weights=weights)
            assert not found, found
        gradients, _ = clip_by_global_norm(gradients, 1.0)
        for name in weights:
            velocity[name] = (
                digits.MOMENTUM * velocity[name] - digits.LEARNING_RATE * gradients[name]
            )
            weights[name] += velocity[name]
    return perf_counter() - start


def main() -> None:
    """Print the medians."""
    here = machine()
    print(f"{here['cpu']}, Python {here['python']}, load {here['load']}, {here['date']}")
    rounds = [(train(None), train(doctor.Monitor())) for _ in range(ROUNDS)]
    alone, watched = (median(r[k] for r in rounds) / STEPS * 1e6 for k in (0, 1))
    print(f"a step alone {alone:.0f} µs, watched {watched:.0f} µs: {watched / alone:.3f}")


if __name__ == "__main__":
    main()
