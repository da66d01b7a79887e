"""`Monitor`: a training watched step by step, warned of before its NaN or without one."""

import math
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from statistics import median
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..functions import logsumexp
from ..information import entropy
from .arrays import as_array, overflow_of_exp
from .diagnosis import diagnose
from .findings import Finding
from .reporting import Report

__all__ = ["Frame", "Monitor"]

_LINES = {"float16": 65504.0, "float32": 3.4e38}  # where the logits themselves overflow
_MASKED = -1e4  # logits below are taken for masked ones
_LARGE = (
    50.0  # e^50 times more probable: no first step has reason for it, nor a sound step for more
)
_JUMP = 100.0  # of a gradient's norm, against the median of its last frames
_EARLY = 5  # steps in which the bounds of a loss are narrow enough to tell
_SEVERITIES = ("error", "warning", "info")


class Frame(NamedTuple):
    """One step in numbers; None for a loss, and NaN for logits, that were not given."""

    step: int
    low: float  # of the logits
    high: float
    entropy: float  # of the rows' softmax, in nats: the mean
    loss: float | None
    grads: dict[str, float]  # norms
    weights: dict[str, float]

    @property
    def reach(self) -> float:
        """The largest logit by size; masked ones do not count."""
        return max(self.high, -self.low) if self.low > _MASKED else self.high


class Monitor:
    """Watch a training: call `step` once a step.

    It tells growth from a sudden overflow, projects the step at which a dtype overflows, and sees
    first weights of a wrong scale, a rate that is too large, probabilities that are normalised over
    the batch, and gradients that jump; on the first NaN or infinity it says where it began.

    Parameters
    ----------
    frames : int, default 21
        How many of the last steps are kept, at least 8.
    axis : int, default -1
        The axis of the classes.
    every : int, default 20
        After the first `frames` steps, the arrays are looked at in every twentieth, and in any
        whose loss is not finite: a look costs some 100 µs and a pass over each array.

    Examples
    --------
    >>> import numpy as np
    >>> from stablesoftmax import doctor
    >>> monitor = doctor.Monitor()
    >>> for step in range(40):
    ...     logits = 2.0**step * np.array([[1.0, -1.0, 0.5]])
    ...     for finding in monitor.step(logits=logits):
    ...         print(finding.where["step"], finding.code, finding.name)
    7 SMX017 divergence
    """

    def __init__(self, *, frames: int = 21, axis: int = -1, every: int = 20) -> None:
        if not isinstance(frames, int) or frames < 8:
            raise ValueError(f"frames must be an int of at least 8, got {frames!r}")
        if not isinstance(axis, int) or isinstance(axis, bool):
            raise TypeError(f"axis must be an int, got {axis!r}")
        if not isinstance(every, int) or every < 1:
            raise ValueError(f"every must be an int of at least 1, got {every!r}")
        self._axis, self._every, self._whole = axis, every, frames
        self._frames: deque[Frame] = deque(maxlen=frames)
        self._steps = 0
        self._first_loss = 0.0
        self._findings: list[Finding] = []
        self._told: set[tuple[str, Any]] = set()
        self._broken = False

    @property
    def frames(self) -> tuple[Frame, ...]:
        """The last steps that were looked at."""
        return tuple(self._frames)

    def step(
        self,
        *,
        logits: Any = None,
        loss: Any = None,
        grads: Any = None,
        weights: Any = None,
    ) -> list[Finding]:
        """Take in one step, and return what is new.

        Parameters
        ----------
        logits : array, optional
            The batch's logits, of any shape: NumPy's, torch's or JAX's array.
        loss : number, optional
            The batch's mean loss.
        grads, weights : array, or list or dict of arrays, optional
            One for each layer, in the order of the layers.

        Returns
        -------
        list of Finding
            Mostly empty: each cause is told once, of a layer once.

        Raises
        ------
        TypeError
            If something is given that holds no numbers.
        """
        value = _mean_loss(loss)
        sound = value is None or math.isfinite(value)
        if self._steps >= self._whole and self._steps % self._every and sound:
            self._steps += 1
            return []
        x = None if logits is None else _numbers(logits, "logits")
        gradients, layers = _layers(grads, "grads"), _layers(weights, "weights")
        with np.errstate(all="ignore"):
            frame = self._frame(x, value, gradients, layers)
            self._frames.append(frame)
            if not self._steps:
                self._first_loss = frame.loss or 0.0
            self._steps += 1
            found = list(self._judge(frame, x, layers))
        new = []
        for finding in found:
            key = (finding.code, finding.where.get("layer"))
            if key not in self._told:
                self._told.add(key)
                new.append(finding)
        self._findings += new
        return new

    def report(self) -> Report:
        """Return all that was found, the root cause first.

        Returns
        -------
        Report
            Its page and `plot()` show the kept steps: the logits against the lines of overflow, the
            entropy, the norms of the gradients.
        """
        findings = sorted(self._findings, key=lambda f: _SEVERITIES.index(f.severity))
        return Report(findings, tool="monitor", notes=[f"{self._steps} steps were watched"])

    def _frame(
        self,
        x: NDArray[Any] | None,
        loss: float | None,
        grads: Mapping[str, NDArray[Any]],
        weights: Mapping[str, NDArray[Any]],
    ) -> Frame:
        low = high = uncertainty = math.nan
        if x is not None and x.size:
            low, high = float(x.min()), float(x.max())
            uncertainty = float(np.mean(entropy(x, axis=self._axis)))
        gradients = {name: _norm(a) for name, a in grads.items()}
        layers = {name: _norm(a) for name, a in weights.items()}
        return Frame(self._steps, low, high, uncertainty, loss, gradients, layers)

    # ---- the rules ---------------------------------------------------------------------------

    def _judge(
        self, frame: Frame, x: NDArray[Any] | None, weights: Mapping[str, NDArray[Any]]
    ) -> Iterator[Finding]:
        given = x is not None and x.size > 0
        if self._broken:
            return
        broken = self._first_broken(frame, x)
        if broken is not None:
            self._broken = True
            yield broken
        if frame.step == 0:
            yield from self._scale(frame, weights)
        if broken is not None:
            return
        if x is not None and given:
            if frame.step < _EARLY and frame.loss is not None:
                yield from self._other_axis(frame.loss, x)
            yield from self._growth()
        yield from self._rising_loss(x)
        yield from self._jump(frame)

    def _finding(self, code: str, severity: Any, message: str, **where: Any) -> Finding:
        step = self._frames[-1].step
        frames = [frame._asdict() for frame in self._frames]
        return Finding(code, severity, message, {"step": step, **where}, {"frames": frames})

    def _first_broken(self, frame: Frame, x: NDArray[Any] | None) -> Finding | None:
        """What is first not finite, in the order in which a step computes it."""
        for name, norm in frame.weights.items():
            if not math.isfinite(norm):
                return self._lost(f"{name} is", layer=name)
        if x is not None and x.size and not (frame.low == frame.low and frame.high < math.inf):
            return self._lost("the logits are")
        if frame.loss is not None and not math.isfinite(frame.loss):
            return self._lost_loss(frame, x)
        bad = [name for name, norm in frame.grads.items() if not math.isfinite(norm)]
        if bad:  # the way back begins at the last layer
            message = f"the gradient of {bad[-1]} is not finite at step {frame.step}, the loss is"
            return self._finding("SMX019", "error", message, layer=bad[-1])
        return None

    def _lost(self, what: str, **where: Any) -> Finding:
        """Say that weights or logits are lost: by growth, or at once."""
        step, before = self._frames[-1].step, list(self._frames)[:-1]
        rate = _rate(before)
        if rate > 0:
            grew = f"the logits grew {math.exp(rate):.3g} times a step"
            message = f"{what} not finite at step {step}: {grew}"
            return self._finding("SMX017", "error", message, **where)
        reached = f", a step before the logits reached {before[-1].reach:.4g}" if before else ""
        message = f"{what} not finite at step {step}{reached}: look at what came in"
        return self._finding("SMX015", "error", message, **where)

    def _lost_loss(self, frame: Frame, x: NDArray[Any] | None) -> Finding:
        """The loss is lost and the logits are not: which softmax does that to them."""
        if x is None or not x.size:
            return self._finding(
                "SMX015", "error", f"the loss is {frame.loss} at step {frame.step}"
            )
        dtype = x.dtype if x.dtype.kind == "f" else np.dtype(np.float64)
        over = overflow_of_exp(dtype)
        under = {2: 17.33, 4: 103.97}.get(dtype.itemsize, 745.13)
        tops = x.max(axis=self._axis)
        apart, span = float(tops.max() - tops.min()), frame.high - frame.low
        shifted = any(f.high > over for f in list(self._frames)[:-1])  # and the loss was a number
        if frame.loss == math.inf and span > under:
            code, why = "SMX004", f"the logits span {span:.4g}; exp is 0 below -{under:g}"
        elif frame.high > over and not shifted:
            code, why = (
                "SMX001",
                f"the logits reach {frame.high:.4g}; exp overflows above {over:.5g}",
            )
        elif apart > under:
            code, why = "SMX003", f"a row lies {apart:.4g} below another; exp is 0 below -{under:g}"
        elif float(tops.min()) < -under and not shifted:
            code, why = "SMX001", f"a row lies below {tops.min():.4g}; exp is 0 below -{under:g}"
        else:
            code, why = "SMX015", "the logits are in reach: look at labels and weights"
        message = f"the loss is {frame.loss} at step {frame.step}: {why} in {dtype}"
        return self._finding(code, "error", message)

    def _scale(self, frame: Frame, weights: Mapping[str, NDArray[Any]]) -> Iterator[Finding]:
        if frame.reach > _LARGE:
            message = (
                f"the logits reach {frame.reach:.4g} at the first step, where about 1 is usual"
            )
            yield self._finding("SMX018", "warning", message)
        if weights:
            for found in diagnose(weights=dict(weights)).findings:
                if found.code == "SMX018":
                    layer = found.where.get("layer")
                    yield self._finding("SMX018", found.severity, found.message, layer=layer)

    def _growth(self) -> Iterator[Finding]:
        frames = list(self._frames)
        rate, now = _rate(frames), frames[-1].reach
        if not rate > 0 or now <= _LARGE:
            return
        lines = {f"{dtype} itself": line for dtype, line in _LINES.items()}
        lines |= {"exp in float32": 88.72, "exp in float64": 709.78}
        ahead = sorted((line, name) for name, line in lines.items() if line > now)
        steps = [
            f"{name} at step {frames[-1].step + math.ceil(math.log(line / now) / rate)}"
            for line, name in ahead
        ]
        message = (
            f"the logits reach {now:.4g} and grow {math.exp(rate):.3g} times a step; at that rate "
            f"they overflow {', '.join(steps)}"
        )
        yield self._finding("SMX017", "warning", message)

    def _rising_loss(self, x: NDArray[Any] | None) -> Iterator[Finding]:
        """Five losses in a row far above the first, and above that of knowing nothing."""
        losses = [frame.loss for frame in self._frames if frame.loss is not None][-5:]
        classes = x.shape[self._axis] if x is not None and x.ndim else 1
        usual = max(self._first_loss, math.log(classes), 0.1)
        if len(losses) == 5 and self._steps > 5 and min(losses) > 3 * usual:
            message = (
                f"the loss is {losses[-1]:.4g}, and was {self._first_loss:.4g} at first: the "
                "learning rate, or the momentum, is too large"
            )
            yield self._finding("SMX017", "warning", message)

    def _other_axis(self, loss: float, x: NDArray[Any]) -> Iterator[Finding]:
        """Whether the loss can be the cross-entropy of these logits by rows, or only by columns.

        Whatever the labels, -log p lies between logsumexp(x) - max(x) and logsumexp(x) - min(x).
        """
        if x.ndim != 2 or x.shape[0] == x.shape[1] or min(x.shape) < 2 or x.dtype.kind != "f":
            return
        x = (x if self._axis in (1, -1) else x.T).astype(np.float64)
        slack = 1e-3 * (1 + abs(loss))

        def fits(costs: NDArray[Any]) -> bool:
            low, high = float(costs.min(axis=1).mean()), float(costs.max(axis=1).mean())
            return any(low - slack <= v <= high + slack for v in (loss, loss / len(x)))

        rows = np.asarray(logsumexp(x, axis=1, keepdims=True)) - x
        if not np.isfinite(rows).all() or fits(rows):
            return
        for over, axis in (("the batch", 0), ("all axes", None)):
            if fits(np.asarray(logsumexp(x, axis=axis, keepdims=True)) - x):
                message = (
                    f"the loss of {loss:.4g} cannot be that of these logits by rows; it can be "
                    f"that of probabilities that are normalised over {over}"
                )
                yield self._finding("SMX007", "error", message)
                return

    def _jump(self, frame: Frame) -> Iterator[Finding]:
        earlier = list(self._frames)[:-1]
        if len(earlier) < 5:
            return
        for name, norm in frame.grads.items():
            if not (norm > 1 and norm > _JUMP * earlier[-1].grads.get(name, math.inf)):
                continue
            usual = median(f.grads.get(name, math.inf) for f in earlier)
            if norm > _JUMP * usual:
                message = (
                    f"the gradient of {name} jumped to {norm:.3g} at step {frame.step}, from about "
                    f"{usual:.3g}: clip its norm"
                )
                yield self._finding("SMX019", "warning", message, layer=name)


def _rate(frames: Sequence[Frame]) -> float:
    """The logarithm of the logits' growth a step; 0 unless they doubled, and grew before that."""
    if len(frames) < 8:
        return 0.0
    first, half, last = frames[0].reach, frames[len(frames) // 2].reach, frames[-1].reach
    if not (0 < 1.5 * first <= half and 2 * half <= last < math.inf):
        return 0.0
    return math.log(last / half) / (frames[-1].step - frames[len(frames) // 2].step)


def _mean_loss(loss: Any) -> float | None:
    if loss is None or isinstance(loss, float):  # np.float64 is one: most steps end with this
        return loss
    return float(_numbers(loss, "loss").mean())


def _norm(a: NDArray[Any]) -> float:
    """The Euclidean norm; NaN or inf only where an element is."""
    flat = a.reshape(-1)
    if flat.dtype.itemsize < 4 or flat.dtype.kind != "f":
        flat = flat.astype(np.float64)
    norm = math.sqrt(float(np.dot(flat, flat)))
    if norm == math.inf:  # 1e200 squared
        largest = float(np.abs(flat).max())
        scaled = flat.astype(np.float64) / largest
        norm = largest if largest == math.inf else largest * math.sqrt(float(scaled @ scaled))
    return norm


def _numbers(value: Any, name: str) -> NDArray[Any]:
    array = as_array(value)
    if array is None or array.dtype.kind not in "biufV":
        raise TypeError(f"{name} must be an array or a number, got {type(value).__name__}")
    return array.astype(np.float32) if array.dtype.kind == "V" else array


def _layers(tree: Any, name: str) -> dict[str, NDArray[Any]]:
    if tree is None:
        return {}
    if isinstance(tree, Mapping):
        return {str(key): _numbers(a, f"{name}[{key!r}]") for key, a in tree.items()}
    if isinstance(tree, Sequence) and not isinstance(tree, str | bytes):
        return {f"{name}[{i}]": _numbers(a, f"{name}[{i}]") for i, a in enumerate(tree)}
    return {name: _numbers(tree, name)}
