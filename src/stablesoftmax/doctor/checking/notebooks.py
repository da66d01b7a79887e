"""Notebooks as one program: cells in order, what is IPython's and not Python's left out."""

import ast
import json
import re
from dataclasses import dataclass

__all__ = ["UNPARSED", "Notebook", "NotebookError", "parsed", "read_notebook", "reason_of"]

UNPARSED = (SyntaxError, ValueError, RecursionError, MemoryError)
"""What the parser raises: for bad syntax, a null byte, nesting that is too deep."""

_MAGIC = re.compile(r"^(\s*)(?:[%!?]|[\w.\[\]'\", ]+=\s*[%!])|^(\s*)[\w.]+\?{1,2}\s*$")
_TIMED = re.compile(r"^%%(time|timeit|capture|prun|memit|mprun)\b")


class NotebookError(Exception):
    """A notebook cannot be read; one line says why."""


@dataclass(frozen=True, slots=True)
class Notebook:
    """The code cells of a notebook as one text."""

    text: str
    places: tuple[tuple[int, int], ...]
    """Of each line of the text: the cell, counted among all cells from 1, and the line in it."""
    unread: tuple[str, ...]
    """What could not be read, a line for each cell."""


def read_notebook(data: bytes) -> Notebook:
    """Read the bytes of an ipynb file.

    Raises
    ------
    NotebookError
        Where it is no notebook, or one in another language.
    """
    try:
        document = json.loads(data)
        cells = document["cells"] if "cells" in document else document["worksheets"][0]["cells"]
        language = document.get("metadata", {}).get("language_info", {}).get("name", "python")
        sources = [_source(cell) if cell.get("cell_type") == "code" else "" for cell in cells]
    except (ValueError, RecursionError) as error:
        raise NotebookError(f"no JSON: {error}") from error
    except (KeyError, TypeError, AttributeError, IndexError) as error:
        raise NotebookError("JSON, and no notebook: it has no list of cells") from error
    if str(language).lower() not in ("python", "ipython", "python3"):
        raise NotebookError(f"a notebook in {language}, and not in Python")
    lines: list[str] = []
    places: list[tuple[int, int]] = []
    unread: list[str] = []
    for number, source in enumerate(sources, 1):
        plain = _plain(source)
        try:
            parsed(plain)
        except UNPARSED as error:
            unread.append(f"cell {number}: {reason_of(error)}")
            continue
        cell_lines = plain.split("\n")
        lines += cell_lines
        places += [(number, line) for line in range(1, len(cell_lines) + 1)]
    return Notebook("\n".join(lines), tuple(places), tuple(unread))


def parsed(text: str) -> ast.Module:
    """The tree of a text in which `await` may stand outside a function, as in a notebook."""
    flags = ast.PyCF_ONLY_AST | ast.PyCF_ALLOW_TOP_LEVEL_AWAIT
    tree = compile(text, "<cell>", "exec", flags, dont_inherit=True)
    assert isinstance(tree, ast.Module)
    return tree


def _source(cell: dict[str, object]) -> str:
    source = cell.get("source", cell.get("input", ""))
    text = "".join(map(str, source)) if isinstance(source, list) else str(source)
    return text.replace("\r\n", "\n").replace("\r", "\n")


def _plain(source: str) -> str:
    """The cell with its magics, shell commands and questions as `pass`, line by line."""
    lines = source.split("\n")
    first = next((line.strip() for line in lines if line.strip()), "")
    if first.startswith("%%") and not _TIMED.match(first):
        return "\n" * (len(lines) - 1)  # %%bash, %%html: another language
    try:
        parsed(source)
        return source  # a % at the start of a line may be Python's, in a longer expression
    except UNPARSED:
        pass
    plain, continued = [], False
    for line in lines:
        found = _MAGIC.match(line)
        if found or continued:
            indent = line[: len(line) - len(line.lstrip())]
            plain.append("" if continued else f"{indent}pass")
            continued = line.rstrip().endswith("\\")
        else:
            plain.append(line)
    return "\n".join(plain)


def reason_of(error: BaseException) -> str:
    """Why a text does not parse, in one line."""
    if isinstance(error, SyntaxError) and error.lineno is not None:
        return f"line {error.lineno}: {error.msg}"
    return str(error) or type(error).__name__
