"""What can be mended by machine: a call that computes the same, and is stable."""

import ast
import difflib
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ..reporting import write_whole
from ..sources import short_path
from .files import Source, Unread, found_files, is_worth_reading, read_bytes, read_source
from .reading import found_in
from .suppression import is_silenced

__all__ = ["Fixed", "fixed_files"]

_LOGS = {
    "numpy.log": ("scipy.special.softmax", "stablesoftmax.softmax"),
    "torch.log": ("torch.softmax", "torch.nn.functional.softmax"),
    "jax.numpy.log": ("jax.nn.softmax",),
    "tensorflow.math.log": ("tensorflow.nn.softmax",),
}
_SAME_KEYWORDS = {"axis", "dim"}


@dataclass(frozen=True, slots=True)
class Fixed:
    """A file with its mended text, which is not yet written."""

    path: str
    diff: str
    data: bytes

    def write(self) -> None:
        """Write the file whole, or leave it as it was."""
        target = Path(os.path.realpath(self.path))
        write_whole(target, self.data, target.stat().st_mode & 0o7777)


@dataclass(frozen=True, slots=True)
class _Edit:
    node: ast.expr
    text: str
    imported: str = ""


def fixed_files(
    paths: Sequence[str], exclude: Sequence[str], wanted: frozenset[str]
) -> list[Fixed]:
    """The files of which something can be mended; nothing is written."""
    fixed = []
    for path in found_files(paths, exclude):
        if not path.endswith((".py", ".pyw")):
            continue
        try:
            data = read_bytes(path)
            if is_worth_reading(data) and (found := _fixed(path, read_source(data), wanted)):
                fixed.append(found)
        except (Unread, SyntaxError, ValueError, RecursionError):
            continue  # `check` says so
    return fixed


def _fixed(path: str, source: Source, wanted: frozenset[str]) -> Fixed | None:
    if "\r" in source.text.replace("\r\n", ""):
        return None  # lines that end in a carriage return alone
    tree = ast.parse(source.text)
    lines = re.split(r"(?<=\n)", source.text)
    names = _imports(tree)
    edits = []
    for code, node in found_in(tree):
        if code not in wanted or not isinstance(node, ast.Call):
            continue
        if is_silenced(lines[node.lineno - 1 : node.end_lineno], code):
            continue
        edit = _edit(code, node, names, source.text)
        if edit is not None:
            edits.append(edit)
    if not edits:
        return None
    text = _applied(source.text, edits, tree)
    ast.parse(text)
    shown = Path(short_path(path)).as_posix()
    diff = difflib.unified_diff(lines, re.split(r"(?<=\n)", text), f"a/{shown}", f"b/{shown}")
    data = text.encode(source.encoding)
    return Fixed(path, "".join(line if line.endswith("\n") else f"{line}\n" for line in diff), data)


def _imports(tree: ast.Module) -> dict[str, str]:
    """What names stand for, of those that the module imports and never binds again."""
    names: dict[str, str] = {}
    for statement in tree.body:
        if isinstance(statement, ast.Import):
            for alias in statement.names:
                root = alias.name.partition(".")[0]
                names[alias.asname or root] = alias.name if alias.asname else root
        elif isinstance(statement, ast.ImportFrom) and not statement.level:
            for alias in statement.names:
                names[alias.asname or alias.name] = f"{statement.module}.{alias.name}"
    for node in ast.walk(tree):
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store | ast.Del):
            names.pop(node.id, None)
        elif isinstance(node, ast.arg):
            names.pop(node.arg, None)
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            names.pop(node.name, None)
    return names


def _full_name(node: ast.expr, names: dict[str, str]) -> str:
    if isinstance(node, ast.Name):
        return names.get(node.id, "")
    if isinstance(node, ast.Attribute) and (base := _full_name(node.value, names)):
        return f"{base}.{node.attr}"
    return ""


def _edit(code: str, node: ast.Call, names: dict[str, str], text: str) -> _Edit | None:
    if code == "SMX004":
        return _log_softmax(node, names, text)
    return _logsumexp(node, names, text) if code == "SMX005" else None


def _log_softmax(node: ast.Call, names: dict[str, str], text: str) -> _Edit | None:
    """`np.log(softmax(x, axis=1))` as `log_softmax(x, axis=1)`, of the softmax's own library."""
    inner = _only_argument(node)
    allowed = _LOGS.get(_full_name(node.func, names), ())
    if not isinstance(inner, ast.Call):
        return None
    name = _full_name(inner.func, names)
    if name not in allowed or any(word.arg not in _SAME_KEYWORDS for word in inner.keywords):
        return None
    if len(inner.args) > 2 or any(isinstance(a, ast.Starred) for a in inner.args):
        return None
    whole, called = (ast.get_source_segment(text, part) for part in (inner, inner.func))
    assert whole
    assert called
    given = whole[len(called) :]
    if isinstance(inner.func, ast.Attribute):
        return _Edit(node, called.removesuffix("softmax") + "log_softmax" + given)
    module = name.rpartition(".")[0]
    bound = names.get("log_softmax", "")
    if bound not in ("", f"{module}.log_softmax"):
        return None
    return _Edit(node, "log_softmax" + given, "" if bound else f"from {module} import log_softmax")


def _logsumexp(node: ast.Call, names: dict[str, str], text: str) -> _Edit | None:
    """`np.log(np.sum(np.exp(x), axis=1))` as a logsumexp."""
    log = _full_name(node.func, names)
    summed = _only_argument(node)
    if log not in ("numpy.log", "torch.log") or not isinstance(summed, ast.Call):
        return None
    library = log.partition(".")[0]
    axis, keep = ("axis", "keepdims") if library == "numpy" else ("dim", "keepdim")
    words = {word.arg: word.value for word in summed.keywords}
    if _full_name(summed.func, names) != f"{library}.sum" or not words.keys() <= {axis, keep}:
        return None
    if not 1 <= len(summed.args) <= 2 or (len(summed.args) == 2 and axis in words):
        return None
    exp = summed.args[0]
    if not isinstance(exp, ast.Call) or _full_name(exp.func, names) != f"{library}.exp":
        return None
    array = _only_argument(exp)
    if array is None:
        return None
    along = words.get(axis, summed.args[1] if len(summed.args) == 2 else None)
    if library == "torch" and along is None:
        return None  # torch.logsumexp wants an axis
    pieces = [ast.get_source_segment(text, array) or ""]
    pieces.append(f"{axis}=" + (ast.get_source_segment(text, along) or "" if along else "None"))
    if keep in words:
        pieces.append(f"{keep}=" + (ast.get_source_segment(text, words[keep]) or ""))
    arguments = f"({', '.join(pieces)})"
    if library == "torch":
        called = ast.get_source_segment(text, node.func) or ""
        return (
            _Edit(node, called.removesuffix("log") + "logsumexp" + arguments)
            if "." in called
            else None
        )
    imported = "" if names.get("stablesoftmax") == "stablesoftmax" else "import stablesoftmax"
    return _Edit(node, "stablesoftmax.logsumexp" + arguments, imported)


def _only_argument(node: ast.Call) -> ast.expr | None:
    plain = len(node.args) == 1 and not node.keywords and not isinstance(node.args[0], ast.Starred)
    return node.args[0] if plain else None


def _applied(text: str, edits: Sequence[_Edit], tree: ast.Module) -> str:
    """The text with its nodes replaced, from the last to the first, and imports added."""
    newline = "\r\n" if "\r\n" in text else "\n"
    lines = [line.encode() for line in re.split(r"(?<=\n)", text)]
    starts = [0]
    for line in lines:
        starts.append(starts[-1] + len(line))
    data = b"".join(lines)
    last, imports = len(data) + 1, set()
    for edit in sorted(edits, key=lambda e: (e.node.lineno, e.node.col_offset), reverse=True):
        node = edit.node
        start = starts[node.lineno - 1] + node.col_offset
        end = starts[(node.end_lineno or node.lineno) - 1] + (node.end_col_offset or 0)
        if end <= last:  # one inside another waits for the next time
            data, last = data[:start] + edit.text.encode() + data[end:], start
            imports.add(edit.imported)
    added = sorted(imports - {""})
    if not added:
        return data.decode()
    below = _import_line(tree, lines)
    head = b"".join(lines[:below])
    body = "".join(f"{line}{newline}" for line in added).encode()
    return (data[: len(head)] + body + data[len(head) :]).decode()


def _import_line(tree: ast.Module, lines: Sequence[bytes]) -> int:
    """After how many lines an import goes: below the first imports, or the comments at the top."""
    last = 0
    for i, statement in enumerate(tree.body):
        is_docstring = (
            i == 0 and isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant)
        )
        if isinstance(statement, ast.Import | ast.ImportFrom) or is_docstring:
            last = statement.end_lineno or 0
        else:
            break
    if not last:
        while lines[last].startswith(b"#"):  # a shebang, an encoding, a licence
            last += 1
    return last
