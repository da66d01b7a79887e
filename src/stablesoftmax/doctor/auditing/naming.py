"""From outcomes to a cause: which wrong formula gives what the function gave."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .calls import Outcome
from .cases import Case
from .formulas import Mistake, extreme_mistakes, plain_mistakes
from .verdicts import wrong

__all__ = ["name_extreme", "name_plain"]

Named = tuple[str, str]


@np.errstate(all="ignore")
def _fits(mistake: Mistake, cases: Sequence[Case]) -> bool:
    """Whether the formula gives what the function gave, on every input; errors for errors."""
    for case in cases:
        x = case.probe.x
        try:
            model = mistake.formula(x, case.probe.axis)
        except (ValueError, IndexError):  # shapes that do not broadcast
            if not case.outcome.error:
                return False
            continue
        value = case.outcome.value
        if value is None or value.shape != model.shape or value.dtype.kind not in "biuf":
            return False
        close = 1e-9 if x.dtype.itemsize == 8 else 1e-4
        if not np.allclose(value, model, rtol=close, atol=close / 1e3, equal_nan=True):
            return False
    return True


@np.errstate(all="ignore")
def _differs(mistake: Mistake, cases: Sequence[Case]) -> bool:
    """Whether the formula is wrong at all here: a sum along the last axis is right, if that is it.

    Without this an epsilon of 1e-12 would pass for a sum along the last axis.
    """
    for case in cases:
        try:
            model = mistake.formula(case.probe.x, case.probe.axis)
        except (ValueError, IndexError):
            return True
        if Case(case.probe, Outcome(model, "numpy"), case.verdict).bad:
            return True
    return False


def name_plain(kind: str, cases: Sequence[Case]) -> Named:
    """Name the cause of a function that is wrong for small logits."""
    for mistake in plain_mistakes(kind):
        if _fits(mistake, cases) and _differs(mistake, cases):
            return mistake.code, mistake.text
    ready = [case for case in cases if not case.outcome.error]
    for case in ready:
        if wrong(case.outcome, case.verdict) is None:
            shape = getattr(case.outcome.value, "shape", "unknown")
            return "SMX026", f"the shape is {shape}, {case.verdict.values.shape} is asked"
    return next(_fitted(kind, ready))


@np.errstate(all="ignore")
def _fitted(kind: str, cases: Sequence[Case]) -> Iterator[Named]:
    """An epsilon, a factor of each row, a narrower dtype: what has a number to be found."""
    odd = [case for case in cases if not case.finite]
    if odd:
        yield "SMX024", "small logits give NaN or infinity"
    types = [(c.probe.x.dtype, c.outcome.value.dtype) for c in cases if c.outcome.value is not None]
    if any(out.kind in "biu" for _, out in types):
        yield "SMX010", "results are cut to integers"
    got, right = _joined(kind, [(case.got, case) for case in cases])
    sums = np.concatenate([_sums(case) for case in cases])
    bare = np.concatenate([_sums(case, shifted=False) for case in cases])
    if _constant(got - right):
        yield "SMX008", f"{np.mean(got - right):.2g} is added"
    for of_row in (sums, bare):
        eps = (got / right - 1 if kind == "logsumexp" else right / got - 1) * of_row
        if _constant(eps):
            code = "SMX008" if abs(eps.mean()) < 0.1 else "SMX024"
            yield code, f"{eps.mean():.2g} is added to the sum"
    if kind in ("softmax", "log_softmax") and all(_mixed(kind, case) for case in cases):
        yield "SMX008", "an epsilon is added to every probability, and they are divided again"
    error = float(abs(got / right - 1).max())
    if error < 1e-11 and cases[0].probe.x.dtype == np.float64:
        yield "SMX025", "more digits are lost than rounding takes"
    if error < 1e-2 and cases[0].probe.x.dtype == np.float64:
        given, back = types[0]
        narrow = "float32" if error < 3e-6 else "float16"
        if back.itemsize < given.itemsize:
            yield "SMX026", f"{given} goes in, and {back} comes back"
        yield "SMX011", f"the digits are those of {narrow}: it is computed in that"
    if kind in ("softmax", "log_softmax") and all(map(_proportional, _ratios(kind, cases))):
        yield "SMX002", "each row is its softmax times a factor: the sum is another array's"
    if kind == "softmax" and any(_sum_to_one_elsewhere(case) for case in cases):
        yield "SMX007", "another axis sums to 1"
    yield "SMX024", f"finite, and no {kind}"


def _joined(kind: str, parts: list[tuple[NDArray[Any], Case]]) -> tuple[NDArray[Any], ...]:
    sign = -1.0 if kind == "cross_entropy" else 1.0

    def flat(values: NDArray[Any]) -> NDArray[Any]:
        return (values if kind == "softmax" else np.exp(sign * values)).ravel()

    got = np.concatenate([flat(g) for g, _ in parts])
    return got, np.concatenate([flat(case.verdict.values) for _, case in parts])


def _sums(case: Case, shifted: bool = True) -> NDArray[Any]:
    """The sum of exp that belongs to each entry of the result."""
    x, axis = case.probe.x.astype(np.float64), case.probe.axis
    top = x.max(axis=axis, keepdims=True) if shifted else 0.0
    total = np.exp(x - top).sum(axis=axis, keepdims=True)
    if case.verdict.values.shape == x.shape:
        return np.broadcast_to(total, x.shape).ravel()
    return np.asarray(total.ravel())


def _constant(values: NDArray[Any]) -> bool:
    mean = float(abs(values).mean())
    return bool(1e-14 < mean < np.inf and np.ptp(values) <= 0.02 * mean)


def _mixed(kind: str, case: Case) -> bool:
    """Whether rows are a p + b with one a and b, as (p + eps) / sum(p + eps) is."""
    got, right = case.got, case.verdict.values
    if kind == "log_softmax":
        got, right = np.exp(got), np.exp(right)
    if got.size < 3 or np.ptp(right) == 0:
        return False
    slope, shift = np.polyfit(right.ravel(), got.ravel(), 1)
    error = float(abs(slope * right + shift - got).max())
    return bool(1e-13 < shift < 0.1 and slope > 0.5 and error < 1e-3 * shift)


def _ratios(kind: str, cases: Sequence[Case]) -> Iterator[NDArray[Any]]:
    for case in cases:
        right = case.verdict.values
        ratio = case.got / right if kind == "softmax" else np.exp(case.got - right)
        yield np.moveaxis(ratio, case.probe.axis, -1)


def _proportional(ratio: NDArray[Any]) -> bool:
    spread = np.ptp(ratio, axis=-1)
    return bool((spread <= 1e-5 * abs(ratio).max(axis=-1)).all() and (ratio > 0).all())


def _sum_to_one_elsewhere(case: Case) -> bool:
    axes = set(range(case.got.ndim)) - {case.probe.axis % max(case.got.ndim, 1)}
    return any(np.allclose(case.got.sum(axis=a), 1) for a in axes)


@np.errstate(all="ignore")
def name_extreme(kind: str, cases: Sequence[Case]) -> Named:
    """Name the cause of a function that is right for small logits, and wrong beyond."""
    if all(map(_rounded, cases)):
        return "SMX025", "x is not shifted before a logsumexp is subtracted: its digits are lost"
    mistakes = list(extreme_mistakes(kind))
    for mistake in mistakes:
        if _hides(mistake, cases):
            return "SMX013", f"a NaN is made and hidden: {mistake.text}"
    for mistake in mistakes:
        if _fits(mistake, cases):
            return mistake.code, mistake.text
    return next(_by_signs(kind, cases))


def _rounded(case: Case) -> bool:
    """Whether the error is that of numbers of the logits' size: x - logsumexp(x) of 1e6."""
    x, got, right = case.probe.x, case.got, case.verdict.values
    size = float(abs(x[np.isfinite(x)]).max(initial=1.0))
    unit = float(np.finfo(x.dtype).eps) * (64 + 16 * size)
    scale = abs(right) if case.relative else 1.0
    return not case.bad or bool((abs(got - right) <= unit * scale + 1e-300).all())


@np.errstate(all="ignore")
def _hides(mistake: Mistake, cases: Sequence[Case]) -> bool:
    """Whether the outcome is the mistake's, with one number wherever that is NaN."""
    worst, fills = 0.0, []
    for case in cases:
        try:
            model, got = mistake.formula(case.probe.x, case.probe.axis), case.got
        except ValueError:  # shapes that do not broadcast
            return False
        lost = np.isnan(model)
        if model.shape != got.shape or not np.isfinite(got).all():
            return False
        if not np.allclose(got[~lost], model[~lost], rtol=1e-4):
            return False
        if lost.any():
            worst = max(worst, float(abs(got - case.verdict.values)[lost].max()))
            if np.ptp(got[lost]) > 0:
                return False
            fills.append((float(got[lost][0]), case.probe.x.shape[case.probe.axis]))
    # clipped logits give 1/3 for [1000, 999, 998], and 1 for [1000, 0, 0]: no filling does
    one = all(fill == fills[0][0] for fill, _ in fills)
    return worst > 1e-3 and (one or all(abs(fill * n - 1) < 1e-6 for fill, n in fills))


def _by_signs(kind: str, cases: Sequence[Case]) -> Iterator[Named]:
    bad = {case.probe.topic: case for case in cases if case.bad}
    unshifted = "SMX001" if kind in ("softmax", "cross_entropy") else "SMX005"
    if any((abs(case.got) == np.finfo(case.probe.x.dtype).max).any() for case in bad.values()):
        yield "SMX013", "an infinity is made, and hidden by the largest number"
    if set(bad) == {"rows far apart"}:
        yield "SMX003", "each row is right alone, and not in a batch with others"
    if any(_uniform(kind, bad[topic]) for topic in ("overflow", "underflow") if topic in bad):
        yield "SMX023", "logits that differ come out as equals: they are clipped"
    lost = [case for case in bad.values() if not case.finite]
    ends = {"overflow", "underflow"} & {case.probe.topic for case in lost}
    if ends:
        yield unshifted, "exp overflows or underflows: the row's maximum is not subtracted"
    floor = _floor(kind, by_topic := {case.probe.topic: case for case in cases})
    if floor is not None:
        if _smallest(kind, by_topic["small probabilities"]) > floor + 1:
            yield "SMX013", f"an infinity is made, and hidden by {floor:.4g}"
        clip = abs(floor - round(floor)) < 1e-6
        code, what = ("SMX023", "logits are clipped") if clip else ("SMX008", "an epsilon holds it")
        yield code, f"no probability falls below {np.exp(-floor):.2g}: {what}"
    if lost and kind in ("log_softmax", "cross_entropy"):
        yield "SMX004", "the logarithm is taken of a probability that underflows to 0"
    if lost:
        yield unshifted, "exp overflows or underflows: the shift is not the row's maximum"
    if kind == "logsumexp":
        yield "SMX023", "large logits give too small a result: they are clipped"
    yield "SMX024", "right for small logits, and finite but wrong for large ones"


def _uniform(kind: str, case: Case) -> bool:
    """Whether [1000, 999, 998] came out as three equal logits would."""
    equal = {"softmax": 1 / 3, "log_softmax": -np.log(3), "cross_entropy": np.log(3)}
    return kind in equal and np.allclose(case.got, equal[kind])


def _floor(kind: str, cases: dict[str, Case]) -> float | None:
    """-log of the smallest probability that the function gives, where it is one for all."""
    if kind == "logsumexp":
        return None
    levels = [_smallest(kind, cases[topic]) for topic in ("spread", "one far above")]
    if not np.isfinite(levels).all() or np.ptp(levels) > 0.01 * max(levels):
        return None
    return levels[-1]


def _smallest(kind: str, case: Case) -> float:
    """-log of the smallest probability of a row."""
    if kind == "softmax":
        return float(-np.log(case.got.min()))
    return float(abs(case.got).max())
