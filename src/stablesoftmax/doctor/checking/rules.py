"""What is a mistake: the causes of the catalogue that can be read, as conditions on values."""

import ast
import re

from .arguments import Arguments
from .logarithms import Logarithms
from .logits import has_dtype
from .losses import Losses
from .probabilities import exponential_in, is_softmax
from .quotients import Quotients
from .shifts import shift_of
from .values import Value, alternatives, number, stripped

__all__ = ["Rules"]

_INTEGERS = ("int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64")


class Rules(Quotients, Logarithms, Losses):
    """Hold each operation against the catalogue."""

    def exponential(self, array: Value, node: ast.AST) -> None:
        """An exp: of unsigned integers, which wrap around in the shift."""
        unsigned = has_dtype(array) in ("uint8", "uint16", "uint32", "uint64")
        if unsigned and shift_of(array, self.values).kind == "max":
            self._say("SMX010", node)

    # NaN that is hidden, integers, narrow dtypes, masks

    def hidden(self, array: Value, node: ast.AST) -> None:
        """nan_to_num of a softmax."""
        if is_softmax(array, self.values):
            self._say("SMX013", node)

    def chosen(self, condition: Value, chosen: Value, other: Value, node: ast.AST) -> None:
        """A `where`: over the NaN of a softmax, or around a logarithm whose gradient is taken."""
        if condition.op == "isnan" and is_softmax(condition.args[0], self.values):
            self._say("SMX013", node)
        differentiated = self.reporter.imported & {"torch", "jax", "tensorflow"}
        if not differentiated or condition.op != "compare":
            return
        core = self.values.core
        compared = [core(side) for side in condition.args]
        for side, opposite in ((chosen, other), (other, chosen)):
            inner = stripped(side)
            factors = map(stripped, inner.args if inner.op == "mul" else (inner,))
            guarded = any(f.op == "log" and core(f.args[0]) in compared for f in factors)
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
        """A conversion: of probabilities to integers, of a mask's number to float16."""
        if dtype in _INTEGERS and is_softmax(array, self.values):
            self._say("SMX010", node)
        if dtype == "float16" and any(map(_is_beyond, alternatives(array))):
            self._say("SMX016", node)

    def masked(self, array: Value, filled: Value, node: ast.AST) -> None:
        """A fill of what is masked: with a number that float16 has not."""
        if has_dtype(array) == "float16" and _is_beyond(filled):
            self._say("SMX016", node)

    def reduced(self, array: Value, arguments: Arguments, node: ast.AST) -> None:
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


def _is_beyond(value: Value) -> bool:
    """Whether it is a finite number that is infinite in float16, such as -1e9."""
    found = number(value)
    return found is not None and 65520 <= abs(found) < float("inf")


def _is_meant(parameter: Value) -> bool:
    """Whether the function says that it works in place: by its name, or in its docstring."""
    name, function = parameter.data
    if name in ("out", "self", "buffer", "inplace"):
        return True
    if function is None or isinstance(function, ast.Lambda):
        return True
    if not any(isinstance(n, ast.Return) and n.value for n in ast.walk(function)):
        return True  # it gives nothing else back
    text = f"{function.name} {ast.get_docstring(function) or ''}".lower()
    return function.name.endswith("_") or bool(
        re.search(r"in[- _]?place|overwrit|destroy|modif", text)
    )
