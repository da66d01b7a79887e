"""The doctor: which cause made the NaN, at which place, and how to mend it.

`run` and `watch` look at a program while it runs, `diagnose` at arrays, `trace` at one row. All of
them report causes of one catalogue, `CAUSES`.
"""

from .causes import CAUSES, Cause
from .findings import Finding, Report
from .running import run, watch

__all__ = ["CAUSES", "Cause", "Finding", "Report", "diagnose", "run", "trace", "watch"]
