"""Source text: which expression a frame is computing, and what a name stands for there."""

import ast
import linecache
import os
import site
import sysconfig
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from itertools import islice
from types import CodeType, FrameType

__all__ = ["Module", "Place", "is_library", "module_of", "place_of", "short_path", "stack_of"]

_DEEPEST = 30  # of the user's calls that are looked at for loops

Scope = ast.Module | ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda | ast.ClassDef
_SCOPES = (ast.Module, ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda, ast.ClassDef)
_Position = tuple[int | None, int | None, int | None, int | None]


@dataclass(frozen=True, slots=True)
class Place:
    """Where something happened: a part of a line in a file. Lines and columns count from 1."""

    file: str
    line: int
    column: int
    end_line: int
    end_column: int
    function: str
    source: str
    """The first line's text."""

    def to_dict(self) -> dict[str, str | int]:
        return {name: getattr(self, name) for name in self.__slots__}


class Module:
    """A parsed file: its nodes by position, and what each is part of."""

    def __init__(self, filename: str, lines: list[str]) -> None:
        self.filename = filename
        self.lines = lines
        self.tree = ast.parse("".join(lines))
        self.parents: dict[ast.AST, ast.AST] = {}
        self._at: dict[_Position, list[ast.AST]] = {}
        for node in ast.walk(self.tree):
            for child in ast.iter_child_nodes(node):
                self.parents[child] = node
            if isinstance(node, ast.expr | ast.stmt):
                self._at.setdefault(_position(node), []).append(node)

    def node_at(self, position: _Position) -> ast.AST | None:
        """The expression or statement at this position of the bytecode."""
        if nodes := self._at.get(position):
            return nodes[-1]  # `np.exp(x)` alone on a line is a statement, and in it a call
        # A method's call on a line below its object starts, for CPython, at the method's name.
        line, end_line, _, end_column = position
        for (_, last, _, column), nodes in self._at.items():
            if (last, column) == (end_line, end_column) and isinstance(nodes[0], ast.Call):
                return nodes[0]
        return next(
            (node for node in ast.walk(self.tree) if getattr(node, "lineno", 0) == line), None
        )

    def statement_at(self, line: int) -> ast.stmt | None:
        """The innermost statement that a line is part of; of a compound one, its head alone."""
        found = None
        for node in ast.walk(self.tree):
            if isinstance(node, ast.stmt) and node.lineno <= line <= _last_line(node):
                found = node  # breadth first: what comes later is further in
        return found

    def up(self, node: ast.AST) -> Iterator[ast.AST]:
        """The nodes that this one is part of, from the nearest to the module."""
        while node in self.parents:
            node = self.parents[node]
            yield node

    def statement(self, node: ast.AST) -> ast.stmt:
        return next(n for n in (node, *self.up(node)) if isinstance(n, ast.stmt))

    def scope(self, node: ast.AST) -> ast.AST:
        return next((n for n in self.up(node) if isinstance(n, _SCOPES)), self.tree)

    def loops(self, node: ast.AST) -> list[ast.AST]:
        """The loops of its scope that this node runs in."""
        loops: list[ast.AST] = []
        for outer in self.up(node):
            if isinstance(outer, _SCOPES):
                break
            if isinstance(outer, ast.For | ast.While | ast.AsyncFor):
                loops.append(outer)
        return loops

    def text(self, node: ast.AST) -> str:
        return ast.get_source_segment("".join(self.lines), node) or ast.unparse(node)

    def place(self, node: ast.AST, function: str) -> Place:
        line, end_line, column, end_column = _position(node)
        assert line
        assert end_line
        assert column is not None
        assert end_column is not None
        start, end = self._characters(line, column), self._characters(end_line, end_column)
        source = self.lines[line - 1].rstrip("\n")
        return Place(self.filename, line, start + 1, end_line, end + 1, function, source)

    def _characters(self, line: int, column: int) -> int:
        """A column of the parser's, which counts bytes of UTF-8, in characters."""
        return len(self.lines[line - 1].encode()[:column].decode(errors="ignore"))


def _last_line(node: ast.stmt) -> int:
    body = getattr(node, "body", None)
    if isinstance(body, list) and body:
        return int(max(node.lineno, body[0].lineno - 1))
    return int(node.end_lineno or node.lineno)


def _position(node: ast.AST) -> _Position:
    names = ("lineno", "end_lineno", "col_offset", "end_col_offset")
    line, end_line, column, end_column = (getattr(node, name) for name in names)
    return line, end_line, column, end_column


@cache
def module_of(filename: str) -> Module | None:
    """The parsed file, or None where there is no source, or none that parses."""
    lines = linecache.getlines(filename)
    try:
        return Module(filename, lines) if lines else None
    except (SyntaxError, ValueError):
        return None


def place_of(
    frame: FrameType, offset: int | None = None
) -> tuple[Place, Module | None, ast.AST | None]:
    """Where a frame stands, with the expression that it is computing.

    A traceback keeps the offset of the instruction that failed; the frame may have gone on.
    """
    code, module = frame.f_code, module_of(frame.f_code.co_filename)
    position = _instruction(code, frame.f_lasti if offset is None else offset)
    node = module.node_at(position) if module and position[0] else None
    if module and node and hasattr(node, "lineno"):
        return module.place(node, code.co_name), module, node
    line = position[0] or frame.f_lineno
    source = linecache.getline(code.co_filename, line).rstrip("\n")
    place = Place(code.co_filename, line, 1, line, len(source) + 1, code.co_name, source)
    return place, None, None


def _instruction(code: CodeType, offset: int) -> _Position:
    return next(islice(code.co_positions(), offset // 2, None), (None, None, None, None))


def stack_of(
    frame: FrameType, module: Module | None, node: ast.AST | None
) -> list[tuple[Module, ast.AST]]:
    stack = [(module, node)] if module and node else []
    outer = frame.f_back
    while outer is not None and len(stack) < _DEEPEST:
        if not is_library(outer.f_code.co_filename):
            _, its_module, its_node = place_of(outer)
            if its_module and its_node:
                stack.append((its_module, its_node))
        outer = outer.f_back
    return stack


@cache
def _library_folders() -> tuple[str, ...]:
    paths = {sysconfig.get_path(name) for name in ("stdlib", "platstdlib", "purelib", "platlib")}
    paths |= {*site.getsitepackages(), site.getusersitepackages()}
    paths.add(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))  # this package
    return tuple(os.path.join(os.path.realpath(path), "") for path in paths if path)


@cache
def is_library(filename: str) -> bool:
    """Whether a file belongs to Python, to an installed package, or to no file at all."""
    if filename.startswith("<"):  # <string>, <frozen importlib>; a notebook's cell has a source
        return not linecache.getlines(filename)
    path = os.path.realpath(filename)
    installed = {"site-packages", "dist-packages"} & set(path.split(os.sep))
    return bool(installed) or path.startswith(_library_folders())


def short_path(filename: str) -> str:
    """The path as a person would type it: relative where the file lies below this folder."""
    try:
        relative = os.path.relpath(filename)
    except (ValueError, OSError):  # another drive; a folder that is gone
        return filename
    return filename if relative.startswith("..") else relative
