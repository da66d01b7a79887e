"""Which findings are wanted: codes that are selected or ignored, `# noqa`, a baseline."""

import json
import os
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from ..causes import CAUSES
from ..findings import Finding
from ..sources import short_path

__all__ = ["READABLE", "Baseline", "is_silenced", "wanted_codes", "write_baseline"]

READABLE = tuple(
    code
    for code in CAUSES
    if "SMX001" <= code <= "SMX013" or code in ("SMX016", "SMX022", "SMX023")
)
"""The causes that can be read in source."""

_NOQA = re.compile(
    r"#\s*noqa(?!\s*[\w-])(?:\s*:\s*(?P<codes>[A-Z][A-Z0-9]*(?:[\s,]+[A-Z]+[0-9]+)*))?",
    re.IGNORECASE,
)


def wanted_codes(select: Sequence[str], ignore: Sequence[str]) -> frozenset[str]:
    """The codes that are reported.

    Raises
    ------
    ValueError
        For a code that no cause in source has.
    """
    chosen = _expanded("select", select) if select else set(READABLE)
    return frozenset(chosen - _expanded("ignore", ignore))


def _expanded(option: str, codes: Sequence[str]) -> set[str]:
    found: set[str] = set()
    for code in codes:
        if not isinstance(code, str):
            raise TypeError(f"{option} must be a sequence of codes, got {code!r}")
        name = code.strip().upper()
        matching = {c for c in READABLE if name.startswith("SMX") and c.startswith(name)}
        if not matching:
            accepted = f"SMX001 to SMX013, {', '.join(READABLE[13:])}, or a beginning such as SMX00"
            raise ValueError(f"{option} must be of {accepted}, got {code!r}")
        found |= matching
    return found


def is_silenced(lines: Iterable[str], code: str) -> bool:
    """Whether one of these lines says `# noqa`, or names this code after it."""
    for line in lines:
        for found in _NOQA.finditer(line):
            codes = found["codes"]
            if codes is None or code in re.split(r"[\s,]+", codes.upper()):
                return True
    return False


class Baseline:
    """Findings that are known, and are not reported again.

    Parameters
    ----------
    path : path
        A file that `write_baseline` made.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        try:
            entries = json.loads(Path(path).read_text(encoding="utf-8"))["findings"]
            self._left = Counter((e["file"], e["code"], e["source"]) for e in entries)
        except (ValueError, KeyError, TypeError) as error:
            raise ValueError(
                f"baseline must be a file that --write-baseline made, got {path}"
            ) from error

    def knows(self, finding: Finding) -> bool:
        """Whether a finding is one of these; each is good for one finding."""
        key = _key(finding)
        if self._left[key] <= 0:
            return False
        self._left[key] -= 1
        return True


def write_baseline(findings: Iterable[Finding]) -> str:
    """The text of a baseline: each finding by file, code and source line, not by number."""
    entries: list[dict[str, Any]] = [
        dict(zip(("file", "code", "source"), _key(finding), strict=True)) for finding in findings
    ]
    return json.dumps({"findings": entries}, indent=2) + "\n"


def _key(finding: Finding) -> tuple[str, str, str]:
    path = Path(short_path(finding.where["file"])).as_posix()
    return path, finding.code, finding.where["source"].strip()
