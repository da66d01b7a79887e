"""What an exponent was shifted by: its maximum, something else, or nothing."""

from dataclasses import dataclass, replace

from .logits import has_dtype, is_filler
from .values import Value, Values, alternatives, number, stripped, words

__all__ = ["Shift", "is_normalised", "shift_of"]


@dataclass(frozen=True, slots=True)
class Shift:
    """What was subtracted from an exponent.

    `kind` is "none", "max", "normalised" (by its log-sum-exp), "mean", "min", "constant" or
    "unknown". Of a maximum, `axis` and `kept` say along which axis and whether it kept it, where
    `certain` says that it is the maximum of the very array.
    """

    kind: str
    axis: object = None
    kept: object = True
    certain: bool = False
    narrowed: bool = False
    """Whether the array was converted to a narrower dtype than its maximum."""


_UNKNOWN, _NONE = Shift("unknown"), Shift("none")
_SAME_SHAPE = words("copy cast")
_SUMS = words("add sub neg mul div clip where log_softmax")


def shift_of(exponent: Value, values: Values) -> Shift:
    """What an exponent was shifted by."""
    turned, exponent = _turned(exponent), stripped(exponent)
    if exponent.op in ("either", "looped", "where"):
        choices = [a for a in alternatives(exponent) if not is_filler(a)]
        shifts = [shift_of(choice, values) for choice in choices]
        if not shifts:
            return _UNKNOWN
        first = next((s for s in shifts if s.kind not in ("none",)), shifts[0])
        same = all(s == shifts[0] for s in shifts)
        return first if same else Shift("unknown" if first.kind != "max" else "max")
    if exponent.op in ("updated", "loop", "joined", "filled"):
        kinds = {shift_of(a, values).kind for a in exponent.args}
        return _NONE if kinds == {"none"} else _UNKNOWN
    if exponent.op == "log_softmax":
        return Shift("normalised")
    plus, minus = _terms(exponent)
    shift = _of_terms(plus, minus, values)
    return replace(shift, certain=False) if turned else shift


def is_normalised(exponent: Value, values: Values) -> bool:
    """Whether exp of it is a softmax: a log_softmax, or an array less its own log-sum-exp."""
    exponent = stripped(exponent)
    if exponent.op == "log_softmax":
        return True
    plus, minus = _terms(exponent)
    if len(plus) != 1 or len(minus) != 1 or stripped(minus[0]).op != "logsumexp":
        return False
    return values.core(stripped(minus[0]).args[0]) is values.core(plus[0])


def _terms(value: Value, sign: int = 1, depth: int = 12) -> tuple[list[Value], list[Value]]:
    """The terms that are added, and those that are subtracted, without their scales."""
    leaf, value = value, stripped(value)
    plus: list[Value] = []
    minus: list[Value] = []
    if depth == 0:
        return ([leaf], []) if sign > 0 else ([], [leaf])
    match value.op:
        case "add" | "sub":
            for i, arg in enumerate(value.args):
                side = -sign if i == 1 and value.op == "sub" else sign
                p, m = _terms(arg, side, depth - 1)
                plus += p
                minus += m
            return plus, minus
        case "neg":
            return _terms(value.args[0], -sign, depth - 1)
        case "mul" | "div":
            left, right = value.args
            for scale, inner in ((right, left), (left, right)):
                if value.op == "div" and inner is right:
                    continue  # 1 / x is no scaled x
                if (n := number(scale)) is not None:
                    return _terms(inner, -sign if n < 0 else sign, depth - 1)
            for scale, inner in ((right, left), (left, right)):
                if value.op == "div" and inner is right:
                    continue
                if stripped(inner).op in _SUMS and _is_sum(inner):
                    flip = stripped(scale).op == "neg"
                    return _terms(inner, -sign if flip else sign, depth - 1)
    return ([leaf], []) if sign > 0 else ([], [leaf])


def _is_sum(value: Value) -> bool:
    value = stripped(value)
    while value.op in ("neg", "mul", "div"):
        value = stripped(value.args[0])
    return value.op in ("add", "sub", "log_softmax")


def _of_terms(plus: list[Value], minus: list[Value], values: Values) -> Shift:
    for ours, theirs, extreme in ((plus, minus, "max"), (minus, plus, "min")):
        for term in theirs:
            found = _extreme(term, extreme)
            if found is not None:
                rest = [t for t in theirs if t is not term]
                return _matched(found, term, ours, rest, values)
    if any(t.op == "log_softmax" for t in plus):
        return Shift("normalised")
    for term in minus:
        inner = stripped(term)
        if inner.op in ("logsumexp", "log") or _extreme(term, "max") or "lse" in inner.name:
            return Shift("normalised")
    if not minus or not plus:
        return _NONE
    kinds = {_weak_kind(term) for term in minus}
    if "unknown" in kinds or len(kinds) > 1:
        return _UNKNOWN
    return Shift(kinds.pop())


def _weak_kind(term: Value) -> str:
    term = stripped(term)
    if term.op == "reduce" and term.data[0] in ("mean", "median", "min"):
        return "min" if term.data[0] == "min" else "mean"
    return "constant" if number(term) is not None else "unknown"


_NARROW = words("float16 bfloat16 float32")
_CARRIERS = words("where either mul div add clip loop updated call copy joined index")


def _extreme(term: Value, kind: str, depth: int = 6) -> Value | None:
    """The maximum, or minimum, that a term is or contains."""
    term = stripped(term)
    if term.op == "reduce" and term.data[0] == kind:
        return term
    if term.op == "call" and term.name.rpartition(".")[2] in (kind, f"{kind}imum", f"cum{kind}"):
        return term
    if depth and term.op in _CARRIERS:
        for arg in term.args:
            if found := _extreme(arg, kind, depth - 1):
                return found
    return None


def _matched(
    found: Value, term: Value, ours: list[Value], rest: list[Value], values: Values
) -> Shift:
    """Hold the maximum's array and axis against what it is subtracted from."""
    if found.op != "reduce" or stripped(term) is not found or rest or len(ours) != 1:
        return Shift("max")
    array, mine = values.core(found.args[0]), values.core(ours[0])
    plus, minus = _terms(array)
    same = array is mine or [*plus, *minus] == [mine]
    viewed = stripped(term, _SAME_SHAPE) is not found
    kept = True if viewed else found.data[2]  # a view gave the axis back
    certain = same and _in_place(ours[0], found.args[0])
    narrowed = same and has_dtype(ours[0]) in _NARROW and not has_dtype(found.args[0])
    return Shift("max", found.data[1], kept, certain, narrowed)


def _in_place(mine: Value, array: Value) -> bool:
    """Whether neither side was turned or indexed on the way, so that axes mean the same."""
    return mine is array or not any(_turned(v) for v in (mine, array))


def _turned(value: Value) -> bool:
    return stripped(value, _SAME_SHAPE).op in ("view", "index", "list", "filled", "each")
