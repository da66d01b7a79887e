"""What the figures were measured on."""

from __future__ import annotations

import os
import platform
from datetime import date
from pathlib import Path

CACHES = Path("/sys/devices/system/cpu/cpu0/cache")


def cpu_model() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.split(":", 1)[1].strip()
    return platform.machine()


def caches() -> list[str]:
    """As seen from CPU 0: "L1d 48K", "L2 2048K", ..."""
    found = []
    for index in sorted(CACHES.glob("index*")):
        level, kind, size = ((index / f).read_text().strip() for f in ("level", "type", "size"))
        suffix = "" if kind == "Unified" else kind[0].lower()
        found.append(f"L{level}{suffix} {size}")
    return found


def machine() -> dict[str, object]:
    return {
        "cpu": cpu_model(),
        "cpus": len(os.sched_getaffinity(0)),
        "caches": caches(),
        "memory": f"{os.sysconf('SC_PHYS_PAGES') * os.sysconf('SC_PAGE_SIZE') / 2**30:.0f} GiB",
        "load": os.getloadavg()[0],
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "date": date.today().isoformat(),
    }
