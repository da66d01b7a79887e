"""What the losses and their kin should return: the formulas at 300 bits, one row at a time.

Results are pairs of exact numbers and the errors are in units in the last place of a dtype.
"""

import math

import ml_dtypes
import mpmath as mp
import numpy as np

CONTEXT = mp.MPContext()
CONTEXT.prec = 300
mpf, INF = CONTEXT.mpf, CONTEXT.inf


def exact(values):
    return [mpf(float(v)) for v in np.asarray(values, np.float64).ravel()]


def softmax_parts(x):
    """The maximum and log1p(r) of finite or -inf numbers."""
    m = max(x)
    k = x.index(m)
    r = CONTEXT.fsum(CONTEXT.exp(v - m) for i, v in enumerate(x) if i != k and v > -INF)
    return m, CONTEXT.log1p(r) if r else mpf(0)


def log_softmax(x):
    """Where there is no sum, the limit, or NaN: several +inf, or nothing but -inf, have none."""
    x = exact(x)
    m = max(x)
    if abs(m) == INF:
        peak = mpf(0) if m > 0 and x.count(m) == 1 else CONTEXT.nan
        return [peak if v == m else -INF for v in x]
    _, log = softmax_parts(x)
    return [(v - m) - log for v in x]


def weights(n, label, *, weight=None, label_smoothing=0.0, where=None):
    """q of one row; `label` is a class, or n probabilities."""
    part = [True] * n if where is None else [bool(v) for v in where]
    given = exact(np.eye(n)[label]) if np.ndim(label) == 0 else exact(label)
    w = [mpf(1)] * n if weight is None else exact(weight)
    eps = mpf(float(label_smoothing))
    return [w[c] * ((1 - eps) * given[c] + (eps / sum(part) if part[c] else 0)) for c in range(n)]


def loss(x, q):
    return sum((-p * c for p, c in zip(log_softmax(x), q, strict=True) if c), mpf(0))


def gradient(x, q):
    """Q p - q; with so many bits that 1 - exp(-1500) is not 1."""
    with CONTEXT.workprec(2600):
        total = CONTEXT.fsum(q)
        logits, x = x, exact(x)
        m = max(x)
        if abs(m) == INF:
            limits = log_softmax(logits)
            return [total * CONTEXT.exp(p) - c for p, c in zip(limits, q, strict=True)]
        terms = [CONTEXT.exp(v - m) if v - m > -3000 else mpf(0) for v in x]
        norm = CONTEXT.fsum(terms)
        return [total * t / norm - c for t, c in zip(terms, q, strict=True)]


def entropy(x):
    return CONTEXT.fsum(-p * CONTEXT.exp(p) for p in log_softmax(x) if p > -INF)


def kl_divergence(x, y):
    pairs = zip(log_softmax(x), log_softmax(y), strict=True)
    return CONTEXT.fsum(CONTEXT.exp(p) * (p - q) for p, q in pairs if p > -INF)


def logcumsumexp(x):
    """Of every prefix the exact value, and its condition number."""
    values, m, rest = [], -INF, mpf(0)  # rest: all terms but the maximum's, relative to it
    for v in exact(x):
        if v > m:
            rest, m = (1 + rest) * CONTEXT.exp(m - v) if m > -INF else mpf(0), v
        elif v > -INF:
            rest += CONTEXT.exp(v - m)
        log = CONTEXT.log1p(rest) if rest else mpf(0)
        y = m + log
        values.append((y, float((abs(m) + log) / abs(y)) if y and m > -INF else 1.0))
    return values


def ulp(value, dtype):
    """The gap between neighbours of the dtype in the exact value's binade."""
    info = ml_dtypes.finfo(dtype)
    least = float(info.smallest_normal)
    size = abs(value)
    exponent = math.floor(math.log2(least)) if size < least else int(CONTEXT.frexp(size)[1]) - 1
    return CONTEXT.ldexp(mpf(1), exponent - int(info.nmant))


def error(actual, value, dtype):
    """In ULP; 0 where both are the same infinity, or round to it, or are NaN."""
    actual = float(actual)
    if CONTEXT.isnan(value) or math.isnan(actual):
        return 0.0 if CONTEXT.isnan(value) and math.isnan(actual) else math.inf
    top = float(ml_dtypes.finfo(dtype).max)
    if math.isinf(actual) or abs(value) == INF:
        same = actual == value or (abs(value) > top and actual * value > 0)
        return 0.0 if same else math.inf
    return float(abs(mpf(actual) - value) / ulp(value, dtype))


def worst(actual, values, dtype, kappa=None):
    """The largest error of an array, each divided by its condition number."""
    errors = [error(a, v, dtype) for a, v in zip(np.ravel(actual), values, strict=True)]
    kappa = kappa or [1.0] * len(errors)
    return max((e / k for e, k in zip(errors, kappa, strict=True)), default=0.0)
