"""What `stablesoftmax check` costs and finds: files a second of one core, in installed packages.

python benchmarks/check.py [PATH or PACKAGE ...]
"""

from __future__ import annotations

import importlib.util
import sys
from collections import Counter
from pathlib import Path
from time import process_time

from machine import machine

from stablesoftmax.doctor import check
from stablesoftmax.doctor.checking.files import found_files

PACKAGES = ("numpy", "scipy", "sklearn", "matplotlib")


def place(name: str) -> str:
    """The folder of an installed package, which is not imported; a path as it is."""
    if Path(name).exists():
        return name
    spec = importlib.util.find_spec(name)
    if spec is None or not spec.submodule_search_locations:
        raise SystemExit(f"benchmarks/check.py: no such path or package: {name}")
    return spec.submodule_search_locations[0]


def main() -> None:
    """Print a line for each package, then the findings."""
    here = machine()
    print(f"{here['cpu']}, Python {here['python']}, load {here['load']}, {here['date']}")
    found = []
    for name in sys.argv[1:] or PACKAGES:
        path = place(name)
        files = sum(1 for _ in found_files([path]))
        start = process_time()
        report = check(path)
        seconds = process_time() - start
        counts = Counter(finding.code for finding in report.findings)
        told = ", ".join(f"{n} {code}" for code, n in sorted(counts.items())) or "nothing found"
        print(f"{name:<16} {files:>6} files {files / seconds:>7.0f} a second  {told}")
        found += report.findings
    for finding in found:
        where = finding.where
        print(f"{where['file']}:{where['line']}: {finding.code}: {where['source'].strip()}")


if __name__ == "__main__":
    main()
