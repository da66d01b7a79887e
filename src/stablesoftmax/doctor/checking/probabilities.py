"""Which values are probabilities of a softmax, and how they came about."""

import re
from dataclasses import dataclass

from .logits import could_be_logits, is_filler
from .shifts import is_normalised, shift_of
from .values import Value, Values, alternatives, number, stripped

__all__ = ["Quotient", "exponential_in", "is_label", "is_softmax", "picked", "quotient_of", "total"]

_LABELS = re.compile(
    r"(^|_)(y|ys|t|label\w*|target\w*|truth|gt|onehot|hot|true|actual|expected|actions?)($|_|\d)|onehot|one_hot|label|target"
)
_MASKS = re.compile(r"mask|valid|active|legal|keep|ok|finite|avail|allowed|present")


@dataclass(frozen=True, slots=True)
class Quotient:
    """exp(numerator) over a sum of exp(denominator)."""

    numerator: Value
    """The exponent above."""
    denominator: Value
    """The exponent that is summed."""
    total: Value
    """The sum itself, as a reduction or an addition."""
    same: bool
    """Whether what is divided is what is summed."""
    factors: tuple[Value, ...]
    """What the exponential is multiplied by: a mask, a weight."""
    restored: bool
    """Whether a view gave the sum back the axis that it lost."""
    turned: bool
    """Whether the numerator was transposed or picked from."""
    epsilon: bool
    """Whether the sum was kept from 0 by a small number."""


@dataclass(frozen=True, slots=True)
class _Total:
    total: Value
    restored: bool
    epsilon: bool


def total(value: Value, depth: int = 8) -> _Total | None:
    """The sum that a divisor is: behind views, an epsilon, a floor."""
    restored = epsilon = False
    while depth:
        depth -= 1
        if value.op == "view":
            restored, value = True, value.args[0]
        elif value.op in ("copy", "cast", "index"):
            value = value.args[0]
            restored = restored or value.op == "index"
        elif value.op == "clip":
            epsilon, value = True, value.args[0]
        elif value.op == "tuple" and len(value.args) == 1:  # np.array([e.sum(axis=1)]).T
            restored, value = True, value.args[0]
        elif value.op == "add" and any(map(is_small, value.args)):
            epsilon = True
            value = value.args[1] if is_small(value.args[0]) else value.args[0]
        else:
            break
    return _Total(value, restored, epsilon)


_SMALL = ("eps", "tiny", "smallest")


def is_small(value: Value) -> bool:
    """Whether a value is an epsilon: a number up to 1e-3, or a name that says so."""
    value = stripped(value)
    small = number(value)
    if small is not None:
        return 0 < small <= 1e-3
    names = [n.lower().rpartition(".")[2].strip("_") for n in (value.name, *value.called)]
    return any(n.startswith(_SMALL) or n.endswith(("eps", "epsilon", "tiny")) for n in names)


def exponential_in(value: Value, depth: int = 8) -> tuple[Value, tuple[Value, ...]] | None:
    """The exp that a value is, and what it is multiplied by; None where it is none."""
    value = _before_loop(value)
    if value.op == "exp":
        return value, ()
    if not depth:
        return None
    if value.op == "mul":
        for side, other in ((0, 1), (1, 0)):
            if found := exponential_in(value.args[side], depth - 1):
                return found[0], (*found[1], value.args[other])
    if value.op == "add" and any(map(is_small, value.args)):
        return exponential_in(
            value.args[1] if is_small(value.args[0]) else value.args[0], depth - 1
        )
    if value.op == "where":
        for side, other in ((0, 1), (1, 0)):
            fill = value.args[other]
            if number(fill) is not None or is_small(fill) or fill.op == "buffer":
                return exponential_in(value.args[side], depth - 1)
    if value.op == "either":
        choices = [exponential_in(choice, depth - 1) for choice in value.args]
        return choices[0] if all(choices) else None
    if value.op == "joined":  # a column of ones beside the exponentials
        inner = [exponential_in(part, depth - 1) for part in value.args]
        rest = [p for p, e in zip(value.args, inner, strict=True) if e is None]
        plain = all(p.op in ("buffer", "call") or number(p) is not None for p in rest)
        return next((e for e in inner if e), None) if plain else None
    if value.op == "updated" and (number(value.args[1]) is not None):
        return exponential_in(value.args[0], depth - 1)
    return None


def _before_loop(value: Value) -> Value:
    """The value; of what a loop changes element by element, what it was before."""
    value = stripped(value)
    while value.op == "loop" and value.args:
        value = stripped(value.args[0])
    return value


def is_mask(value: Value) -> bool:
    """Whether a factor is a mask: a comparison, or a name that says so."""
    value = stripped(value)
    return value.op in ("compare", "not", "isnan") or bool(_MASKS.search(value.name.lower()))


def quotient_of(value: Value, values: Values) -> Quotient | None:
    """A division as exp over a sum of exp, or None."""
    if value.op != "div":
        return None
    above, below = value.args
    numerator, divisor = exponential_in(above), total(below)
    if numerator is None or divisor is None:
        return None
    summed = divisor.total
    if summed.op == "reduce" and summed.data[0] == "sum":
        inner = exponential_in(summed.args[0])
        same = values.core(_before_loop(above)) is values.core(summed.args[0])
    elif summed.op == "add":
        inner, same = _added(above, summed, values)
    else:
        return None
    if inner is None:
        return None
    return Quotient(
        numerator[0].args[0], inner[0].args[0], summed, same, numerator[1], divisor.restored,
        _is_turned(above), divisor.epsilon,
    )  # fmt: skip


def _added(
    above: Value, summed: Value, values: Values
) -> tuple[tuple[Value, tuple[Value, ...]] | None, bool]:
    """`exp(a) + exp(b)`, or `1 + sum(exp(x))`, as the sum under a quotient."""
    addends, waiting = [], [summed]
    while waiting:
        part = stripped(waiting.pop())
        if part.op == "add":
            waiting += part.args
        else:
            addends.append(part)
    found, same, exps, sums = None, False, 0, 0
    for addend in addends:
        if addend.op == "reduce" and addend.data[0] == "sum":
            inner, sums = exponential_in(addend.args[0]), sums + 1
            same = same or values.core(addend.args[0]) is values.core(above)
        else:
            inner, exps = exponential_in(addend), exps + 1
            same = same or values.core(addend) is values.core(above)
        if inner is None and number(addend) is None:
            return None, False
        found = found or inner
    constants = sum(number(a) is not None for a in addends)
    if constants and not sums and exps - constants < 2:
        return None, False  # a sigmoid
    return found, same


def _is_turned(value: Value) -> bool:
    while value.args and value.op in ("view", "copy", "cast", "index", "each"):
        if value.op in ("index", "each") or value.data == ("transpose",):
            return True
        value = value.args[0]
    return False


def is_softmax(value: Value, values: Values, depth: int = 6, perhaps: bool = False) -> Value | None:
    """The softmax that a value is, by a library or by hand; None where that is not certain.

    With `perhaps`, one branch is enough: of what is no probability nobody takes the logarithm.
    """
    value = stripped(value)
    if not depth:
        return None
    if value.op == "softmax":
        return value
    if value.op == "exp" and is_normalised(value.args[0], values):
        return value
    if value.op == "div":
        found = quotient_of(value, values)
        if found is not None and found.same and all(map(is_mask, found.factors)):
            shift = shift_of(found.numerator, values).kind
            certain = shift in ("max", "normalised") or could_be_logits(found.numerator)
            return value if certain else None
        divisor = total(value.args[1])  # normalised once more
        if divisor and divisor.total.op == "reduce" and divisor.total.args[0] is value.args[0]:
            return is_softmax(value.args[0], values, depth - 1, perhaps)
        return None
    if value.op == "mul":
        for side, other in ((0, 1), (1, 0)):
            scaled = perhaps and _is_scale(value.args[other])
            if is_mask(value.args[other]) or scaled:
                return is_softmax(value.args[side], values, depth - 1, perhaps)
    if value.op == "where" and is_filler(value.args[1]):
        return is_softmax(value.args[0], values, depth - 1, perhaps)
    if value.op == "updated":
        found_in = [is_softmax(a, values, depth - 1, perhaps) for a in value.args]
        return found_in[0] if all(found_in) else None
    if value.op in ("either", "looped"):
        found_in = [is_softmax(a, values, depth - 1, perhaps) for a in alternatives(value)]
        sigmoid = any("sigmoid" in a.name or "expit" in a.name for a in value.args)
        lenient = perhaps and value.op == "either" and not sigmoid
        enough = any(found_in) if lenient else all(found_in)
        return next((f for f in found_in if f), None) if enough else None
    if value.op == "loop" and value.args:
        return is_softmax(value.args[0], values, depth - 1, perhaps)
    return None


def _is_scale(value: Value) -> bool:
    """Whether a factor is a number: 0.5, or a name such as num_samples."""
    names = (name.lower().rpartition(".")[2] for name in (value.name, *value.called))
    return number(value) is not None or any(
        name.startswith(("num", "n_", "scale", "count")) for name in names
    )


def picked(value: Value, values: Values) -> Value | None:
    """The softmax of which a value holds the labels' entries: an index, a sum against one-hot."""
    value = stripped(value)
    if value.op == "reduce" and value.data[0] in ("sum", "max"):
        inner = stripped(value.args[0])
        if value.data[0] == "max":
            return is_softmax(inner, values, perhaps=True)
        if inner.op == "mul":
            for side, other in ((0, 1), (1, 0)):
                if is_label(inner.args[other]):
                    return is_softmax(inner.args[side], values, perhaps=True)
        return None
    return is_softmax(value, values, perhaps=True)


def is_label(value: Value) -> bool:
    """Whether a name, or a call, says that a value holds labels."""
    value = stripped(value)
    return bool(_LABELS.search(value.name.lower().rpartition(".")[2]))
