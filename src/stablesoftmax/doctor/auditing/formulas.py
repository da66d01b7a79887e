"""The dictionary of wrong formulas: what each known mistake would give for an input.

A formula takes logits and an axis, and raises where the mistake would raise. For the losses the
labelled entries of a log-probability are picked, for logsumexp the sums are left over.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .inputs import labels_of

__all__ = ["Mistake", "extreme_mistakes", "plain_mistakes", "shift_of"]

Array = NDArray[Any]
Formula = Callable[[Array, int], Array]


@dataclass(frozen=True, slots=True)
class Mistake:
    """One wrong formula: its cause, what it does in words, and its values."""

    code: str
    text: str
    formula: Formula


def _reduced(reduce: Callable[..., Any]) -> dict[str, tuple[str, str, Formula]]:
    """A reduction in all the ways that it goes wrong: code, words, formula."""
    return {
        "row": ("", "", lambda e, a: reduce(e, axis=a, keepdims=True)),
        "lost": ("SMX006", "lost its axis", lambda e, a: reduce(e, axis=a)),
        "all": ("SMX007", "runs over the whole array", lambda e, a: reduce(e)),
        "axis 0": ("SMX007", "runs along axis 0", lambda e, a: reduce(e, axis=0, keepdims=True)),
        "last": ("SMX007", "runs along the last axis, whichever is asked",
                 lambda e, a: reduce(e, axis=-1, keepdims=True)),
        "axis 1": ("SMX007", "runs along axis 1", lambda e, a: reduce(e, axis=1, keepdims=True)),
        "other": ("SMX007", "runs along another axis",
                  lambda e, a: reduce(e, axis=-2 if a in (-1, e.ndim - 1) else -1, keepdims=True)),
    }  # fmt: skip


_SUMS = _reduced(np.sum)
_TOPS = _reduced(np.max)
_SHIFTS: dict[str, tuple[str, str, Formula]] = {
    "row": ("", "", _TOPS["row"][2]),
    "none": ("SMX001", "exp is not shifted by the row's maximum", lambda x, a: x.dtype.type(0)),
    "mean": ("SMX001", "the shift is the row's mean, not its maximum",
             lambda x, a: x.mean(axis=a, keepdims=True)),
    "minimum": ("SMX001", "the shift is the row's minimum, not its maximum",
                lambda x, a: x.min(axis=a, keepdims=True)),
    "sign": ("SMX001", "the maximum is added, not subtracted", lambda x, a: -_TOPS["row"][2](x, a)),
    "all": ("SMX003", "the shift is the maximum of the whole array", lambda x, a: x.max()),
    "axis 0": ("SMX003", "the shift is the maximum along axis 0", _TOPS["axis 0"][2]),
    "other": ("SMX003", "the shift is the maximum along another axis", _TOPS["other"][2]),
    "lost": ("SMX006", "the maximum lost its axis", _TOPS["lost"][2]),
}  # fmt: skip


def shift_of(name: str) -> tuple[str, str, Formula]:
    """Return the code, the words and the formula of a shift."""
    return _SHIFTS[name]


def _parts(shift: Formula, total: Formula) -> Callable[[Array, int], tuple[Array, Array, Array]]:
    def parts(x: Array, axis: int) -> tuple[Array, Array, Array]:
        s = np.asarray(shift(x, axis))
        e = np.exp(x - s)
        return e, total(e, axis), s

    return parts


def _softmax(shift: Formula, total: Formula) -> Formula:
    def formula(x: Array, axis: int) -> Array:
        e, t, _ = _parts(shift, total)(x, axis)
        return np.asarray(e / t)

    return formula


def _minus_log(shift: Formula, total: Formula) -> Formula:
    def formula(x: Array, axis: int) -> Array:
        _, t, s = _parts(shift, total)(x, axis)
        return np.asarray(x - (s + np.log(t)))

    return formula


def _logsumexp(shift: Formula, total: Formula) -> Formula:
    def formula(x: Array, axis: int) -> Array:
        _, t, s = _parts(shift, total)(x, axis)
        result = s + np.log(t)
        if result.ndim < x.ndim:
            return np.asarray(result)
        kept = [i for i in range(x.ndim) if result.shape[i] < x.shape[i]]
        return np.asarray(result.squeeze(tuple(kept or [axis])))

    return formula


def _log(formula: Formula) -> Formula:
    return lambda x, a: np.asarray(np.log(formula(x, a)))


def _picked(formula: Formula, back: int = 0) -> Formula:
    def picked(x: Array, axis: int) -> Array:
        labels = (np.expand_dims(labels_of(x, axis), axis) - back) % x.shape[axis]
        return np.asarray(-np.take_along_axis(formula(x, axis), labels, axis).squeeze(axis))

    return picked


def _one_hot(formula: Formula) -> Formula:
    def summed(x: Array, axis: int) -> Array:
        labels = np.expand_dims(labels_of(x, axis), axis)
        hot = np.zeros_like(x)
        np.put_along_axis(hot, labels, 1, axis)
        return np.asarray(-(hot * formula(x, axis)).sum(axis=axis))

    return summed


_ROW, _SUM = _SHIFTS["row"][2], _SUMS["row"][2]
_RIGHT = _softmax(_ROW, _SUM)
_RIGHT_LOG = _minus_log(_ROW, _SUM)


def plain_mistakes(kind: str) -> Iterator[Mistake]:
    """Formulas that are wrong for small logits, what is likelier first."""
    build: Callable[[Formula, Formula], Formula] = {
        "softmax": _softmax, "logsumexp": _logsumexp
    }.get(kind, _minus_log)  # fmt: skip
    finish = _picked if kind == "cross_entropy" else (lambda formula: formula)
    for total_name, (code, text, total) in _SUMS.items():
        for shift_name in ("row", "lost", "all", "axis 0", "other", "none"):
            shift_code, shift_text, shift = _SHIFTS[shift_name]
            if total_name == "row" and shift_name in ("row", "all", "none"):
                continue
            words = f"the sum {text}" if code else shift_text
            yield Mistake(code or shift_code, words, finish(build(shift, total)))
    for name in ("axis 0", "last", "axis 1", "other"):
        code, text, total = _SUMS[name]
        yield Mistake(code, f"the sum {text}", finish(build(_TOPS[name][2], total)))
    others = {"softmax": _other_softmaxes, "logsumexp": _other_sums}.get(kind, _other_logs)
    for mistake in others():
        yield Mistake(mistake.code, mistake.text, finish(mistake.formula))
    if kind == "cross_entropy":
        yield from _other_losses()


def _other_softmaxes() -> Iterator[Mistake]:
    def quotient(over: Formula, under: Formula) -> Formula:
        return lambda x, a: np.asarray(over(x, a) / under(x, a))

    def shifted(x: Array, a: int) -> Array:
        return np.asarray(np.exp(x - _ROW(x, a)))

    def bare(x: Array, a: int) -> Array:
        return np.asarray(np.exp(x))

    yield Mistake("SMX002", "the numerator is shifted and the sum is not",
                  quotient(shifted, lambda x, a: _SUM(bare(x, a), a)))  # fmt: skip
    yield Mistake("SMX002", "the sum is shifted and the numerator is not",
                  quotient(bare, lambda x, a: _SUM(shifted(x, a), a)))  # fmt: skip
    yield Mistake("SMX009", "it is a softmax of a softmax", lambda x, a: _RIGHT(_RIGHT(x, a), a))
    words: dict[str, Formula] = {
        "it is exp, never divided by the sum": bare,
        "it is exp(x - max), never divided by the sum": shifted,
        "it is a sigmoid of each entry": lambda x, a: 1 / (1 + np.exp(-x)),
        "it is tanh of each entry": lambda x, a: np.tanh(x),
        "the base is 2": lambda x, a: _RIGHT(x * np.log(2), a),
        "the base is 10": lambda x, a: _RIGHT(x * np.log(10), a),
        "the logits are negated": lambda x, a: _RIGHT(-x, a),
        "the result is negated": lambda x, a: -_RIGHT(x, a),
        "it is 1 - softmax": lambda x, a: 1 - _RIGHT(x, a),
        "it is one-hot of the maximum": lambda x, a: 1.0 * (x == _ROW(x, a)),
        "it is x / sum(x), without exp": quotient(lambda x, a: x, _SUM),
        "exp(x - max) is divided by its maximum, the sum is meant":
            quotient(bare, lambda x, a: _ROW(bare(x, a), a)),
        "it is divided by the mean, the sum is meant":
            quotient(bare, lambda x, a: bare(x, a).mean(axis=a, keepdims=True)),
        "it is divided by the Euclidean norm, the sum is meant":
            quotient(bare, lambda x, a: np.sqrt(_SUM(bare(x, a) ** 2, a))),
        "the absolute values are taken": lambda x, a: _RIGHT(abs(x), a),
        "it is the logarithm of the softmax": _RIGHT_LOG,
    }  # fmt: skip
    yield from (Mistake("SMX024", text, formula) for text, formula in words.items())
    for text, part in {"last": np.s_[:-1], "first": np.s_[1:]}.items():
        yield Mistake("SMX024", f"the sum leaves out the {text} element", _dropped(part))


def _dropped(part: slice) -> Formula:
    def formula(x: Array, axis: int) -> Array:
        e = np.moveaxis(np.exp(x - _ROW(x, axis)), axis, -1)
        return np.moveaxis(e / e[..., part].sum(axis=-1, keepdims=True), -1, axis)

    return formula


def _other_logs() -> Iterator[Mistake]:
    yield Mistake("SMX009", "the logits go through a softmax first",
                  lambda x, a: _RIGHT_LOG(_RIGHT(x, a), a))  # fmt: skip
    yield Mistake("SMX009", "log_softmax is applied to the logarithm's softmax",
                  _log(lambda x, a: _RIGHT(_RIGHT(x, a), a)))  # fmt: skip
    words: dict[str, Formula] = {
        "it is the softmax, without the logarithm": _RIGHT,
        "the result is negated": lambda x, a: -_RIGHT_LOG(x, a),
        "the logarithm is that of base 2": lambda x, a: _RIGHT_LOG(x, a) / np.log(2),
        "the logarithm is that of base 10": lambda x, a: _RIGHT_LOG(x, a) / np.log(10),
        "the logits are negated": lambda x, a: _RIGHT_LOG(-x, a),
        "x - max is returned, without log(sum(exp))": lambda x, a: x - _ROW(x, a),
        "the logits are returned as they are": lambda x, a: x,
    }
    yield from (Mistake("SMX024", text, formula) for text, formula in words.items())
    for mistake in _other_softmaxes():
        yield Mistake(mistake.code, mistake.text, _log(mistake.formula))


def _other_sums() -> Iterator[Mistake]:
    right = _logsumexp(_ROW, _SUM)
    words: dict[str, Formula] = {
        "the maximum is not added back": lambda x, a: right(x - _ROW(x, a), a),
        "it is sum(exp), without the logarithm": lambda x, a: np.exp(right(x, a)),
        "it is the maximum alone": lambda x, a: x.max(axis=a),
        "it is the mean's, log(mean(exp))": lambda x, a: right(x, a) - np.log(x.shape[a]),
        "the result is negated": lambda x, a: -right(x, a),
        "the logarithm is that of base 2": lambda x, a: right(x, a) / np.log(2),
        "the maximum is added twice": lambda x, a: right(x, a) + x.max(axis=a),
    }
    yield from (Mistake("SMX024", text, formula) for text, formula in words.items())


def _other_losses() -> Iterator[Mistake]:
    right = _picked(_RIGHT_LOG)
    yield Mistake("SMX020", "the labels are counted from 1", _picked(_RIGHT_LOG, back=1))
    yield Mistake("SMX020", "the labels are counted from -1", _picked(_RIGHT_LOG, back=-1))
    yield Mistake("SMX026", "it is the mean over the rows, one loss a row is asked",
                  lambda x, a: np.asarray(right(x, a).mean()))  # fmt: skip
    yield Mistake("SMX026", "it is the sum over the rows, one loss a row is asked",
                  lambda x, a: np.asarray(right(x, a).sum()))  # fmt: skip


def extreme_mistakes(kind: str) -> Iterator[Mistake]:
    """Formulas that are right for small logits, and overflow, underflow or hide it beyond."""
    for name in ("row", "none", "mean", "minimum", "sign", "all", "axis 0", "other"):
        code, text, shift = _SHIFTS[name]
        quotient, minus = _softmax(shift, _SUM), _minus_log(shift, _SUM)
        if kind == "softmax":
            if name != "row":
                yield Mistake(code, text, quotient)
            continue
        naive = "SMX005" if code == "SMX001" else code
        words = f"log(sum(exp(x))): {text}"
        if kind == "logsumexp":
            if name != "row":
                yield Mistake(naive, words, _logsumexp(shift, _SUM))
            continue
        finish = _picked if kind == "cross_entropy" else (lambda formula: formula)
        if name != "row":
            yield Mistake(naive, words, finish(minus))
        logarithm = "it takes the logarithm of a probability that underflows to 0"
        yield Mistake(code or "SMX004", text or logarithm, finish(_log(quotient)))
        if kind == "cross_entropy":
            words = "the 0 of a one-hot label is multiplied by log 0, which is -inf"
            yield Mistake(code or "SMX012", text or words, _one_hot(_log(quotient)))
