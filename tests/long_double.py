"""The formulas in long double, a row at a time: the oracle of test_random_calls.

Each gives pairs of the exact values and of what they may be off by: a function of value and dtype
that gives ULPs.
"""

import ml_dtypes
import numpy as np

from stablesoftmax import accuracy

INF, NAN, LONG = np.inf, np.nan, np.longdouble


# ---- one row, of entries that take part -----------------------------------------------------


def top(z):
    """The maximum, and the sum of the other entries' exponentials relative to it."""
    i = np.argmax(z)
    e = np.exp(z - z[i])
    return z[i], np.sort(np.delete(e, i)).sum()


def logsumexp_of(z):
    if not z.size or np.isnan(z).any():
        return LONG(NAN if z.size else -INF)
    if np.isinf(z.max()):
        return z.max()
    m, r = top(z)
    return m + np.log1p(r)


def kappa_of(z):
    """How much larger the terms of a logsumexp are than their sum."""
    if not z.size or not np.isfinite(z.max()):
        return LONG(1)
    m, r = top(z)
    total = m + np.log1p(r)
    return (abs(m) + np.log1p(r)) / abs(total) if total else LONG(INF)


def shares(z, undefined="nan"):
    """The softmax and its logarithm, infinities as the contract has them."""
    if not z.size or np.isnan(z).any():
        return np.full(z.shape, LONG(NAN)), np.full(z.shape, LONG(NAN))
    if np.isfinite(z.max()):
        m, r = top(z)
        return np.exp(z - m) / (1 + r), z - m - np.log1p(r)
    tied = z == z.max()
    count = LONG(tied.sum())
    undetermined = z.max() == -INF or count > 1
    how = undefined if undetermined else "uniform"
    share, log = {"nan": (NAN, NAN), "zero": (0, -INF), "uniform": (1 / count, -np.log(count))}[how]
    return np.where(tied, LONG(share), LONG(0)), np.where(tied, LONG(log), LONG(-INF))


def tempered(z, temperature):
    """z / T; its limits: at 0 the maxima alone count, at infinity all that are above -inf."""
    if not z.size or np.isnan(z).any() or z.max() == INF or temperature not in (0, INF):
        return cooled(z, temperature if temperature not in (0, INF) else LONG(1))
    ones = z == z.max() if temperature == 0 else z > -INF
    return np.where(ones if z.max() > -INF else False, LONG(0), LONG(-INF))


def cooled(z, t):
    """z / T, but for a number taken off the row: 64 bits of 2**31 / 7.5 keep 33 after the point."""
    return (z - z.max(initial=-INF, where=np.isfinite(z)) if np.isfinite(z).any() else z) / t


# ---- arrays as rows -------------------------------------------------------------------------


class Rows:
    """x seen as rows, with whatever broadcasts against it."""

    def __init__(self, x, axis, where=None, temperature=1.0):
        every = range(x.ndim) if axis is None else np.atleast_1d(axis).astype(int) % max(x.ndim, 1)
        self.x, self.axes = x, sorted({int(i) for i in every})
        self.batch = [i for i in range(x.ndim) if i not in self.axes]
        self.shape = x.shape
        self.where = self.of(np.ones(x.shape, bool) if where is None else where)
        self.temperature = self.of(np.asarray(temperature))[:, :1].astype(LONG)

    def of(self, a):
        """Rows of something of x's shape, once broadcast."""
        a = np.broadcast_to(a, self.shape).transpose(self.batch + self.axes)
        n = int(np.prod([self.shape[i] for i in self.axes]))
        return a.reshape(int(np.prod([self.shape[i] for i in self.batch])), n)

    def back(self, rows):
        order = self.batch + self.axes
        a = np.reshape(rows, [self.shape[i] for i in order]).astype(LONG)
        return a.transpose(np.argsort(order))

    def reduced(self, values, keepdims=False):
        shape = [self.shape[i] for i in self.batch]
        if keepdims:
            shape = [1 if i in self.axes else n for i, n in enumerate(self.shape)]
        return np.reshape(np.array(values, LONG), shape)

    def __iter__(self):
        for x, kept, t in zip(self.of(self.x), self.where, self.temperature, strict=True):
            yield x[kept], kept, t[0] if t.size else LONG(1)


def spread(kept, values, absent):
    row = np.full(kept.shape, LONG(absent))
    row[kept] = values
    return row


def promised(function, *, kappa=1.0, temperature=False):
    """What the table of accuracy promises."""

    def limit(value, dtype):
        return accuracy.max_ulp(
            function, dtype, kappa=np.asarray(kappa, float), temperature=temperature
        )

    return limit


def of_terms(size, times=8):
    """So many half ULPs of the terms that make the value up, and one for a wide computation."""

    def limit(value, dtype):
        info = ml_dtypes.finfo(dtype)
        with np.errstate(all="ignore"):
            unit = np.exp2(
                np.floor(np.log2(np.maximum(np.abs(value), LONG(info.smallest_normal))))
                - info.nmant
            )
            return 1 + np.nan_to_num(times * np.asarray(size, LONG) * LONG(info.eps) / unit)

    return limit


# ---- functions ------------------------------------------------------------------------------


def mapping(which, name):
    def reference(x, axis=-1, *, where=None, temperature=1.0, undefined="nan"):
        rows = Rows(x, axis, where, temperature)
        y = [
            spread(kept, shares(tempered(z, t), undefined)[which], (0, -INF)[which])
            for z, kept, t in rows
        ]
        warm = np.any(np.asarray(temperature) != 1)
        return [(rows.back(np.array(y, LONG)), promised(name, temperature=bool(warm)))]

    return reference


def logsumexp(x, axis=None, *, where=None, b=None, keepdims=False):
    rows = Rows(x, axis, where)
    if b is not None:
        with np.errstate(invalid="ignore"):
            x = x + np.log(np.asarray(b, LONG))
        rows = Rows(x, axis, where)
    kappa = rows.reduced([kappa_of(z) for z, *_ in rows], keepdims)
    value = rows.reduced([logsumexp_of(z) for z, *_ in rows], keepdims)
    limit = promised("logsumexp", kappa=kappa)
    if b is not None:
        size = rows.reduced(
            [abs(z).max(initial=0, where=np.isfinite(z)) + 1 for z, *_ in rows], keepdims
        )
        limit = of_terms(size)
    return [(value, limit)]


def logmeanexp(x, axis=None, *, where=None, keepdims=False):
    rows = Rows(x, axis, where)
    with np.errstate(divide="ignore"):
        value = [logsumexp_of(z) - np.log(LONG(z.size)) if z.size else LONG(NAN) for z, *_ in rows]
    size = [abs(z).max(initial=1) + np.log1p(LONG(z.size)) for z, *_ in rows]
    return [(rows.reduced(value, keepdims), of_terms(rows.reduced(size, keepdims)))]


def logcumsumexp(x, axis=-1, *, where=None):
    rows = Rows(x, axis, where)
    value, kappa = [], []
    for z, kept, _ in rows:
        ends = kept.cumsum()
        value.append([logsumexp_of(z[:end]) if end else LONG(-np.inf) for end in ends])
        kappa.append([kappa_of(z[:end]) if end else LONG(1) for end in ends])
    return [(rows.back(value), promised("logcumsumexp", kappa=rows.back(kappa)))]


def entropy(x, axis=-1, *, keepdims=False, where=None, temperature=1.0):
    """z / T is rounded where T is not 1, which shifts a logarithm of p by half an ULP of z / T."""
    rows = Rows(x, axis, where, temperature)
    value, size = [], []
    for z, _, t in rows:
        p, log = shares(cooled(z, t))
        value.append(-(p * log).sum())
        distance = 0 if t == 1 else abs(cooled(z, t))
        size.append(abs(p * log * (1 + distance)).sum())
    return [(rows.reduced(value, keepdims), of_terms(rows.reduced(size, keepdims)))]


def kl_divergence(x, q_logits, axis=-1, *, keepdims=False, where=None):
    p_rows, q_rows = Rows(x, axis, where), Rows(q_logits.astype(LONG), axis, where)
    value, size = [], []
    for (z, *_), (q, *_) in zip(p_rows, q_rows, strict=True):
        p, log = shares(z)
        log_q = shares(q)[1]
        value.append((p * (log - log_q)).sum())
        size.append((p * (abs(log) + abs(log_q))).sum())
    return [(p_rows.reduced(value, keepdims), of_terms(p_rows.reduced(size, keepdims)))]


def of_labels(x, labels, axis, weight, ignore_index):
    """Each row's loss, weight and share."""
    rows = Rows(x, axis)
    for (z, *_), label in zip(rows, labels.ravel(), strict=True):
        w = LONG(0 if label == ignore_index else 1 if weight is None else weight[label])
        p, log = shares(z)
        yield w, p, log, label


def cross_entropy(x, labels, axis=-1, *, weight=None, ignore_index=-100, reduction="none"):
    losses = [
        -w * log[k] if w else LONG(0)
        for w, _, log, k in of_labels(x, labels, axis, weight, ignore_index)
    ]
    return [(np.reshape(np.array(losses, LONG), labels.shape), promised("cross_entropy"))]


def cross_entropy_with_grad(x, labels, axis=-1, *, weight=None, ignore_index=-100, reduction="sum"):
    ((losses, _),) = cross_entropy(x, labels, axis, weight=weight, ignore_index=ignore_index)
    rows, gradient = Rows(x, axis), []
    for w, p, _, label in of_labels(x, labels, axis, weight, ignore_index):
        others = np.arange(p.size) != label
        gradient.append(w * np.where(others, p, -p[others].sum()))
    limit = promised("cross_entropy gradient")
    return [(losses.sum()[()], of_terms(losses.sum())), (rows.back(gradient), limit)]


def selected_log_softmax(x, index, axis=-1, *, where=None, temperature=1.0):
    rows = Rows(x, axis, where, temperature)
    value = [
        shares(cooled(z, t))[1][np.count_nonzero(kept[:k])] if kept[k] else LONG(-np.inf)
        for (z, kept, t), k in zip(rows, index.ravel(), strict=True)
    ]
    warm = bool(np.any(np.asarray(temperature) != 1))
    return [(rows.reduced(value), promised("selected_log_softmax", temperature=warm))]


def product(function, transposed):
    """Rows of p and v, combined as the derivative of a function combines them."""

    def reference(x, v, axis=-1, *, where=None, temperature=1.0, keepdims=False):
        rows = Rows(x, axis, where, temperature)
        given = rows.of(v.astype(LONG))
        value, size = [], []
        for (z, kept, t), each in zip(rows, given, strict=True):
            p, v = shares(cooled(z, t))[0], each[kept]
            dot, bound = (p * v).sum(), (p * abs(v)).sum()
            if function == "softmax":
                y, s = p * (v - dot), p * (abs(v) + bound)
            elif transposed:
                y, s = v - p * v.sum(), abs(v) + p * abs(v).sum()
            else:
                y, s = v - dot, abs(v) + bound
            value.append(spread(kept, y / t, 0))
            size.append(spread(kept, s / t, 0))
        return [(rows.back(value), of_terms(rows.back(size)))]

    return reference


def logsumexp_vjp(x, g, axis=None, *, where=None):
    rows = Rows(x, axis, where)
    g = np.broadcast_to(g.astype(LONG).ravel(), len(rows.of(x)))
    value = [spread(kept, shares(z)[0] * v, 0) for (z, kept, _), v in zip(rows, g, strict=True)]
    return [(rows.back(value), of_terms(abs(rows.back(value))))]


def logsumexp_jvp(x, dx, axis=None, *, where=None):
    rows = Rows(x, axis, where)
    given = rows.of(dx.astype(LONG))
    value, size = [], []
    for (z, kept, _), v in zip(rows, given, strict=True):
        p = shares(z)[0]
        value.append((p * v[kept]).sum())
        size.append((p * abs(v[kept])).sum())
    return [(rows.reduced(value), of_terms(rows.reduced(size)))]


def segmented(name):
    def reference(x, segments, num_segments, where=None):
        columns = x.reshape(len(x), -1)
        part = np.broadcast_to(True if where is None else where, x.shape).reshape(columns.shape)
        reduces = name == "logsumexp"
        y = np.full((num_segments if reduces else len(x), columns.shape[1]), LONG(-INF))
        kappa = np.ones(y.shape)
        for k in range(num_segments):
            for j in range(columns.shape[1]):
                members = (segments == k) & part[:, j]
                z = columns[members, j]
                if reduces and z.size:
                    y[k, j], kappa[k, j] = logsumexp_of(z), kappa_of(z)
                elif z.size:
                    y[members, j] = shares(z)[name == "log_softmax"]
        if name == "softmax":
            y[~part] = 0
        shape = (*y.shape[:1], *x.shape[1:])
        return [(y.reshape(shape), promised(name, kappa=kappa.reshape(shape)))]

    return reference


REFERENCES = {
    "softmax": mapping(0, "softmax"),
    "log_softmax": mapping(1, "log_softmax"),
    "logsumexp": logsumexp,
    "logmeanexp": logmeanexp,
    "logcumsumexp": logcumsumexp,
    "entropy": entropy,
    "kl_divergence": kl_divergence,
    "cross_entropy": cross_entropy,
    "cross_entropy_with_grad": cross_entropy_with_grad,
    "selected_log_softmax": selected_log_softmax,
    "softmax_vjp": lambda x, g, **o: product("softmax", True)(x, g, **o),
    "softmax_jvp": lambda x, dx, **o: product("softmax", False)(x, dx, **o),
    "log_softmax_vjp": lambda x, g, **o: product("log_softmax", True)(x, g, **o),
    "log_softmax_jvp": lambda x, dx, **o: product("log_softmax", False)(x, dx, **o),
    "logsumexp_vjp": logsumexp_vjp,
    "logsumexp_jvp": logsumexp_jvp,
    "segment_softmax": segmented("softmax"),
    "segment_log_softmax": segmented("log_softmax"),
    "segment_logsumexp": segmented("logsumexp"),
}
