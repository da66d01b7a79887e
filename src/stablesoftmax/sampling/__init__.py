"""Drawing from the distribution that logits stand for."""

from __future__ import annotations  # or the annotations would load numpy.random

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .._arrays.tensors import floating as tensor_dtype
from .._arrays.tensors import namespace
from .._dispatch import compiled_entry, every_array
from .arguments import validate
from .rows import normalise, run, wrap
from .tensors import through_host

__all__ = ["sample"]


def _sample_tensor(logits: Any, *args: Any, **options: Any) -> Any:
    """Draw on the host, whatever the device of the logits: `rng` is NumPy's."""
    tensor_dtype(namespace(logits), logits.dtype, "logits")
    return through_host(sample, logits, args, options)


@compiled_entry
@every_array(_sample_tensor, result="rows")
def sample(
    logits: ArrayLike,
    size: int | tuple[int, ...] | None = None,
    axis: int = -1,
    *,
    where: ArrayLike | None = None,
    temperature: ArrayLike = 1.0,
    top_k: int | None = None,
    top_p: float | None = None,
    min_p: float | None = None,
    rng: np.random.Generator | int | None = None,
) -> NDArray[np.int64]:
    r"""Draw classes at random, with the probabilities that their logits stand for.

    .. math:: P(i) = \mathrm{softmax}(x / T)_i

    Parameters
    ----------
    logits : array_like
        Logits x, of any shape and real dtype that `softmax` takes. Never written to.
    size : int or tuple of int, optional
        Draw so many classes from each row, independently and with replacement; by default one.
    axis : int, default -1
        The axis that the classes lie on.
    where : array_like of bool, optional
        Broadcasts to `logits`. A class where it is False takes no part, whatever its logit holds.
    temperature : array_like, default 1.0
        T, by which the logits are divided: a number, or an array that broadcasts against `logits`
        with `axis` reduced to 1. 0 draws the maximum (of several, each is as likely), inf any
        class but those of -inf.
    top_k : int, optional
        Draw from the `top_k` largest logits, and from those that tie with the last of them.
    top_p : float, optional
        Draw from the smallest set of classes whose probabilities add up to `top_p` or more: the
        most likely ones and, of those that tie for the last places, the first. In (0, 1].
    min_p : float, optional
        Draw from the classes that are at least `min_p` times as likely as the likeliest one. In
        [0, 1].
    rng : numpy.random.Generator or int, optional
        Where the random numbers come from: a generator, a seed for a new one, or by default a new
        one that differs each time.

    Returns
    -------
    ndarray of int64, or NumPy scalar
        Indices along `axis`. Of the shape of `logits` without `axis`, behind the axes of `size` if
        that was given; a scalar where the result is 0-d.

    Raises
    ------
    numpy.exceptions.AxisError
        If `axis` is out of bounds.
    TypeError, ValueError
        If an argument is of a wrong kind, shape or value, or a row has no distribution: it holds
        a NaN or several +inf, is -inf throughout, is left out by `where`, or is empty. Nothing has
        been drawn then.

    See Also
    --------
    softmax : The probabilities.

    Notes
    -----
    The temperature comes first, then `top_k`, `top_p` and `min_p`, each seeing what the one before
    it left, as in the libraries for language models. A class of -inf is never drawn; one of +inf,
    always.

    A draw is the inverse of the cumulative distribution in float64 at a uniform random number. No
    sum has to be 1, which is where float32 probabilities fail in `numpy.random`. Probabilities
    are right to 2e-16: that is the grain of the random number. A draw takes one number from `rng`,
    row by row, all draws of one row before the next, whatever the other arguments are. So a seed
    gives the same classes however the rows are cut into blocks, and the first rows' stay when
    others are appended.

    Memory is the result's and a few MB, or some float64 copies of one row if that is longer.

    Tensors that need a gradient, JAX and array-API arrays are copied to the host, and the classes
    come back as such an array, on the device of `logits`: int64, JAX's default integer. Traced
    logits have no values to draw from.

    References
    ----------
    .. [1] A. Holtzman et al., "The curious case of neural text degeneration", ICLR 2020, for
       `top_p`; M. N. Nguyen et al., "Turning up the heat: min-p sampling for creative and coherent
       LLM outputs", ICLR 2025, for `min_p`.

    Examples
    --------
    >>> import numpy as np
    >>> from stablesoftmax import sample
    >>> logits = np.log([[0.2, 0.8], [0.5, 0.5]])
    >>> sample(logits, temperature=0, rng=1)[0]
    np.int64(1)
    >>> np.bincount(sample(logits[0], 10_000, rng=1))
    array([1999, 8001])
    >>> sample(logits, (2, 3), rng=1).shape
    (2, 3, 2)
    >>> sample([3.0, 2.0, 1.0, -np.inf], 5, top_k=1)
    array([0, 0, 0, 0, 0])
    """
    call = validate(
        logits,
        size,
        axis,
        where=where,
        temperature=temperature,
        top_k=top_k,
        top_p=top_p,
        min_p=min_p,
        rng=rng,
    )
    rows = normalise(call)
    draws = run(rows)
    return wrap(draws, rows)
