"""Logarithms: of a softmax, of a sum of exp, of probabilities with an epsilon."""

import ast
import re

from .axes import wrong_axis
from .logits import could_be_logits
from .probabilities import exponential_in, is_label, is_mask, is_small, picked, total
from .rulebook import CLEARED, Reporter, RuleBook
from .shifts import shift_of
from .values import Value, Values, stripped

__all__ = ["Logarithms"]

_PROBABILITIES = re.compile(
    r"(^|_)(p|ps|q|prob\w*|pred\w*|softmax|yhat|y_hat|output|outputs|out|a|al|o|activations?|scores?_?prob|pi)($|_|\d)"
    r"|prob|softmax|y_?hat|y_?pred"
)


class Logarithms(RuleBook):
    """What is said of logarithms, and of what they are multiplied by."""

    def __init__(self, values: Values, reporter: Reporter) -> None:
        super().__init__(values, reporter)
        self._products: dict[Value, tuple[Value, str, ast.AST]] = {}

    def logarithm(self, array: Value, node: ast.AST) -> None:
        """A log: of a softmax, of a sum of exp, of a probability with an epsilon."""
        if picked(array, self.values):
            self._say("SMX004", node)
            return
        if self._is_floored(array):
            self._say("SMX008", node)
        elif _floored(stripped(array)) is None:
            self._log_sum_exp(stripped(array), node)

    def _is_floored(self, value: Value, by_labels: bool = False) -> bool:
        """Whether it is a softmax, or what labels pick of probabilities, kept from 0."""
        by_labels = by_labels or _by_labels(value)
        value = stripped(value)
        if value.op in ("either", "looped"):
            return any(self._is_floored(choice, by_labels) for choice in value.args)
        if value.op == "reduce" and value.data[0] == "sum":
            inner = stripped(value.args[0])
            sides = (inner.args, inner.args[::-1]) if inner.op == "mul" else ()
            return any(is_label(a) and self._is_floored(b, True) for a, b in sides)
        p = _floored(value)
        if p is None:
            return False
        p = stripped(p) if (by_labels := by_labels or _by_labels(p)) else p
        guessed = by_labels and _is_probability(p) and "sigmoid" not in p.name
        return bool(picked(p, self.values)) or guessed

    def _log_sum_exp(self, inner: Value, node: ast.AST) -> None:
        divisor = total(inner)
        summed = divisor.total if divisor else inner
        if summed.op == "reduce" and summed.data[0] in ("sum", "mean"):
            found = exponential_in(summed.args[0])
            if found is None or not all(map(is_mask, found[1])):
                return
            shift = shift_of(found[0].args[0], self.values)
            code = wrong_axis(shift, summed) if shift.kind == "max" else ""
            if code in ("SMX003", "SMX006"):
                self._say(code, node)
            if shift.kind != "none":
                self.reporter.report(CLEARED + "SMX005", node)
            elif could_be_logits(found[0].args[0], logarithms=True):
                self._say("SMX005", node)
        elif summed.op == "add" and all(stripped(a).op == "exp" for a in summed.args):
            exponents = [stripped(a).args[0] for a in summed.args]
            if all(could_be_logits(e, logarithms=True) for e in exponents):
                self._say("SMX005", node)

    def multiplied(self, value: Value, node: ast.AST) -> None:
        """A product: of labels and a logarithm of probabilities."""
        for label, other in (value.args, value.args[::-1]):
            inner = stripped(other)
            while inner.op == "neg":
                inner = stripped(inner.args[0])
            if inner.op != "log" or not is_label(label):
                continue
            p = stripped(inner.args[0])
            floored = _floored(p)
            p = p if floored is None else stripped(floored)
            same = self.values.core(label) is self.values.core(p)  # an entropy
            if same or picked(p, self.values) or not p.name or not _is_probability(p):
                return
            code = "SMX012" if floored is None else "SMX008"
            self._products[value] = self.values.core(p), code, node
            self._say(code, node)
            return

    def combined(self, left: Value, right: Value) -> None:
        """A sum: `p - y * log(p)` is a Poisson loss, whose p is a rate and no probability."""
        for product, other in ((right, left), (left, right)):
            while product.op == "neg":
                product = product.args[0]
            known = self._products.get(product)
            if known is not None and self.values.core(other) is known[0]:
                self.reporter.retract(*known[1:])


def _floored(value: Value) -> Value | None:
    """What a clip, or an added epsilon, keeps from 0; None where there is none."""
    if value.op == "clip":
        return value.args[0]
    if value.op == "add" and any(map(is_small, value.args)):
        return value.args[1] if is_small(value.args[0]) else value.args[0]
    return None


def _is_probability(value: Value) -> bool:
    names = (name.lower().rpartition(".")[2] for name in (value.name, *value.called))
    return any(_PROBABILITIES.search(name) for name in names)


def _by_labels(value: Value) -> bool:
    """Whether entries were picked by labels: `p[np.arange(n), y]`."""
    while value.args and value.op in ("index", "view", "copy", "cast"):
        if value.op == "index" and len(value.args) > 1:
            index = value.args[1]
            return any(map(is_label, index.args if index.op == "tuple" else (index,)))
        value = value.args[0]
    return False
