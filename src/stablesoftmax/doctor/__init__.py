"""The doctor: which cause made the NaN, at which place, and how to mend it.

`run` and `watch` look at a program while it runs, `check` at its source, `diagnose` at arrays,
`trace` at one row, `audit` at a softmax of yours, `Monitor` at a training. All of them report
causes of one catalogue, `CAUSES`.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .auditing import audit
    from .auditing.assertions import assert_sound
    from .causes import CAUSES, Cause
    from .checking import check
    from .diagnosis import diagnose
    from .findings import Finding
    from .monitoring import Monitor
    from .reporting import Report
    from .running import run, watch
    from .tracing import trace

__all__ = [
    "CAUSES",
    "Cause",
    "Finding",
    "Monitor",
    "Report",
    "assert_sound",
    "audit",
    "check",
    "diagnose",
    "run",
    "trace",
    "watch",
]

# Loaded when asked for: a script under `run` does not wait for the auditor.
_HOMES = {
    "CAUSES": "causes",
    "Cause": "causes",
    "Finding": "findings",
    "Monitor": "monitoring",
    "Report": "reporting",
    "assert_sound": "auditing.assertions",
    "audit": "auditing",
    "check": "checking",
    "diagnose": "diagnosis",
    "run": "running",
    "trace": "tracing",
    "watch": "running",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f".{_HOMES[name]}", __name__), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
