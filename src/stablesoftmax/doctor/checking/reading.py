"""One text: its findings, each with its place."""

import ast
import re
import warnings
from collections.abc import Collection, Iterator, Sequence

from ..findings import Finding, Severity
from .files import STDIN, Unread, is_worth_reading, read_source
from .modules import Reader
from .notebooks import UNPARSED, Notebook, NotebookError, parsed, read_notebook, reason_of
from .suppression import is_silenced

__all__ = ["MESSAGES", "Found", "checked", "found_in"]

Found = tuple[str, ast.AST]

_SMALL = 1024  # bytes: what is as short is parsed in any case, to say where it cannot be

MESSAGES: dict[str, tuple[Severity, str]] = {
    "SMX001": ("error", "exp is not shifted by the maximum before it is divided by its sum"),
    "SMX002": ("error", "what is divided is not what is summed: the quotient is no softmax"),
    "SMX003": ("error", "the maximum is not taken along the axis of the sum"),
    "SMX004": ("error", "log of a softmax is -inf where a probability underflows"),
    "SMX005": ("error", "log of a sum of exp overflows without a shift"),
    "SMX006": ("error", "the axis is lost before broadcasting: keepdims is missing"),
    "SMX007": ("error", "the sum runs over another axis than the maximum"),
    "SMX008": ("warning", "an epsilon, or a floor, in place of work on the logits"),
    "SMX009": ("error", "probabilities are passed where logits are taken: a softmax of a softmax"),
    "SMX010": ("error", "integers wrap around in the shift, or are asked to hold probabilities"),
    "SMX011": ("warning", "exponentials are summed, or computed, in a narrower dtype"),
    "SMX012": ("warning", "0 * log(0) is NaN, here or in the gradient"),
    "SMX013": ("warning", "the NaN of a softmax is hidden, and not prevented"),
    "SMX016": ("error", "float16 ends at 65504, and exp of it at 11.09"),
    "SMX022": ("warning", "the caller's array is written to"),
    "SMX023": ("warning", "logits are clipped in place of a shift, which changes probabilities"),
}


def checked(data: bytes, name: str, notes: list[str], named: Collection[str] = ()) -> list[Finding]:
    """The findings in the bytes of one file that no `# noqa` silences.

    Raises
    ------
    Unread
        Where it is no source, or no notebook.
    """
    notebook: Notebook | None = None
    filename = "<stdin>" if name == STDIN else name
    if name.endswith(".ipynb"):
        try:
            notebook = read_notebook(data)
        except NotebookError as error:
            raise Unread(str(error)) from error
        notes += [f"{name} is not read in {line}" for line in notebook.unread]
        text = notebook.text
    elif is_worth_reading(data) or len(data) < _SMALL or name in named:
        text = read_source(data).text
    else:
        return []
    tree = _tree(text, notebook is not None)
    lines = _lines(text)
    try:
        found = found_in(tree, text)
    except RecursionError as error:
        raise Unread("it is nested too deeply") from error
    spoken = [
        (code, node)
        for code, node in found
        if not is_silenced(lines[node.lineno - 1 : node.end_lineno], code)  # type: ignore[attr-defined]
    ]
    return list(_findings(spoken, tree, text, filename, notebook)) if spoken else []


def _tree(text: str, is_notebook: bool) -> ast.Module:
    try:
        with warnings.catch_warnings():  # of invalid escapes in the file that is read
            warnings.simplefilter("ignore")
            return parsed(text) if is_notebook else ast.parse(text)
    except UNPARSED as error:
        raise Unread(reason_of(error)) from error


def found_in(tree: ast.Module, text: str = "") -> list[Found]:
    """What the rules find in a tree, in the order of the source, each place once a cause."""
    reader = Reader(tree, text)
    reader.read()
    return sorted(reader.findings(), key=lambda found: (*_start(found[1]), found[0]))


def _findings(
    found: Sequence[Found], tree: ast.Module, text: str, filename: str, notebook: Notebook | None
) -> Iterator[Finding]:
    """What was found as findings, with place and source line."""
    lines = _lines(text)
    functions = [n for n in ast.walk(tree) if isinstance(n, ast.FunctionDef | ast.AsyncFunctionDef)]
    for code, node in found:
        severity, message = MESSAGES[code]
        place = _place(node, lines, functions, filename, notebook)
        yield Finding(code, severity, message, place, {"chain": [{**place, "what": message}]})


def _lines(text: str) -> list[str]:
    """The lines as Python counts them: a form feed, at which str.splitlines splits, ends none."""
    return re.split(r"\r\n|\r|\n", text)


def _start(node: ast.AST) -> tuple[int, int]:
    return node.lineno, node.col_offset  # type: ignore[attr-defined]


def _place(
    node: ast.AST,
    lines: Sequence[str],
    functions: Sequence[ast.FunctionDef | ast.AsyncFunctionDef],
    filename: str,
    notebook: Notebook | None,
) -> dict[str, str | int]:
    line, column = _start(node)
    end_line: int = node.end_lineno  # type: ignore[attr-defined]
    end_column: int = node.end_col_offset  # type: ignore[attr-defined]
    inside = [f.name for f in functions if f.lineno <= line <= (f.end_lineno or line)]
    place: dict[str, str | int] = {
        "file": filename,
        "line": line,
        "column": _characters(lines[line - 1], column) + 1,
        "end_line": end_line,
        "end_column": _characters(lines[end_line - 1], end_column) + 1,
        "function": inside[-1] if inside else "<module>",
        "source": lines[line - 1],
    }
    if notebook is not None:
        cell, place["line"] = notebook.places[line - 1]
        place["end_line"] = notebook.places[end_line - 1][1]
        place["cell"] = cell
    return place


def _characters(line: str, column: int) -> int:
    """A column of the parser's, which counts bytes of UTF-8, in characters."""
    return len(line.encode()[:column].decode(errors="ignore"))
