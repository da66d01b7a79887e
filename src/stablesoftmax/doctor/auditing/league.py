"""The page docs/league.md: the softmaxes of libraries as they are installed, under `audit`.

`python -m stablesoftmax.doctor.auditing.league > docs/league.md` makes it; what is not installed is
left out.
"""

import importlib
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from stablesoftmax import testing

from ..reporting import Report
from . import audit
from .calls import Caller
from .inputs import Probe

__all__ = ["markdown"]

#: Package, function, what it computes.
_ENTRIES = [
    (package, f"{where}.{kind}", kind)
    for package, where in (
        ("stablesoftmax", "stablesoftmax"),
        ("scipy", "scipy.special"),
        ("torch", "torch"),
        ("jax", "jax.nn"),
        ("tensorflow", "keras.ops"),
    )
    for kind in ("softmax", "log_softmax", "logsumexp")
]
_ENTRIES.insert(6, ("sklearn", "sklearn.utils.extmath.softmax", "softmax"))

_HEAD = """# The league table

Softmaxes as they are installed, under [`audit`](doctor.md#a-softmax-of-your-own), with rows along
the last axis. "Sound" is no error and no warning; matters of contract stand beside it. The worst
error is that of 200 rows of 50 logits from N(0, 5²), in units in the last place.
`python -m stablesoftmax.doctor.auditing.league > docs/league.md` makes the page.

```python
>>> from stablesoftmax import doctor, softmax
>>> doctor.audit(softmax).ok
True
```

| package | function | audit | matters of contract | worst error, ULP |
| --- | --- | --- | --- | --- |"""


def markdown() -> str:
    """Return the page.

    Returns
    -------
    str
        A table in Markdown, a line for each function that is installed.
    """
    return "\n".join([_HEAD, *_lines()])


def _lines() -> Iterator[str]:
    for package, path, kind in _ENTRIES:
        module, _, name = path.rpartition(".")
        try:
            function = getattr(importlib.import_module(module), name)
            version = importlib.import_module(package).__version__
        except (ImportError, AttributeError):
            continue
        report = audit(function, kind, time_limit=120)
        cells = [f"{package} {version}", f"`{path}`", *_told(report), _worst(function, kind)]
        yield f"| {' | '.join(cells)} |"


def _told(report: Report) -> tuple[str, str]:
    """The codes of what is wrong, and the words of what is a matter of contract."""
    wrong = [f"{f.code} {f.name}" for f in report.findings if f.severity != "info"]
    contract = [f.message.partition(" (a ")[0] for f in report.findings if f.severity == "info"]
    short = [text.partition(" is refused: ")[0] for text in contract]
    short = [s if s == t else f"{s} is refused" for s, t in zip(short, contract, strict=True)]
    return ", ".join(wrong) or "sound", "; ".join(short) or "none"


def _worst(function: Callable[..., Any], kind: str) -> str:
    """The worst error in the widest dtype that the function computes."""
    caller = Caller(function, kind, None)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        caller.open(None)
        x = caller.given(np.random.default_rng(0).normal(0, 5, (200, 50)))
        got = caller(Probe("accuracy", x)).value
    if got is None:
        return "none"
    error = testing.ulp_error(got, getattr(testing, kind)(x, axis=-1)).max()
    return f"{error:.3g} ({x.dtype})"


if __name__ == "__main__":
    print(markdown())
