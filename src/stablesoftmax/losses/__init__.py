"""Cross-entropy, its gradient, and the log-probabilities of chosen entries."""

from __future__ import annotations

from typing import Any

from numpy.typing import ArrayLike, NDArray

from .._arrays.typing import Reduction
from .._dispatch import compiled_entry, every_array
from . import tensors
from .arguments import validate_loss, validate_selection
from .rows import normalise, normalise_selection, run, run_selection, wrap, wrap_selection

__all__ = ["cross_entropy", "cross_entropy_with_grad", "selected_log_softmax"]


@compiled_entry
@every_array(tensors.cross_entropy, result="rows")
def cross_entropy(
    logits: ArrayLike,
    labels: ArrayLike,
    axis: int = -1,
    *,
    weight: ArrayLike | None = None,
    ignore_index: int = -100,
    label_smoothing: float = 0.0,
    where: ArrayLike | None = None,
    reduction: Reduction = "mean",
) -> Any:
    r"""Negative log-likelihood of labels under the softmax of logits.

    .. math:: \ell = \sum_c q_c \left(\log \sum_j e^{x_j} - x_c\right), \qquad
              q_c = w_c \left((1 - \varepsilon) t_c + \frac{\varepsilon}{C}\right)

    Parameters
    ----------
    logits : array_like
        Logits x, of any shape and real dtype that `softmax` takes. Never written to.
    labels : array_like
        Either integers, the class of each row, of the shape of `logits` without `axis`
        (t is 1 at that class); or floating-point numbers t of the shape of `logits`, finite and
        not negative. They need not add up to 1.
    axis : int, default -1
        The axis of the C classes. torch's is 1.
    weight : array_like, optional
        One weight w for each class, of shape (C,), finite and not negative.
    ignore_index : int, default -100
        A row with this class has the loss 0, whatever it holds, and does not count in the mean.
        Without effect on probabilities.
    label_smoothing : float, default 0.0
        The share ε of the label, in [0, 1], that is spread over all classes, or over those that
        take part.
    where : array_like of bool, optional
        Broadcastable to `logits`. A class where it is False takes no part, whatever it holds:
        its probability is 0.
    reduction : {"mean", "sum", "none"}, default "mean"
        The mean divides by the sum of the weights of the classes that were given (the number of
        rows that are not ignored, without weights), or for probabilities by the number of rows.

    Returns
    -------
    NumPy scalar or ndarray
        Of the dtype of `logits`, float64 for integers; under ``reduction="none"`` of the shape of
        `logits` without `axis`. The mean is NaN where there is nothing to divide by: every row
        is ignored, or all weights of the classes that were given are 0.

    Raises
    ------
    numpy.exceptions.AxisError
        If `axis` is out of bounds.
    TypeError, ValueError
        If an argument is of a wrong kind, shape or value, a class out of range among them.

    See Also
    --------
    cross_entropy_with_grad : The gradient in the same pass.
    selected_log_softmax : The same for several classes of a row, and with a temperature.

    Notes
    -----
    Worst error of a row: 1.5 ULP in float32 and float64, 0.51 ULP in float16 and bfloat16, whatever
    the weights and the smoothing: 1 - ε and ε/C are not rounded. Sums are accumulated in float64,
    pairwise, from rows that are not rounded before: N rows add up with a relative error below
    (24 + log2 N) 2^-53, mostly 2^-51. The mean divides by their number, or by the sum of their
    weights, which is such a sum itself: below twice that. In narrower dtypes both are within
    0.51 ULP.

    0 times infinity counts as 0: a class of probability 0 costs nothing unless q is positive, and
    then +inf. So does a class that `where` excludes. A row with one +inf costs 0 if its label is
    there, and +inf otherwise. Where the softmax has no limit (several +inf at the label, or
    nothing but -inf) the loss is NaN, as it is for a row with a NaN.

    Tensors that need a gradient, JAX and array-API arrays come back as themselves: differentiable,
    traceable, and computed in their own dtype, float32 at least. Under a trace
    a class out of range gives NaN.

    The logits are read once, in place, and nothing of their size is allocated. Integers and
    foreign byte order are copied 1 MB at a time. longdouble is computed in plain NumPy.

    References
    ----------
    .. [1] C. Szegedy et al., "Rethinking the Inception architecture for computer vision", CVPR
       2016, section 7: label smoothing. :doi:`10.1109/CVPR.2016.308`.

    Examples
    --------
    >>> import numpy as np
    >>> from stablesoftmax import cross_entropy
    >>> logits = [[2.0, 1.0, -np.inf], [0.0, 800.0, 3.0]]
    >>> cross_entropy(logits, [0, 2])
    np.float64(398.6566308437591)
    >>> cross_entropy(logits, [[0.5, 0.5, 0.0], [0.0, 1.0, 0.0]], reduction="none")
    array([0.81326169, 0.        ])
    >>> cross_entropy([0.0, 40.0], 1)  # and not 0
    np.float64(4.248354255291589e-18)
    """
    call = validate_loss(
        logits,
        labels,
        axis,
        weight=weight,
        ignore_index=ignore_index,
        label_smoothing=label_smoothing,
        where=where,
        reduction=reduction,
    )
    rows = normalise(call, with_gradient=False)
    run(rows)
    return wrap(rows)


@compiled_entry
@every_array(tensors.cross_entropy_with_grad, result=("rows", "like"))
def cross_entropy_with_grad(
    logits: ArrayLike,
    labels: ArrayLike,
    axis: int = -1,
    *,
    weight: ArrayLike | None = None,
    ignore_index: int = -100,
    label_smoothing: float = 0.0,
    where: ArrayLike | None = None,
    reduction: Reduction = "mean",
) -> tuple[Any, NDArray[Any]]:
    r"""Cross-entropy and its gradient with respect to the logits.

    .. math:: \frac{\partial \ell}{\partial x_c} = p_c \sum_j q_j - q_c, \qquad
              p = \mathrm{softmax}(x)

    Parameters
    ----------
    logits : array_like
        Logits x, of any shape and real dtype that `softmax` takes. Never written to.
    labels : array_like
        Integers, the class of each row, or floating-point numbers of the shape of `logits`: as in
        `cross_entropy`.
    axis : int, default -1
        The axis of the C classes. torch's is 1.
    weight : array_like, optional
        Of shape (C,): one weight for each class, finite and not negative.
    ignore_index : int, default -100
        A row with this class has the loss 0 and the gradient 0, whatever it holds.
    label_smoothing : float, default 0.0
        The share of the label that is spread over all classes, in [0, 1].
    where : array_like of bool, optional
        Broadcastable to `logits`. A class where it is False takes no part, whatever it holds, and
        its gradient is 0.
    reduction : {"mean", "sum", "none"}, default "mean"
        What the gradient is of. Under "none" it is that of each row's own loss.

    Returns
    -------
    loss : NumPy scalar or ndarray
        What `cross_entropy` returns, bit for bit.
    gradient : ndarray
        Of the shape of `logits` and the dtype of the loss.

    Raises
    ------
    numpy.exceptions.AxisError
        If `axis` is out of bounds.
    TypeError, ValueError
        If an argument is of a wrong kind, shape or value, a class out of range among them.

    See Also
    --------
    cross_entropy : The loss alone, and what all arguments mean.

    Notes
    -----
    The worst error for classes without smoothing is 4 ULP of the gradient in float32 and float64,
    0.51 ULP in float16 and bfloat16, however confident the row is: at the label it is the sum of
    the other probabilities, never p - 1. Where probabilities q are near p, it is 4 ULP of q.

    At the limits the gradient is the limit of the softmax minus q: a row with one +inf has
    probability 1 there, and a label of probability 0 costs +inf but has the gradient -q. It is NaN
    where the softmax is.

    Tensors that need a gradient, JAX and array-API arrays come back as themselves: differentiable,
    traceable, and computed in their own dtype, float32 at least.

    The logits are read twice, a gradient is written once, and nothing else of that size is
    allocated.

    Examples
    --------
    >>> from stablesoftmax import cross_entropy_with_grad
    >>> loss, gradient = cross_entropy_with_grad([[0.0, 40.0]], [1])
    >>> loss
    np.float64(4.248354255291589e-18)
    >>> gradient  # and not 0
    array([[ 4.24835426e-18, -4.24835426e-18]])
    """
    call = validate_loss(
        logits,
        labels,
        axis,
        weight=weight,
        ignore_index=ignore_index,
        label_smoothing=label_smoothing,
        where=where,
        reduction=reduction,
    )
    rows = normalise(call, with_gradient=True)
    run(rows)
    return wrap(rows), rows.result


@compiled_entry
@every_array(tensors.selected_log_softmax, result="rows")
def selected_log_softmax(
    x: ArrayLike,
    index: ArrayLike,
    axis: int = -1,
    *,
    where: ArrayLike | None = None,
    temperature: ArrayLike = 1.0,
) -> Any:
    r"""Logarithm of the softmax at chosen entries only.

    .. math:: y_k = \frac{x_{i_k}}{T} - \log \sum_j e^{x_j / T}

    Parameters
    ----------
    x : array_like
        Logits, of any shape and real dtype that `softmax` takes. Never written to.
    index : array_like of int
        Which entries: one for each row, of the shape of `x` without `axis`; or several, of the
        shape of `x` but for `axis`, which may have any length, as in `numpy.take_along_axis`.
        None is negative.
    axis : int, default -1
        The axis of the entries.
    where : array_like of bool, optional
        Broadcastable to `x`. An entry where it is False takes no part, whatever it holds; it gets
        -inf if it is chosen.
    temperature : array_like, default 1.0
        T, by which `x` is divided: a number, or an array that broadcasts against `x` with `axis`
        reduced to 1. 0 and inf give the limits.

    Returns
    -------
    NumPy scalar or ndarray
        Of the shape of `index` and the dtype of `x`, float64 for integers.

    Raises
    ------
    IndexError
        If an index is out of range.
    numpy.exceptions.AxisError
        If `axis` is out of bounds.
    TypeError, ValueError
        If an argument is of a wrong kind, shape or value.

    See Also
    --------
    log_softmax : All entries. Those chosen here have the same bits.

    Notes
    -----
    Worst error: 1.5 ULP in float32 and float64, 0.51 ULP in float16 and bfloat16. A temperature
    adds 1 ULP in float32 and float64.

    Tensors that need a gradient, JAX and array-API arrays come back as themselves: differentiable,
    traceable, and computed in their own dtype, float32 at least. Under a trace
    an index out of range gives NaN, and log_softmax(x) is computed whole.

    ``log_softmax(x)`` of 4096 tokens and 128,000 words is 2 GB of which a language model's trainer
    wants 16 kB. Here nothing of the size of `x` is allocated: it is read once, in place.

    Examples
    --------
    >>> from stablesoftmax import selected_log_softmax
    >>> logits = [[1.0, 2.0, 3.0], [0.0, 0.0, 40.0]]
    >>> selected_log_softmax(logits, [2, 0])
    array([ -0.40760596, -40.        ])
    >>> selected_log_softmax(logits, [[2, 0], [2, 1]])
    array([[-4.07605964e-01, -2.40760596e+00],
           [-8.49670851e-18, -4.00000000e+01]])
    """
    call = validate_selection(x, index, axis, where=where, temperature=temperature)
    selection = normalise_selection(call)
    run_selection(selection)
    return wrap_selection(selection)
