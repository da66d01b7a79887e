"""Products with the Jacobians of softmax, log_softmax and logsumexp.

A vjp multiplies the transposed Jacobian by a cotangent: what reverse-mode differentiation, that
is backpropagation, asks of a function. A jvp multiplies the Jacobian by a tangent: forward mode.
"""

from __future__ import annotations

from numpy.typing import ArrayLike

from .._arrays.typing import Array
from .._dispatch import compiled_entry, every_array
from ..functions.rows import normalise, wrap
from . import tensors
from .arguments import validate
from .rows import (
    LOG_SOFTMAX,
    LOG_SOFTMAX_TRANSPOSED,
    LOGSUMEXP,
    LOGSUMEXP_TRANSPOSED,
    SOFTMAX,
    run,
)

__all__ = [
    "log_softmax_jvp",
    "log_softmax_vjp",
    "logsumexp_jvp",
    "logsumexp_vjp",
    "softmax_jvp",
    "softmax_vjp",
]

Axis = int | tuple[int, ...] | None


@compiled_entry
@every_array(tensors.softmax_vjp)
def softmax_vjp(
    x: ArrayLike,
    g: ArrayLike,
    axis: Axis = -1,
    *,
    where: ArrayLike | None = None,
    temperature: ArrayLike = 1.0,
) -> Array:
    r"""Multiply a cotangent by the Jacobian of softmax: the step back through it.

    .. math:: \mathrm{out}_i = \frac{p_i}{T} \Bigl(g_i - \sum_j p_j g_j\Bigr),
              \qquad p = \mathrm{softmax}(x / T)

    Parameters
    ----------
    x : array_like
        Logits, of any shape and real dtype that `softmax` takes.
    g : array_like
        Cotangent: real numbers, broadcastable to the shape of softmax(x).
    axis : int, tuple of int, or None, default -1
        The axes that are summed over; None for all of them.
    where : array_like of bool, optional
        Broadcastable to `x`. An entry where it is False takes no part, whatever `x` and `g`
        hold there, and gets 0.
    temperature : array_like, default 1.0
        T, by which `x` is divided: a number, or an array that broadcasts against `x` with `axis`
        reduced to 1. At its limits, 0 and inf, the product is 0.

    Returns
    -------
    ndarray
        Of the shape of `x` and the dtype of softmax, or a NumPy scalar where that is 0-d.

    Raises
    ------
    numpy.exceptions.AxisError
        If `axis` is out of bounds.
    TypeError, ValueError
        If an argument is of a wrong kind, shape or value.

    See Also
    --------
    softmax_jvp : The same product, for forward mode: the Jacobian is symmetric.
    log_softmax_vjp : What follows a loss on log-probabilities.

    Notes
    -----
    The formula above loses every digit where one p is near 1: g_i and the mean of g agree to the
    last bit there. Here both are taken relative to the g at the largest x. Worst error 4 κ ULP,
    where κ = 1 + mean(abs(g - mean)) / abs(g_i - mean) is small unless g_i happens to be near the
    mean; 0.51 ULP in the 16-bit dtypes, which are computed in float32, for κ up to 16. An
    exponential below 1e-60 of the largest (1e-439 in float64) counts as 0.

    Where softmax is 0, the product is 0 and `g` is not read: 0 times inf counts 0. That holds for
    -inf, and next to a +inf, where softmax is locally constant. Where softmax is NaN, so is the
    product. Memory is the result's and half a MB a thread.

    Tensors that need a gradient, JAX and array-API arrays come back as themselves, and their
    library can differentiate the product once more.

    Examples
    --------
    The textbook formula gives 0 for the first of these:

    >>> from stablesoftmax import softmax_vjp
    >>> softmax_vjp([40.0, 0.0], [1.0, 3.0])
    array([-8.49670851e-18,  8.49670851e-18])
    """
    call, v = validate(x, g, axis, vector="g", shaped="x", where=where, temperature=temperature)
    rows = normalise(call)
    run(SOFTMAX, rows, v)
    return wrap(rows)


@compiled_entry
@every_array(tensors.softmax_jvp)
def softmax_jvp(
    x: ArrayLike,
    dx: ArrayLike,
    axis: Axis = -1,
    *,
    where: ArrayLike | None = None,
    temperature: ArrayLike = 1.0,
) -> Array:
    r"""Multiply the Jacobian of softmax by a tangent: how softmax changes as x does.

    .. math:: \mathrm{out}_i = \frac{p_i}{T} \Bigl(dx_i - \sum_j p_j\, dx_j\Bigr),
              \qquad p = \mathrm{softmax}(x / T)

    Parameters
    ----------
    x : array_like
        Logits, of any shape and real dtype that `softmax` takes.
    dx : array_like
        Tangent: real numbers, broadcastable to the shape of `x`.
    axis : int, tuple of int, or None, default -1
        The axes that are summed over; None for all of them.
    where : array_like of bool, optional
        Broadcastable to `x`. An entry where it is False takes no part, whatever `x` and `dx`
        hold there, and gets 0.
    temperature : array_like, default 1.0
        T, by which `x` is divided: a number, or an array that broadcasts against `x` with `axis`
        reduced to 1. At its limits, 0 and inf, the product is 0.

    Returns
    -------
    ndarray
        Of the shape of `x` and the dtype of softmax, or a NumPy scalar where that is 0-d.

    Raises
    ------
    numpy.exceptions.AxisError
        If `axis` is out of bounds.
    TypeError, ValueError
        If an argument is of a wrong kind, shape or value.

    See Also
    --------
    softmax_vjp : The same product, for reverse mode: the Jacobian is symmetric.

    Notes
    -----
    As accurate as `softmax_vjp`, whose notes hold here with `dx` in the place of `g`, those on
    tensors included.

    Examples
    --------
    >>> from stablesoftmax import softmax_jvp
    >>> softmax_jvp([0.0, 0.0], [1.0, 0.0])
    array([ 0.25, -0.25])
    """
    call, v = validate(x, dx, axis, vector="dx", shaped="x", where=where, temperature=temperature)
    rows = normalise(call)
    run(SOFTMAX, rows, v)
    return wrap(rows)


@compiled_entry
@every_array(tensors.log_softmax_vjp)
def log_softmax_vjp(
    x: ArrayLike,
    g: ArrayLike,
    axis: Axis = -1,
    *,
    where: ArrayLike | None = None,
    temperature: ArrayLike = 1.0,
) -> Array:
    r"""Multiply a cotangent by the transposed Jacobian of log_softmax: the step back through it.

    .. math:: \mathrm{out}_i = \frac{1}{T} \Bigl(g_i - p_i \sum_j g_j\Bigr),
              \qquad p = \mathrm{softmax}(x / T)

    Parameters
    ----------
    x : array_like
        Logits, of any shape and real dtype that `softmax` takes.
    g : array_like
        Cotangent: real numbers, broadcastable to the shape of log_softmax(x).
    axis : int, tuple of int, or None, default -1
        The axes that are summed over; None for all of them.
    where : array_like of bool, optional
        Broadcastable to `x`. An entry where it is False takes no part, whatever `x` and `g`
        hold there, and gets 0.
    temperature : array_like, default 1.0
        T, by which `x` is divided: a number, or an array that broadcasts against `x` with `axis`
        reduced to 1. At its limits, 0 and inf, the product is 0.

    Returns
    -------
    ndarray
        Of the shape of `x` and the dtype of log_softmax, or a NumPy scalar where that is 0-d.

    Raises
    ------
    numpy.exceptions.AxisError
        If `axis` is out of bounds.
    TypeError, ValueError
        If an argument is of a wrong kind, shape or value.

    See Also
    --------
    log_softmax_jvp : The product with the Jacobian itself.
    softmax_vjp : The same for probabilities.

    Notes
    -----
    At the largest p_k this is g_k (1 - p_k) - p_k (sum of the other g), with 1 - p_k summed up
    from the other p: p_k rounds to 1 long before the difference is nothing. Worst error 4 κ ULP,
    where κ = (abs(g_i) (1 - p_i) + p_i abs(sum of the other g)) / abs(out_i); 0.51 ULP in the
    16-bit dtypes, for κ up to 16.

    At an entry of -inf, which has probability 0, the product is the limit, g_i / T. Where softmax
    is NaN, so is the product. Memory is the result's and half a MB a thread. Tensors go through
    their own library, as in `softmax_vjp`.

    Examples
    --------
    The gradient of a cross-entropy is not 0 for a confident network:

    >>> from stablesoftmax import log_softmax_vjp
    >>> log_softmax_vjp([40.0, 0.0], [-1.0, 0.0])
    array([-4.24835426e-18,  4.24835426e-18])
    """
    call, v = validate(x, g, axis, vector="g", shaped="x", where=where, temperature=temperature)
    rows = normalise(call)
    run(LOG_SOFTMAX_TRANSPOSED, rows, v)
    return wrap(rows)


@compiled_entry
@every_array(tensors.log_softmax_jvp)
def log_softmax_jvp(
    x: ArrayLike,
    dx: ArrayLike,
    axis: Axis = -1,
    *,
    where: ArrayLike | None = None,
    temperature: ArrayLike = 1.0,
) -> Array:
    r"""Multiply the Jacobian of log_softmax by a tangent: how log_softmax changes as x does.

    .. math:: \mathrm{out}_i = \frac{1}{T} \Bigl(dx_i - \sum_j p_j\, dx_j\Bigr),
              \qquad p = \mathrm{softmax}(x / T)

    Parameters
    ----------
    x : array_like
        Logits, of any shape and real dtype that `softmax` takes.
    dx : array_like
        Tangent: real numbers, broadcastable to the shape of `x`.
    axis : int, tuple of int, or None, default -1
        The axes that are summed over; None for all of them.
    where : array_like of bool, optional
        Broadcastable to `x`. An entry where it is False takes no part, whatever `x` and `dx`
        hold there, and gets 0.
    temperature : array_like, default 1.0
        T, by which `x` is divided: a number, or an array that broadcasts against `x` with `axis`
        reduced to 1. At its limits, 0 and inf, the product is 0.

    Returns
    -------
    ndarray
        Of the shape of `x` and the dtype of log_softmax, or a NumPy scalar where that is 0-d.

    Raises
    ------
    numpy.exceptions.AxisError
        If `axis` is out of bounds.
    TypeError, ValueError
        If an argument is of a wrong kind, shape or value.

    See Also
    --------
    log_softmax_vjp : The product with the transposed Jacobian.

    Notes
    -----
    Taken as differences from one of the dx, like `softmax_vjp`, and as accurate. An entry of
    probability 0 moves no other, whatever its `dx`; where a p is NaN, so is the row. Tensors go
    through their own library, as in `softmax_vjp`.

    Examples
    --------
    >>> from stablesoftmax import log_softmax_jvp
    >>> log_softmax_jvp([40.0, 0.0], [1.0, 3.0])
    array([-8.49670851e-18,  2.00000000e+00])
    """
    call, v = validate(x, dx, axis, vector="dx", shaped="x", where=where, temperature=temperature)
    rows = normalise(call)
    run(LOG_SOFTMAX, rows, v)
    return wrap(rows)


@compiled_entry
@every_array(tensors.logsumexp_vjp)
def logsumexp_vjp(
    x: ArrayLike,
    g: ArrayLike,
    axis: Axis = None,
    *,
    keepdims: bool = False,
    where: ArrayLike | None = None,
) -> Array:
    r"""Multiply a cotangent by the gradient of logsumexp, which is softmax.

    .. math:: \mathrm{out}_i = g\, p_i, \qquad p = \mathrm{softmax}(x)

    Parameters
    ----------
    x : array_like
        Exponents, of any shape and real dtype that `logsumexp` takes.
    g : array_like
        Cotangent: real numbers, broadcastable to the shape of logsumexp(x).
    axis : int, tuple of int, or None, default None
        The axes that are summed over; None for all of them.
    keepdims : bool, default False
        Whether `g` keeps the axes summed over, with size 1.
    where : array_like of bool, optional
        Broadcastable to `x`. An entry where it is False takes no part, whatever `x` and `g`
        hold there, and gets 0.

    Returns
    -------
    ndarray
        Of the shape of `x` and the dtype of logsumexp, or a NumPy scalar where that is 0-d.

    Raises
    ------
    numpy.exceptions.AxisError
        If `axis` is out of bounds.
    TypeError, ValueError
        If an argument is of a wrong kind, shape or value.

    See Also
    --------
    softmax : The product with a cotangent of 1.
    logsumexp_jvp : The product with a tangent.

    Notes
    -----
    Worst error 4 ULP, and 0.51 ULP in the 16-bit dtypes. One +inf takes all of `g`. Where softmax
    is 0, the product is 0, even of an infinite `g`. A row that is -inf throughout has no gradient,
    hence NaN, as have several +inf; ``where=x > -numpy.inf`` makes the former 0.

    With weights b > 0, the gradient is that of ``logsumexp(x + numpy.log(b))``. Tensors go through
    their own library, as in `softmax_vjp`.

    Examples
    --------
    >>> from stablesoftmax import logsumexp_vjp
    >>> logsumexp_vjp([[0.0, 0.0], [1000.0, 0.0]], [1.0, 3.0], axis=1)
    array([[0.5, 0.5],
           [3. , 0. ]])
    """
    call, v = validate(
        x, g, axis, vector="g", shaped="logsumexp(x)", where=where, keepdims=keepdims
    )
    rows = normalise(call)
    run(LOGSUMEXP_TRANSPOSED, rows, v)
    return wrap(rows)


@compiled_entry
@every_array(tensors.logsumexp_jvp, result="reduced")
def logsumexp_jvp(
    x: ArrayLike,
    dx: ArrayLike,
    axis: Axis = None,
    *,
    keepdims: bool = False,
    where: ArrayLike | None = None,
) -> Array:
    r"""Multiply the gradient of logsumexp by a tangent: how logsumexp changes as x does.

    .. math:: \mathrm{out} = \sum_j p_j\, dx_j, \qquad p = \mathrm{softmax}(x)

    Parameters
    ----------
    x : array_like
        Exponents, of any shape and real dtype that `logsumexp` takes.
    dx : array_like
        Tangent: real numbers, broadcastable to the shape of `x`.
    axis : int, tuple of int, or None, default None
        The axes that are summed over; None for all of them.
    keepdims : bool, default False
        Keep the axes summed over, with size 1.
    where : array_like of bool, optional
        Broadcastable to `x`. An entry where it is False takes no part, whatever `x` and `dx`
        hold there.

    Returns
    -------
    ndarray or NumPy scalar
        Of the shape and the dtype of logsumexp(x).

    Raises
    ------
    numpy.exceptions.AxisError
        If `axis` is out of bounds.
    TypeError, ValueError
        If an argument is of a wrong kind, shape or value.

    See Also
    --------
    logsumexp_vjp : The product with a cotangent.

    Notes
    -----
    The mean of `dx` under p, as one dx plus the mean of the differences from it: the mean of equal
    numbers is that number. Worst error 4 κ ULP, where κ = mean(abs(dx)) / abs(mean(dx)), and 0.51
    ULP in the 16-bit dtypes, for κ up to 16. An entry of probability 0 moves nothing,
    whatever its `dx`; with nothing to sum, the product is 0. A row that is -inf throughout has no
    gradient, hence NaN, as has one with several +inf. Tensors go through their own library, as in
    `softmax_vjp`.

    Examples
    --------
    >>> from stablesoftmax import logsumexp_jvp
    >>> logsumexp_jvp([0.0, 0.0, 0.0], [0.7, 0.7, 0.7])
    np.float64(0.7)
    """
    call, v = validate(
        x, dx, axis, vector="dx", shaped="x", where=where, keepdims=keepdims, reduces=True
    )
    rows = normalise(call)
    run(LOGSUMEXP, rows, v)
    return wrap(rows)
