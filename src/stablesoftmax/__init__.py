"""softmax, log_softmax and logsumexp for NumPy: never NaN by overflow, right to 2 ULP, fast."""

from typing import Any as _Any

from ._dispatch import backend_of
from .errors import UndefinedSoftmaxError
from .functions import log_softmax, logsumexp, softmax
from .gradients import (
    log_softmax_jvp,
    log_softmax_vjp,
    logsumexp_jvp,
    logsumexp_vjp,
    softmax_jvp,
    softmax_vjp,
)
from .information import entropy, kl_divergence
from .losses import cross_entropy, cross_entropy_with_grad, selected_log_softmax
from .sampling import sample
from .segments import segment_log_softmax, segment_logsumexp, segment_softmax
from .sums import logcumsumexp, logmeanexp
from .threads import get_num_threads, num_threads, set_num_threads
from .training import clip_by_global_norm, clip_by_value, initial_weights

__all__ = [
    "UndefinedSoftmaxError",
    "backend_of",
    "clip_by_global_norm",
    "clip_by_value",
    "cross_entropy",
    "cross_entropy_with_grad",
    "entropy",
    "get_num_threads",
    "initial_weights",
    "kl_divergence",
    "log_softmax",
    "log_softmax_jvp",
    "log_softmax_vjp",
    "logcumsumexp",
    "logmeanexp",
    "logsumexp",
    "logsumexp_jvp",
    "logsumexp_vjp",
    "num_threads",
    "sample",
    "segment_log_softmax",
    "segment_logsumexp",
    "segment_softmax",
    "selected_log_softmax",
    "set_num_threads",
    "softmax",
    "softmax_jvp",
    "softmax_vjp",
]

__version__: str

_LAZY = ("accuracy", "doctor", "testing")  # modules that most programs never need


def __getattr__(name: str) -> _Any:
    # The installed metadata is the one place that knows the version; reading it costs more time
    # than the rest of this import, so it waits until somebody asks.
    if name == "__version__":
        from importlib.metadata import version

        return version("stablesoftmax")
    if name in _LAZY:
        from importlib import import_module

        return import_module(f".{name}", __name__)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*__all__, *_LAZY, "__version__"])
