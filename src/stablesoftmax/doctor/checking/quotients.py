"""exp over its sum: unshifted, shifted along the wrong axis, summed along the wrong axis."""

import ast
import re

from .logits import could_be_logits, has_dtype
from .probabilities import Quotient, is_mask, is_softmax, quotient_of, total
from .rulebook import CLEARED, RuleBook
from .shifts import shift_of
from .values import UNKNOWN_AXIS, Value, number, stripped

__all__ = ["Quotients"]

_WEAK = ("none", "mean", "min", "constant")


class Quotients(RuleBook):
    """What is said of divisions."""

    def divided(self, value: Value, node: ast.AST) -> None:
        """A division: of exp by a sum of exp, of a softmax by itself."""
        found = quotient_of(value, self.values)
        if found is None:
            self._normalised_again(value, node)
        elif found.same:
            self._quotient(found, node)
        elif not found.factors:
            self._mismatch(found, node)

    def _normalised_again(self, value: Value, node: ast.AST) -> None:
        """A masked softmax over its own sum and an epsilon: no row sums to 1."""
        above, below = value.args
        divisor = total(below)
        if divisor is None or not divisor.epsilon or divisor.total.op != "reduce":
            return
        summed = divisor.total
        same = summed.data[0] == "sum" and self.values.core(summed.args[0]) is self.values.core(
            above
        )
        masked = stripped(above).op in ("mul", "where", "updated", "either")  # a top-k keeps some
        if same and masked and is_softmax(above, self.values):
            self._say("SMX008", node)

    def _quotient(self, found: Quotient, node: ast.AST) -> None:
        exponent = found.numerator
        shift = shift_of(exponent, self.values)
        masked = all(map(is_mask, found.factors))
        clip = stripped(exponent)
        if clip.op == "clip":
            weak = shift_of(clip.args[0], self.values).kind
            bounded = masked and number(clip.args[2]) is not None
            if weak in _WEAK and bounded and self._unsafe(clip.args[0], weak):
                self._say("SMX023", node)
            return
        if shift.kind in _WEAK:
            if masked and self._unsafe(exponent, shift.kind):
                self._say("SMX016" if has_dtype(exponent) == "float16" else "SMX001", node)
        else:
            self.reporter.report(CLEARED + "SMX001", node)
        if shift.kind == "max" and found.total.op == "reduce":
            self._axes(found, shift.axis, shift.kept, shift.certain, node)
        if (
            found.epsilon
            and masked
            and shift.kind in ("max", "none")
            and found.total.op == "reduce"
        ) and (shift.kind == "max" or could_be_logits(exponent)):
            self._say("SMX008", node)
        if shift.kind != "max":
            self._lost_axis(found, node)

    def _unsafe(self, exponent: Value, kind: str) -> bool:
        if kind == "none":
            return could_be_logits(exponent)
        inner = stripped(exponent)
        while inner.op in ("mul", "div"):
            inner = stripped(inner.args[0])
        return inner.op == "sub" and could_be_logits(inner.args[0])

    def _axes(
        self, found: Quotient, axis: object, kept: object, certain: bool, node: ast.AST
    ) -> None:
        """The maximum's axis against the sum's."""
        summed = found.total.data[1]
        builtin = found.total.data[3] == "builtin"
        if not certain or found.turned or UNKNOWN_AXIS in (summed, axis):
            return
        rows = isinstance(axis, int | tuple)
        if builtin:
            if rows and axis != 0 and not _is_list(found.total.args[0]):
                self._say("SMX007", node)  # the builtin sum adds along the first axis
        elif axis is None and summed == 0 and found.total.data[2] is False:
            return  # x may have one dimension
        elif axis is None and summed is not None:
            self._say("SMX003", node)
        elif rows and summed is None:
            if isinstance(axis, tuple) or (
                isinstance(axis, int) and axis > 0
            ):  # x of one dimension has an axis -1
                self._say("SMX007", node)
        elif _differ(axis, summed):
            self._say("SMX003", node)
        elif _loses(axis, kept) or self._loses_sum(found):
            self._say("SMX006", node)

    def _lost_axis(self, found: Quotient, node: ast.AST) -> None:
        if found.total.op == "reduce" and found.total.data[1] == -1:
            return  # x may have one dimension
        lost = found.total.op == "reduce" and not found.turned and self._loses_sum(found)
        if lost and could_be_logits(found.numerator):
            self._say("SMX006", node)

    def _loses_sum(self, found: Quotient) -> bool:
        _, summed, kept, _ = found.total.data
        inner = stripped(found.total.args[0], frozenset({"copy", "cast"}))
        picked_from = inner.op in ("index", "each", "list", "filled")
        return not found.restored and not picked_from and _loses(summed, kept)

    def _mismatch(self, found: Quotient, node: ast.AST) -> None:
        """Different arrays, or different shifts, above and below."""
        above, below = found.numerator, found.denominator
        if found.total.op != "reduce" or _is_contrast(above) or _is_contrast(below):
            return
        shifts = [shift_of(e, self.values) for e in (above, below)]
        cores = [
            self.values.core(_unshifted(e, s.kind))
            for e, s in zip((above, below), shifts, strict=True)
        ]
        if all(s.kind in ("none", "max") for s in shifts):
            if cores[0] is cores[1] and shifts[0].kind != shifts[1].kind:
                self._say("SMX002", node)
            elif cores[0] is not cores[1] and {s.kind for s in shifts} == {"none"}:
                plain = ("param", "name", "attribute", "call", "item")
                names = [stripped(e, frozenset({"copy", "cast"})) for e in (above, below)]
                simple = all(n.op in ("param", "attribute", "call") for n in names)
                if simple and all(could_be_logits(e) for e in (above, below)) and plain:
                    self._say("SMX002", node)


def _is_list(value: Value) -> bool:
    return value.op in ("list", "tuple", "filled", "loop") or (
        value.op == "copy" and _is_list(value.args[0])
    )


def _loses(axis: object, kept: object) -> bool:
    """Whether a reduction leaves something that broadcasts along the wrong axis."""
    return kept is False and isinstance(axis, int) and axis != 0


def _differ(axis: object, summed: object) -> bool:
    """Whether two axes are not the same, whatever number of dimensions there are."""
    if "segments" in (axis, summed):
        return axis is None
    if not isinstance(axis, int) or not isinstance(summed, int):
        return (
            isinstance(axis, tuple)
            and isinstance(summed, int)
            and summed not in axis
            and min(axis) >= 0 <= summed
        )
    return axis != summed and (axis >= 0) == (summed >= 0)


def _unshifted(exponent: Value, kind: str) -> Value:
    exponent = stripped(exponent)
    return exponent.args[0] if kind == "max" and exponent.op == "sub" else exponent


def _is_contrast(value: Value) -> bool:
    return bool(
        re.search(
            r"pos|neg|anchor|sim|select|chosen|gold|target|label|true", stripped(value).name.lower()
        )
    )
