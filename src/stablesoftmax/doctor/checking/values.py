"""What a program computes, as symbols: equal expressions are one object, whatever names they bear.

`e = np.exp(x); e / e.sum()` and `np.exp(x) / np.exp(x).sum()` become the same value, so that the
rules see what is computed and not how it is written.
"""

from collections.abc import Callable, Hashable, Iterator
from dataclasses import dataclass, field
from typing import Any

__all__ = [
    "NO_AXIS",
    "UNKNOWN_AXIS",
    "Value",
    "Values",
    "alternatives",
    "is_number",
    "number",
    "parts",
    "stripped",
    "words",
]

NO_AXIS = None  # over everything
UNKNOWN_AXIS = "?"


def words(text: str) -> frozenset[str]:
    """The words of a text, as a set."""
    return frozenset(text.split())


# What these make holds the same numbers, in another form, or some of them.
_FORMS = words("view copy cast each index list filled")


@dataclass(frozen=True, slots=True, eq=False)
class Value:
    """One operation on values; two that compute the same are the same object.

    Parameters
    ----------
    op : str
        "exp", "sub", "reduce", "softmax", "param" and so on.
    args : tuple of Value
        What it works on.
    data : tuple
        What else tells it from others: an axis, a name, a number.
    """

    op: str
    args: tuple["Value", ...] = ()
    data: tuple[Any, ...] = ()
    called: set[str] = field(default_factory=set)
    """The names that it was assigned to."""

    @property
    def name(self) -> str:
        """What it is called in the source: of a parameter, an attribute, a function; else ""."""
        if self.op in ("param", "name", "attribute", "call", "loop"):
            return str(self.data[0])
        return ""

    @property
    def axis(self) -> Any:
        """The axis of a reduction or a softmax."""
        return self.data[1] if self.op == "reduce" else self.data[0]


class Values:
    """Make values, each once."""

    def __init__(self) -> None:
        self._made: dict[Hashable, Value] = {}
        self._cores: dict[Value, Value] = {}
        self._fresh = 0

    def make(self, op: str, *args: Value, data: tuple[Any, ...] = ()) -> Value:
        # with its type, for 1, 1.0 and True are equal, and not one constant
        key = (op, args, data, type(data[0]) if op == "const" else None)
        value = self._made.get(key)
        if value is None:
            value = self._made[key] = Value(op, args, data)
        return value

    def const(self, value: Any) -> Value:
        return self.make("const", data=(value,))

    def fresh(self, op: str, *args: Value, data: tuple[Any, ...] = ()) -> Value:
        """A value that is equal to no other: a random draw, a name after a loop."""
        self._fresh += 1
        return self.make(op, *args, data=(*data, self._fresh))

    def either(self, *choices: Value) -> Value:
        """One of several values: which, the source does not say."""
        flat: dict[Value, None] = {}
        for choice in choices:
            flat.update(dict.fromkeys(choice.args if choice.op == "either" else (choice,)))
        if len(flat) == 1:
            return next(iter(flat))
        return self.make("either", *flat)

    def core(self, value: Value) -> Value:
        """The value without copies, casts, views and indices, in all its depth."""
        found = self._cores.get(value)
        if found is None:
            if value.op in _FORMS and value.args:
                found = self.core(value.args[0])
            elif value.args:
                args = tuple(map(self.core, value.args))
                found = self.make(value.op, *args, data=value.data)
            else:
                found = value
            self._cores[value] = found
        return found


def stripped(value: Value, forms: frozenset[str] = _FORMS) -> Value:
    """The value without the outermost copies, casts, views and indices."""
    while value.op in forms and value.args:
        value = value.args[0]
    return value


def alternatives(value: Value) -> tuple[Value, ...]:
    """What a value may be: of `where(mask, x, y)` x and y, of a branch what each side made."""
    if value.op in ("either", "looped", "where"):
        return value.args[:2] if value.op == "where" else value.args
    return (value,)


def is_number(value: Value) -> bool:
    return number(value) is not None


def number(value: Value) -> float | None:
    """The number that a constant is, or None."""
    value = stripped(value)
    if value.op == "neg":
        inner = number(value.args[0])
        return None if inner is None else -inner
    if value.op == "const" and type(value.data[0]) in (int, float):
        return float(value.data[0]) if abs(value.data[0]) < 1e300 else float("inf")
    return None


def parts(value: Value, inside: Callable[[Value], bool]) -> Iterator[Value]:
    """The value and what it is made of, as far down as `inside` says; each once."""
    seen, waiting = {value}, [value]
    while waiting:
        part = waiting.pop()
        yield part
        if inside(part):
            for arg in part.args:
                if arg not in seen:
                    seen.add(arg)
                    waiting.append(arg)
