"""The arguments of cross_entropy, cross_entropy_with_grad and selected_log_softmax."""

from __future__ import annotations

import operator
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from .._arrays.checks import mask_of, one_axis, real, temperatures
from .._arrays.dtypes import as_array, is_floating
from .._arrays.typing import Array, DType

REDUCTIONS = ("none", "sum", "mean")


class LossArguments(NamedTuple):
    """What cross_entropy was asked for, all of it fit to be computed."""

    logits: Array
    axis: int  # not negative
    dtype: DType  # of the result, and what the logits are computed as
    classes: Array | None  # int64, of the logits' shape without the axis; -1: to be ignored
    targets: Array | None  # or this: floating-point, of the logits' shape
    weight: Array | None  # float64, one a class
    label_smoothing: float
    where: Array | None  # bool, of the logits' shape
    reduction: str


class SelectionArguments(NamedTuple):
    """What selected_log_softmax was asked for."""

    x: Array
    axis: int  # not negative
    dtype: DType
    places: Array  # int64, from 0; of x's shape but for the axis, which has any length
    single: bool  # the axis is none of the caller's: one entry a row
    where: Array | None  # bool, of x's shape
    temperature: Array | None  # float64, of x's shape with the axis reduced to 1


def validate_loss(
    logits: ArrayLike,
    labels: ArrayLike,
    axis: int,
    *,
    weight: ArrayLike | None,
    ignore_index: int,
    label_smoothing: float,
    where: ArrayLike | None,
    reduction: str,
) -> LossArguments:
    """Check the arguments of both losses before anything is computed."""
    x = as_array(logits, "logits")
    dtype = real(x.dtype, "logits")
    axis = one_axis(axis, x.ndim, "logits")
    labels = as_array(labels, "labels")
    classes = targets = None
    if labels.dtype.kind in "iu":
        classes = class_numbers(labels, x.shape, axis, ignored=integer(ignore_index))
    else:
        integer(ignore_index)
        targets = probabilities(labels, x.shape)
    return LossArguments(
        logits=x,
        axis=axis,
        dtype=dtype,
        classes=classes,
        targets=targets,
        weight=None if weight is None else weights(weight, x.shape[axis]),
        label_smoothing=fraction(label_smoothing),
        where=mask_of(where, x.shape),
        reduction=reduction_of(reduction),
    )


def reduction_of(reduction: str) -> str:
    """Return how the losses of the rows are reduced."""
    if not isinstance(reduction, str) or reduction not in REDUCTIONS:
        raise ValueError(f"reduction must be one of {', '.join(REDUCTIONS)}, got {reduction!r}")
    return reduction


def validate_selection(
    x: ArrayLike,
    index: ArrayLike,
    axis: int,
    *,
    where: ArrayLike | None,
    temperature: ArrayLike,
) -> SelectionArguments:
    """Check the arguments of selected_log_softmax before anything is computed."""
    x = as_array(x, "x")
    dtype = real(x.dtype, "x")
    axis = one_axis(axis, x.ndim, "x")
    places = as_array(index, "index")
    if places.dtype.kind not in "iu":
        raise TypeError(f"index must be of an integer dtype, got {places.dtype}")
    single = one_a_row(places.shape, x.shape, axis)
    n = x.shape[axis]
    if places.size and not (places.min() >= 0 and places.max() < n):
        bad = (places < 0) | (places >= n)
        raise IndexError(f"index must lie in 0 to {n - 1}, {got(places, bad)}")
    kept = (*x.shape[:axis], 1, *x.shape[axis + 1 :])
    return SelectionArguments(
        x=x,
        axis=axis,
        dtype=dtype,
        places=(np.expand_dims(places, axis) if single else places).astype(np.int64),
        single=single,
        where=mask_of(where, x.shape),
        temperature=temperatures(temperature, kept),
    )


def one_a_row(index: tuple[int, ...], shape: tuple[int, ...], axis: int) -> bool:
    """Whether an index of this shape has one entry for each row, and no axis of entries."""
    batch = without(shape, axis)
    if index == batch:
        return True
    if len(index) != len(shape) or without(index, axis) != batch:
        anything = (*shape[:axis], "k", *shape[axis + 1 :])
        raise ValueError(
            f"index must have shape {batch} or ({', '.join(map(str, anything))}), "
            f"got {index} for x of shape {shape}"
        )
    return False


def class_shape(labels: tuple[int, ...], shape: tuple[int, ...], axis: int) -> None:
    """Check that there is one class a row."""
    batch = without(shape, axis)
    if labels == batch:
        return
    hint = ""
    if labels == shape:
        hint = ": pass labels.astype(float) if they are probabilities"
    elif len(shape) > 1 and labels == without(shape, 1):  # as torch has them
        hint = ": axis=1?"
    raise ValueError(
        f"labels of classes must have shape {batch}, logits' {shape} without axis {axis}, "
        f"got {labels}{hint}"
    )


def probability_shape(labels: tuple[int, ...], shape: tuple[int, ...]) -> None:
    """Check that there is one probability for each logit."""
    if labels != shape:
        swapped = len(labels) == len(shape) + 1 and labels[:-1] == shape
        hint = ": the logits come first" if swapped else "; classes must be integers"
        raise ValueError(
            f"labels that are probabilities must have logits' shape {shape}, got {labels}{hint}"
        )


def weight_shape(weight: tuple[int, ...], count: int) -> None:
    """Check that there is one weight for each class."""
    if weight != (count,):
        raise ValueError(f"weight must have shape ({count},), one for each class, got {weight}")


def class_numbers(labels: Array, shape: tuple[int, ...], axis: int, *, ignored: int) -> Array:
    """Return the classes as int64, with -1 for what is ignored."""
    count = shape[axis]
    class_shape(labels.shape, shape, axis)
    skipped = labels == ignored
    bad = ~skipped & ((labels < 0) | (labels >= count))
    if bad.any():
        raise ValueError(
            f"labels must lie in 0 to {count - 1} or be ignore_index={ignored}, {got(labels, bad)}"
        )
    classes = labels.astype(np.int64)
    classes[skipped] = -1
    return classes


def probabilities(labels: Array, shape: tuple[int, ...]) -> Array:
    """Return labels that are probabilities: not negative, finite, of the logits' shape."""
    if not is_floating(labels.dtype) or labels.dtype.kind == "c":
        raise TypeError(
            f"labels must be integers (classes) or real floating-point numbers (probabilities), "
            f"got dtype {labels.dtype}"
        )
    probability_shape(labels.shape, shape)
    with np.errstate(all="ignore"):
        fine = not labels.size or (labels.min() >= 0 and labels.max() < np.inf)
        if not fine:
            bad = ~((labels >= 0) & (labels < np.inf))
            raise ValueError(
                f"labels that are probabilities must be finite and at least 0, {got(labels, bad)}"
            )
    return labels


def weights(weight: ArrayLike, count: int) -> Array:
    """Return one float64 weight for each class."""
    w = as_array(weight, "weight")
    if w.dtype.kind not in "iu" and (not is_floating(w.dtype) or w.dtype.kind == "c"):
        raise TypeError(f"weight must hold real numbers, got dtype {w.dtype}")
    weight_shape(w.shape, count)
    with np.errstate(all="ignore"):
        w = np.require(w, np.float64, ["C", "A"])
        bad = ~((w >= 0) & (w < np.inf))
    if bad.any():
        raise ValueError(f"weight must be finite and at least 0, {got(w, bad)}")
    return w


def fraction(label_smoothing: float) -> float:
    """Return the share of the label that is spread over all classes."""
    try:
        value = float(label_smoothing)
    except (TypeError, ValueError):
        value = np.nan
    if not 0 <= value <= 1:
        raise ValueError(f"label_smoothing must lie in [0, 1], got {label_smoothing!r}")
    return value


def integer(ignore_index: int) -> int:
    """Return the class number that marks what is ignored."""
    try:
        return operator.index(ignore_index)
    except TypeError:
        raise TypeError(f"ignore_index must be an int, got {ignore_index!r}") from None


def without(shape: tuple[int, ...], axis: int) -> tuple[int, ...]:
    """Return the shape with an axis left out."""
    return (*shape[:axis], *shape[axis + 1 :])


def got(a: Array, bad: Array) -> str:
    """Say which the first bad element is."""
    at = tuple(int(i) for i in np.argwhere(bad)[0])
    return f"got {a[at]}" + (f" at {at}" if at else "")
