"""softmax, log_softmax and logsumexp of groups of unequal size."""

from __future__ import annotations

from typing import Any

from numpy.typing import ArrayLike, NDArray

from .. import _core
from .._dispatch import every_array
from . import tensors
from .arguments import validate
from .rows import normalise, run, wrap

__all__ = ["segment_log_softmax", "segment_logsumexp", "segment_softmax"]


@every_array(tensors.segment_softmax)
def segment_softmax(
    x: ArrayLike,
    segments: ArrayLike | None = None,
    *,
    indptr: ArrayLike | None = None,
    num_segments: int | None = None,
    where: ArrayLike | None = None,
) -> NDArray[Any]:
    r"""Softmax of each group of rows: within a group, positive numbers that add up to 1.

    .. math:: y_i = \frac{e^{x_i}}{\sum_{j : s_j = s_i} e^{x_j}}

    Parameters
    ----------
    x : array_like
        Logits, of any shape and dtype that `softmax` takes. The groups lie along the first axis;
        the other axes hold independent columns, such as the heads of an attention.
    segments : array_like of int, optional
        The group s of each row of `x`, of shape ``(len(x),)``: from 0 up, in any order.
    indptr : array_like of int, optional
        In place of `segments`: offsets as in a CSR matrix. Group g is
        ``x[indptr[g] : indptr[g + 1]]``; they ascend from 0 to ``len(x)``.
    num_segments : int, optional
        The number of groups, some of which may be empty: by default the largest id and 1, or
        ``len(indptr) - 1``.
    where : array_like of bool, optional
        Broadcastable to `x`. An entry where it is False takes no part, whatever it holds, and gets
        0.

    Returns
    -------
    ndarray
        Of the shape of `x`.

    Raises
    ------
    TypeError, ValueError
        If an argument is of a wrong kind, shape or value, such as an id out of range.

    See Also
    --------
    softmax : Of groups of equal size.
    segment_log_softmax : Its logarithm.

    Notes
    -----
    Worst error: 2 ULP in float32 and float64, 0.51 ULP in float16 and bfloat16. No bit of a group
    depends on what the others hold, nor on the number of threads. Its special cases are those of
    `softmax`: one with a NaN is NaN throughout. Nothing is added to the denominator.

    Groups that lie one after another, ascending, have the bits of
    ``softmax(x[segments == g], axis=0)``, and no more than the result and the offsets is
    allocated. Scattered ones are summed in float64, member after member, in a table of one to four
    numbers for each group and column: 1e7 float32 in 1e5 groups take two to five times as long.
    Integers, foreign byte order and trailing axes that no view makes one are copied, and so is what
    is summed with `where`. longdouble
    and complex go group by group through NumPy.

    Tensors that need a gradient, JAX and array-API arrays come back as themselves: differentiable,
    traceable, and less accurate, for x - max is rounded: 17 ULP at gaps of 30. Under a trace, ids
    have no values: `num_segments` must be given, and a row whose id is out of range is in no group,
    and NaN.

    References
    ----------
    .. [1] P. Blanchard, D. J. Higham, N. J. Higham, "Accurately computing the log-sum-exp and
       softmax functions", IMA J. Numer. Anal. 41(4), 2021, :doi:`10.1093/imanum/draa038`.

    Examples
    --------
    >>> from stablesoftmax import segment_softmax
    >>> segment_softmax([1.0, 5.0, 1.0, 5.0, 2.0], [0, 1, 0, 2, 2])
    array([0.5       , 1.        , 0.5       , 0.95257413, 0.04742587])
    >>> segment_softmax([1.0, 1.0, 5.0, 5.0, 2.0], indptr=[0, 2, 3, 5])
    array([0.5       , 0.5       , 1.        , 0.95257413, 0.04742587])
    """
    call = validate(x, segments, indptr, num_segments, where)
    groups = normalise(call)
    run(_core.SOFTMAX, groups)
    return wrap(groups)


@every_array(tensors.segment_log_softmax)
def segment_log_softmax(
    x: ArrayLike,
    segments: ArrayLike | None = None,
    *,
    indptr: ArrayLike | None = None,
    num_segments: int | None = None,
    where: ArrayLike | None = None,
) -> NDArray[Any]:
    r"""Logarithm of the softmax of each group of rows.

    .. math:: y_i = x_i - \log \sum_{j : s_j = s_i} e^{x_j}

    Parameters
    ----------
    x : array_like
        Logits, of any shape and dtype that `softmax` takes. The groups lie along the first axis;
        the other axes hold independent columns.
    segments : array_like of int, optional
        The group s of each row of `x`, of shape ``(len(x),)``: from 0 up, in any order.
    indptr : array_like of int, optional
        In place of `segments`: offsets as in a CSR matrix. Group g is
        ``x[indptr[g] : indptr[g + 1]]``; they ascend from 0 to ``len(x)``.
    num_segments : int, optional
        The number of groups, some of which may be empty: by default the largest id and 1, or
        ``len(indptr) - 1``.
    where : array_like of bool, optional
        Broadcastable to `x`. An entry where it is False takes no part, whatever it holds, and gets
        -inf.

    Returns
    -------
    ndarray
        Of the shape of `x`.

    Raises
    ------
    TypeError, ValueError
        If an argument is of a wrong kind, shape or value, such as an id out of range.

    See Also
    --------
    log_softmax : Of groups of equal size.
    segment_softmax : The probabilities themselves; its notes hold here, too.

    Notes
    -----
    Worst error: 1.5 ULP in float32 and float64, 0.51 ULP in float16 and bfloat16. Groups that lie
    one after another have the bits of ``log_softmax(x[segments == g], axis=0)``. Tensors go
    through their own library, as in `segment_softmax`.

    References
    ----------
    .. [1] P. Blanchard, D. J. Higham, N. J. Higham, "Accurately computing the log-sum-exp and
       softmax functions", IMA J. Numer. Anal. 41(4), 2021, :doi:`10.1093/imanum/draa038`.

    Examples
    --------
    >>> from stablesoftmax import segment_log_softmax
    >>> segment_log_softmax([0.0, 7.0, -40.0], [0, 1, 0])
    array([-4.24835426e-18,  0.00000000e+00, -4.00000000e+01])
    """
    call = validate(x, segments, indptr, num_segments, where)
    groups = normalise(call)
    run(_core.LOG_SOFTMAX, groups)
    return wrap(groups)


@every_array(tensors.segment_logsumexp, result="other")
def segment_logsumexp(
    x: ArrayLike,
    segments: ArrayLike | None = None,
    *,
    indptr: ArrayLike | None = None,
    num_segments: int | None = None,
    where: ArrayLike | None = None,
) -> NDArray[Any]:
    r"""Logarithm of the sum of exponentials of each group of rows.

    .. math:: y_g = \log \sum_{j : s_j = g} e^{x_j}

    Parameters
    ----------
    x : array_like
        Exponents, of any shape and dtype that `softmax` takes. The groups lie along the first
        axis; the other axes hold independent columns.
    segments : array_like of int, optional
        The group s of each row of `x`, of shape ``(len(x),)``: from 0 up, in any order.
    indptr : array_like of int, optional
        In place of `segments`: offsets as in a CSR matrix. Group g is
        ``x[indptr[g] : indptr[g + 1]]``; they ascend from 0 to ``len(x)``.
    num_segments : int, optional
        The number of groups, some of which may be empty: by default the largest id and 1, or
        ``len(indptr) - 1``.
    where : array_like of bool, optional
        Broadcastable to `x`. An entry where it is False is no part of any sum, whatever it holds.

    Returns
    -------
    ndarray
        Of shape ``(num_segments, *x.shape[1:])``: -inf for an empty group.

    Raises
    ------
    TypeError, ValueError
        If an argument is of a wrong kind, shape or value, such as an id out of range.

    See Also
    --------
    logsumexp : Of groups of equal size.
    segment_softmax : Its notes hold here, too.

    Notes
    -----
    Worst error: 1.5 ULP times κ in float32 and float64, 0.51 ULP in float16 and bfloat16; κ is
    that of `logsumexp`. Groups that lie one after another have the bits of
    ``logsumexp(x[segments == g], axis=0)``. Tensors go through their own library, as in
    `segment_softmax`; a row whose id is out of range is left out under a trace.

    References
    ----------
    .. [1] P. Blanchard, D. J. Higham, N. J. Higham, "Accurately computing the log-sum-exp and
       softmax functions", IMA J. Numer. Anal. 41(4), 2021, :doi:`10.1093/imanum/draa038`.

    Examples
    --------
    >>> from stablesoftmax import segment_logsumexp
    >>> segment_logsumexp([1.0, 1000.0, 1.0, 1000.0], [0, 2, 0, 2], num_segments=4)
    array([   1.69314718,          -inf, 1000.69314718,          -inf])
    """
    call = validate(x, segments, indptr, num_segments, where)
    groups = normalise(call, reduces=True)
    run(_core.LOGSUMEXP, groups)
    return wrap(groups)
