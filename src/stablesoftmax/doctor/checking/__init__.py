"""`check`: which causes stand in source, read and never run.

Expressions become values, so that the rules see what is computed and not how it is spelled
(`values`, `evaluating`, `operations`, `calling`, over the libraries' `idioms`). Statements are
walked once, each branch and each function by itself (`walking`, `modules`, `environment`). `rules`
hold each operation against the catalogue (`quotients`, `logarithms`, over `shifts`, `logits` and
`probabilities`). What is unknown is never reported.
"""

import gc
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from ..findings import Finding
from ..reporting import Report
from .files import STDIN, Unread, found_files, read_bytes
from .reading import checked
from .suppression import Baseline, wanted_codes

__all__ = ["check"]

_BETWEEN_COLLECTIONS = 2 << 20  # bytes of source


def check(
    paths: str | os.PathLike[str] | Sequence[str | os.PathLike[str]],
    *,
    select: Sequence[str] = (),
    ignore: Sequence[str] = (),
    exclude: Sequence[str] = (),
    baseline: str | os.PathLike[str] | None = None,
) -> Report:
    """Read Python files and notebooks, and name the causes that stand in them.

    Nothing of them is executed. ``# noqa: SMX001`` on a line silences that code there, ``# noqa``
    all.

    Parameters
    ----------
    paths : path or sequence of paths
        Files and folders; "-" is the standard input.
    select : sequence of str, optional
        The codes to report, such as "SMX004", or beginnings such as "SMX00"; by default all that
        can be read: SMX001 to SMX013, SMX016, SMX022 and SMX023.
    ignore : sequence of str, optional
        The codes to leave out.
    exclude : sequence of str, optional
        Patterns of files and folders to leave out, such as "tests" or "*/vendored/*".
    baseline : path, optional
        A file of known findings, which ``stablesoftmax check --write-baseline FILE`` made.

    Returns
    -------
    Report
        The findings by file and line. What could not be read stands in its notes.

    Raises
    ------
    ValueError
        For a code that is none, or a baseline that is none.
    OSError
        For a path that is not there.

    Examples
    --------
    >>> import tempfile, pathlib
    >>> from stablesoftmax.doctor import check
    >>> file = pathlib.Path(tempfile.mkdtemp(), "layers.py")
    >>> _ = file.write_text("import numpy as np\\ndef f(x): return np.exp(x) / np.exp(x).sum()\\n")
    >>> print(check(file).findings[0])
    SMX001 unshifted-exp, error: exp is not shifted by the maximum before it is divided by its sum
    """
    given = [paths] if isinstance(paths, str | os.PathLike) else list(paths)
    names = [os.fspath(path) for path in given]
    wanted = wanted_codes(_listed("select", select), _listed("ignore", ignore))
    for name in names:
        if name != STDIN and not os.path.exists(name):
            raise FileNotFoundError(f"no such file or folder: {name}")
    known = None if baseline is None else Baseline(baseline)
    found: list[Finding] = []
    notes: list[str] = []
    with _collector() as collect:
        for name in found_files(names, exclude):
            try:
                data = read_bytes(name)
                found += checked(data, name, notes, names)
                collect(len(data))
            except Unread as error:
                notes.append(f"{name} is not read: {error}")
    kept = [f for f in found if f.code in wanted and not (known and known.knows(f))]
    return Report(kept, tool="check", notes=notes)


@contextmanager
def _collector() -> Iterator[Callable[[int], None]]:
    """Collect garbage after so many bytes of source, and not after so many objects.

    Trees and values are millions of objects that live as long as their file: looking through them
    again and again is 40 % of the time for scipy/stats.
    """
    was_enabled, left = gc.isenabled(), _BETWEEN_COLLECTIONS

    def collect(size: int) -> None:
        nonlocal left
        left -= size
        if left < 0:
            left = _BETWEEN_COLLECTIONS
            gc.collect()

    gc.disable()
    try:
        yield collect
    finally:
        if was_enabled:
            gc.enable()


def _listed(option: str, codes: Sequence[str]) -> Sequence[str]:
    if isinstance(codes, str):
        raise TypeError(f"{option} must be a sequence of codes such as ['SMX004'], got {codes!r}")
    return codes
