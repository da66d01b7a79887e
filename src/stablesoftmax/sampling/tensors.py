"""Drawing from arrays of torch, JAX, CuPy and the array API."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from .._arrays.tensors import host, library, namespace

__all__ = ["through_host"]


def through_host(
    function: Callable[..., Any], x: Any, args: tuple[Any, ...], options: dict[str, Any]
) -> Any:
    """Call a function of NumPy arrays with copies on the host; put its result beside x."""

    def copied(a: Any) -> Any:
        if not hasattr(a, "__array_namespace__") and library(a) != "torch":
            return a
        values = host(a)
        if values is None:
            other = {"torch": "torch.multinomial", "jax": "jax.random.categorical"}
            raise TypeError(
                f"{function.__name__} needs values, which a traced array has none of: "
                f"use {other.get(library(a), 'it outside of the trace')}"
            )
        return values

    arrays = [copied(a) for a in (x, *args)]
    result = function(*arrays, **{name: copied(a) for name, a in options.items()})
    several = library(x) == "jax" and len(x.devices()) > 1
    return namespace(x).asarray(result, device=None if several else x.device)
