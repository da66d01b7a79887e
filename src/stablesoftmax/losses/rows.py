"""How logits and labels are seen as rows, and how the rows are computed."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from .. import _core
from .._arrays.blocks import bits, blocks, readable, readied
from .._arrays.dtypes import KernelName, kernel_name
from .._arrays.typing import Array
from ..functions import formulas as softmax_formulas
from . import formulas
from .arguments import LossArguments, SelectionArguments

# ---- the loss ----------------------------------------------------------------------------------


class LossRows(NamedTuple):
    """A call seen as rows: views with the classes on the last axis."""

    call: LossArguments
    x: Array
    classes: Array | None
    targets: Array | None
    where: Array | None
    loss: Array  # one a row, not yet rounded to the dtype of the logits
    gradient: Array | None
    result: Any  # the gradient in the shape of the logits
    divisor: Any  # of the sum and of its gradient

    def part(self, index: tuple[Any, ...]) -> LossRows:
        """Return the rows at `index` of the batch."""
        x, classes, targets, where, gradient = (
            None if a is None else a[index]
            for a in (self.x, self.classes, self.targets, self.where, self.gradient)
        )
        assert x is not None
        return self._replace(
            x=x,
            classes=classes,
            targets=targets,
            where=where,
            loss=self.loss[index],
            gradient=gradient,
        )


def normalise(call: LossArguments, *, with_gradient: bool) -> LossRows:
    """See the arguments as rows, and make room for the results."""

    def spread(a: Array | None) -> Any:
        return None if a is None else np.moveaxis(a, call.axis, -1)

    x = spread(call.logits)
    gradient = np.empty_like(call.logits, call.dtype, subok=False) if with_gradient else None
    wide = np.longdouble if kernel_name(call.dtype) is None else np.float64
    return LossRows(
        call=call,
        x=x,
        classes=call.classes,
        targets=spread(call.targets),
        where=spread(call.where),
        loss=np.empty(x.shape[:-1], wide),
        gradient=spread(gradient),
        result=gradient,
        divisor=_divisor(call) if call.reduction == "mean" else wide(1),
    )


def _divisor(call: LossArguments) -> Any:
    """What the mean divides by: the weights of the classes that were given, or the rows."""
    if call.classes is None:
        count = call.logits.size // max(1, call.logits.shape[call.axis])
        return float(count)
    given = call.classes[call.classes >= 0]
    return float(given.size) if call.weight is None else _core.total(call.weight[given])


def run(rows: LossRows) -> None:
    """Compute the rows: all at once, or in blocks where something must be copied first."""
    call, name = rows.call, kernel_name(rows.call.dtype)
    with np.errstate(all="ignore"):
        as_they_are = readable(rows.x, call.dtype) and (
            rows.targets is None or _is_target(rows.targets)
        )
        for index in blocks(rows.x, call.dtype, at_once=name is not None and as_they_are):
            part = rows.part(index)
            if name is None:
                _run_formulas(part)
            else:
                _run_kernel(name, part)


def _is_target(targets: Array) -> bool:
    known = kernel_name(targets.dtype) is not None and targets.dtype.isnative
    return known and readable(targets, targets.dtype)


def _run_kernel(name: KernelName, rows: LossRows) -> None:
    call = rows.call
    targets, target_name = rows.targets, "float64"
    if targets is not None:
        targets = targets if _is_target(targets) else targets.astype(np.float64)
        target_name = kernel_name(targets.dtype) or target_name
    loss = np.ascontiguousarray(rows.loss)
    _core.cross_entropy(
        name,
        bits(readied(rows.x, rows.where, call.dtype)),
        rows.where,
        None if rows.classes is None else np.ascontiguousarray(rows.classes),
        None if targets is None else bits(targets),
        target_name,  # type: ignore[arg-type]
        call.weight,
        call.label_smoothing,
        float(1 / rows.divisor) if rows.divisor else np.nan,
        loss,
        None if rows.gradient is None else bits(rows.gradient),
    )
    if loss is not rows.loss:
        rows.loss[...] = loss


def _run_formulas(rows: LossRows) -> None:
    call, x = rows.call, readied(rows.x, rows.where, rows.call.dtype)
    ignored = np.zeros(x.shape[:-1], bool)
    if rows.targets is not None:
        given = rows.targets.astype(x.dtype)
    else:
        assert rows.classes is not None
        given, ignored = formulas.one_hot(rows.classes, x), rows.classes < 0
    q = formulas.label_weights(given, rows.where, call.weight, call.label_smoothing)
    rows.loss[...] = np.where(ignored, 0, formulas.cross_entropy(x, q, rows.where))
    if rows.gradient is not None:
        gradient = formulas.cross_entropy_gradient(x, q, rows.where)
        rows.gradient[...] = np.where(ignored[..., None], 0, gradient / rows.divisor)


def wrap(rows: LossRows) -> Any:
    """Reduce the losses, and round them to the dtype of the logits."""
    with np.errstate(all="ignore"):
        if rows.call.reduction == "none":
            return rows.loss.astype(rows.call.dtype)[()]
        if not rows.divisor:
            return rows.call.dtype.type(np.nan)  # and not inf: over nothing
        wide = rows.loss.dtype != np.float64
        total = rows.loss.sum() if wide else _core.total(np.ascontiguousarray(rows.loss))
        return rows.call.dtype.type(total / rows.divisor)


# ---- the selection -----------------------------------------------------------------------------


class Selection(NamedTuple):
    """A call seen as rows: views with the entries on the last axis."""

    call: SelectionArguments
    x: Array
    places: Array  # C-contiguous, as is out
    where: Array | None
    temperature: Array | None  # one a row
    out: Array


def normalise_selection(call: SelectionArguments) -> Selection:
    """See the arguments as rows, and make room for the result."""
    places = np.ascontiguousarray(np.moveaxis(call.places, call.axis, -1))
    temperature = call.temperature
    return Selection(
        call=call,
        x=np.moveaxis(call.x, call.axis, -1),
        places=places,
        where=None if call.where is None else np.moveaxis(call.where, call.axis, -1),
        temperature=None if temperature is None else np.squeeze(temperature, call.axis),
        out=np.empty(places.shape, call.dtype),
    )


def run_selection(selection: Selection) -> None:
    """Compute the rows: all at once, or in blocks where they must be copied first."""
    call, x, name = selection.call, selection.x, kernel_name(selection.call.dtype)
    with np.errstate(all="ignore"):
        at_once = name is not None and readable(x, call.dtype)
        for block in blocks(x, call.dtype, at_once=at_once):
            where = None if selection.where is None else selection.where[block]
            part = readied(x[block], where, call.dtype)
            places = selection.places[block]
            t = None if selection.temperature is None else selection.temperature[block]
            if name is None:
                y = softmax_formulas.log_softmax(part, where, t, 0)
                selection.out[block] = np.take_along_axis(y, places, -1)
                continue
            out = np.ascontiguousarray(selection.out[block])
            places = np.ascontiguousarray(places)
            _core.selected_log_softmax(name, bits(part), where, t, places, bits(out))
            selection.out[block] = out


def wrap_selection(selection: Selection) -> Any:
    """Return the result in the shape of the index that was given."""
    out = np.moveaxis(selection.out, -1, selection.call.axis)
    return np.squeeze(out, selection.call.axis)[()] if selection.call.single else out
