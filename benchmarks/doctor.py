"""What the doctor costs: `run` and `--thorough` against Python alone, `diagnose` against one sweep.

    python benchmarks/doctor.py [--rounds 5]

Each script is run in turn alone, under `run`, and under `run --thorough`, so often; user and system
time of the whole process, start and imports included, the least of the rounds. One thread.
"""

import argparse
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import machine
import numpy as np

from stablesoftmax import doctor

SCRIPTS = {
    "a network, arrays of (64, 128)": """
import numpy as np
rng = np.random.default_rng(0)
W1, W2 = rng.standard_normal((128, 128)) / 12, rng.standard_normal((128, 10)) / 12
X, Y = rng.standard_normal((64, 128)), np.eye(10)[rng.integers(0, 10, 64)]
def softmax(x):
    e = np.exp(x - x.max(axis=-1, keepdims=True))
    return e / e.sum(axis=-1, keepdims=True)
for step in range(6000):
    h = np.maximum(X @ W1, 0)
    p = softmax(h @ W2)
    g = (p - Y) / len(X)
    gh = (g @ W2.T) * (h > 0)
    W2 -= 0.1 * h.T @ g
    W1 -= 0.1 * X.T @ gh
print(p.sum())
""",
    "a network, arrays of (10,)": """
import numpy as np
rng = np.random.default_rng(0)
W, b, x = rng.standard_normal((10, 10)) / 8, np.zeros(10), rng.standard_normal(10)
def softmax(x):
    m = np.max(x)
    e = np.exp(x - m)
    return e / np.sum(e)
for step in range(90_000):
    h = np.tanh(x @ W + b)
    p = softmax(h)
    g = p.copy()
    g[3] -= 1
    b = b - 0.01 * g
print(p.sum())
""",
    "floats alone": """
import math
def logsumexp(xs):
    m = max(xs)
    total = 0.0
    for x in xs:
        total += math.exp(x - m)
    return m + math.log(total)
xs = [float(i % 7) for i in range(100)]
for step in range(200_000):
    xs[step % 100] = step * 1e-6
    last = logsumexp(xs)
print(last)
""",
}


def seconds(command):
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    environment = os.environ | {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
    subprocess.run(command, check=True, env=environment, capture_output=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime


def of_script(path, rounds):
    commands = {
        "alone": [sys.executable, path],
        "run": [sys.executable, "-m", "stablesoftmax", "run", path],
        "thorough": [sys.executable, "-m", "stablesoftmax", "run", "--thorough", path],
    }
    taken = {name: [] for name in commands}
    for _ in range(rounds):
        for name, command in commands.items():
            taken[name].append(seconds(command))
    return {name: min(times) for name, times in taken.items()}


def of_arrays(rounds):
    logits = np.random.default_rng(0).standard_normal((1000, 100_000), dtype=np.float32)
    read, diagnosed = [], []
    for _ in range(rounds):
        start = time.perf_counter()
        logits.max()
        read.append(time.perf_counter() - start)
        start = time.perf_counter()
        doctor.diagnose(logits)
        diagnosed.append(time.perf_counter() - start)
    return min(read), min(diagnosed)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    rounds = parser.parse_args().rounds
    print(f"{machine.cpu_model()}, {time.strftime('%Y-%m-%d')}\n")
    print("| script | alone | run | thorough |\n| --- | ---: | ---: | ---: |")
    with tempfile.TemporaryDirectory() as folder:
        for name, code in SCRIPTS.items():
            path = Path(folder, "script.py")
            path.write_text(code, encoding="utf-8")
            taken = of_script(path, rounds)
            run, thorough = (taken[way] / taken["alone"] for way in ("run", "thorough"))
            print(f"| {name} | {taken['alone']:.2f} s | {run:.3f} | {thorough:.2f} |", flush=True)
    read, diagnosed = of_arrays(rounds)
    print(f"\ndiagnose of 1e8 float32: {diagnosed:.3f} s, one maximum of them {read:.3f} s")


if __name__ == "__main__":
    main()
