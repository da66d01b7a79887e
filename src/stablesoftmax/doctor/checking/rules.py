"""What is a mistake: the causes of the catalogue that can be read, as conditions on values."""

import ast
import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

from .exponents import could_be_logits, has_dtype, shift_of
from .idioms import LOGIT_LOSSES
from .probabilities import (
    Quotient,
    exponential_in,
    is_label,
    is_mask,
    is_small,
    is_softmax,
    picked,
    quotient_of,
    total,
)
from .values import UNKNOWN_AXIS, Value, Values, number, stripped

if TYPE_CHECKING:
    from .calling import Arguments

__all__ = ["Reporter", "Rules"]

_PROBABILITIES = re.compile(
    r"(^|_)(p|ps|q|prob\w*|pred\w*|softmax|yhat|y_hat|output|outputs|out|a|o|activations?|scores?_?prob|pi)($|_|\d)"
    r"|prob|softmax|y_?hat|y_?pred"
)
_INTEGERS = ("int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64")


class Reporter(Protocol):
    """Who notes the findings."""

    imported: set[str]

    def report(self, code: str, node: ast.AST) -> None:
        """Note a cause at a place."""


class Rules:
    """Hold each operation against the catalogue.

    Parameters
    ----------
    values : Values
        Where values are made.
    reporter : Reporter
        Who is told.
    """

    def __init__(self, values: Values, reporter: Reporter) -> None:
        self.values = values
        self.reporter = reporter

    def _say(self, code: str, node: ast.AST) -> None:
        self.reporter.report(code, node)

    # exp over its sum

    def divided(self, value: Value, node: ast.AST) -> None:
        """A division: of exp by a sum of exp, of a softmax by itself."""
        found = quotient_of(value, self.values)
        if found is None:
            return
        if found.same:
            self._quotient(found, node)
        elif not found.factors:
            self._mismatch(found, node)

    def _quotient(self, found: Quotient, node: ast.AST) -> None:
        exponent = found.numerator
        shift = shift_of(exponent, self.values)
        masked = all(map(is_mask, found.factors))
        clip = stripped(exponent)
        if clip.op == "clip" and shift_of(clip.args[0], self.values).kind == "none":
            if masked and could_be_logits(clip.args[0]) and number(clip.args[2]) is not None:
                self._say("SMX023", node)
            return
        if shift.kind in ("none", "mean", "min", "constant"):
            if masked and self._unsafe(exponent, shift.kind):
                self._say("SMX016" if has_dtype(exponent) == "float16" else "SMX001", node)
        elif shift.kind == "max" and found.total.op == "reduce":
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
        elif axis is None and summed is not None:
            self._say("SMX003", node)
        elif rows and summed is None:
            if axis not in (0, (0,)) and (kept is True or axis != -1):
                self._say("SMX007", node)
        elif _differ(axis, summed):
            self._say("SMX003", node)
        elif _loses(axis, kept) or self._loses_sum(found):
            self._say("SMX006", node)

    def _lost_axis(self, found: Quotient, node: ast.AST) -> None:
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

    # log

    def exponential(self, array: Value, node: ast.AST) -> None:
        """An exp: of probabilities, of a maximum that lost its axis."""
        unsigned = has_dtype(array) in ("uint8", "uint16", "uint32", "uint64")
        if unsigned and shift_of(array, self.values).kind == "max":
            self._say("SMX010", node)

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
            if kind == "none" and could_be_logits(found[0].args[0], logarithms=True):
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
            self._say("SMX008" if floored else "SMX012", node)
            return

    # Losses

    def loss_called(self, name: str, arguments: "Arguments", node: ast.AST) -> None:
        """A function that takes logits, given probabilities."""
        keywords = LOGIT_LOSSES.get(name)
        if name.lower().endswith("crossentropy"):
            logits = arguments.named.get("from_logits")
            if logits is None or logits.data != (True,):
                return
            given = arguments.get(("y_pred", "output"), 1)
        elif keywords is None or (
            name == "cross_entropy"
            and "torch" not in self.reporter.imported
            and len(arguments.positional) < 1
        ):
            return
        else:
            position = (
                1
                if name.startswith(("sparse_", "softmax_cross"))
                and not arguments.named.keys() & {"labels", "logits"}
                and "tensorflow" in self.reporter.imported
                else 0
            )
            given = arguments.get(keywords, position)
        if given is not None and is_softmax(given, self.values):
            self._say("SMX009", node)

    def compiled(self, model: Value, arguments: "Arguments", node: ast.AST) -> None:
        """Keras's `compile`: a loss of logits for a model that ends in a softmax."""
        loss = arguments.get(("loss",), 1)
        if loss is None or not model.args or loss.op != "call":
            return
        last = model.args[-1]
        if (
            last.op == "layer"
            and last.data[0] == "softmax"
            and loss.name.lower().endswith("crossentropy")
        ) and dict(loss.data[2]).get("from_logits") is self.values.const(True):
            self._say("SMX009", node)

    # NaN that is hidden, integers, narrow dtypes, masks

    def hidden(self, array: Value, node: ast.AST) -> None:
        """nan_to_num of a softmax."""
        if is_softmax(array, self.values):
            self._say("SMX013", node)

    def chosen(self, condition: Value, chosen: Value, other: Value, node: ast.AST) -> None:
        """A `where`: over the NaN of a softmax, or around a logarithm whose gradient is taken."""
        if any(
            part.op == "isnan" and is_softmax(part.args[0], self.values) for part in (condition,)
        ):
            self._say("SMX013", node)
        differentiated = self.reporter.imported & {"torch", "jax", "tensorflow"}
        if not differentiated or condition.op != "compare":
            return
        for side, opposite in ((chosen, other), (other, chosen)):
            inner = stripped(side)
            factors = inner.args if inner.op == "mul" else (inner,)
            for factor in map(stripped, factors):
                guarded = factor.op == "log" and self.values.core(factor.args[0]) in map(
                    self.values.core, condition.args
                )
                if guarded and number(opposite) is not None:
                    self._say("SMX012", node)
                    return

    def stored(self, old: Value, index: Value, value: Value, node: ast.AST) -> None:
        """An item that is assigned: into integers, over a NaN."""
        while old.op in ("loop", "updated") and old.args:
            old = old.args[0]
        if old.op == "buffer" and old.data[0] in _INTEGERS and is_softmax(value, self.values):
            self._say("SMX010", node)
        if index.op == "isnan" and index.args[0] is old and is_softmax(old, self.values):
            self._say("SMX013", node)

    def cast(self, array: Value, dtype: str, node: ast.AST) -> None:
        """A conversion: of probabilities to integers."""
        if dtype in _INTEGERS and is_softmax(array, self.values):
            self._say("SMX010", node)

    def reduced(self, array: Value, arguments: "Arguments", node: ast.AST) -> None:
        """A sum with a dtype of its own: narrow, over exponentials."""
        dtype = arguments.named.get("dtype")
        if dtype is None or dtype.op not in ("name", "const") or not exponential_in(array):
            return
        if str(dtype.data[0]).rpartition(".")[2] in ("float16", "half", "bfloat16"):
            self._say("SMX011", node)

    # Arguments that are written to

    def augmented(self, before: Value, after: Value, node: ast.AugAssign) -> None:
        """`x -= x.max()` of an argument."""
        self.written(before, after, node)

    def written(self, before: Value, after: Value, node: ast.AST) -> None:
        """Work in place on an argument, on the way to a softmax."""
        base = before
        while base.op in ("index", "view") and base.args:
            base = base.args[0]
        if base.op != "param" or self.reporter.imported & {"jax", "tensorflow"} or _is_meant(base):
            return
        shifted = after.op == "sub" and shift_of(after, self.values).kind == "max"
        if shifted or (after.op == "exp" and self.values.core(after.args[0]) is base):
            self._say("SMX022", node)


def _is_meant(parameter: Value) -> bool:
    """Whether the function says that it works in place: by its name, or in its docstring."""
    name, function = parameter.data
    if name in ("out", "self", "buffer", "inplace"):
        return True
    if function is None or isinstance(function, ast.Lambda):
        return True
    text = f"{function.name} {ast.get_docstring(function) or ''}".lower()
    return function.name.endswith("_") or bool(
        re.search(r"in[- _]?place|overwrit|destroy|modif", text)
    )


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


def _is_probability(value: Value) -> bool:
    return bool(_PROBABILITIES.search(value.name.lower().rpartition(".")[2]))


_Condition = Callable[[Value], bool]
