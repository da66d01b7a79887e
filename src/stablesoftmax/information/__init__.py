"""Entropy and Kullback-Leibler divergence of softmax distributions."""

from __future__ import annotations

from collections.abc import Callable
from math import prod
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from .. import _core
from .._arrays.blocks import bits, blocks, readied
from .._arrays.dtypes import kernel_name
from .._arrays.typing import Array
from .._dispatch import compiled_entry, every_array
from . import formulas, tensors
from .arguments import EntropyArguments, validate_divergence, validate_entropy

__all__ = ["entropy", "kl_divergence"]


@compiled_entry
@every_array(tensors.entropy, result="reduced")
def entropy(
    x: ArrayLike,
    axis: int | tuple[int, ...] | None = -1,
    *,
    keepdims: bool = False,
    where: ArrayLike | None = None,
    temperature: ArrayLike = 1.0,
) -> Any:
    r"""Entropy of the softmax, in nats.

    .. math:: H = -\sum_i p_i \log p_i, \qquad p = \mathrm{softmax}(x / T)

    Parameters
    ----------
    x : array_like
        Logits, of any shape and real dtype that `softmax` takes. Never written to.
    axis : int, tuple of int, or None, default -1
        The axes of one distribution; None for all of them.
    keepdims : bool, default False
        Keep those axes, with length 1.
    where : array_like of bool, optional
        Broadcastable to `x`. An entry where it is False takes no part, whatever it holds.
    temperature : array_like, default 1.0
        T, by which `x` is divided: a number, or an array that broadcasts against `x` with `axis`
        reduced to 1. 0 and inf give the limits.

    Returns
    -------
    NumPy scalar or ndarray
        Of the shape of `x` without `axis` and the dtype of `x`, float64 for integers. Never
        negative.

    Raises
    ------
    numpy.exceptions.AxisError
        If `axis` is out of bounds.
    TypeError, ValueError
        If an argument is of a wrong kind, shape or value.

    See Also
    --------
    kl_divergence : The entropy of one distribution relative to another.

    Notes
    -----
    Worst error: 6 ULP in float64 for an entropy above 1e-300, and a temperature adds an error of
    2**-53 times the largest gap that matters; float32 and narrower are computed in float64 and
    rounded once.
    It is log1p(r) + sum(p * (max - x)), where r is the sum of all terms but one of the maximum,
    relative to that one: both are at least 0, so that a distribution that is nearly certain keeps
    its digits.

    Tensors that need a gradient, JAX and array-API arrays come back as themselves: differentiable,
    traceable, and computed in their own dtype, float32 at least.

    With one +inf it is 0, as it is with nothing that takes part. It is NaN where the softmax is.

    References
    ----------
    .. [1] C. E. Shannon, "A mathematical theory of communication", Bell System Technical
       Journal 27, 1948, :doi:`10.1002/j.1538-7305.1948.tb01338.x`.

    Examples
    --------
    >>> from stablesoftmax import entropy
    >>> entropy([0.0, 0.0, 0.0, 0.0])
    np.float64(1.3862943611198906)
    >>> entropy([0.0, -40.0])  # and not 0
    np.float64(1.7418252446695514e-16)
    """
    call = validate_entropy(x, axis, keepdims=keepdims, where=where, temperature=temperature)
    rows = _normalise(call)
    _run(_entropy, rows)
    return _wrap(rows)


@compiled_entry
@every_array(tensors.kl_divergence, result="reduced")
def kl_divergence(
    p_logits: ArrayLike,
    q_logits: ArrayLike,
    axis: int | tuple[int, ...] | None = -1,
    *,
    keepdims: bool = False,
    where: ArrayLike | None = None,
) -> Any:
    r"""Kullback-Leibler divergence of two softmax distributions, in nats.

    .. math:: D(p \parallel q) = \sum_i p_i \log \frac{p_i}{q_i}

    Parameters
    ----------
    p_logits : array_like
        Logits of p, of any shape and real dtype that `softmax` takes. Never written to.
    q_logits : array_like
        Logits of q, broadcast with `p_logits`.
    axis : int, tuple of int, or None, default -1
        The axes of one distribution; None for all of them.
    keepdims : bool, default False
        Keep those axes, with length 1.
    where : array_like of bool, optional
        Broadcastable to the logits. An entry where it is False takes no part in either
        distribution, whatever it holds.

    Returns
    -------
    NumPy scalar or ndarray
        Of the shape of the logits without `axis` and the wider of their dtypes, float64 for
        integers. Never negative.

    Raises
    ------
    numpy.exceptions.AxisError
        If `axis` is out of bounds.
    TypeError, ValueError
        If an argument is of a wrong kind, shape or value.

    See Also
    --------
    entropy : Of one distribution.

    Notes
    -----
    It is the sum of p d - p + q with d = log(p / q), no term of which is negative, by its series
    where d is small. Where p and q are near, d is computed from the differences of the logits, so
    that ``kl_divergence(x, x + 1e-9 * z)`` has digits where the difference of two logarithms
    leaves noise. Worst error in float64: 1e-14 relative, to what the difference ``p_logits -
    q_logits`` of the given numbers makes it; float32 and narrower are computed in float64 and
    rounded once.

    Tensors that need a gradient, JAX and array-API arrays come back as themselves: differentiable,
    traceable, and computed in their own dtype, float32 at least.

    An entry of probability 0 in p costs nothing; of probability 0 in q alone it costs +inf. NaN
    where either softmax is.

    References
    ----------
    .. [1] S. Kullback, R. A. Leibler, "On information and sufficiency", Annals of Mathematical
       Statistics 22(1), 1951, :doi:`10.1214/aoms/1177729694`.

    Examples
    --------
    >>> import numpy as np
    >>> from stablesoftmax import kl_divergence
    >>> kl_divergence([1.0, 2.0, 3.0], [3.0, 2.0, 1.0])
    np.float64(1.15042076520888...)
    >>> x = np.array([1.0, 2.0, 3.0])
    >>> print(f"{kl_divergence(x, x + [1e-9, 0, -1e-9]):.3e}")
    2.122e-19
    >>> kl_divergence([0.0, -np.inf], [[0.0, 0.0], [-np.inf, 0.0]])
    array([0.69314718,        inf])
    """
    call = validate_divergence(p_logits, q_logits, axis, keepdims=keepdims, where=where)
    rows = _normalise(call)
    _run(_divergence, rows)
    return _wrap(rows)


class _Rows(NamedTuple):
    """A call seen as rows: batch axes first, the axes of a distribution last."""

    call: EntropyArguments
    logits: tuple[Array, ...]
    where: Array | None
    temperature: Array | None
    out: Array  # one a row


def _normalise(call: EntropyArguments) -> _Rows:
    """See the arguments as rows, and make room for the result."""
    x = call.logits[0]
    order = (*(i for i in range(x.ndim) if i not in call.axes), *call.axes)
    batch = tuple(x.shape[i] for i in order[: x.ndim - len(call.axes)])
    temperature = call.temperature
    return _Rows(
        call=call,
        logits=tuple(a.transpose(order) for a in call.logits),
        where=None if call.where is None else call.where.transpose(order),
        temperature=None if temperature is None else temperature.transpose(order).reshape(batch),
        out=np.empty(batch, call.dtype),
    )


def _entropy(x: Array, where: Array | None, temperature: Array | None) -> Array:
    """Call the kernel, or compute what it does not know."""
    name = kernel_name(x.dtype)
    if name is None:
        return np.asarray(formulas.entropy(x, where, temperature))
    out = np.empty(x.shape[:-1], x.dtype)
    _core.entropy(name, bits(x), bits(out), where, temperature)
    return out


def _divergence(p: Array, q: Array, where: Array | None) -> Array:
    """The same of two rows."""
    name = kernel_name(p.dtype)
    if name is None:
        return np.asarray(formulas.kl_divergence(p, q, where))
    out = np.empty(p.shape[:-1], p.dtype)
    _core.kl_divergence(name, bits(p), bits(q), bits(out), where)
    return out


def _run(function: Callable[..., Array], rows: _Rows) -> None:
    """Compute the rows in blocks, in the dtype of the result."""
    computed = rows.call.dtype
    batch = rows.out.shape
    length = prod(rows.logits[0].shape[len(batch) :])
    shape = np.broadcast_to(0, (*batch, length))
    with np.errstate(all="ignore"):
        for part in blocks(shape, computed, at_once=False):

            def row(a: Array, part: Any = part) -> Array:
                cut: Array = a[part]
                return cut.reshape(*cut.shape[: len(batch)], length)

            where = None if rows.where is None else row(rows.where)
            logits = [readied(row(a), where, computed) for a in rows.logits]
            if rows.temperature is not None:
                rows.out[part] = function(*logits, where, rows.temperature[part])
            elif len(logits) == 1:
                rows.out[part] = function(*logits, where, None)
            else:
                rows.out[part] = function(*logits, where)


def _wrap(rows: _Rows) -> Any:
    """Return the result; a scalar for 0-d."""
    call = rows.call
    return (np.expand_dims(rows.out, call.axes) if call.keepdims else rows.out)[()]
