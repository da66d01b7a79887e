"""The doctor: which cause made the NaN, at which place, and how to mend it.

`run` and `watch` look at a program while it runs, `diagnose` at arrays, `trace` at one row, `audit`
at a softmax of yours. All of them report causes of one catalogue, `CAUSES`.
"""

from .auditing import audit
from .auditing.assertions import assert_sound
from .causes import CAUSES, Cause
from .diagnosis import diagnose
from .findings import Finding
from .reporting import Report
from .running import run, watch
from .tracing import trace

__all__ = [
    "CAUSES",
    "Cause",
    "Finding",
    "Report",
    "assert_sound",
    "audit",
    "diagnose",
    "run",
    "trace",
    "watch",
]
