"""The losses for arrays of torch, JAX, CuPy and the array API.

They compute in the dtype of the logits, float32 at least.
"""

from __future__ import annotations

from math import prod
from typing import Any, NamedTuple

from .._arrays.tensors import namespace, quiet
from .._arrays.typing import AnyArray
from ..functions import formulas as softmax_formulas
from ..functions.tensors import as_rows, normalise, spread
from . import formulas
from .tensor_arguments import LossTensors, validate_loss, validate_selection

__all__ = [
    "cross_entropy",
    "cross_entropy_with_grad",
    "selected_log_softmax",
]


class Rows(NamedTuple):
    """A loss seen as rows, the classes on the last axis."""

    x: AnyArray  # 0 in rows that are ignored: there is no gradient to be made NaN
    q: AnyArray
    where: AnyArray | None
    ignored: AnyArray | None  # which rows are
    divisor: Any  # of the sum and of its gradient


def cross_entropy(logits: AnyArray, labels: Any, *args: Any, **options: Any) -> AnyArray:
    """Compute the loss."""
    xp = namespace(logits)
    call = validate_loss(xp, logits, labels, *args, **options)
    with quiet(logits):
        return _loss(call, _rows(call))


def cross_entropy_with_grad(
    logits: AnyArray, labels: Any, *args: Any, **options: Any
) -> tuple[AnyArray, AnyArray]:
    """Compute the loss, and its gradient without the library's own differentiation."""
    xp = namespace(logits)
    call = validate_loss(xp, logits, labels, *args, **options)
    with quiet(logits):
        rows = _rows(call)
        g = formulas.cross_entropy_gradient(rows.x, rows.q, rows.where, xp=xp)
        g = g / rows.divisor
        if rows.ignored is not None:
            g = xp.where(rows.ignored[..., None], 0.0, g)
        g = spread(call.softmax, xp.astype(g, call.softmax.dtype))
        return _loss(call, rows), g


def _rows(call: LossTensors) -> Rows:
    """See the arguments as rows."""
    softmax, xp, classes = call.softmax, call.softmax.xp, call.classes
    x, where, _, _ = normalise(softmax)
    weight = None if call.weight is None else xp.astype(call.weight, x.dtype)
    ignored = None
    if classes is not None:
        ignored = classes < 0
        x = xp.where(ignored[..., None], 0.0, x)
        given = formulas.one_hot(classes, x, xp=xp)
    else:
        given = xp.astype(as_rows(softmax, call.targets), x.dtype)
    q = formulas.label_weights(given, where, weight, call.label_smoothing, xp=xp)
    return Rows(x, q, where, ignored, _divisor(call, given, weight))


def _divisor(call: LossTensors, given: AnyArray, weight: AnyArray | None) -> Any:
    """What the mean divides by, NaN for nothing: the weights of the given classes, or the rows."""
    xp = call.softmax.xp
    if call.reduction != "mean":
        return 1.0
    if call.classes is None:
        return prod(given.shape[:-1]) or formulas.NAN
    total = xp.sum(given if weight is None else given * weight)
    return xp.where(total == 0, formulas.NAN, total)


def _loss(call: LossTensors, rows: Rows) -> AnyArray:
    """Compute the losses of the rows and reduce them."""
    xp = call.softmax.xp
    loss = formulas.cross_entropy(rows.x, rows.q, rows.where, xp=xp)
    if rows.ignored is not None:
        loss = xp.where(rows.ignored, 0.0, loss)
    if call.reduction != "none":
        loss = xp.sum(loss) / rows.divisor
    return xp.astype(loss, call.softmax.dtype)


def selected_log_softmax(x: AnyArray, index: Any, *args: Any, **options: Any) -> AnyArray:
    """Compute log_softmax and take the chosen entries; NaN where a traced index is out of range."""
    xp = namespace(x)
    call = validate_selection(xp, x, index, *args, **options)
    with quiet(x):
        softmax, n = call.softmax, x.shape[call.softmax.axes[0]]
        rows, where, temperature, _ = normalise(softmax)
        places = as_rows(softmax, call.places)
        bad = (places < 0) | (places >= n)
        if 0 in x.shape or 0 in places.shape:
            y = xp.zeros_like(xp.astype(places, rows.dtype))
        else:
            y = softmax_formulas.log_softmax(rows, where, temperature, 0, xp=xp)
            y = xp.take_along_axis(y, xp.where(bad, 0, places), axis=-1)
        y = xp.astype(xp.where(bad, formulas.NAN, y), softmax.dtype)
        return y[..., 0] if call.single else xp.moveaxis(y, -1, softmax.axes[0])
