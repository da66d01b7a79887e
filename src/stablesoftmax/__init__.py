"""softmax, log_softmax and logsumexp for NumPy: never NaN by overflow, right to 2 ULP, fast."""

from .errors import UndefinedSoftmaxError
from .functions import log_softmax, logsumexp, softmax
from .roads import which
from .threads import get_num_threads, num_threads, set_num_threads
from .training import clip_by_global_norm, clip_by_value, initial_weights

__all__ = [
    "UndefinedSoftmaxError",
    "clip_by_global_norm",
    "clip_by_value",
    "get_num_threads",
    "initial_weights",
    "log_softmax",
    "logsumexp",
    "num_threads",
    "set_num_threads",
    "softmax",
    "which",
]

__version__: str


def __getattr__(name: str) -> str:
    # The installed metadata is the one place that knows the version; reading it costs more time
    # than the rest of this import, so it waits until somebody asks.
    if name == "__version__":
        from importlib.metadata import version

        return version("stablesoftmax")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
