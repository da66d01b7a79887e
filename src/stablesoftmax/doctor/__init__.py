"""The doctor: which cause made the NaN, at which place, and how to mend it.

`run` and `watch` look at a program while it runs, `diagnose` at arrays, `trace` at one row. All of
them report causes of one catalogue, `CAUSES`.
"""

from .causes import CAUSES, Cause
from .diagnosis import diagnose
from .findings import Finding
from .reporting import Report
from .running import run, watch
from .tracing import trace

__all__ = ["CAUSES", "Cause", "Finding", "Report", "diagnose", "run", "trace", "watch"]
