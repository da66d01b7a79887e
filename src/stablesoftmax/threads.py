"""How many threads a call may use."""

from __future__ import annotations

import functools
import operator
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from . import _core

__all__ = ["get_num_threads", "num_threads", "register_threadpoolctl", "set_num_threads"]


def set_num_threads(n: int) -> None:
    """Set the largest number of threads that one call may use.

    Parameters
    ----------
    n : int
        At least 1. It holds for the whole process until it is set again. The start value is
        the number of CPUs that the process may use, or ``STABLESOFTMAX_NUM_THREADS``.

    Raises
    ------
    TypeError, ValueError
        If `n` is not an integer, or is less than 1.

    See Also
    --------
    num_threads : Sets it for a block.

    Notes
    -----
    Small arrays are computed by the calling thread whatever `n` is, and every number of threads
    gives the same bits.

    Examples
    --------
    >>> import stablesoftmax as ss
    >>> before = ss.get_num_threads()
    >>> ss.set_num_threads(1)
    >>> ss.get_num_threads()
    1
    >>> ss.set_num_threads(before)
    """
    try:
        count = operator.index(n)
    except TypeError:
        raise TypeError(f"n must be an integer of at least 1, got {n!r}") from None
    if isinstance(n, bool):
        raise TypeError(f"n must be an integer of at least 1, got {n!r}")
    if not 1 <= count < 2**31:
        raise ValueError(f"n must be at least 1 and less than 2**31, got {n!r}")
    _core.set_num_threads(count)


def get_num_threads() -> int:
    """Return the largest number of threads that one call may use.

    Returns
    -------
    int
        At least 1.

    See Also
    --------
    set_num_threads : Sets it for the process.
    num_threads : Sets it for a block.

    Examples
    --------
    >>> import stablesoftmax as ss
    >>> ss.get_num_threads() >= 1
    True
    """
    return _core.get_num_threads()


@contextmanager
def num_threads(n: int) -> Iterator[None]:
    """Set the number of threads for a ``with`` block, and put it back afterwards.

    Parameters
    ----------
    n : int
        As for `set_num_threads`.

    Yields
    ------
    None

    Notes
    -----
    The setting belongs to the process, not to the calling thread: two threads that open such
    blocks at once see each other's numbers. The results do not depend on it.

    Examples
    --------
    >>> import stablesoftmax as ss
    >>> with ss.num_threads(1):
    ...     ss.get_num_threads()
    1
    """
    before = get_num_threads()
    set_num_threads(n)
    try:
        yield
    finally:
        set_num_threads(before)


@functools.cache
def register_threadpoolctl() -> None:
    """Let threadpoolctl see and limit this package's threads, as ``user_api="stablesoftmax"``.

    It is called when this package is imported after threadpoolctl (so after scikit-learn, too);
    where threadpoolctl comes later, call it yourself. A second call does nothing.

    Examples
    --------
    >>> import stablesoftmax as ss
    >>> import threadpoolctl
    >>> ss.threads.register_threadpoolctl()
    >>> with threadpoolctl.threadpool_limits(1, user_api="stablesoftmax"):
    ...     ss.get_num_threads()
    1
    """
    import threadpoolctl

    class StableSoftmaxController(threadpoolctl.LibController):  # type: ignore[misc]
        user_api = "stablesoftmax"
        internal_api = "stablesoftmax"
        filename_prefixes = ("_core",)
        # Other packages have a _core.so too; only ours has these.
        check_symbols = ("stablesoftmax_get_num_threads", "stablesoftmax_set_num_threads")

        def get_num_threads(self) -> int:
            return get_num_threads()

        def set_num_threads(self, num_threads: int) -> None:
            set_num_threads(num_threads)

        def get_version(self) -> Any:
            from . import __version__

            return __version__

        def set_additional_attributes(self) -> None:
            self.architecture = _core.isa()

    threadpoolctl.register(StableSoftmaxController)


if "threadpoolctl" in sys.modules:
    register_threadpoolctl()
