"""Tell of each line of the user's files when it is done, and of what a function returns.

By `sys.monitoring` from Python 3.12 on, which leaves the lines of libraries at full speed; else by
`sys.settrace`. A function whose lines take less time than the telling (a loop over floats) is left
alone after a while, for a program must not take ten times as long; what it returns is still told.
"""

import sys
import threading
import time
from collections.abc import Callable
from types import CodeType, FrameType
from typing import Any, Protocol

from .sources import is_library

__all__ = ["Lines", "lines"]

Done = Callable[[FrameType, int], None]
Returned = Callable[[FrameType, int, Any], None]


class Lines(Protocol):
    pace: "_Pace"

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


class _Pace:
    """Which functions run lines too short to be told of, by one look at the clock in so many."""

    EVERY = 1 << 15
    TELLINGS = (
        2.5  # in the time from line to line, at least: then a program takes up to three times
    )

    def __init__(self, done: Done) -> None:
        self.done, self.codes = done, dict[int, CodeType]()  # a code's own hash costs a microsecond
        self._count, self._since = 0, time.perf_counter()

    def too_fast(self, frame: FrameType, line: int) -> bool:
        self._count += 1
        if self._count % self.EVERY:
            return False
        start = time.perf_counter()
        for _ in range(100):
            self.done(frame, line)
        now = time.perf_counter()
        a_line, a_telling = (start - self._since) / self.EVERY, (now - start) / 100
        self._since = now
        if a_line > self.TELLINGS * a_telling:
            return False
        self.codes[id(frame.f_code)] = frame.f_code
        return True


class _Traced:
    def __init__(self, done: Done, returned: Returned) -> None:
        self._done, self._returned, self.pace = done, returned, _Pace(done)
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
        too_fast = self.pace.too_fast
        if id(frame.f_code) in self.pace.codes:
            frame.f_trace_lines = False

        def follow(frame: FrameType, event: str, value: Any) -> Any:
            nonlocal at
            if event == "line":
                before, at = at, frame.f_lineno
                done(frame, before)
                if too_fast(frame, before):
                    frame.f_trace_lines = False
            elif event == "return":
                if frame.f_trace_lines:
                    done(frame, at)
                returned(frame, at, value)
            return follow

        return follow


if sys.version_info >= (3, 12):

    class _Monitored:
        def __init__(self, tool: int, done: Done, returned: Returned) -> None:
            self._tool, self._done, self._returned = tool, done, returned
            self.pace = _Pace(done)
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
            if id(code) in self.pace.codes or is_library(code.co_filename):
                return sys.monitoring.DISABLE
            frame = sys._getframe(1)
            before = self._at.get(frame)
            self._at[frame] = line
            if before is not None:
                self._done(frame, before)
                self.pace.too_fast(frame, before)
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
