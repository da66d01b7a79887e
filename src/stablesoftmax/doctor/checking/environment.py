"""What names stand for at a place of the program: in a function, around it, after a branch."""

import ast
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cached_property

from .values import Value, Values

__all__ = ["Class", "Function", "Scope", "assigned_names", "dotted", "is_static"]

FunctionNode = ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda


class Scope:
    """The names of one function, or of the module, and those of the scope around it.

    A name may be dotted, as "self.scores", or end in a constant key, as "cache['p']".
    """

    __slots__ = ("_owners", "function", "names", "outer", "returned", "returns")

    def __init__(self, outer: "Scope | None" = None, function: FunctionNode | None = None) -> None:
        self.names: dict[str, Value] = {}
        self._owners: set[str] = set()  # the names of which attributes or items are known
        self.outer = outer
        self.function = function
        self.returns: list[Value] = []
        self.returned = False  # what follows a return, a raise, a break is not reached

    def get(self, name: str) -> Value | None:
        scope: Scope | None = self
        while scope is not None:
            value = scope.names.get(name)
            if value is not None:
                return value
            scope = scope.outer
        return None

    def set(self, name: str, value: Value) -> None:
        """Bind a name, and forget what was known of its attributes and items."""
        if name in self._owners:
            head = (f"{name}.", f"{name}[")
            for known in [known for known in self.names if known.startswith(head)]:
                del self.names[known]
        self.put(name, value)

    def put(self, name: str, value: Value) -> None:
        """Bind a name, or an item of it."""
        self.names[name] = value
        if name[-1] == "]" or "." in name:
            self._owners.update(name[:i] for i, c in enumerate(name) if c in ".[")

    def join(self, branches: Iterable[tuple[dict[str, Value], bool]], values: Values) -> None:
        """Go on after a branch: a name is one of what the sides that reach this place made it."""
        reaching = [names for names, returned in branches if not returned]
        if not reaching:
            self.returned = True
            return
        self.returned = False
        first, *others = reaching
        joined = dict(first)
        for names in others:
            for name, value in names.items():
                known = joined.get(name)
                if known is not value:  # unknown on one side: bound in one branch alone
                    joined[name] = value if known is None else values.either(known, value)
        self.names = joined


@dataclass(eq=False)
class Function:
    """A function of the module, with the scope that it was defined in."""

    node: FunctionNode
    scope: Scope
    method_of: "Class | None" = None
    calls: list[set[tuple[str, ast.AST]]] = field(default_factory=list)
    """What was found in its body, once for each call in the module with that call's arguments."""

    @cached_property
    def size(self) -> int:
        """How many nodes it has."""
        return sum(1 for _ in ast.walk(self.node))


@dataclass(slots=True, eq=False)
class Class:
    """A class of the module: its methods, and what they assign to attributes of `self`."""

    node: ast.ClassDef
    methods: dict[str, Function] = field(default_factory=dict)
    attributes: dict[str, Value] = field(default_factory=dict)
    bases: list["Class"] = field(default_factory=list)

    def method(self, name: str) -> Function | None:
        """A method of its own, or of a base class in the module."""
        inherited = (base.method(name) for base in self.bases)
        return self.methods.get(name) or next(filter(None, inherited), None)

    def attribute(self, name: str) -> Value | None:
        """What is assigned to an attribute, here or in a base class in the module."""
        inherited = (base.attribute(name) for base in self.bases)
        return self.attributes.get(name) or next(filter(None, inherited), None)


def is_static(node: ast.AST) -> bool:
    """Whether a function is marked as a static method."""
    return any(
        isinstance(d, ast.Name) and d.id == "staticmethod"
        for d in getattr(node, "decorator_list", [])
    )


def dotted(node: ast.AST) -> str | None:
    """The name of `x`, `self.x` or `cache["p"]`; None for other expressions."""
    match node:
        case ast.Name(id=name):
            return name
        case ast.Attribute(value=base, attr=attribute):
            known = dotted(base)
            return known and f"{known}.{attribute}"
        case ast.Subscript(value=base, slice=ast.Constant(value=str() as key)) if len(key) < 40:
            known = dotted(base)
            return known and f"{known}[{key!r}]"
    return None


def assigned_names(body: Iterable[ast.AST]) -> set[str]:
    """The names that statements assign to, in this scope."""
    names: set[str] = set()
    waiting: list[ast.AST] = list(body)
    while waiting:
        node = waiting.pop()
        match node:
            case ast.Assign(targets=targets) | ast.Delete(targets=targets):
                waiting += targets
            case ast.AugAssign(target=target) | ast.AnnAssign(target=target):
                waiting.append(target)
            case ast.Tuple(elts=elements) | ast.List(elts=elements):
                waiting += elements
            case ast.Starred(value=inner):
                waiting.append(inner)
            case ast.Name() | ast.Attribute():
                names.add(dotted(node) or "")
            case ast.Subscript(value=inner):
                names |= {dotted(node) or "", dotted(inner) or ""}
            case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.ClassDef():
                names.add(node.name)
            case _:
                for name in ("target", "body", "orelse", "finalbody", "handlers", "cases"):
                    part = getattr(node, name, None)
                    if part is not None:
                        waiting += part if isinstance(part, list) else [part]
    return names - {""}
