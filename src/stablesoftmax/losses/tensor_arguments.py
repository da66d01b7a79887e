"""The arguments of the losses and their kin for arrays of torch, JAX, CuPy and the array API."""

from __future__ import annotations

from math import prod
from typing import Any, NamedTuple

import numpy as np

from .._arrays.checks import one_axis
from .._arrays.tensors import FLOATS, INTEGERS, array, constant, indices, known, name_of, real
from .._arrays.typing import AnyArray
from ..functions.tensor_arguments import TensorArguments, validate
from .arguments import (
    class_shape,
    fraction,
    integer,
    one_a_row,
    probability_shape,
    reduction_of,
    weight_shape,
)

INF = float("inf")


class LossTensors(NamedTuple):
    """What cross_entropy was asked for, all of it fit to be computed."""

    softmax: TensorArguments  # the logits, as softmax takes them
    classes: AnyArray | None  # of the logits' shape without the axis; -1: to be ignored
    targets: AnyArray | None  # or this: of the logits' shape
    weight: AnyArray | None
    label_smoothing: float
    reduction: str


class SelectionTensors(NamedTuple):
    """What selected_log_softmax was asked for."""

    softmax: TensorArguments
    places: AnyArray  # of x's shape but for the axis, which has any length
    single: bool  # the axis is none of the caller's: one entry a row


def validate_loss(
    xp: Any,
    logits: AnyArray,
    labels: Any,
    axis: int = -1,
    *,
    weight: Any = None,
    ignore_index: int = -100,
    label_smoothing: float = 0.0,
    where: Any = None,
    reduction: str = "mean",
) -> LossTensors:
    """Check the arguments of both losses before anything is computed."""
    real(xp, logits, "logits")
    shape = tuple(logits.shape)
    axis = one_axis(axis, len(shape), "logits")
    softmax = validate(xp, logits, axis, where=where)
    ignored = integer(ignore_index)
    labels = array(labels, logits, xp, "labels")
    classes = targets = None
    if name_of(labels.dtype) in INTEGERS:
        class_shape(tuple(labels.shape), shape, axis)
        classes = _classes(xp, labels, shape[axis], ignored)
    else:
        targets = _probabilities(xp, labels, shape)
    return LossTensors(
        softmax=softmax,
        classes=classes,
        targets=targets,
        weight=None
        if weight is None
        else _weights(xp, array(weight, logits, xp, "weight"), shape[axis]),
        label_smoothing=fraction(label_smoothing),
        reduction=reduction_of(reduction),
    )


def validate_selection(
    xp: Any,
    x: AnyArray,
    index: Any,
    axis: int = -1,
    *,
    where: Any = None,
    temperature: Any = 1.0,
) -> SelectionTensors:
    """Check the arguments of selected_log_softmax before anything is computed."""
    real(xp, x, "x")
    axis = one_axis(axis, len(x.shape), "x")
    softmax = validate(xp, x, axis, where=where, temperature=temperature)
    places = array(index, x, xp, "index")
    if name_of(places.dtype) not in INTEGERS:
        raise TypeError(f"index must be of an integer dtype, got {name_of(places.dtype)}")
    single = one_a_row(tuple(places.shape), tuple(x.shape), axis)
    places, n = indices(xp, places), x.shape[axis]
    bad = (places < 0) | (places >= n)
    if _is_known(xp, bad):
        raise IndexError(f"index must lie in 0 to {n - 1}, {_got(xp, places, bad)}")
    return SelectionTensors(
        softmax, xp.expand_dims(places, axis=axis) if single else places, single
    )


def _classes(xp: Any, labels: AnyArray, count: int, ignored: int) -> AnyArray:
    """Return classes: -1 for what is ignored; traced ones that are out of range become `count`."""
    labels = indices(xp, labels)
    skipped = labels == ignored
    bad = ~skipped & ((labels < 0) | (labels >= count))
    if _is_known(xp, bad):
        raise ValueError(
            f"labels must lie in 0 to {count - 1} or be ignore_index={ignored}, "
            f"{_got(xp, labels, bad)}"
        )
    return xp.where(skipped, -1, xp.where(bad, count, labels))


def _probabilities(xp: Any, labels: AnyArray, shape: tuple[int, ...]) -> AnyArray:
    if name_of(labels.dtype) not in FLOATS:
        raise TypeError(
            "labels must be integers (classes) or real floating-point numbers (probabilities), "
            f"got dtype {name_of(labels.dtype)}"
        )
    probability_shape(tuple(labels.shape), shape)
    bad = ~((labels >= 0) & (labels < INF))
    if _is_known(xp, bad):
        raise ValueError(
            f"labels that are probabilities must be finite and at least 0, {_got(xp, labels, bad)}"
        )
    return labels


def _weights(xp: Any, weight: AnyArray, count: int) -> AnyArray:
    named = name_of(weight.dtype)
    if named not in FLOATS and named not in INTEGERS:
        raise TypeError(f"weight must hold real numbers, got dtype {named}")
    weight_shape(tuple(weight.shape), count)
    bad = (weight < 0) if named in INTEGERS else ~((weight >= 0) & (weight < INF))
    if _is_known(xp, bad):
        raise ValueError(f"weight must be finite and at least 0, {_got(xp, weight, bad)}")
    return weight


def _is_known(xp: Any, bad: AnyArray) -> bool:
    """Whether any is bad; False, too, if they are traced."""
    return bool(prod(bad.shape)) and known(xp.any(bad)) is True


def _got(xp: Any, a: AnyArray, bad: AnyArray) -> str:
    """Say which the first bad element is."""
    first = int(xp.argmax(xp.astype(xp.reshape(bad, (-1,)), xp.int32)))
    at = tuple(int(i) for i in np.unravel_index(first, tuple(a.shape)))
    value = a[at]
    number = int(value) if name_of(a.dtype) in INTEGERS else float(constant(value))
    return f"got {number}" + (f" at {at}" if at else "")
