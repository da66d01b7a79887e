"""Which files are checked, and their text."""

import fnmatch
import io
import os
import re
import sys
import tokenize
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

__all__ = ["STDIN", "Source", "Unread", "found_files", "is_worth_reading", "read_source"]

STDIN = "-"
_LEFT_OUT = {
    "__pycache__",
    "build",
    "dist",
    "node_modules",
    "venv",
    "__pypackages__",
    "site-packages",
    "_build",
}
# A file in which none of these stands holds nothing that the rules know: most are never parsed.
_WORTH = re.compile(rb"softmax|logsumexp|\bexp2?\b|\blog(?:2|10)?\s*\(|[cC]ross_?[eE]ntropy")


class Unread(Exception):
    """A file cannot be read as source; one line says why."""


@dataclass(frozen=True, slots=True)
class Source:
    """The text of a file, as its encoding says."""

    text: str
    encoding: str


def found_files(paths: Sequence[str], exclude: Sequence[str] = ()) -> Iterator[str]:
    """Files among paths, folders walked in sorted order, each file once.

    Hidden folders, virtual environments and what a build makes are left out, unless named.
    """
    seen: set[str] = set()
    for path in paths:
        inside = _walked(path, exclude) if os.path.isdir(path) else [path]
        for name in inside:
            key = name if name == STDIN else os.path.realpath(name)
            if key not in seen:
                seen.add(key)
                yield name


def _walked(folder: str, exclude: Sequence[str]) -> Iterator[str]:
    for root, folders, files in os.walk(folder):
        folders[:] = sorted(f for f in folders if not _is_left_out(root, f, exclude))
        for name in sorted(files):
            path = os.path.join(root, name)
            if name.endswith((".py", ".pyw", ".ipynb")) and not _is_excluded(path, exclude):
                yield path


def _is_left_out(root: str, name: str, exclude: Sequence[str]) -> bool:
    path = os.path.join(root, name)
    return (
        name.startswith(".")
        or name in _LEFT_OUT
        or name.endswith(".egg-info")
        or os.path.exists(os.path.join(path, "pyvenv.cfg"))
        or _is_excluded(path, exclude)
    )


def _is_excluded(path: str, exclude: Sequence[str]) -> bool:
    """Whether a pattern fits the path, its end, or its last name."""
    plain = path.replace(os.sep, "/")
    return any(
        fnmatch.fnmatch(plain, pattern)
        or fnmatch.fnmatch(plain, f"*/{pattern.strip('/')}")
        or fnmatch.fnmatch(os.path.basename(path), pattern)
        for pattern in exclude
    )


def read_bytes(path: str) -> bytes:
    """The bytes of a file, or of the standard input."""
    if path == STDIN:
        return sys.stdin.buffer.read()
    try:
        with open(path, "rb") as file:
            return file.read()
    except (OSError, ValueError) as error:
        raise Unread(getattr(error, "strerror", None) or str(error)) from error


def is_worth_reading(data: bytes) -> bool:
    """Whether a rule could find anything."""
    return _WORTH.search(data) is not None


def read_source(data: bytes) -> Source:
    """Decode source as Python does: by its mark, its `# -*- coding -*-` line, or as UTF-8.

    Raises
    ------
    Unread
        Where the encoding is unknown, or the bytes are not of it.
    """
    try:
        encoding, _ = tokenize.detect_encoding(io.BytesIO(data).readline)
        return Source(data.decode(encoding), encoding)
    except (SyntaxError, LookupError) as error:
        raise Unread(getattr(error, "msg", None) or str(error)) from error
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise Unread(
            f"line {line} is not {error.encoding}: byte 0x{data[error.start]:02x}"
        ) from error
