"""Calls as values: methods, functions, layers, and what the module itself defines."""

import ast

from .arguments import Arguments
from .containers import CONTAINER_METHODS, Containers
from .environment import Function, Scope, dotted, is_static
from .idioms import ARRAY_ROOTS, FUNCTIONS, LAYERS, METHODS, REDUCTIONS
from .operations import AXES
from .rules import Rules
from .values import Value, Values

__all__ = ["Calls"]

_KEEPS_MODEL = {"to", "cuda", "cpu", "float", "double", "half", "eval", "train", "requires_grad_"}
_DEEPEST = 3  # calls of the module's own functions in one another
_LARGEST = 1500  # nodes of a function that is read again for a call
_MOST_NODES = 100_000  # that are read again in one file


class Calls(Containers):
    """Give calls their values."""

    def __init__(self, values: Values, rules: Rules) -> None:
        super().__init__(values, rules)
        self._depth: list[Function] = []
        self._read_again = 0
        self._memory: dict[tuple[object, ...], tuple[Value, set[tuple[str, ast.AST]]]] = {}
        self.inner_found: list[set[tuple[str, ast.AST]]] = []

    def call(self, node: ast.Call, scope: Scope) -> Value:
        """The value of a call."""
        arguments = self._arguments(node, scope)
        function = node.func
        if isinstance(function, ast.Attribute):
            name = dotted(function)
            known = scope.get(name) if name else None
            if known is not None:
                return self.applied(known, arguments, node, scope)
            base = self.value(function.value, scope)  # once: a chain of n methods is read n times
            value = self._method(base, function.attr, arguments, node, scope)
            if value is not None:
                if function.attr.endswith("_") and function.attr in FUNCTIONS:  # in place
                    self.rules.written(base, value, node)
                    self.rebind(function.value, value, scope)
                return value
            return self.applied(self.attribute(base, function.attr), arguments, node, scope)
        return self.applied(self.value(function, scope), arguments, node, scope)

    def body(self, function: Function, inner: Scope) -> Value:
        """What a function's body returns, in a scope that binds its parameters."""
        raise NotImplementedError

    def _arguments(self, node: ast.Call, scope: Scope) -> Arguments:
        complete = all(not isinstance(a, ast.Starred) for a in node.args) and all(
            word.arg for word in node.keywords
        )
        positional = [self.value(a, scope) for a in node.args]
        named = {word.arg or "**": self.value(word.value, scope) for word in node.keywords}
        return Arguments(positional, named, complete)

    # Methods

    def _method(
        self, base: Value, name: str, arguments: Arguments, node: ast.Call, scope: Scope
    ) -> Value | None:
        if base.op == "name":
            return self.ufunc_method(base, name, arguments)
        if base.op == "instance":
            method = base.data[0].method(name)
            if method is not None:
                return self.inlined(method, arguments, base)
            if name in _KEEPS_MODEL:
                return base
            known = base.data[0].attribute(name)
            return None if known is None else self.applied(known, arguments, node, scope)
        if base.op == "layer":
            if name in _KEEPS_MODEL:
                return base
            if name == "add" and arguments.positional:
                layer = self.make("layer", *base.args, arguments.positional[0], data=base.data)
                self.rebind(node.func.value, layer, scope)  # type: ignore[attr-defined]
            if name == "compile":
                self.rules.compiled(base, arguments, node)
            if name in ("forward", "call", "__call__", "predict", "predict_proba"):
                return self.applied(base, arguments, node, scope)
            return self.values.fresh("unknown")
        if name in CONTAINER_METHODS:
            return self.container_method(base, name, arguments, node, scope)
        if name in METHODS or name in REDUCTIONS:
            if name in ("softmax", "log_softmax") and "torch" not in self.imported:
                return None
            inner = Arguments([base, *arguments.positional], arguments.named, arguments.complete)
            return self.operation_called(name, inner, node, scope, method=True)
        return None

    # Functions

    def applied(self, function: Value, arguments: Arguments, node: ast.Call, scope: Scope) -> Value:
        match function.op:
            case "function":
                return self.inlined(self.functions[function.data[0]], arguments)
            case "class":
                return self.make("instance", data=function.data)
            case "instance":
                for name in ("forward", "__call__", "call"):
                    if method := function.data[0].method(name):
                        return self.inlined(method, arguments, function)
            case "layer":
                return self._layer_called(function, arguments, node)
            case "call":
                self.rules.loss_object_called(function, arguments, node)
            case "name":
                name = str(function.data[0])
                value = self._library(name, arguments, node, scope)
                return value or self._unknown_call(name, arguments)
        return self._unknown_call(function.name or "", arguments, function)

    def _unknown_call(self, name: str, arguments: Arguments, *function: Value) -> Value:
        if "rand" in name or "sample" in name or "choice" in name or "pop" in name:
            return self.values.fresh("call", *arguments.positional, data=(name,))
        named = tuple(sorted(arguments.named.items(), key=lambda item: item[0]))
        return self.make("call", *arguments.positional, data=(name, function, named))

    def _library(
        self, name: str, arguments: Arguments, node: ast.Call, scope: Scope
    ) -> Value | None:
        root, _, _ = name.partition(".")
        last = name.rpartition(".")[2]
        if root not in ARRAY_ROOTS or name.startswith("numpy.ma."):  # whose log masks zeros
            return None
        if root == "builtins":
            return self.builtin(last, arguments, node)
        if last in LAYERS and last[0].isupper():
            kind = LAYERS[last]
            inner = arguments.positional
            if kind == "sequential":
                inner = [layer for a in inner for layer in (a.args if a.op == "tuple" else (a,))]
                return self.make("layer", *inner, data=(kind, None))
            axis = self.axis(arguments.get(AXES, 0)) if kind != "logit_loss" else None
            return self.make("layer", data=(kind, axis))
        if last in ("Dense", "Activation") and root in ("tensorflow", "keras", "tf_keras"):
            activation = arguments.get(("activation",), 0 if last == "Activation" else 1)
            softmax = activation is not None and activation.data[:1] in (
                ("softmax",), ("tensorflow.nn.softmax",), ("keras.activations.softmax",),
            )  # fmt: skip
            return self.make("layer", data=("softmax" if softmax else "dense", -1))
        if last == "Model" and root in ("tensorflow", "keras", "tf_keras"):
            outputs = arguments.get(("outputs",), 1)
            ends = "softmax" if outputs is not None and outputs.op == "softmax" else "dense"
            return self.make(
                "layer", self.make("layer", data=(ends, -1)), data=("sequential", None)
            )
        return self.operation_called(last, arguments, node, scope, library=name)

    # Layers and the module's own functions

    def _layer_called(self, layer: Value, arguments: Arguments, node: ast.Call) -> Value:
        kind, axis = layer.data[:2]
        if not arguments.positional:
            return self.values.fresh("unknown")
        array = arguments.positional[0]
        if kind in ("softmax", "log_softmax"):
            self.rules.loss_called(kind, arguments, node)
            return self.make(kind, array, data=(axis,))
        if kind == "logit_loss":
            self.rules.loss_called("CrossEntropyLoss", arguments, node)
        if kind == "sequential" and layer.args:
            last = layer.args[-1]
            if last.op == "layer":
                inner = self.make("call", array, data=("logits", (layer,), ()))
                return self._layer_called(last, Arguments([inner], {}, True), node)
        return self._unknown_call("layer", arguments, layer)

    def inlined(
        self, function: Function, arguments: Arguments, instance: Value | None = None
    ) -> Value:
        """What a function of the module returns for these arguments."""
        key = (function.node, instance, *arguments.positional, *sorted(arguments.named.items()))
        if key not in self._memory:
            self._read_again += function.size
            if (
                len(self._depth) >= _DEEPEST
                or any(outer.node is function.node for outer in self._depth)
                or function.size > _LARGEST
                or self._read_again > _MOST_NODES
                or not arguments.complete
            ):
                function.calls.append({("?", function.node)})
                return self._unknown_call(getattr(function.node, "name", "lambda"), arguments)
            self._depth.append(function)
            self.inner_found.append(set())
            try:
                value = self.body(function, self._bound(function, arguments, instance))
            finally:
                self._depth.pop()
                found = self.inner_found.pop()
            self._memory[key] = value, found
        value, found = self._memory[key]
        function.calls.append(found)
        if self.inner_found:
            self.inner_found[-1].update(found)
        return value

    def _bound(self, function: Function, arguments: Arguments, instance: Value | None) -> Scope:
        inner = Scope(function.scope, function.node)
        names = function.node.args
        positional = [a.arg for a in (*names.posonlyargs, *names.args)]
        given = list(arguments.positional)
        if instance is not None and not is_static(function.node):
            given.insert(0, instance)
        defaults = dict(zip(reversed(positional), reversed(names.defaults), strict=False)) | {
            a.arg: d for a, d in zip(names.kwonlyargs, names.kw_defaults, strict=True) if d
        }
        for name, default in defaults.items():
            inner.names[name] = self.value(default, function.scope)
        inner.names.update(zip(positional, given, strict=False))
        inner.names.update(arguments.named)
        for name in (*positional, *(a.arg for a in names.kwonlyargs)):
            inner.names.setdefault(name, self.make("param", data=(name, function.node)))
        for star in (names.vararg, names.kwarg):
            if star is not None:
                inner.names[star.arg] = self.make("param", data=(star.arg, function.node))
        return inner
