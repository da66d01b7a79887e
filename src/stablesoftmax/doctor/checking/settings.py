"""`[tool.stablesoftmax]` of the nearest pyproject.toml."""

import tomllib
from dataclasses import dataclass
from pathlib import Path

__all__ = ["Settings", "settings_for"]

_LISTS = ("select", "ignore", "exclude")


@dataclass(frozen=True, slots=True)
class Settings:
    """What the file says; the command's own options come first."""

    select: tuple[str, ...] = ()
    ignore: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    baseline: str | None = None


def settings_for(path: str) -> Settings:
    """The settings of the nearest pyproject.toml in a path's folder or above it.

    Raises
    ------
    ValueError
        In one line, where the file cannot be read, or holds what is not known.
    """
    start = Path(path).absolute()
    for folder in (start, *start.parents):
        file = folder / "pyproject.toml"
        if file.is_file():
            return _read(file)
    return Settings()


def _read(file: Path) -> Settings:
    try:
        document = tomllib.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ValueError(f"{file} cannot be read: {error}") from error
    tools = document.get("tool", {})
    table = tools.get("stablesoftmax", {}) if isinstance(tools, dict) else {}
    known = (*_LISTS, "baseline")
    if not isinstance(table, dict):
        raise ValueError(f"{file}: tool.stablesoftmax must be a table, got {table!r}")
    for key, value in table.items():
        if key not in known:
            raise ValueError(f"{file}: tool.stablesoftmax takes {', '.join(known)}, got {key}")
        is_list = isinstance(value, list) and all(isinstance(item, str) for item in value)
        if not (is_list if key in _LISTS else isinstance(value, str)):
            kind = "a list of strings" if key in _LISTS else "a string"
            raise ValueError(f"{file}: tool.stablesoftmax.{key} must be {kind}, got {value!r}")
    baseline = table.get("baseline")
    select, ignore, exclude = (tuple(table.get(key, ())) for key in _LISTS)
    return Settings(
        select, ignore, exclude, None if baseline is None else str(file.parent / baseline)
    )
