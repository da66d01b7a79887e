"""Tell of each line of the user's files when it is done, and of what a function returns.

By `sys.monitoring` from Python 3.12 on, which leaves the lines of libraries at full speed; else by
`sys.settrace`.
"""

import sys
import threading
from collections.abc import Callable
from types import CodeType, FrameType
from typing import Any, Protocol

from .sources import is_library

__all__ = ["Lines", "lines"]

Done = Callable[[FrameType, int], None]
Returned = Callable[[FrameType, int, Any], None]


class Lines(Protocol):
    def start(self, frame: FrameType) -> None:
        """Tell of what is called from now on, and of the frame that asked for it."""

    def stop(self) -> None:
        """Tell of nothing more."""


def lines(done: Done, returned: Returned) -> Lines:
    """The better way that this Python has, if no other tool is in it.

    Parameters
    ----------
    done : callable
        Called with a frame and the number of its line that is done.
    returned : callable
        Called with a frame, its last line, and the value that it returns.
    """
    if sys.version_info >= (3, 12):
        free = (tool for tool in range(6) if sys.monitoring.get_tool(tool) is None)
        tool = next((tool for tool in free if tool not in _RESERVED), None)
        if tool is not None:
            return _Monitored(tool, done, returned)
    return _Traced(done, returned)


_RESERVED = (0, 1, 2, 5)  # by sys.monitoring: for debuggers, coverage, profilers, optimisers


class _Traced:
    def __init__(self, done: Done, returned: Returned) -> None:
        self._done, self._returned = done, returned
        self._before: Any = None

    def start(self, frame: FrameType) -> None:
        self._before = sys.gettrace()
        frame.f_trace = self._follow(frame)
        threading.settrace(self._call)
        sys.settrace(self._call)

    def stop(self) -> None:
        threading.settrace(None)
        sys.settrace(self._before)

    def _call(self, frame: FrameType, event: str, _: Any) -> Any:
        return None if is_library(frame.f_code.co_filename) else self._follow(frame)

    def _follow(self, frame: FrameType) -> Any:
        """A local trace function, which remembers the line that it is at."""
        at, done, returned = frame.f_lineno, self._done, self._returned

        def follow(frame: FrameType, event: str, value: Any) -> Any:
            nonlocal at
            if event == "line":
                before, at = at, frame.f_lineno
                done(frame, before)
            elif event == "return":
                done(frame, at)
                returned(frame, at, value)
            return follow

        return follow


if sys.version_info >= (3, 12):

    class _Monitored:
        def __init__(self, tool: int, done: Done, returned: Returned) -> None:
            self._tool, self._done, self._returned = tool, done, returned
            self._at: dict[FrameType, int] = {}
            self._running = False

        def start(self, frame: FrameType) -> None:
            self._at[frame] = frame.f_lineno
            self._running = True
            monitoring, events = sys.monitoring, sys.monitoring.events
            monitoring.use_tool_id(self._tool, "stablesoftmax")
            monitoring.register_callback(self._tool, events.LINE, self._line)
            monitoring.register_callback(self._tool, events.PY_RETURN, self._return)
            monitoring.register_callback(self._tool, events.PY_UNWIND, self._unwind)
            told = events.LINE | events.PY_RETURN | events.PY_UNWIND
            monitoring.set_events(self._tool, told)

        def stop(self) -> None:
            if self._running:
                self._running = False
                sys.monitoring.set_events(self._tool, sys.monitoring.events.NO_EVENTS)
                sys.monitoring.free_tool_id(self._tool)
                self._at.clear()

        def _line(self, code: CodeType, line: int) -> Any:
            if is_library(code.co_filename):
                return sys.monitoring.DISABLE
            frame = sys._getframe(1)
            before = self._at.get(frame)
            self._at[frame] = line
            if before is not None:
                self._done(frame, before)
            return None

        def _return(self, code: CodeType, offset: int, value: Any) -> Any:
            if is_library(code.co_filename):
                return sys.monitoring.DISABLE
            frame = sys._getframe(1)
            at = self._at.pop(frame, None)
            if at is not None:
                self._done(frame, at)
                self._returned(frame, at, value)
            return None

        def _unwind(self, code: CodeType, offset: int, error: BaseException) -> None:
            self._at.pop(sys._getframe(1), None)
