"""What Python itself and ufuncs offer: builtins, dictionaries, lists that grow, `reduce`."""

import ast

from .arguments import Arguments
from .environment import Scope
from .operations import AXES, KEEP, Operations
from .values import NO_AXIS, Value, words

__all__ = ["CONTAINER_METHODS", "Containers"]

CONTAINER_METHODS = words("items values keys append scatter_add scatter_add_ index_add_")
_SEQUENCES = words("list tuple sorted reversed iter set float")


class Containers(Operations):
    """Give builtins and the methods of containers their values."""

    def applied(self, function: Value, arguments: Arguments, node: ast.Call, scope: Scope) -> Value:
        """The value of a call of any function."""
        raise NotImplementedError

    def ufunc_method(self, base: Value, name: str, arguments: Arguments) -> Value | None:
        """`np.add.reduce`, whose axis is the first if none is given."""
        ufunc = str(base.data[0]).rpartition(".")[2]
        kinds = {"add": "sum", "maximum": "max", "minimum": "min"}
        if name != "reduce" or ufunc not in (*kinds, "logaddexp") or not arguments.positional:
            return None
        axis = self.axis(arguments.get(AXES, 1)) if arguments.get(AXES, 1) else 0
        if ufunc == "logaddexp":
            return self.make("logsumexp", arguments.positional[0], data=(axis,))
        keep = self.kept(arguments.get(KEEP, 4))
        return self.make("reduce", arguments.positional[0], data=(kinds[ufunc], axis, keep, ""))

    def container_method(
        self, base: Value, name: str, arguments: Arguments, node: ast.Call, scope: Scope
    ) -> Value:
        """A method that lists, dictionaries and scattered sums have."""
        assert isinstance(node.func, ast.Attribute)
        if name in ("items", "values", "keys"):
            if name == "items":
                return self.make("counted", base)
            return base if name == "values" else self.values.fresh("unknown")
        if name == "append" and len(arguments.positional) == 1:
            element = self.make("list", arguments.positional[0])
            self.rebind(node.func.value, element, scope)
        elif len(arguments.positional) == 3:  # sums.scatter_add_(0, index, e)
            added = arguments.positional[2]
            summed = self.make("reduce", added, data=("sum", "segments", True, ""))
            if name.endswith("_"):
                self.rebind(node.func.value, summed, scope)
            return summed
        return self.values.fresh("unknown")

    def builtin(self, name: str, arguments: Arguments, node: ast.Call) -> Value | None:
        """A function of Python's own; None where nothing is known of it."""
        given = arguments.positional
        if not given:
            return None
        if name in ("sum", "max", "min") and len(given) == 1:
            return self.make("reduce", given[0], data=(name, NO_AXIS, True, "builtin"))
        if name in _SEQUENCES:
            return self.make("copy", given[0])
        if name == "map" and len(given) == 2:
            inner = Arguments([self.each(given[1])], {}, True)
            return self.make("list", self.applied(given[0], inner, node, Scope()))
        if name in ("zip", "enumerate"):
            return self.make("zipped" if name == "zip" else "counted", *given)
        if name in ("abs", "round", "int", "pow"):
            return self.make("call", *given, data=(name, (), ()))
        return None
