"""What is wrong with arrays at hand: logits, probabilities, labels, masks, gradients, weights."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .arrays import as_array, overflow_of_exp, summary
from .findings import Finding, Severity
from .reporting import Report

__all__ = ["diagnose"]

_BLOCK = 1 << 18  # elements of rows that are looked at together
_FIRST = 5  # indices that a finding names
# What makes the others appear comes first.
_ORDER = (
    "SMX015", "SMX020", "SMX014", "SMX010", "SMX007", "SMX002", "SMX008", "SMX009", "SMX024",
    "SMX004", "SMX019", "SMX018", "SMX016", "SMX001", "SMX003", "SMX021",
)  # fmt: skip
_SEVERITIES: dict[Severity, int] = {"error": 0, "warning": 1, "info": 2}

Tree = ArrayLike | Mapping[str, ArrayLike] | Sequence[ArrayLike]


def diagnose(
    logits: ArrayLike | None = None,
    *,
    probs: ArrayLike | None = None,
    labels: ArrayLike | None = None,
    mask: ArrayLike | None = None,
    grads: Tree | None = None,
    weights: Tree | None = None,
    axis: int = -1,
) -> Report:
    """Look for causes of NaN, and of wrong results without one, in arrays.

    Parameters
    ----------
    logits : array_like, optional
        What goes into a softmax.
    probs : array_like, optional
        What came out of one.
    labels : array_like of int, optional
        Classes, of the shape of `logits` (or `probs`) without `axis`. -100 is ignored.
    mask : array_like of bool, optional
        Broadcastable to `logits`: False takes no part.
    grads, weights : array_like, or a dict or list of them, optional
        Gradients and weights, by layer.
    axis : int, default -1
        The axis of the classes.

    Returns
    -------
    Report
        The root cause first. It is `ok` where nothing is an error or a warning: what only the
        textbook's expression would spoil, or slows learning, is "info".

    Raises
    ------
    TypeError, ValueError
        If an argument is no array of numbers, or `axis` or a shape does not fit.

    Notes
    -----
    Nothing is changed. Logits are read once, in blocks that stay in the caches; a third of the
    speed of memory and a few MB are what it takes.

    Examples
    --------
    >>> import numpy as np
    >>> from stablesoftmax import doctor
    >>> report = doctor.diagnose([[1.0, 2.0], [np.nan, 3.0]])
    >>> print(report.findings[0])
    SMX015 bad-input, error: logits holds 1 NaN, first at [1, 0]
    >>> doctor.diagnose(np.random.default_rng(0).standard_normal((4, 10))).ok
    True
    """
    found: list[Finding] = []
    x = None if logits is None else _array(logits, "logits")
    p = None if probs is None else _array(probs, "probs")
    taken = None if mask is None else _mask(mask, x if x is not None else p)
    if x is not None:
        found += _of_logits(x, taken, _axis(axis, x, "logits"))
    if p is not None:
        found += _of_probabilities(p, _axis(axis, p, "probs"))
    scores = x if x is not None else p
    if labels is not None:
        found += _of_labels(_array(labels, "labels"), scores, p, axis)
    if grads is not None:
        found += _of_gradients(_layers(grads, "grads"))
    if weights is not None:
        found += _of_weights(_layers(weights, "weights"))
    found.sort(key=lambda f: (_SEVERITIES[f.severity], _ORDER.index(f.code)))
    return Report(found, tool="diagnose")


def _array(value: Any, name: str) -> NDArray[Any]:
    array = as_array(value)
    if array is None:
        try:
            array = np.asarray(value)
        except ValueError as error:
            raise ValueError(f"{name} must be rectangular: {error}") from None
    if array.dtype.kind not in "biuf" and array.dtype.name != "bfloat16":
        raise TypeError(f"{name} must hold real numbers, got dtype {array.dtype}")
    return array


def _mask(value: Any, x: NDArray[Any] | None) -> NDArray[Any]:
    mask = _array(value, "mask")
    if mask.dtype != bool:
        raise TypeError(f"mask must be bool, got dtype {mask.dtype}: pass mask != 0")
    if x is None:
        return mask
    try:
        return np.broadcast_to(mask, x.shape)
    except ValueError:
        raise ValueError(f"mask of shape {mask.shape} does not broadcast to {x.shape}") from None


def _axis(axis: int, x: NDArray[Any], name: str) -> int:
    if x.ndim == 0:
        raise ValueError(f"{name} must have at least 1 dimension, got a scalar")
    if not -x.ndim <= axis < x.ndim:
        raise ValueError(f"axis must be from {-x.ndim} to {x.ndim - 1} for {name}, got {axis}")
    return axis % x.ndim


def _layers(tree: Any, name: str) -> dict[str, NDArray[Any]]:
    """The arrays of a dict or list, by name."""
    if isinstance(tree, Mapping):
        return {str(key): _array(value, f"{name}[{key!r}]") for key, value in tree.items()}
    if isinstance(tree, list | tuple) and any(as_array(p) is not None and np.ndim(p) for p in tree):
        return {str(i): _array(part, f"{name}[{i}]") for i, part in enumerate(tree)}
    return {name: _array(tree, name)}


def _first(bad: NDArray[Any]) -> list[list[int]]:
    return np.argwhere(bad)[:_FIRST].tolist()  # type: ignore[no-any-return]


# ---- logits --------------------------------------------------------------------------------------


def _of_logits(x: NDArray[Any], mask: NDArray[Any] | None, axis: int) -> Iterator[Finding]:
    if not x.size:
        return
    tops = None
    if mask is None and axis == x.ndim - 1 and x.flags.c_contiguous and x.dtype.char in "fd":
        tops = np.empty(x.shape[:-1], x.dtype).reshape(-1)  # filled in the same pass
    taken = x if mask is None else np.where(mask, x, x.dtype.type(0))
    facts = summary("logits", taken, tops)
    evidence = {"operands": [facts]}
    if facts["nan"] or facts["inf"]:
        kinds = [("nan", "NaN"), ("inf", "inf")]
        what = " and ".join(f"{facts[kind]} {name}" for kind, name in kinds if facts[kind])
        first = facts["at"]
        if facts["-inf"]:  # which masks, and may stand before
            first = _first(np.isnan(taken) | np.isposinf(taken))[0]
        message = f"logits holds {what}, first at {first}"
        yield Finding("SMX015", "error", message, {"indices": [first]}, evidence)
    if x.dtype.kind in "iu" and facts["max"] is not None:
        yield from _of_integers(x, facts)
    if x.dtype.kind == "b" or (facts["max"] is None and not facts["-inf"]):
        return
    if tops is None:
        tops = _maxima(x, mask, axis)
    batch = x.shape[:axis] + x.shape[axis + 1 :]
    yield from _of_maxima(tops.reshape(batch), x.dtype, evidence)
    yield from _double_softmax(x, axis, facts)


def _of_integers(x: NDArray[Any], facts: dict[str, Any]) -> Iterator[Finding]:
    limits = np.iinfo(x.dtype)
    wraps = x.dtype.kind == "u" or facts["max"] - facts["min"] > limits.max
    if wraps and facts["max"] > facts["min"]:
        message = f"x - max(x) of {x.dtype} wraps around: convert before subtracting"
        yield Finding("SMX010", "info", message, {}, {"operands": [facts]})


def _maxima(x: NDArray[Any], mask: NDArray[Any] | None, axis: int) -> NDArray[Any]:
    """The maximum of each row, what is masked being -inf."""
    moved = np.moveaxis(x, axis, -1)
    tops = np.empty(moved.shape[:-1], np.float32 if x.dtype.itemsize <= 2 else np.float64)
    flat, rows = tops.reshape(-1), max(1, _BLOCK // max(moved.shape[-1], 1))
    moved_mask = None if mask is None else np.moveaxis(mask, axis, -1)
    for start in range(0, flat.size, rows):
        stop = min(start + rows, flat.size)
        block = _slab(moved, start, stop)
        if moved_mask is not None:
            block = np.where(_slab(moved_mask, start, stop), block.astype(tops.dtype), -np.inf)
        with np.errstate(all="ignore"):
            flat[start:stop] = block.max(axis=-1)
    return tops


def _of_maxima(
    tops: NDArray[Any], dtype: np.dtype[Any], evidence: dict[str, Any]
) -> Iterator[Finding]:
    """What the textbook's expression would make of rows with these maxima."""
    empty = np.isneginf(tops)
    if empty.any():
        message = f"{int(empty.sum())} of {tops.size} rows are -inf or masked out throughout"
        yield Finding("SMX014", "error", message, {"indices": _first(empty)}, evidence)
    finite = tops[np.isfinite(tops)]
    if not finite.size:
        return
    dtype = np.dtype(np.float64) if dtype.kind in "iu" else dtype
    limit = overflow_of_exp(np.dtype(np.float32) if dtype.kind == "V" else dtype)
    lowest = {2: -17.3, 4: -103.9}.get(4 if dtype.kind == "V" else dtype.itemsize, -745.1)
    high, low = float(finite.max()), float(finite.min())
    code = "SMX016" if dtype == np.float16 else "SMX001"
    at_high, at_low = {"indices": _first(tops == high)}, {"indices": _first(tops == low)}
    if high > limit:
        message = (
            f"the textbook's exp overflows: logits reach {high:.5g}, {dtype} ends at {limit:.5g}"
        )
        yield Finding(code, "info", message, at_high, evidence)
    elif low < lowest:
        message = f"the textbook's exp of a whole row is 0: its maximum is {low:.5g}"
        yield Finding(code, "info", message, at_low, evidence)
    if high - low > -lowest:
        message = f"row maxima lie {high - low:.5g} apart: a shared one would underflow rows"
        yield Finding("SMX003", "info", message, at_low, evidence)
    if high > 1000:
        message = f"logits reach {high:.4g}: a layer of a usual scale gives tens"
        yield Finding("SMX018", "info", message, at_high, evidence)


def _slab(moved: NDArray[Any], start: int, stop: int) -> NDArray[Any]:
    """Rows start to stop, counted over all axes but the last."""
    if moved.flags.c_contiguous:
        return moved.reshape(-1, moved.shape[-1])[start:stop]
    index = np.unravel_index(np.arange(start, stop), moved.shape[:-1])
    return np.asarray(moved[index])  # a copy


def _double_softmax(x: NDArray[Any], axis: int, facts: dict[str, Any]) -> Iterator[Finding]:
    """Logits that are probabilities: none negative, and every row adds up to 1."""
    count = x.shape[axis]
    if count < 2 or x.dtype.kind != "f" or facts["min"] is None:
        return
    if facts["min"] < 0 or facts["max"] > 1 or facts["-inf"] or facts["nan"] or facts["inf"]:
        return
    sums = x.sum(axis=axis, dtype=np.float64)
    if (abs(sums - 1) < _tolerance(x.dtype, count)).all():
        message = "logits are probabilities: none is negative, and every row sums to 1"
        yield Finding(
            "SMX009", "warning", message, {"indices": [[0] * sums.ndim]}, {"operands": [facts]}
        )


def _tolerance(dtype: np.dtype[Any], count: int) -> float:
    eps = {2: 2**-8 if dtype.kind == "V" else 2**-10, 4: 2**-23}.get(dtype.itemsize, 2**-52)
    return float(max(8 * eps, 4 * eps * np.sqrt(count)))


# ---- probabilities -------------------------------------------------------------------------------


def _of_probabilities(p: NDArray[Any], axis: int) -> Iterator[Finding]:
    if not p.size:
        return
    facts = summary("probs", p)
    evidence: dict[str, Any] = {"operands": [facts]}
    if facts["nan"] or facts["inf"] or facts["-inf"]:
        odd = facts["nan"] + facts["inf"] + facts["-inf"]
        message = f"probs holds {odd} NaN or infinities, first at {facts['at']}"
        yield Finding("SMX015", "error", message, {"indices": [facts["at"]]}, evidence)
        return
    if facts["min"] < 0 or facts["max"] > 1 + _tolerance(p.dtype, 1):
        message = f"probs lie from {facts['min']:.4g} to {facts['max']:.4g}, not from 0 to 1"
        yield Finding("SMX024", "error", message, {}, evidence)
        return
    sums = p.sum(axis=axis, dtype=np.float64)
    off = abs(sums - 1) > _tolerance(p.dtype, p.shape[axis])
    if off.any():
        yield _wrong_sums(p, axis, sums, off, evidence)
        return
    tops = p.max(axis=axis)
    share = float((tops == 1).mean())
    if p.shape[axis] > 1 and share > 0.5:
        message = f"{share:.0%} of the rows have all probability on one class: they no longer learn"
        yield Finding("SMX021", "info", message, {"indices": _first(tops == 1)}, evidence)


def _wrong_sums(
    p: NDArray[Any], axis: int, sums: NDArray[Any], off: NDArray[Any], evidence: dict[str, Any]
) -> Finding:
    where = {"indices": _first(off)}
    evidence = {**evidence, "sums": [float(sums.min()), float(sums.max())]}
    for other in range(p.ndim):
        if other != axis:
            along = p.sum(axis=other, dtype=np.float64)
            if (abs(along - 1) <= _tolerance(p.dtype, p.shape[other])).all():
                message = f"probs sum to 1 along axis {other}, not along axis {axis}"
                return Finding("SMX007", "error", message, where, evidence)
    if p.ndim > 1 and abs(float(p.sum(dtype=np.float64)) - 1) <= _tolerance(p.dtype, p.size):
        return Finding(
            "SMX007", "error", "probs sum to 1 over all axes, not over rows", where, evidence
        )
    worst = float(abs(sums - 1).max())
    if worst < 1e-2:
        message = f"rows of probs sum to 1 within {worst:.1e} only: an epsilon, or a clip"
        return Finding("SMX008", "warning", message, where, evidence)
    if sums.min() == 0:
        rows = int((sums == 0).sum())
        message = f"{rows} of {sums.size} rows of probs are 0 throughout"
        return Finding("SMX014", "warning", message, where, evidence)
    message = f"rows of probs sum to {sums.min():.4g} to {sums.max():.4g}, not to 1"
    return Finding("SMX002", "error", message, where, evidence)


# ---- labels --------------------------------------------------------------------------------------


def _of_labels(
    labels: NDArray[Any], scores: NDArray[Any] | None, p: NDArray[Any] | None, axis: int
) -> Iterator[Finding]:
    evidence = {"operands": [summary("labels", labels)]}
    if labels.dtype.kind == "f" and scores is not None and labels.shape == scores.shape:
        return  # probabilities
    if labels.dtype.kind not in "iu":
        message = f"labels must be integers, they are {labels.dtype}"
        yield Finding("SMX020", "error", message, {}, evidence)
        return
    if scores is None:
        return
    axis %= scores.ndim
    batch = scores.shape[:axis] + scores.shape[axis + 1 :]
    if labels.shape != batch:
        message = f"labels have shape {labels.shape}, one a row would be {batch}"
        yield Finding("SMX020", "error", message, {}, evidence)
        return
    ignored, count = labels == -100, scores.shape[axis]
    if labels.size and ignored.all():
        yield Finding(
            "SMX020", "error", "all labels are ignored: a mean over none is 0 / 0", {}, evidence
        )
        return
    bad = ~ignored & ((labels < 0) | (labels >= count))
    if bad.any():
        one_based = labels[~ignored].min() == 1 and labels.max() == count
        hint = ": they are counted from 1" if one_based else ""
        message = f"{int(bad.sum())} labels lie outside 0 to {count - 1}{hint}"
        yield Finding("SMX020", "error", message, {"indices": _first(bad)}, evidence)
        return
    if p is not None and p.size and labels.size:
        places = np.expand_dims(np.where(ignored, 0, labels), axis)
        chosen = np.take_along_axis(p, places, axis).reshape(batch)
        lost = ~ignored & (chosen == 0)
        if lost.any():
            message = (
                f"the label's probability is 0 in {int(lost.sum())} rows: its logarithm is -inf"
            )
            yield Finding("SMX004", "error", message, {"indices": _first(lost)}, evidence)


# ---- gradients and weights -----------------------------------------------------------------------


def _of_gradients(layers: Mapping[str, NDArray[Any]]) -> Iterator[Finding]:
    norms = {}
    for name, gradient in layers.items():
        facts = summary(name, gradient)
        where = {"layer": name}
        if facts["nan"] or facts["inf"] or facts["-inf"]:
            odd = facts["nan"] + facts["inf"] + facts["-inf"]
            message = (
                f"the gradient of {name} holds {odd} NaN or infinities: clipping cannot mend it"
            )
            yield Finding(
                "SMX019",
                "error",
                message,
                {**where, "indices": [facts["at"]]},
                {"operands": [facts]},
            )
        elif gradient.size and facts["max"] is not None:
            largest = max(abs(facts["min"]), abs(facts["max"]), 1e-300)
            scaled = gradient.astype(np.float64) / largest
            norms[name] = largest * float(np.sqrt(np.mean(scaled * scaled)))
    for name, norm in norms.items():
        others = [value for other, value in norms.items() if other != name and value > 0]
        if norm > 1e4 or (others and norm > 1 and norm > 1e4 * float(np.median(others))):
            message = f"the gradient of {name} is {norm:.3g} an element"
            yield Finding("SMX019", "warning", message, {"layer": name}, {"norms": norms})


def _of_weights(layers: Mapping[str, NDArray[Any]]) -> Iterator[Finding]:
    for name, weight in layers.items():
        facts = summary(name, weight)
        where = {"layer": name}
        if facts["nan"] or facts["inf"] or facts["-inf"]:
            message = f"{name} holds NaN or infinities, first at {facts['at']}"
            at = {**where, "indices": [facts["at"]]}
            yield Finding("SMX015", "error", message, at, {"operands": [facts]})
            continue
        if weight.ndim < 2 or weight.dtype.kind != "f" or min(weight.shape) < 2:
            continue  # biases, gains, single rows: no layer's product
        fan_in, fan_out = int(np.prod(weight.shape[:-1])), weight.shape[-1]
        with np.errstate(all="ignore"):
            deviation = float(weight.std(dtype=np.float64))
        usual = {"LeCun": fan_in**-0.5, "He": (2 / fan_in) ** 0.5}
        usual["Glorot"] = (2 / (fan_in + fan_out)) ** 0.5
        told = ", ".join(f"{key} {value:.3g}" for key, value in usual.items())
        evidence = {"operands": [facts], "deviation": deviation, "usual": usual}
        # Layers are kept as (in, out) and as (out, in): the wider of the two is allowed for.
        widest = (2 / min(fan_in, fan_out)) ** 0.5
        embeds = "emb" in name.lower() or (max(weight.shape) >= 5000 and deviation < 1.5)
        if deviation == 0:
            message = f"{name} is constant: all units compute, and learn, the same"
            yield Finding("SMX018", "warning", message, where, evidence)
        elif deviation > 2 * widest and not embeds:
            gain = deviation * fan_in**0.5
            message = f"{name} has deviation {deviation:.3g} ({told}), a gain of {gain:.3g}"
            yield Finding("SMX018", "warning", message, where, evidence)
