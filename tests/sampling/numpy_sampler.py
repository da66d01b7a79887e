"""The draws in plain NumPy, step by step: what the kernel is held against."""

from math import prod

import numpy as np

from stablesoftmax import softmax

DRAWS = 2**17  # draws at a time


def sample(
    logits,
    size=None,
    axis=-1,
    *,
    where=None,
    temperature=1.0,
    top_k=None,
    top_p=None,
    min_p=None,
    rng=None,
):
    """As `stablesoftmax.sample`, for arguments that are right."""
    x = np.atleast_1d(np.asarray(logits))
    size = () if size is None else size if isinstance(size, tuple) else (size,)
    # Not bfloat16, which NumPy can neither mask nor partition.
    wide = x if x.dtype.kind in "iufg" else x.astype(np.float64)
    p = softmax(wide, axis, where=where, temperature=temperature, dtype=np.float64)
    p, rows = np.moveaxis(p, axis, -1).copy(), np.moveaxis(wide, axis, -1)
    if where is not None:
        rows = np.where(np.moveaxis(np.broadcast_to(where, x.shape), axis, -1), rows, -np.inf)
    batch = p.shape[:-1]
    p, rows = p.reshape(prod(batch), -1), rows.reshape(prod(batch), -1)
    if top_k is not None:
        _keep_top_k(p, rows, top_k)
    if top_p is not None:
        _keep_top_p(p, top_p)
    if min_p is not None:
        _keep_min_p(p, min_p)
    drawn = _draw(p, prod(size), np.random.default_rng(rng))
    result = np.moveaxis(drawn.reshape((*batch, *size)), range(len(batch)), range(-len(batch), 0))
    return result[()]


def _keep_top_k(p, x, k):
    """Judged by the logits: at T = inf, and where p rounds to 0, all p are the same."""
    n = x.shape[-1]
    if k < n:
        least = np.partition(x, n - k, axis=-1)[:, n - k, None]
        np.copyto(p, 0, where=x < least)


def _keep_top_p(p, top_p):
    if top_p == 1:  # or small p, which vanish in the sum, would be cut off
        return
    falling = np.sort(p, axis=-1)[:, ::-1]
    total = falling.cumsum(axis=-1)
    last = (total < top_p * total[:, -1:]).sum(axis=-1, keepdims=True)
    least = np.take_along_axis(falling, last, axis=-1)
    np.copyto(p, 0, where=p < least)
    surplus = np.flatnonzero((p > 0).sum(axis=-1) > last[:, 0] + 1)  # more tie than have a place
    if surplus.size:
        some = p[surplus]
        ties = some == least[surplus]
        places = last[surplus] + 1 - (some > least[surplus]).sum(axis=-1, keepdims=True)
        p[surplus] = np.where(ties & (ties.cumsum(axis=-1) > places), 0, some)


def _keep_min_p(p, min_p):
    np.copyto(p, 0, where=p < min_p * p.max(axis=-1, keepdims=True))


def _draw(p, count, rng):
    """Draw `count` columns for each row of p, which is overwritten by its cumulative sum."""
    n = p.shape[-1]
    total = np.cumsum(p, axis=-1, out=p).ravel()
    drawn = np.empty(len(p) * count, np.int64)
    for start in range(0, drawn.size, DRAWS):
        part = drawn[start : start + DRAWS]
        first = np.arange(start, start + part.size) // count * n
        # Below the row's total even where the uniform number is 1 - 2^-53.
        target = rng.random(part.size) * total[first + (n - 1)]
        part[...] = _count_up_to(target, total, first, n)
    return drawn


def _count_up_to(target, total, first, n):
    """How many of the n rising `total` from `first` on are at most `target`, by bisection.

    That is the first place to exceed the target, and a place of weight 0 exceeds none that the
    place before it does not. The last one exceeds it always.
    """
    found = np.zeros_like(first)
    step = 1 << n.bit_length()
    while step := step >> 1:
        probe = np.minimum(found + step, n) - 1
        found += step * (total[first + probe] <= target)
    return found
