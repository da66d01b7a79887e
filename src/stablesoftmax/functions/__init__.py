"""softmax, log_softmax and logsumexp."""

from __future__ import annotations

from typing import Any, Literal, TypeAlias, TypedDict, Unpack, overload

from numpy.typing import ArrayLike, DTypeLike, NDArray

from .. import _core
from .._arrays.typing import Dims, PandasLike, PolarsLike, Tensor, UndefinedPolicy, Xarray
from .._dispatch import compiled_entry, every_array
from . import tensors
from .arguments import validate
from .rows import normalise, run, wrap

__all__ = ["log_softmax", "logsumexp", "softmax"]


@compiled_entry
@every_array(tensors.softmax)
def softmax(
    x: ArrayLike,
    axis: int | tuple[int, ...] | None = -1,
    *,
    where: ArrayLike | None = None,
    temperature: ArrayLike = 1.0,
    out: NDArray[Any] | None = None,
    dtype: DTypeLike | None = None,
    undefined: UndefinedPolicy = "nan",
) -> NDArray[Any]:
    r"""Exponentials divided by their sum: positive numbers that add up to 1.

    .. math:: \mathrm{softmax}(x)_i = \frac{e^{x_i / T}}{\sum_j e^{x_j / T}}

    Parameters
    ----------
    x : array_like
        Logits, of any shape. float16, bfloat16 (of ml_dtypes), float32 and float64 keep their
        dtype; integers give float64, their differences exact up to the largest. longdouble and
        complex are computed in plain NumPy. Never written to, unless it is also `out`. Masked
        arrays, and arrays of pandas, polars, xarray, torch, JAX, CuPy and the array API come back
        as what they were: see Notes.
    axis : int, tuple of int, or None, default -1
        The axes that are summed over; None for all of them. SciPy's default is None. Of an xarray
        object, ``dim=`` takes their names instead.
    where : array_like of bool, optional
        Broadcastable to `x`. An entry where it is False takes no part, whatever it holds, and
        gets 0.
    temperature : array_like, default 1.0
        T, by which `x` is divided: a number, or an array that broadcasts against `x` with `axis`
        reduced to 1. 0 gives the limit, 1 at the maximum (shared between ties), and inf a uniform
        distribution. An inverse temperature is ``temperature=1 / theta``.
    out : ndarray, optional
        Where to put the result: `x` itself or any writeable array of its shape and of a
        floating-point (for a complex result: complex) dtype, to which the result is rounded.
    dtype : dtype_like, optional
        Floating-point or complex dtype of the result. It is computed at least that wide, and
        rounded once.
    undefined : {"nan", "zero", "uniform", "raise"}, default "nan"
        What becomes of a row with no limit: several +inf, or -inf throughout. NaN, zeros or an
        even split go to the entries that tie, or an error is raised before anything is written.

    Returns
    -------
    ndarray
        Of the shape and kind of `x`, or a NumPy scalar where that is 0-d; `out`, if it was given.

    Raises
    ------
    numpy.exceptions.AxisError
        If `axis` is out of bounds.
    TypeError, ValueError
        If an argument is of a wrong kind, shape or value; nothing has been written then.
    UndefinedSoftmaxError
        Under ``undefined="raise"``, naming the first row with no limit.

    See Also
    --------
    log_softmax : Its logarithm, accurate where softmax is near 0 or 1.

    Notes
    -----
    Worst error: 2 ULP in float32 and float64, 0.51 ULP in float16 and bfloat16. A temperature
    adds 1 ULP in float32 and float64.

    A row with one +inf is 1 there and 0 elsewhere; a row with a NaN is NaN throughout. A row
    gives the same bits alone or in a batch, with any strides and any number of threads. Memory
    is the result's and a few MB. longdouble and complex are slower, and off by a few ULP more:
    rounding ``x - max`` costs half an ulp of the difference.

    A mask of numpy.ma is taken for `where`, and the result is masked alike. pandas and xarray keep
    their labels; a missing value is a NaN. Tensors on the CPU that need no gradient are computed by
    the kernels, without a copy; all others in their own library, on their device, where they are
    differentiable and traceable (``jax.jit``, ``torch.compile``), in the precision of their dtype
    (float32 for a half), and off by a few ULP more. `backend_of` tells.

    References
    ----------
    .. [1] P. Blanchard, D. J. Higham, N. J. Higham, "Accurately computing the log-sum-exp and
       softmax functions", IMA J. Numer. Anal. 41(4), 2021, :doi:`10.1093/imanum/draa038`.

    Examples
    --------
    >>> import numpy as np
    >>> from stablesoftmax import softmax
    >>> softmax([1, 2, 3, 4, 5])
    array([0.01165623, 0.03168492, 0.08612854, 0.23412166, 0.63640865])
    >>> softmax([12345, 67890, 99999999])
    array([0., 0., 1.])
    >>> softmax([[1.0, 2.0], [3.0, 5.0]], axis=0, where=[[True, False], [True, True]])
    array([[0.11920292, 0.        ],
           [0.88079708, 1.        ]])
    >>> softmax([1.0, 3.0, 3.0], temperature=0)
    array([0. , 0.5, 0.5])
    """
    call = validate(
        x, axis, where=where, temperature=temperature, out=out, dtype=dtype, undefined=undefined
    )
    rows = normalise(call)
    run(_core.SOFTMAX, rows)
    return wrap(rows)


@compiled_entry
@every_array(tensors.log_softmax)
def log_softmax(
    x: ArrayLike,
    axis: int | tuple[int, ...] | None = -1,
    *,
    where: ArrayLike | None = None,
    temperature: ArrayLike = 1.0,
    out: NDArray[Any] | None = None,
    dtype: DTypeLike | None = None,
    undefined: UndefinedPolicy = "nan",
) -> NDArray[Any]:
    r"""Logarithm of the softmax, without a detour through its rounding.

    .. math:: \mathrm{log\_softmax}(x)_i = \frac{x_i}{T} - \log \sum_j e^{x_j / T}

    Parameters
    ----------
    x : array_like
        Logits, of any shape and dtype that `softmax` takes. Never written to, unless it is also
        `out`.
    axis : int, tuple of int, or None, default -1
        The axes that are summed over; None for all of them. SciPy's default is None. Of an xarray
        object, ``dim=`` takes their names instead.
    where : array_like of bool, optional
        Broadcastable to `x`. An entry where it is False takes no part, whatever it holds, and
        gets -inf.
    temperature : array_like, default 1.0
        T, by which `x` is divided: a number, or an array that broadcasts against `x` with `axis`
        reduced to 1. 0 and inf give the limits.
    out : ndarray, optional
        Where to put the result: `x` itself or any writeable array of its shape and of a
        floating-point (for a complex result: complex) dtype, to which the result is rounded.
    dtype : dtype_like, optional
        Floating-point or complex dtype of the result. It is computed at least that wide, and
        rounded once.
    undefined : {"nan", "zero", "uniform", "raise"}, default "nan"
        What becomes of a row with no limit: several +inf, or -inf throughout. The logarithm of
        NaN, of zero or of an even split goes to the entries that tie, or an error is raised
        before anything is written.

    Returns
    -------
    ndarray
        Of the shape and kind of `x`, or a NumPy scalar where that is 0-d; `out`, if it was given.

    Raises
    ------
    numpy.exceptions.AxisError
        If `axis` is out of bounds.
    TypeError, ValueError
        If an argument is of a wrong kind, shape or value; nothing has been written then.
    UndefinedSoftmaxError
        Under ``undefined="raise"``, naming the first row with no limit.

    See Also
    --------
    softmax : The probabilities themselves.

    Notes
    -----
    Worst error: 1.5 ULP in float32 and float64, 0.51 ULP in float16 and bfloat16. A temperature
    adds 1 ULP in float32 and float64.

    It is computed as (x - max) - log1p(r), where r is the sum of all terms but one of the
    maximum, relative to that one. Both parts are at most 0, so nothing cancels.

    References
    ----------
    .. [1] P. Blanchard, D. J. Higham, N. J. Higham, "Accurately computing the log-sum-exp and
       softmax functions", IMA J. Numer. Anal. 41(4), 2021, :doi:`10.1093/imanum/draa038`.

    Examples
    --------
    The first of these is not 0:

    >>> from stablesoftmax import log_softmax
    >>> log_softmax([0.0, -40.0])
    array([-4.24835426e-18, -4.00000000e+01])
    """
    call = validate(
        x, axis, where=where, temperature=temperature, out=out, dtype=dtype, undefined=undefined
    )
    rows = normalise(call)
    run(_core.LOG_SOFTMAX, rows)
    return wrap(rows)


class Options(TypedDict, total=False):
    """The options of logsumexp that leave the type of its result alone."""

    b: Any
    keepdims: bool
    where: Any
    out: Any
    dtype: Any


Axis: TypeAlias = int | tuple[int, ...] | None


@overload
def logsumexp(
    x: NDArray[Any],
    axis: Axis = None,
    *,
    return_sign: Literal[True],
    **options: Unpack[Options],
) -> tuple[Any, Any]: ...
@overload
def logsumexp(
    x: NDArray[Any],
    axis: Axis = None,
    *,
    return_sign: Literal[False] = False,
    **options: Unpack[Options],
) -> Any: ...
@overload
def logsumexp(
    x: Tensor, axis: Axis = None, *, return_sign: Literal[True], **options: Unpack[Options]
) -> tuple[Tensor, Tensor]: ...
@overload
def logsumexp(
    x: Tensor, axis: Axis = None, *, return_sign: Literal[False] = False, **options: Unpack[Options]
) -> Tensor: ...
@overload
def logsumexp(
    x: Xarray,
    axis: Axis = None,
    *,
    dim: Dims | None = None,
    return_sign: Literal[True],
    **options: Unpack[Options],
) -> tuple[Xarray, Xarray]: ...
@overload
def logsumexp(
    x: Xarray,
    axis: Axis = None,
    *,
    dim: Dims | None = None,
    return_sign: Literal[False] = False,
    **options: Unpack[Options],
) -> Xarray: ...
@overload
def logsumexp(
    x: ArrayLike | PandasLike | PolarsLike,
    axis: Axis = None,
    *,
    return_sign: Literal[True],
    **options: Unpack[Options],
) -> tuple[Any, Any]: ...
@overload
def logsumexp(
    x: ArrayLike | PandasLike | PolarsLike,
    axis: Axis = None,
    *,
    return_sign: bool = False,
    **options: Unpack[Options],
) -> Any: ...
@compiled_entry
@every_array(tensors.logsumexp, result="reduced")
def logsumexp(
    x: ArrayLike,
    axis: int | tuple[int, ...] | None = None,
    *,
    b: ArrayLike | None = None,
    return_sign: bool = False,
    keepdims: bool = False,
    where: ArrayLike | None = None,
    out: NDArray[Any] | None = None,
    dtype: DTypeLike | None = None,
) -> Any:
    r"""Logarithm of a sum of exponentials.

    .. math:: \mathrm{logsumexp}(x) = \log \sum_j b_j e^{x_j}

    Parameters
    ----------
    x : array_like
        Exponents, of any shape and dtype that `softmax` takes. Never written to.
    axis : int, tuple of int, or None, default None
        The axes that are summed over; None for all of them. Of an xarray object, ``dim=`` takes
        their names instead.
    b : array_like, optional
        Weights, broadcast with `x`; they may be negative. An entry of weight 0 takes no part,
        even if it is infinite or NaN. Computed in plain NumPy, and in float64 at least.
    return_sign : bool, default False
        Return a pair: the logarithm of the sum's absolute value, and its sign or, for complex,
        its phase. Without it, a negative sum gives NaN.
    keepdims : bool, default False
        Keep the axes summed over, with size 1.
    where : array_like of bool, optional
        Broadcastable to `x`. An entry where it is False takes no part, whatever it holds.
    out : ndarray, optional
        Where to put the (logarithm of the) sum: any writeable array of its shape and of a
        floating-point (for a complex result: complex) dtype, to which the result is rounded.
    dtype : dtype_like, optional
        Floating-point or complex dtype of the result. It is computed at least that wide, and
        rounded once.

    Returns
    -------
    value : ndarray or NumPy scalar
        The logarithm: -inf for an empty sum. `out`, if it was given. Of a DataFrame's axis a
        Series; of other kinds than NumPy's, an array of that kind. A row of numpy.ma is masked if
        all its entries are.
    sign : ndarray or NumPy scalar
        Only with `return_sign`: 1.0, 0.0 or -1.0, or for complex a number of absolute value 1.

    Raises
    ------
    numpy.exceptions.AxisError
        If `axis` is out of bounds.
    TypeError, ValueError
        If an argument is of a wrong kind, shape or value; nothing has been written then.

    See Also
    --------
    numpy.logaddexp : The same of two numbers.

    Notes
    -----
    Worst error: 1.5 ULP times κ in float32 and float64, 0.51 ULP in float16 and bfloat16, where
    κ = (abs(m) + log1p(r)) / abs(result) measures how far the maximum m and the rest cancel.
    With weights, the sum's own relative error is a few times 2**-53 times
    sum(abs(b) * exp(x)) / abs(sum(b * exp(x))).

    A complex result is on the principal branch: its imaginary part lies in (-π, π].

    Integers, foreign byte order and axes that no view makes one are copied before they are read:
    1 MB at a time, or one row if that is longer.

    References
    ----------
    .. [1] P. Blanchard, D. J. Higham, N. J. Higham, "Accurately computing the log-sum-exp and
       softmax functions", IMA J. Numer. Anal. 41(4), 2021, :doi:`10.1093/imanum/draa038`.

    Examples
    --------
    >>> from stablesoftmax import logsumexp
    >>> logsumexp([1000.0, 1000.0])
    np.float64(1000.6931471805599)
    >>> logsumexp([[0.0, 0.0], [5.0, 7.0]], axis=1)
    array([0.69314718, 7.12692801])
    >>> logsumexp([1.0, 2.0], b=[1, -1], return_sign=True)
    (np.float64(1.5413248546129181), np.float64(-1.0))
    """
    call = validate(
        x,
        axis,
        where=where,
        out=out,
        dtype=dtype,
        b=b,
        return_sign=return_sign,
        keepdims=keepdims,
        reduces=True,
    )
    rows = normalise(call)
    run(_core.LOGSUMEXP, rows)
    return wrap(rows)
