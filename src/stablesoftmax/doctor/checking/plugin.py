"""The same for flake8, which finds it by the entry point of the package."""

import ast
from collections.abc import Iterator, Sequence
from importlib.metadata import PackageNotFoundError, version

from .reading import MESSAGES, found_in

__all__ = ["Plugin"]


def _version() -> str:
    try:
        return version("stablesoftmax")
    except PackageNotFoundError:  # run from a source tree
        return "0"


class Plugin:
    """A checker for flake8, which itself reads `# noqa`, `--select` and the rest.

    Parameters
    ----------
    tree : ast.Module
        The parsed file.
    lines : sequence of str
        Its lines.
    """

    name = "stablesoftmax"
    version = _version()

    def __init__(self, tree: ast.Module, lines: Sequence[str] = ()) -> None:
        self.tree = tree
        self.text = "".join(lines)

    def run(self) -> Iterator[tuple[int, int, str, type["Plugin"]]]:
        """Give line, column from 0, and text of each finding.

        Yields
        ------
        tuple
            What flake8 takes.
        """
        for code, node in found_in(self.tree, self.text):
            line, column = node.lineno, node.col_offset  # type: ignore[attr-defined]
            yield line, column, f"{code} {MESSAGES[code][1]}", type(self)
