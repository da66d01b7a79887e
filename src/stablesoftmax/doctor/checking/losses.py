"""Functions that take logits, and are given probabilities."""

import ast

from .arguments import Arguments
from .idioms import LOGIT_LOSSES
from .probabilities import is_softmax
from .rulebook import RuleBook
from .values import Value

__all__ = ["Losses"]

_FROM_LOGITS = ("crossentropy",)  # Keras's, by function or class
_LABELS_FIRST = ("softmax_cross", "sparse_softmax")  # TensorFlow's; optax has the logits first


class Losses(RuleBook):
    """What is said of losses, distributions and softmaxes that take logits."""

    def loss_called(
        self, name: str, arguments: Arguments, node: ast.AST, library: str = ""
    ) -> None:
        """A library's function, or a layer: does it take what it is given for logits?"""
        given: Value | None = None
        if name.lower().endswith(_FROM_LOGITS):
            if _is_true(arguments.named.get("from_logits")):
                given = arguments.get(("y_pred", "output"), 1)
        elif name.endswith("Categorical"):  # a distribution, by its keyword alone
            given = arguments.named.get("logits")
        elif name in LOGIT_LOSSES:
            labels = library.startswith("tensorflow") and name.startswith(_LABELS_FIRST)
            given = arguments.get(LOGIT_LOSSES[name], int(labels))
        self._given(given, node)

    def loss_object_called(self, loss: Value, arguments: Arguments, node: ast.AST) -> None:
        """`loss = CategoricalCrossentropy(from_logits=True)`, called as `loss(y, p)`."""
        if _takes_logits(loss):
            self._given(arguments.get(("y_pred",), 1), node)

    def compiled(self, model: Value, arguments: Arguments, node: ast.AST) -> None:
        """Keras's `compile`: a loss of logits for a model that ends in a softmax."""
        loss = arguments.get(("loss",), 1)
        last = model.args[-1] if model.args else None
        if loss is None or last is None or not _takes_logits(loss):
            return
        if last.op == "layer" and last.data[0] == "softmax":
            self._say("SMX009", node)

    def _given(self, value: Value | None, node: ast.AST) -> None:
        if value is not None and is_softmax(value, self.values):
            self._say("SMX009", node)


def _takes_logits(loss: Value) -> bool:
    """Whether a value is an object of Keras's that was told that it will be given logits."""
    named = loss.op == "call" and loss.name.lower().endswith(_FROM_LOGITS)
    return named and len(loss.data) == 3 and _is_true(dict(loss.data[2]).get("from_logits"))


def _is_true(value: Value | None) -> bool:
    return value is not None and value.op == "const" and value.data[0] is True
