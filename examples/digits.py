"""Train a two-layer network in plain NumPy on 1,797 handwritten digits: to NaN, then to 98 %.

The first run is the one that people ask about: `np.exp(x) / np.sum(np.exp(x))`, raw pixels and
oversized weights. The second meets the same images in the same order and differs in four places:
the softmax, the scale of the pixels, the first weights, and the clipped gradients.

    python examples/digits.py [--textbook] [--out digits.png] [--seed 0] [--epochs 40]

Why the first one ends in NaN is what the doctor says:

    python -m stablesoftmax run examples/digits.py --textbook
"""

import argparse
import sys
from pathlib import Path

import numpy as np

from stablesoftmax import clip_by_global_norm, initial_weights, log_softmax, softmax

try:
    import matplotlib
    import rich.console
    import rich.progress
    import rich.table
    import sklearn.datasets
except ImportError as missing:
    sys.exit(f"digits.py needs {missing.name}: pip install stablesoftmax[demo]")

PIXELS, HIDDEN, CLASSES = 64, 128, 10
TRAINED_ON = 1437  # of 1,797 images, four fifths
BATCHES = 45  # in an epoch
LEARNING_RATE, MOMENTUM = 0.005, 0.99


def oversized_weights(shape, *, rng):
    return 0.5 * rng.standard_normal(shape)


def textbook_loss(logits, labels):
    """Return the mean cross-entropy and its gradient, the way that breaks."""
    probabilities = np.exp(logits) / np.sum(np.exp(logits), axis=-1, keepdims=True)
    chosen = np.arange(len(labels)), labels
    loss = -np.mean(np.log(probabilities[chosen]))
    probabilities[chosen] -= 1
    return loss, probabilities / len(labels)


def stable_loss(logits, labels):
    """Return the mean cross-entropy and its gradient, with this library."""
    chosen = np.arange(len(labels)), labels
    loss = -np.mean(log_softmax(logits)[chosen])
    gradient = softmax(logits)
    gradient[chosen] -= 1
    return loss, gradient / len(labels)


def network(first_weights, rng):
    return {
        "W1": first_weights((PIXELS, HIDDEN), rng=rng),
        "b1": np.zeros(HIDDEN),
        "W2": first_weights((HIDDEN, CLASSES), rng=rng),
        "b2": np.zeros(CLASSES),
    }


def forward(weights, images):
    hidden = np.maximum(images @ weights["W1"] + weights["b1"], 0)
    return hidden, hidden @ weights["W2"] + weights["b2"]


def backward(weights, images, hidden, logits_gradient):
    hidden_gradient = (logits_gradient @ weights["W2"].T) * (hidden > 0)
    return {
        "W1": images.T @ hidden_gradient,
        "b1": hidden_gradient.sum(axis=0),
        "W2": hidden.T @ logits_gradient,
        "b2": logits_gradient.sum(axis=0),
    }


def batches(epochs, rng):
    for _ in range(epochs):
        yield from np.array_split(rng.permutation(TRAINED_ON), BATCHES)


def train(weights, images, labels, loss_and_gradient, max_norm, order):
    """Change `weights` by gradient descent with momentum; yield the loss of each batch."""
    velocity = {name: np.zeros_like(weights[name]) for name in weights}
    for batch in order:
        hidden, logits = forward(weights, images[batch])
        loss, logits_gradient = loss_and_gradient(logits, labels[batch])
        gradients = backward(weights, images[batch], hidden, logits_gradient)
        if max_norm is not None:
            gradients, _ = clip_by_global_norm(gradients, max_norm)
        for name in weights:
            velocity[name] = MOMENTUM * velocity[name] - LEARNING_RATE * gradients[name]
            weights[name] += velocity[name]
        yield loss


def accuracy(weights, images, labels):
    _, logits = forward(weights, images)
    return np.mean(np.argmax(logits, axis=-1) == labels)


def progress_bar(console):
    bar, count = rich.progress.BarColumn(), rich.progress.MofNCompleteColumn()
    return rich.progress.Progress("{task.description}", bar, count, "steps", console=console)


def table(runs):
    result = rich.table.Table("run", "steps", "NaN at step", "final loss", "held-out accuracy")
    for name, losses, score in runs:
        broken = f"{len(losses)}" if np.isnan(losses[-1]) else "never"
        final = np.mean(losses[-BATCHES:])  # over an epoch: one batch is too noisy
        result.add_row(name, f"{len(losses)}", broken, f"{final:.4f}", f"{score:.1%}")
    return result


def draw(runs, path):
    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(figsize=(8, 4.5), layout="constrained")
    for (name, losses, score), colour in zip(runs, ["tab:red", "tab:blue"], strict=True):
        steps = np.arange(1, len(losses) + 1)
        axes.plot(steps, losses, color=colour, linewidth=0.8, label=f"{name}, accuracy {score:.1%}")
        if np.isnan(losses[-1]):
            axes.axvline(steps[-1], color=colour, linestyle="--", linewidth=1)
            place = {"xy": (steps[-1], 0.96), "xycoords": axes.get_xaxis_transform()}
            axes.annotate(f" NaN at step {steps[-1]}", color=colour, va="top", **place)
    axes.set(xscale="log", yscale="log", xlabel="step", ylabel="loss of the batch (nats)")
    axes.set_title("The same network, digits and seed: textbook softmax, then stablesoftmax")
    axes.xaxis.set_major_formatter("{x:g}")
    axes.yaxis.set_major_formatter("{x:g}")
    axes.grid(alpha=0.3)
    axes.legend(loc="lower left")
    figure.savefig(path, dpi=150)


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    picture = Path(__file__).with_suffix(".png")
    parser.add_argument("--textbook", action="store_true", help="the first run only")
    parser.add_argument("--out", type=Path, default=picture, help="where to draw the loss curves")
    parser.add_argument("--seed", type=int, default=0, help="for the first weights and the order")
    parser.add_argument("--epochs", type=int, default=40, help="passes over the images")
    options = parser.parse_args()
    if options.epochs < 1:
        parser.error(f"--epochs must be at least 1, got {options.epochs}")
    if options.seed < 0:
        parser.error(f"--seed must not be negative, got {options.seed}")
    if options.out.suffix != ".png" or not options.out.parent.is_dir():
        parser.error(f"--out must be a .png file in an existing folder, got {options.out}")
    return options


def main():
    options = arguments()
    console = rich.console.Console()
    images, labels = sklearn.datasets.load_digits(return_X_y=True)
    shuffled = np.random.default_rng(options.seed).permutation(len(labels))
    images, labels = images[shuffled], labels[shuffled]
    runs = []
    with progress_bar(console) as progress:
        for name, brightest, first_weights, loss_and_gradient, max_norm in [
            ("textbook", 1, oversized_weights, textbook_loss, None),
            ("stablesoftmax", 16, initial_weights, stable_loss, 1.0),
        ][: 1 if options.textbook else None]:
            trained_on, held_out = np.split(images / brightest, [TRAINED_ON])
            weights = network(first_weights, np.random.default_rng(options.seed))
            order = batches(options.epochs, np.random.default_rng(options.seed))
            bar = progress.add_task(f"{name:>13}", total=options.epochs * BATCHES)
            losses = []
            for loss in train(weights, trained_on, labels, loss_and_gradient, max_norm, order):
                losses.append(loss)
                progress.advance(bar)
                if np.isnan(loss):  # by now every weight is NaN too
                    console.print(f"{name}: NaN at step {len(losses)}")
                    break
            runs.append((name, losses, accuracy(weights, held_out, labels[TRAINED_ON:])))
    console.print(table(runs))
    if not options.textbook:
        draw(runs, options.out)
        console.print(f"loss curves: {options.out}", soft_wrap=True)


if __name__ == "__main__":
    main()
