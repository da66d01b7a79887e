"""Maxima and sums of groups: what the array API has no words for.

torch, JAX and CuPy have words of their own; elsewhere the rows are sorted by group and scanned.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from .._arrays.tensors import beside, library, name_of, widest
from .._arrays.typing import AnyArray

__all__ = ["Scatter"]


class Scatter(NamedTuple):
    """Which group each row is in. A row holds one number or more, which stay apart."""

    xp: Any
    ids: AnyArray  # one for each row, from 0 to number - 1
    number: int

    def gather(self, a: AnyArray) -> AnyArray:
        """Return for each row what its group has."""
        if library(a) == "torch":  # compat's take looks for negative ids
            return a.index_select(0, self.ids)
        return self.xp.take(a, self.ids, axis=0)

    def sum(self, values: AnyArray) -> AnyArray:
        """Add each group up, perhaps one by one."""
        return OWN.get(library(values), Sorted).sum(self, values)

    def accurate_sum(self, values: AnyArray) -> AnyArray:
        """Add each group up in float64, where there is one: it may be long."""
        wide = self.xp.result_type(values.dtype, widest(self.xp, values))
        return self.xp.astype(self.sum(self.xp.astype(values, wide)), values.dtype)

    def maximum(self, values: AnyArray) -> AnyArray:
        """Return each group's maximum, of values without a NaN: the least there is for nothing."""
        return OWN.get(library(values), Sorted).maximum(self, values)


def _filled(groups: Scatter, values: AnyArray, value: Any) -> AnyArray:
    shape = (groups.number, *values.shape[1:])
    return groups.xp.full(shape, value, dtype=values.dtype, **beside(values, groups.xp))


def _least(groups: Scatter, values: AnyArray) -> Any:
    whole = "int" in name_of(values.dtype)
    return groups.xp.iinfo(values.dtype).min if whole else -float("inf")


class Torch:
    """Functions that torch.compile, torch.func and autograd follow."""

    @staticmethod
    def sum(groups: Scatter, values: AnyArray) -> AnyArray:
        return _filled(groups, values, 0).index_add(0, groups.ids, values)

    @staticmethod
    def maximum(groups: Scatter, values: AnyArray) -> AnyArray:
        ids = groups.ids.reshape(-1, *(1 for _ in values.shape[1:])).expand_as(values)
        least = _filled(groups, values, _least(groups, values))
        return least.scatter_reduce(0, ids, values, "amax")


class Jax:
    @staticmethod
    def sum(groups: Scatter, values: AnyArray) -> AnyArray:
        import jax

        return jax.ops.segment_sum(values, groups.ids, groups.number)

    @staticmethod
    def maximum(groups: Scatter, values: AnyArray) -> AnyArray:
        import jax

        return jax.ops.segment_max(values, groups.ids, groups.number)


class Ufunc:
    """CuPy's words, which are NumPy's."""

    @staticmethod
    def sum(groups: Scatter, values: AnyArray) -> AnyArray:
        total = _filled(groups, values, 0)
        groups.xp.add.at(total, groups.ids, values)
        return total

    @staticmethod
    def maximum(groups: Scatter, values: AnyArray) -> AnyArray:
        value = _filled(groups, values, _least(groups, values))
        groups.xp.maximum.at(value, groups.ids, values)
        return value


class Sorted:
    """The array API alone: a scan of the sorted rows that stops where the group does."""

    @classmethod
    def sum(cls, groups: Scatter, values: AnyArray) -> AnyArray:
        return cls._scan(groups, values, 0, lambda a, b: a + b)

    @classmethod
    def maximum(cls, groups: Scatter, values: AnyArray) -> AnyArray:
        return cls._scan(groups, values, _least(groups, values), groups.xp.maximum)

    @staticmethod
    def _scan(groups: Scatter, values: AnyArray, nothing: Any, join: Any) -> AnyArray:
        xp, ids, reach = groups.xp, groups.ids, 1
        empty = _filled(groups, values, nothing)
        if 0 in values.shape:
            return empty
        order = xp.argsort(ids, stable=True)
        ids, values = xp.take(ids, order, axis=0), xp.take(values, order, axis=0)
        while reach < ids.shape[0]:  # each covers `reach` rows of its group that end at it
            same = (ids[reach:] == ids[:-reach])[:, None]
            late = values[reach:, ...]
            late = xp.where(same, join(late, values[:-reach, ...]), late)
            values, reach = xp.concat([values[:reach, ...], late], axis=0), 2 * reach
        group = xp.arange(groups.number, dtype=ids.dtype, **beside(values, xp))
        end = xp.searchsorted(ids, group, side="right")
        some = end > xp.searchsorted(ids, group, side="left")
        last = xp.take(values, xp.where(some, end - 1, 0), axis=0)
        return xp.where(some[:, None], last, empty)


OWN: dict[str, Any] = {"torch": Torch, "jax": Jax, "cupy": Ufunc, "numpy": Ufunc}
