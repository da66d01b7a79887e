"""Logarithms: of a softmax, of a sum of exp, of probabilities with an epsilon."""

import ast
import re

from .logits import could_be_logits
from .probabilities import exponential_in, is_label, is_mask, is_small, picked, total
from .rulebook import CLEARED, Reporter, RuleBook
from .shifts import shift_of
from .values import Value, Values, stripped

__all__ = ["Logarithms"]

_PROBABILITIES = re.compile(
    r"(^|_)(p|ps|q|prob\w*|pred\w*|softmax|yhat|y_hat|output|outputs|out|a|o|activations?|scores?_?prob|pi)($|_|\d)"
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
        inner = stripped(array)
        if inner.op == "clip" or (inner.op == "add" and any(map(is_small, inner.args))):
            floored = (
                inner.args[1] if inner.op == "add" and is_small(inner.args[0]) else inner.args[0]
            )
            if picked(floored, self.values):
                self._say("SMX008", node)
            return
        self._log_sum_exp(inner, node)

    def _log_sum_exp(self, inner: Value, node: ast.AST) -> None:
        divisor = total(inner)
        summed = divisor.total if divisor else inner
        if summed.op == "reduce" and summed.data[0] in ("sum", "mean"):
            found = exponential_in(summed.args[0])
            if found is None or not all(map(is_mask, found[1])):
                return
            kind = shift_of(found[0].args[0], self.values).kind
            if kind != "none":
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
            floored = p.op == "clip" or (p.op == "add" and any(map(is_small, p.args)))
            if floored:
                p = stripped(p.args[1] if p.op == "add" and is_small(p.args[0]) else p.args[0])
            if picked(p, self.values) or not p.name or not _is_probability(p):
                return
            code = "SMX008" if floored else "SMX012"
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


def _is_probability(value: Value) -> bool:
    return bool(_PROBABILITIES.search(value.name.lower().rpartition(".")[2]))
