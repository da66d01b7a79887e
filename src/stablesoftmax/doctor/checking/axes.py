"""The axis of a maximum against the axis of the sum that it is for."""

from .shifts import Shift
from .values import UNKNOWN_AXIS, Value

__all__ = ["loses_axis", "wrong_axis"]


def wrong_axis(shift: Shift, total: Value) -> str:
    """The cause, where a maximum and a sum do not go together for certain; else ""."""
    _, summed, _, flavour = total.data
    if not shift.certain or UNKNOWN_AXIS in (summed, shift.axis):
        return ""
    rows = isinstance(shift.axis, int | tuple)
    if flavour == "builtin":  # which adds along the first axis
        return "SMX007" if rows and shift.axis != 0 and not _is_list(total.args[0]) else ""
    if shift.axis is None:
        return "" if summed in (None, 0) else "SMX003"  # along the only axis of a vector
    if rows and summed is None:  # the last axis may be the only one
        return "SMX007" if isinstance(shift.axis, tuple) or _is_positive(shift.axis) else ""
    if _differ(shift.axis, summed):
        return "SMX003"
    return "SMX006" if loses_axis(shift.axis, shift.kept) else ""


def _is_list(value: Value) -> bool:
    return value.op in ("list", "tuple", "filled", "loop") or (
        value.op == "copy" and _is_list(value.args[0])
    )


def loses_axis(axis: object, kept: object) -> bool:
    """Whether a reduction leaves something that broadcasts along the wrong axis."""
    return kept is False and isinstance(axis, int) and axis != 0


def _differ(axis: object, summed: object) -> bool:
    """Whether two axes are not the same, whatever number of dimensions there are."""
    if "segments" in (axis, summed):
        return axis is None
    if not isinstance(axis, int) or not isinstance(summed, int):
        return (
            isinstance(axis, tuple)
            and isinstance(summed, int)
            and summed not in axis
            and min(axis) >= 0 <= summed
        )
    return axis != summed and (axis >= 0) == (summed >= 0)


def _is_positive(axis: object) -> bool:
    return isinstance(axis, int) and axis > 0
