"""Two other remedies for NaN in a network: clipped gradients and well-scaled first weights.

A stable softmax stops the overflow of exp; it does not stop a network that diverges. These
functions do, in plain NumPy. No layers and no optimisers live here.
"""

from __future__ import annotations  # or the annotations would load numpy.random

import contextlib
import copy
import math
import operator
from collections.abc import Callable, Iterator, Sequence
from numbers import Real
from typing import Any, TypeVar

import numpy as np
from numpy.typing import DTypeLike, NDArray

__all__ = ["clip_by_global_norm", "clip_by_value", "initial_weights"]

FLOATS = ("float16", "bfloat16", "float32", "float64")
ACCEPTED = f"{', '.join(FLOATS[:-1])} or {FLOATS[-1]}"

VARIANCE: dict[str, Callable[[int, int], float]] = {
    "he": lambda fan_in, fan_out: 2 / fan_in,
    "glorot": lambda fan_in, fan_out: 2 / (fan_in + fan_out),
    "lecun": lambda fan_in, fan_out: 1 / fan_in,
}
SCHEMES = (
    *(f"{family}_{kind}" for family in VARIANCE for kind in ("normal", "uniform")),
    "orthogonal",
)

Arrays = TypeVar(
    "Arrays",
    bound=NDArray[Any] | np.floating[Any] | float | list[Any] | tuple[Any, ...] | dict[Any, Any],
)


def clip_by_value(arrays: Arrays, limit: float) -> tuple[Arrays, float]:
    r"""Limit every element to the interval from -limit to limit.

    .. math:: g_i \leftarrow \min(\max(g_i, -c), c)

    Parameters
    ----------
    arrays : ndarray, or list, tuple or dict of ndarrays
        Gradients of any shapes, float16, bfloat16, float32 or float64. Containers may be nested.
        They are never written.
    limit : float
        The largest magnitude c to let pass, positive and finite.

    Returns
    -------
    clipped : same kind as `arrays`
        New arrays in the same containers, shapes and dtypes. An element within the limits keeps
        its bits; any other is `limit` with its sign, rounded to the dtype.
    norm : float
        The Euclidean norm of all the elements together before clipping, as from
        `clip_by_global_norm`: the figure to log.

    Raises
    ------
    FloatingPointError
        If an element is NaN or infinite, which clipping cannot repair. The message names the
        array and the position.
    TypeError
        If an array does not hold one of the four dtypes, or `limit` is no number.
    ValueError
        If `limit` is not positive and finite.

    See Also
    --------
    clip_by_global_norm : Keeps the direction of the gradient, which this one bends.

    Notes
    -----
    Exact: no arithmetic is done on an element. The norm is within 2 ULP. The cost is a few passes
    over each array and two float64 copies of one array at a time.

    Examples
    --------
    >>> import numpy as np
    >>> from stablesoftmax import clip_by_value
    >>> clipped, norm = clip_by_value({"W": np.array([3.0, -4.0]), "b": np.array([0.5])}, 1.0)
    >>> clipped
    {'W': array([ 1., -1.]), 'b': array([0.5])}
    >>> round(norm, 3)
    5.025
    """
    limit = _positive("limit", limit)
    scale, rest = _norm(arrays)
    return _map(lambda array: np.clip(array, -limit, limit), arrays), scale * rest


def clip_by_global_norm(arrays: Arrays, max_norm: float) -> tuple[Arrays, float]:
    r"""Scale all arrays by one factor so that their joint Euclidean norm is at most `max_norm`.

    .. math:: g \leftarrow g \min(1, c / \lVert g \rVert),
              \qquad \lVert g \rVert = \sqrt{\sum_i g_i^2} \text{ over all arrays}

    Parameters
    ----------
    arrays : ndarray, or list, tuple or dict of ndarrays
        Gradients of any shapes, float16, bfloat16, float32 or float64. Containers may be nested.
        They are never written.
    max_norm : float
        The largest joint norm c to let pass, positive and finite.

    Returns
    -------
    clipped : same kind as `arrays`
        New arrays in the same containers, shapes and dtypes; bit for bit the old values where
        the norm was already within `max_norm`.
    norm : float
        The joint norm before clipping. It is inf only where the true norm exceeds float64's
        range (1.8e308), and the arrays are clipped rightly even then.

    Raises
    ------
    FloatingPointError
        If an element is NaN or infinite, which clipping cannot repair. The message names the
        array and the position.
    TypeError
        If an array does not hold one of the four dtypes, or `max_norm` is no number.
    ValueError
        If `max_norm` is not positive and finite.

    See Also
    --------
    clip_by_value : Limits each element by itself.

    Notes
    -----
    Everything is computed in float64 after division by a power of two near the largest
    magnitude, so squares neither overflow (float32 gradients of 1e30) nor vanish (float64 of
    1e-300). The norm is within 2 ULP; a clipped element is within 3 ULP of float64 before its one
    rounding to the dtype. The cost is a few passes over each array and two float64 copies of one
    array at a time.

    References
    ----------
    R. Pascanu, T. Mikolov, Y. Bengio, "On the difficulty of training recurrent neural networks",
    ICML 2013, algorithm 1. J. L. Blue, "A portable Fortran program to find the Euclidean norm of
    a vector", ACM TOMS 4, 1978, for the scaling.

    Examples
    --------
    >>> import numpy as np
    >>> from stablesoftmax import clip_by_global_norm
    >>> clip_by_global_norm([np.array([3.0, 0.0]), np.array([[4.0]])], max_norm=1.0)
    ([array([0.6, 0. ]), array([[0.8]])], 5.0)

    A gradient whose square overflows its own dtype:

    >>> clip_by_global_norm(np.array([3e30, 4e30], dtype=np.float32), max_norm=5.0)[0]
    array([3., 4.], dtype=float32)

    A gradient that is already broken:

    >>> clip_by_global_norm({"W": np.array([[1.0, np.nan]])}, max_norm=1.0)
    Traceback (most recent call last):
    FloatingPointError: arrays['W'][0, 1] is nan: clipping cannot repair it; look at what made it
    """
    max_norm = _positive("max_norm", max_norm)
    scale, rest = _norm(arrays)
    norm = scale * rest
    if norm <= max_norm:
        return _map(np.positive, arrays), norm
    return _map(lambda array: array / scale * (max_norm / rest), arrays), norm


def initial_weights(
    shape: Sequence[int],
    scheme: str = "he_normal",
    *,
    rng: int | np.random.Generator | None = None,
    dtype: DTypeLike = np.float64,
) -> NDArray[Any]:
    r"""Draw first weights that keep signals at one scale from layer to layer.

    ==========  ==============================  ==========================================
    family      variance                        made for
    ==========  ==============================  ==========================================
    ``he``      2 / fan_in                      ReLU and its kin
    ``glorot``  2 / (fan_in + fan_out)          tanh, sigmoid, and the layer before softmax
    ``lecun``   1 / fan_in                      SELU, or no activation
    ==========  ==============================  ==========================================

    Parameters
    ----------
    shape : sequence of int
        ``(fan_in, fan_out)``, as for ``x @ W`` with examples in rows. Leading axes are a
        receptive field, ``(height, width, channels_in, channels_out)``, as in JAX and Keras: it
        multiplies both fans. A torch layer stores the transpose.
    scheme : str
        ``he``, ``glorot`` or ``lecun`` followed by ``_normal`` or ``_uniform``, or
        ``orthogonal``.
    rng : int, numpy.random.Generator or None
        A seed, a generator (which is advanced), or None for fresh entropy.
    dtype : dtype
        One of float16, bfloat16, float32 and float64. A seed gives the same weights in each,
        rounded.

    Returns
    -------
    ndarray
        Weights of the given shape and dtype.

    Raises
    ------
    TypeError
        If `rng` or `dtype` is of another kind.
    ValueError
        If `shape` is not two or more positive integers, or `scheme` is unknown.

    Notes
    -----
    ``normal`` is the plain normal distribution of the papers and of torch; Keras and JAX cut it
    at two standard deviations. ``uniform`` is uniform on ±√(3·variance). ``orthogonal`` takes
    the weights as a matrix of prod(shape[:-1]) rows and shape[-1] columns, with orthonormal
    columns, or rows where there are fewer of them, drawn evenly from all such matrices: Q of a
    normal matrix's QR, each column with the sign that makes R's diagonal positive.

    References
    ----------
    K. He et al., "Delving deep into rectifiers", ICCV 2015. X. Glorot, Y. Bengio, "Understanding
    the difficulty of training deep feedforward neural networks", AISTATS 2010. Y. LeCun et al.,
    "Efficient BackProp", 1998. A. Saxe, J. McClelland, S. Ganguli, "Exact solutions to the
    nonlinear dynamics of learning in deep linear neural networks", ICLR 2014. F. Mezzadri, "How
    to generate random matrices from the classical compact groups", Notices AMS 54, 2007.

    Examples
    --------
    >>> import numpy as np
    >>> from stablesoftmax import initial_weights
    >>> W = initial_weights((1000, 200), "he_normal", rng=0)
    >>> round(float(W.var()) * 1000, 2)
    2.0
    >>> Q = initial_weights((4, 3), "orthogonal", rng=0, dtype=np.float32)
    >>> np.allclose(Q.T @ Q, np.eye(3), atol=1e-6)
    True
    """
    shape, dtype, generator = _shape(shape), _dtype(dtype), _generator(rng)
    if scheme not in SCHEMES:
        raise ValueError(f"scheme must be one of {', '.join(SCHEMES)}, got {scheme!r}")
    if scheme == "orthogonal":
        return _orthogonal(generator, shape).astype(dtype)
    family, distribution = scheme.split("_")
    receptive_field = math.prod(shape[:-2])
    variance = VARIANCE[family](receptive_field * shape[-2], receptive_field * shape[-1])
    if distribution == "normal":
        return generator.normal(0.0, math.sqrt(variance), shape).astype(dtype)
    bound = math.sqrt(3 * variance)
    return generator.uniform(-bound, bound, shape).astype(dtype)


def _orthogonal(generator: np.random.Generator, shape: Sequence[int]) -> NDArray[np.float64]:
    rows, columns = math.prod(shape[:-1]), shape[-1]
    normal = generator.standard_normal((max(rows, columns), min(rows, columns)))
    q, r = np.linalg.qr(normal)
    q *= np.copysign(1.0, np.diagonal(r))  # LAPACK fixes the signs; an even draw needs R's > 0
    return (q if rows >= columns else q.T).reshape(shape)


def _norm(arrays: Any) -> tuple[float, float]:
    """Return (scale, rest): the joint norm is their product, and rest is moderate."""
    leaves = list(_leaves("arrays", arrays))
    largest = max((_magnitude(name, leaf) for name, leaf in leaves), default=0.0)
    # A power of two at most `largest`, 5e-324 included, so that the division below is exact.
    scale = math.ldexp(1.0, math.frexp(largest)[1] - 1) if largest else 1.0
    with np.errstate(under="ignore"):
        scaled = (np.divide(leaf, scale, dtype=np.float64) for _, leaf in leaves)
        return scale, math.sqrt(math.fsum(np.sum(np.square(leaf)) for leaf in scaled))


def _magnitude(name: str, leaf: NDArray[Any]) -> float:
    """Return the largest magnitude in `leaf`, or raise at its first non-finite element."""
    with np.errstate(invalid="ignore"):  # bfloat16's maximum warns of a NaN; others hand it on
        largest = float(np.max(np.abs(leaf), initial=0.0))
    if math.isfinite(largest):
        return largest
    position = np.argwhere(~np.isfinite(leaf))[0].tolist()
    raise FloatingPointError(
        f"{name}{position or ''} is {leaf[tuple(position)]}: "
        "clipping cannot repair it; look at what made it"
    )


def _leaves(name: str, arrays: Any) -> Iterator[tuple[str, NDArray[Any]]]:
    """Yield every array in `arrays` under the name by which an error may call it."""
    if isinstance(arrays, dict | list | tuple):
        items = arrays.items() if isinstance(arrays, dict) else enumerate(arrays)
        for key, item in items:
            yield from _leaves(f"{name}[{key!r}]", item)
    else:
        yield name, _leaf(name, arrays)


def _leaf(name: str, array: Any) -> NDArray[Any]:
    got = type(array).__name__
    masked = isinstance(array, np.ma.MaskedArray)  # its mask would be lost unseen
    if isinstance(array, np.ndarray | np.generic | float) and not masked:
        got = np.asarray(array).dtype.name
        if got in FLOATS:
            return np.asarray(array)
    raise TypeError(
        f"{name} must be a NumPy array of {ACCEPTED}, got {got}: "
        "convert it first, say by np.asarray(..., dtype=np.float64)"
    )


def _map(function: Callable[[NDArray[Any]], NDArray[Any]], arrays: Any) -> Any:
    """Apply `function`, which makes new arrays in float64, to each; give back the same kinds."""
    if isinstance(arrays, dict):
        kind = copy.copy(arrays)  # a defaultdict cannot be made from its items alone
        kind.update({key: _map(function, item) for key, item in arrays.items()})
        return kind
    if isinstance(arrays, list | tuple):
        make = getattr(arrays, "_make", type(arrays))  # a namedtuple takes its items through this
        return make([_map(function, item) for item in arrays])
    leaf = np.asarray(arrays)
    with np.errstate(under="ignore"):
        mapped = np.asarray(function(leaf.astype(np.float64, copy=False)), dtype=leaf.dtype)
    return mapped if isinstance(arrays, np.ndarray) else mapped[()]


def _positive(name: str, value: float) -> float:
    message = f"{name} must be a positive finite number, got {value!r}"
    if not isinstance(value, Real) or isinstance(value, bool):
        raise TypeError(message)
    with contextlib.suppress(OverflowError):  # 10**400
        if 0 < (number := float(value)) < math.inf:
            return number
    raise ValueError(message)


def _shape(shape: Sequence[int]) -> tuple[int, ...]:
    message = f"shape must be two or more positive integers, (fan_in, fan_out), got {shape!r}"
    try:
        sizes = tuple(operator.index(size) for size in shape)
    except TypeError:
        raise ValueError(message) from None
    if len(sizes) < 2 or min(sizes) < 1:
        raise ValueError(message)
    return sizes


def _dtype(dtype: DTypeLike) -> np.dtype[Any]:
    message = f"dtype must be {ACCEPTED}, got {dtype!r}"
    try:
        result = np.dtype(dtype)
    except TypeError:
        raise TypeError(message) from None
    if result.name not in FLOATS:
        raise TypeError(message)
    return result


def _generator(rng: int | np.random.Generator | None) -> np.random.Generator:
    try:
        return np.random.default_rng(rng)
    except (TypeError, ValueError) as error:
        message = f"rng must be None, an integer from 0 or a numpy.random.Generator, got {rng!r}"
        raise type(error)(message) from None
