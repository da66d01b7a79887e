"""What the values of x alone do to the time of a call.

    python benchmarks/cliffs.py [--quick] [--torch] [--in-place]

Every cell is a function, dtype and shape on one kind of data, timed in rounds that go through all
kinds before any comes again, on one thread, into a given `out`. It is held against N(0, 1) of the
same function, dtype and shape: finite data may cost twice that, data with NaN or infinities three
times. Times are minima; `--torch` times torch on the same arrays, for float32 and float64.
"""

import argparse
import itertools
import time

import machine
import numpy as np

from stablesoftmax import log_softmax, logsumexp, num_threads, softmax

try:
    import ml_dtypes

    BFLOAT16 = [np.dtype(ml_dtypes.bfloat16)]
except ImportError:
    BFLOAT16 = []

FUNCTIONS = (softmax, log_softmax, logsumexp)
DTYPES = [np.dtype(name) for name in ("f4", "f8", "f2")] + BFLOAT16
LAYOUTS = [
    ((3, 30000), 0), ((30000, 3), 1), ((500, 64), 0), ((64, 500), 1), ((1024, 8), 1),
    ((64, 100, 64), 1), ((8, 60000), 1), ((64, 2000), 1), ((2000, 64), 0),
]  # fmt: skip
FINITE, OTHERS = 2.0, 3.0  # times N(0, 1)
ROUNDS, QUICK_ROUNDS = 25, 7


def data(shape, axis):
    """Each kind of values, as float64 of this shape."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal(shape)
    n = shape[axis]
    ramp = np.linspace(-300, 300, n).reshape([-1 if i == axis else 1 for i in range(x.ndim)])
    nan, holes, row = x.copy(), x.copy(), x.copy()
    nan.flat[x.size // 2] = np.nan
    holes[rng.random(shape) < 0.1] = -np.inf
    row[(slice(None),) * axis + (n // 2,)] = np.nan
    return {
        "N(0, 1)": x, "N(0, 30)": 30 * x, "N(0, 200)": 200 * x, "ascending": ramp + x,
        "descending": -ramp + x, "offset 900": x + 900, "equal": np.zeros(shape),
        "one NaN": nan, "a tenth -inf": holes, "NaN in every row": row,
        "+inf in every row": np.where(np.isnan(row), np.inf, row), "-inf": np.full(shape, -np.inf),
    }  # fmt: skip


def is_finite(kind):
    return not any(word in kind for word in ("NaN", "inf"))


def timed(call, least=2e-4):
    """The shortest time of one call, of so many at once that the clock does not matter."""
    start = time.perf_counter()
    call()
    once = time.perf_counter() - start
    number = max(1, int(least / max(once, 1e-7)))
    start = time.perf_counter()
    for _ in range(number):
        call()
    return (time.perf_counter() - start) / number


def calls(function, dtype, shape, axis, in_place):
    """For each kind of data, a call, and one of torch."""
    for kind, values in data(shape, axis).items():
        with np.errstate(all="ignore"):
            x = values.astype(dtype)
        out = function(x, axis)
        if in_place:
            original = x.copy()

            def call(x=x, original=original):
                np.copyto(x, original)
                function(x, axis, out=x)
        else:

            def call(x=x, out=out):
                function(x, axis, out=out)

        yield kind, call, x


def torch_call(function, x, axis):
    import torch

    torch.set_num_threads(1)
    rival = getattr(torch, function.__name__)
    tensor = torch.from_numpy(x)
    return lambda: rival(tensor, axis)


def measure(options):
    """Return (function, dtype, shape, axis, kind, time, torch's time or None) of every cell."""
    rounds = QUICK_ROUNDS if options.quick else ROUNDS
    functions = [f for f in FUNCTIONS if not options.in_place or f is not logsumexp]
    for function, dtype, (shape, axis) in itertools.product(functions, DTYPES, LAYOUTS):
        cells = list(calls(function, dtype, shape, axis, options.in_place))
        rivals = {}
        if options.torch and dtype.char in "fd":
            rivals = {kind: torch_call(function, x, axis) for kind, _, x in cells}
        best = dict.fromkeys([*(kind for kind, *_ in cells)], np.inf)
        theirs = dict.fromkeys(rivals, np.inf)
        for _ in range(rounds):
            for kind, call, _ in cells:
                best[kind] = min(best[kind], timed(call))
                if kind in rivals:
                    theirs[kind] = min(theirs[kind], timed(rivals[kind]))
        for kind, time_of_kind in best.items():
            yield function, dtype, shape, axis, kind, time_of_kind, theirs.get(kind)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="fewer rounds: noisier")
    parser.add_argument("--torch", action="store_true", help="time torch, too")
    parser.add_argument("--in-place", action="store_true", help="out=x, a copy of x before each")
    parser.add_argument("--all", action="store_true", help="print every cell, not the worst alone")
    options = parser.parse_args()
    with num_threads(1):
        cells = list(measure(options))
    base = {cell[:4]: cell[5] for cell in cells if cell[4] == "N(0, 1)"}
    ratios = [(cell[5] / base[cell[:4]], cell) for cell in cells if cell[4] != "N(0, 1)"]
    here = machine.machine()
    print(f"{here['cpu']}, {here['date']}, one thread")
    print("| data | median | worst | where | over the bound | slower than torch |")
    print("| --- | --- | --- | --- | --- | --- |")
    for kind in dict.fromkeys(cell[4] for cell in cells):
        of_kind = [(ratio, cell) for ratio, cell in ratios if cell[4] == kind]
        rivals = [cell for cell in cells if cell[4] == kind and cell[6]]
        slower = f"{sum(c[5] > c[6] for c in rivals)} of {len(rivals)}" if rivals else ""
        if not of_kind:
            print(f"| {kind} | 1 | 1 | | | {slower} |")
            continue
        worst, (function, dtype, shape, axis, *_) = max(of_kind, key=lambda pair: pair[0])
        median = np.median([ratio for ratio, _ in of_kind])
        over = sum(ratio > (FINITE if is_finite(kind) else OTHERS) for ratio, _ in of_kind)
        where = f"{function.__name__} {dtype} {shape} axis {axis}"
        print(
            f"| {kind} | {median:.2f} | {worst:.2f} | {where} | {over}/{len(of_kind)} | {slower} |"
        )
    if options.all:
        for ratio, cell in sorted(ratios, key=lambda pair: -pair[0]):
            function, dtype, shape, axis, kind, spent, _ = cell
            print(
                f"{ratio:6.2f} {spent * 1e6:9.1f} µs {function.__name__} {dtype} "
                f"{shape} axis {axis} {kind}"
            )


if __name__ == "__main__":
    main()
