"""What a call is given, by keyword or by position."""

from collections.abc import Sequence
from dataclasses import dataclass

from .values import Value

__all__ = ["Arguments"]


@dataclass(slots=True)
class Arguments:
    """What a call is given; `complete` is False where a star hides some of it."""

    positional: Sequence[Value]
    named: dict[str, Value]
    complete: bool

    def get(self, names: tuple[str, ...], position: int | None = None) -> Value | None:
        """An argument by its keyword, or by its position."""
        for name in names:
            if name in self.named:
                return self.named[name]
        if position is not None and position < len(self.positional):
            return self.positional[position]
        return None
