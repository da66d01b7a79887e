"""exp over its sum: unshifted, shifted along the wrong axis, summed along the wrong axis."""

import ast
import re

from .axes import loses_axis, wrong_axis
from .logits import could_be_logits, has_dtype
from .probabilities import Quotient, is_mask, is_softmax, quotient_of, total
from .rulebook import CLEARED, RuleBook
from .shifts import Shift, shift_of
from .values import Value, number, stripped

__all__ = ["Quotients"]

_CONTRASTED = re.compile(r"pos|neg|anchor|sim|select|chosen|gold|target|label|true")
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
        cores = {self.values.core(value) for value in (summed.args[0], above)}
        same = summed.data[0] == "sum" and len(cores) == 1
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
            bounded = masked and _is_bound(clip.args[2])
            if weak in _WEAK and bounded and self._unsafe(clip.args[0], weak):
                self._say("SMX023", node)
            return
        if shift.kind in _WEAK:
            if masked and self._unsafe(exponent, shift.kind):
                self._say("SMX016" if has_dtype(exponent) == "float16" else "SMX001", node)
        else:
            self.reporter.report(CLEARED + "SMX001", node)
        if found.total.op != "reduce":
            return
        if shift.kind == "max":
            self._shifted(found, shift, node)
        else:
            self._lost_axis(found, node)
        kept_from_0 = found.epsilon and masked
        if kept_from_0 and (
            shift.kind == "max" or (shift.kind == "none" and could_be_logits(exponent))
        ):
            self._say("SMX008", node)

    def _unsafe(self, exponent: Value, kind: str) -> bool:
        if kind == "none":
            return could_be_logits(exponent)
        inner = stripped(exponent)
        while inner.op in ("mul", "div"):
            inner = stripped(inner.args[0])
        return inner.op == "sub" and could_be_logits(inner.args[0])

    def _shifted(self, found: Quotient, shift: Shift, node: ast.AST) -> None:
        """Shifted by a maximum: along which axis, in which dtype."""
        code = "" if found.turned else wrong_axis(shift, found.total)
        if code == "SMX006" and shift.axis == -1 and found.factors:
            code = ""  # a vector's maximum, and the sum of a matrix times it
        if not code and shift.certain and not found.turned and self._loses_sum(found):
            code = "SMX006"
        if code:
            self._say(code, node)
        if shift.narrowed:
            self._say("SMX011", node)

    def _lost_axis(self, found: Quotient, node: ast.AST) -> None:
        if found.total.data[1] == -1 or found.turned:
            return  # x may have one dimension
        if self._loses_sum(found) and could_be_logits(found.numerator):
            self._say("SMX006", node)

    def _loses_sum(self, found: Quotient) -> bool:
        _, summed, kept, _ = found.total.data
        inner = stripped(found.total.args[0], frozenset({"copy", "cast"}))
        picked_from = inner.op in ("index", "each", "list", "filled")
        return not found.restored and not picked_from and loses_axis(summed, kept)

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
        kinds = {s.kind for s in shifts}
        if kinds <= {"none", "max"}:
            if cores[0] is cores[1] and len(kinds) == 2:
                self._say("SMX002", node)
            elif cores[0] is not cores[1] and kinds == {"none"}:
                names = [stripped(e, frozenset({"copy", "cast"})) for e in (above, below)]
                simple = all(n.op in ("param", "attribute", "call") for n in names)
                if simple and all(could_be_logits(e) for e in (above, below)):
                    self._say("SMX002", node)


def _is_bound(value: Value) -> bool:
    """Whether it is a number that exp is to survive: 500, `self.clip[1]`; no space's `high`."""
    return number(value) is not None or "clip" in stripped(value).name


def _unshifted(exponent: Value, kind: str) -> Value:
    exponent = stripped(exponent)
    return exponent.args[0] if kind == "max" and exponent.op == "sub" else exponent


def _is_contrast(value: Value) -> bool:
    return bool(_CONTRASTED.search(stripped(value).name.lower()))
