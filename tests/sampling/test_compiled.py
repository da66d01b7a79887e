"""The compiled draws: those of plain NumPy, at every level, and the caller's generator."""

import hashlib
import os
import subprocess
import sys
import threading

import numpy as np
import numpy_sampler
import pytest
from conftest import bits, normal

import stablesoftmax
from stablesoftmax import sample

pytestmark = pytest.mark.usefixtures("strict")


def random_draws(rng):
    """Logits with ties, infinities and gaps, in any layout, and options that are right."""
    shape = tuple(rng.integers(1, 6, rng.integers(1, 4)))
    axis = int(rng.integers(-len(shape), len(shape)))
    shape = tuple(
        int(rng.choice([1, 7, 64, 65, 300])) if i == axis % len(shape) else n
        for i, n in enumerate(shape)
    )
    x = rng.normal(size=shape) * rng.choice([1, 10])
    if rng.random() < 0.3:
        x = np.round(x)
    if rng.random() < 0.3 and shape[axis] > 1:
        x[rng.random(shape) < 0.3] = -np.inf
        np.moveaxis(x, axis, -1)[..., rng.integers(shape[axis])] = 1
    dtypes = ["f2", "f4", "f8", ">f4", "g", "i4"]
    with np.errstate(under="ignore"):
        x = x.astype(dtypes[rng.integers(6 if np.isfinite(x).all() else 5)])
    x = x.transpose(order := rng.permutation(x.ndim)).copy().transpose(np.argsort(order))
    x = np.repeat(x, 2, axis)[(*[slice(None)] * (axis % x.ndim), slice(None, None, 2))]
    options = {"axis": axis, "size": [None, 2, (3, 5), 50][rng.integers(4)]}
    if rng.random() < 0.3:
        options["temperature"] = rng.choice([0.5, 1e-3, 1e5, 0.0, np.inf])
    if rng.random() < 0.2:
        options["temperature"] = np.expand_dims(rng.random(np.delete(shape, axis)) * 3, axis)
    if rng.random() < 0.3:
        options["top_k"] = int(rng.integers(1, 40))
    if rng.random() < 0.3:
        options["top_p"] = float(rng.choice([0.01, 0.55, 0.93, 1.0]))
    if rng.random() < 0.3:
        options["min_p"] = float(rng.choice([0.0, 0.013, 0.41, 1.0]))
    if rng.random() < 0.3:
        where = rng.random(shape) < 0.7
        options["where"] = where | (np.cumsum(where, axis) == 0) | np.isfinite(x) & (x == 1)
    return x, options


def test_draws_are_those_of_numpy():
    """Number for number. (Some weight may be one rounding off: no seed here falls between.)"""
    rng = np.random.default_rng(4)
    for seed in range(3000):
        x, options = random_draws(rng)
        compiled = sample(x, rng=np.random.default_rng(seed), **options)
        expected = numpy_sampler.sample(x, rng=seed, **options)
        assert bits(compiled) == bits(expected), (x, options)
        again = sample.__wrapped__(x, rng=np.random.default_rng(seed), **options)
        assert bits(again) == bits(compiled)


@pytest.mark.parametrize("n", [63, 64, 65, 128, 1000, 70_000])
@pytest.mark.parametrize("order", ["any", "ascending", "descending", "equal"])
def test_long_rows(n, order):
    """Chunks and their ends; the heap of the largest, which ascending rows overrun."""
    x = normal((2, n), np.float64, 2)
    x = {"any": x, "ascending": np.sort(x), "descending": -np.sort(-x), "equal": x * 0}[order]
    for options in (
        {},
        {"top_k": 3},
        {"top_k": n // 20 + 1},
        {"top_k": n // 2},
        {"top_p": 0.90003},
    ):
        for size in (1, 20):
            drawn = sample(x, size, rng=np.random.default_rng(n), **options)
            expected = numpy_sampler.sample(x, size, rng=n, **options)
            assert bits(drawn) == bits(expected), options


@pytest.mark.parametrize("n", [1, 2, 7, 31, 32, 33, 64, 65, 129])
def test_many_draws_of_one_row(n):
    """Lanes across the draws of a short row, halving for others: what one at a time draws."""
    x = normal(n, np.float64, 2)
    drawn = sample(x, 1003, rng=np.random.default_rng(n))
    assert bits(drawn) == bits(numpy_sampler.sample(x, 1003, rng=n))
    rng = np.random.default_rng(n)
    assert drawn.tolist() == [sample(x, rng=rng) for _ in range(1003)]


DIGEST = """
import hashlib, sys
import numpy as np
from stablesoftmax import sample

rng, digest = np.random.default_rng(1), hashlib.sha256()
logits = np.random.default_rng(2).normal(0, 3, (1000, 50))
for x in (logits, logits.astype(np.float32)):
    digest.update(sample(x, 4000, rng=rng).tobytes())
    digest.update(sample(x, 250, top_k=20, temperature=0.7, rng=rng).tobytes())
    digest.update(sample(x, 250, top_p=0.9, rng=rng).tobytes())
    digest.update(sample(x, 250, min_p=0.02, rng=rng).tobytes())
    digest.update(sample(x.T, 250, 0, rng=rng).tobytes())
print(digest.hexdigest())
"""


def test_levels_draw_the_same():
    """1e7 draws. The last bits of their probabilities differ, and no draw falls between."""
    digests = {}
    for level in ("v2", "v3", "v4") if os.uname().machine == "x86_64" else ("neon",):
        run = subprocess.run(
            [sys.executable, "-c", DIGEST],
            env={**os.environ, "STABLESOFTMAX_ISA": level},
            capture_output=True,
            text=True,
            check=False,
        )
        if "names no level that this CPU has" not in run.stderr:
            assert run.returncode == 0, run.stderr
            digests[level] = run.stdout
    assert len(set(digests.values())) == 1, digests


@pytest.mark.parametrize("options", [{}, {"top_k": 50}, {"top_p": 0.8}], ids=str)
def test_threads_draw_the_same(options):
    x = normal((300, 2000), np.float32, 3)
    alone = []
    for threads in (1, 2, 3):
        with stablesoftmax.num_threads(threads):
            drawn = sample(x, 3, rng=np.random.default_rng(0), **options)
        alone.append(hashlib.sha256(drawn.tobytes()).hexdigest())
    assert len(set(alone)) == 1


# --- the generator -------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["PCG64", "MT19937", "Philox", "SFC64", "PCG64DXSM"])
def test_every_bit_generator_gives_its_numbers(kind):
    rng, other = (np.random.Generator(getattr(np.random, kind)(5)) for _ in range(2))
    x = normal((20, 30), np.float64)
    assert bits(sample(x, 3, rng=rng)) == bits(sample.__wrapped__(x, 3, rng=other))
    assert rng.random() == other.random()


def test_a_class_of_ones_own_gives_its_own_numbers():
    class Zero(np.random.Generator):
        def random(self, size):
            return np.zeros(size)

    assert not sample(np.zeros((50, 9)), rng=Zero(np.random.PCG64(0))).any()


def test_nothing_is_drawn_when_it_is_refused():
    rng = np.random.default_rng(1)
    for x, options in (([0, np.nan], {}), ([0.0, 1], {"top_p": 2.0}), ([0.0, 1], {"size": -1})):
        with pytest.raises(ValueError, match=r"logits|top_p|size"):
            sample(x, rng=rng, **options)
    assert rng.random() == np.random.default_rng(1).random()
    assert rng.bit_generator.lock.acquire(blocking=False)
    rng.bit_generator.lock.release()


def test_a_nan_is_found_in_a_view():
    """Rows with a gap between them are no one run of memory."""
    x = np.zeros((50, 9))[:, :4]
    x[-1, -1] = np.nan
    for view in (x, x[::-1], x[::7]):
        with pytest.raises(ValueError, match="holds a NaN"):
            sample(view, rng=np.random.default_rng(1))
    x[-1, -1] = 0
    np.lib.stride_tricks.as_strided(x, (50, 9))[:, 4:] = np.nan
    sample(x, rng=np.random.default_rng(1))


def test_the_lock_is_held():
    """Of a generator whose lock another thread has, no number is taken."""
    rng, drawn = np.random.default_rng(1), []
    thread = threading.Thread(target=lambda: drawn.append(sample(np.zeros(9), rng=rng)))
    with rng.bit_generator.lock:
        thread.start()
        thread.join(0.2)
        assert thread.is_alive()
        assert not drawn
    thread.join()
    assert drawn == [sample(np.zeros(9), rng=np.random.default_rng(1))]


def test_threads_share_a_generator():
    """Each number goes to one draw: together they drew the numbers that one thread would have."""
    rng, found = np.random.default_rng(1), []

    def work():
        for _ in range(50):
            found.append(sample(np.zeros(2**16), 100, rng=rng))

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    alone = sample(np.zeros(2**16), 20_000, rng=np.random.default_rng(1))
    assert sorted(np.concatenate(found)) == sorted(alone)
