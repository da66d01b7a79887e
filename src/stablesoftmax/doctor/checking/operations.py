"""The functions and methods of the array libraries, as operations on values."""

import ast

from .arguments import Arguments
from .environment import Scope
from .evaluating import Evaluator
from .idioms import FUNCTIONS, REDUCTIONS, dtype_named
from .values import NO_AXIS, UNKNOWN_AXIS, Value, number

__all__ = ["AXES", "KEEP", "Operations"]

AXES = ("axis", "dim", "axes", "reduction_indices")
KEEP = ("keepdims", "keepdim", "keep_dims")
_ARRAYS = ("x", "a", "input", "input_tensor", "logits", "tensor", "X", "z", "inputs", "arr", "x1")
_SECONDS = ("x2", "other", "y", "b", "value", "divisor")


class Operations(Evaluator):
    """Give calls of the libraries their values."""

    def rebind(self, target: ast.AST, value: Value, scope: Scope) -> None:
        """An array was written to in place: its name stands for the new numbers."""
        raise NotImplementedError

    def operation_called(
        self,
        name: str,
        arguments: Arguments,
        node: ast.Call,
        scope: Scope,
        method: bool = False,
        library: str = "",
    ) -> Value | None:
        """A function of a library, or a method of an array, as an operation; None if unknown."""
        if library or name in ("softmax", "log_softmax"):
            self.rules.loss_called(name, arguments, node, library)
        array = arguments.get(_ARRAYS, 0)
        if array is None:
            return None
        if REDUCTIONS.get(name):
            value = self._reduction(name, array, arguments, node, method, library)
        elif name in FUNCTIONS:
            op = FUNCTIONS[name]
            value = self._computed(op, array, arguments, node)
            value = value or self._formed(op, name, array, arguments, node)
        else:
            return None
        if (out := arguments.named.get("out")) is not None and value is not None:
            for word in node.keywords:
                if word.arg == "out":
                    self.rules.written(out, value, node)
                    self.rebind(word.value, value, scope)
        return value

    def _computed(
        self, op: str, array: Value, arguments: Arguments, node: ast.Call
    ) -> Value | None:
        """What computes other numbers."""
        second = arguments.get(_SECONDS, 1)
        make = self.make
        if "axis" in arguments.named and op in ("add", "sub", "mul", "div", "neg"):
            return None  # a pandas frame's, which aligns by labels
        match op:
            case "exp":
                self.rules.exponential(array, node)
                return make("exp", array)
            case "log":
                self.rules.logarithm(array, node)
                return make("log", array)
            case "softmax" | "log_softmax" | "logsumexp":
                axis = arguments.get(AXES, 1)
                return make(op, array, data=(UNKNOWN_AXIS if axis is None else self.axis(axis),))
            case "add" | "sub" | "mul" | "div" | "matmul":
                if second is None:
                    return None
                return self.operation(op, array, second, node)
            case "neg" | "isnan":
                return make(op, array)
            case "reciprocal":
                return self.operation("div", self.values.const(1), array, node)
            case "clip" | "floor" | "ceiling":
                return self._clipped(op, array, arguments)
        return None

    def _formed(
        self, op: str, name: str, array: Value, arguments: Arguments, node: ast.Call
    ) -> Value | None:
        """What keeps the numbers: another shape, another dtype, some of them, some masked."""
        make = self.make
        match op:
            case "where":
                if len(arguments.positional) != 3:
                    return make("call", *arguments.positional, data=("where", (), ()))
                condition, chosen, other = arguments.positional
                self.rules.chosen(condition, chosen, other, node)
                self.rules.masked(chosen, other, node)
                self.rules.masked(other, chosen, node)
                return make("where", chosen, other, condition)
            case "masked_fill" if len(arguments.positional) > 2 or "value" in arguments.named:
                filled = arguments.get(("value",), 2)
                assert filled is not None
                self.rules.masked(array, filled, node)
                return make("where", array, filled, arguments.get(("mask",), 1) or array)
            case "hide":
                self.rules.hidden(array, node)
                return make("copy", array)
            case "cast" | "cast_by_name":
                return self._cast(op, name, array, arguments, node)
            case "same":
                return array
            case "copy" | "view":
                return make(op, array)
            case "transpose":
                return make("view", array, data=("transpose",))
            case "index":
                index = arguments.get(("index", "indices"), 1)
                return make("index", array, *([index] if index else []))
            case "buffer":
                return self._buffer(name, arguments)
            case "joined":
                return self._joined(array)
        return None

    def _joined(self, array: Value) -> Value:
        if array.op == "tuple" and array.args:
            return self.make("joined", *array.args)
        return self.make("copy", array)

    def _clipped(self, op: str, array: Value, arguments: Arguments) -> Value | None:
        low = high = None
        if op == "clip":
            low = arguments.get(("min", "a_min", "min_value", "clip_value_min"), 1)
            high = arguments.get(("max", "a_max", "max_value", "clip_value_max"), 2)
        else:
            bound = arguments.get(("min", "max", *_SECONDS), 1)
            if bound is not None and number(bound) is None and number(array) is not None:
                array, bound = bound, array  # np.maximum(1e-9, p)
            low, high = (bound, None) if op == "floor" else (None, bound)
        none = self.values.const(None)
        if op != "clip" and number(low or high or none) is None and not _constant_name(low or high):
            return self.make("call", array, low or high or none, data=("maximum", (), ()))
        return self.make("clip", array, low or none, high or none)

    def _cast(
        self, op: str, name: str, array: Value, arguments: Arguments, node: ast.Call
    ) -> Value:
        dtype = name if op == "cast_by_name" else ""
        if op == "cast":
            given = arguments.get(("dtype",), 1)
            if given is not None:
                dtype = str(given.data[0]) if given.op in ("name", "const") else "?"
        if (copied := arguments.named.get("copy")) is not None and copied.data != (False,):
            array = self.make("copy", array)
        if not dtype:
            return array if name in ("asarray", "to", "asanyarray") else self.make("copy", array)
        kind = "float32" if name == "float" else dtype_named(dtype.removeprefix("builtins."))
        if not kind:
            return self.make("copy", array)
        self.rules.cast(array, kind, node)
        return self.make("cast", array, data=(kind,))

    def _buffer(self, name: str, arguments: Arguments) -> Value:
        given = arguments.get(("dtype",), 2 if name.startswith("full") else 1)
        dtype = str(given.data[0]) if given is not None and given.op in ("name", "const") else ""
        kind = dtype_named(dtype.removeprefix("builtins.")) if dtype not in ("", "None") else ""
        return self.values.fresh("buffer", data=(kind,))

    def _reduction(
        self,
        name: str,
        array: Value,
        arguments: Arguments,
        node: ast.Call,
        method: bool,
        library: str,
    ) -> Value | None:
        kind = REDUCTIONS[name]
        if name in ("scatter", "segment"):
            by = arguments.named.get("reduce")
            kind = REDUCTIONS.get(str(by.data[0]), "") if by is not None and by.data else ""
            if not kind:
                return None
        if "segment" in name or "scatter" in name:
            return self.make("reduce", array, data=(kind, "segments", True, ""))
        if kind == "sum" and "b" in arguments.named:
            return None
        along = arguments.get(AXES, 1)
        axis = NO_AXIS if along is None else self.axis(along)
        if not arguments.complete:
            axis = UNKNOWN_AXIS
        torch = "torch" in library or (method and "torch" in self.imported)
        pair = torch and name in ("max", "min") and along is not None  # values and indices
        if pair and not method and isinstance(axis, Value) and not arguments.named:
            return self.make("call", array, axis, data=("maximum", (), ()))  # torch.max(x, y)
        short = "torch" in self.imported or name.startswith("reduce_")
        keep = self.kept(arguments.get(KEEP, 2 if short else 4))
        self.rules.reduced(array, arguments, node)
        return self.make("reduce", array, data=(kind, axis, keep, "pair" if pair else ""))

    def axis(self, value: Value | None) -> object:
        """An axis that is given: a number, several, a value that is not known."""
        if value is None:
            return UNKNOWN_AXIS
        if value.op == "const" and (value.data[0] is None or type(value.data[0]) is int):
            return value.data[0]
        if value.op == "tuple" and all(a.op == "const" for a in value.args):
            axes = tuple(a.data[0] for a in value.args)
            return axes[0] if len(axes) == 1 else axes
        if value.op == "const":
            return UNKNOWN_AXIS
        return value

    def kept(self, value: Value | None) -> object:
        """Whether the axis is kept, as far as that is known."""
        if value is None:
            return False
        return bool(value.data[0]) if value.op == "const" else UNKNOWN_AXIS


def _constant_name(value: Value | None) -> bool:
    """Whether a name is spelled as a small constant is: EPS, self.epsilon, tiny."""
    return value is not None and value.name.lower().rpartition(".")[2].strip("_").startswith(
        ("eps", "tiny", "smooth", "min_p")
    )
