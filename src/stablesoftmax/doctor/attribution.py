"""Name the cause of an overflow, a division by zero or an invalid value that NumPy told of.

An event is looked at while it happens: what the failing operation was given can then still be
read. Each rule below knows one kind of event; the first that recognises it names the cause.
"""

import ast
import re
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .arrays import overflow_of_exp
from .patterns import Meaning
from .scenes import Scene, Suspicion, closure

__all__ = ["attribute"]

_EXP = {"exp", "exp2", "expm1", "cosh", "sinh"}
_LOG = {"log", "log2", "log10", "log1p"}
_DIVIDE = {"divide", "true_divide", "floor_divide", "remainder", "fmod", "divmod", "reciprocal"}
_DOMAIN = {"sqrt", "arccos", "arcsin", "arccosh", "arctanh", "power", "float_power", "pow", *_LOG}
_PRODUCT = {"multiply", "matmul", "dot", "vecdot", "einsum", "power", "square"}
_GRADIENT = re.compile(r"(^|_)(g|grads?|gradients?)(_|\d|$)|^d[A-Z]\w*$")
_WEIGHTS = re.compile(r"^(w|W|b|theta|params?|weights?|logits|loss|coef)", re.I)
_LABELS = re.compile(r"label|target|ignore|^y(_|$)", re.I)


def attribute(scene: Scene) -> tuple[str, Suspicion]:
    """Say in a few words what happened, and which cause is suspected."""
    what = f"{_KINDS[scene.kind]} in {scene.operation}"
    for rule in _RULES:
        if found := rule(scene):
            described, suspicion = found
            return described or what, suspicion
    raise AssertionError(what)  # the last rules take everything


_KINDS = {"overflow": "overflow", "divide": "division by zero", "invalid": "invalid value"}
_Found = tuple[str, Suspicion] | None


def _overflow_of_exp(scene: Scene) -> _Found:
    if scene.kind != "overflow" or scene.operation not in _EXP:
        return None
    value, dtype = (scene.values or [None])[0], scene.dtype or np.dtype(float)
    name = scene.text(scene.nodes[0]) if scene.nodes else "its argument"
    limit = f"exp overflows above {overflow_of_exp(dtype):.5g} in {dtype}"
    reached = f"{name} reaches {_number(_top(value))}; {limit}" if value is not None else limit
    if value is not None and value.dtype.kind == "u":
        return "", Suspicion(
            "SMX010", f"{reached}: {value.dtype} has no negative numbers, and wraps"
        )
    if dtype == np.float16:
        return "", Suspicion("SMX016", reached)
    if not isinstance(scene.node, ast.Call):
        return "", Suspicion("SMX001", reached)
    roles = set(_roles(scene, scene.node))
    if "log" in roles and "numerator" not in roles:
        return "", Suspicion("SMX005", f"log(sum(exp)) is inf: {reached}")
    if roles == {"denominator"}:
        return "", Suspicion("SMX001", f"harmless: 1 / inf is 0 here; {reached}", harmless=True)
    shift, _ = scene.meaning.shift(scene.node)
    how = {"none": "not shifted by the row's maximum", "max": "shifted by another maximum"}
    message = f"exp is {how.get(shift, f'shifted by a {shift}, not by the maximum')}: {reached}"
    return "", Suspicion("SMX001", message, also=(*_scale(scene), *_mismatch(scene)))


def _roles(scene: Scene, exp: ast.AST) -> Iterator[str]:
    """What becomes of an exponential: numerator, denominator, a logarithm's, or something else."""
    uses = scene.meaning.used_in(exp)
    summed = any(scene.meaning.of(use) in ("sum", "mean") for use, _ in uses)
    for use, carrier in uses:
        if isinstance(use, ast.BinOp) and isinstance(use.op, ast.Div):
            yield "denominator" if carrier is use.right and not summed else "numerator"
        elif isinstance(use, ast.AugAssign) and isinstance(use.op, ast.Div):
            yield "numerator"
        elif scene.meaning.of(use) == "log":
            yield "log"
        elif not isinstance(use, ast.BinOp | ast.UnaryOp) and scene.meaning.of(use) != "sum":
            yield "other"


def _mismatch(scene: Scene) -> Iterator[tuple[str, str]]:
    """exp(x) / sum(exp(y)): the question's own mistake, beside the overflow."""
    assert scene.node is not None
    for use, _ in scene.meaning.used_in(scene.node):
        if isinstance(use, ast.BinOp) and isinstance(use.op, ast.Div):
            above = scene.meaning.exponential(use.left)
            below = scene.meaning.contains(use.right, "exp")
            if above and below and not _same_values(scene, above, below):
                one, other = scene.text(above), scene.text(below)
                yield "SMX002", f"{one} is divided by a sum of {other}: rows do not sum to 1"
                return


def _same_values(scene: Scene, node: ast.AST, other: ast.AST) -> bool:
    if ast.dump(node) == ast.dump(other):
        return True
    one, two = scene.read(node), scene.read(other)  # y = x is no mistake
    return one is not None and two is not None and np.array_equal(one, two, equal_nan=True)


def _scale(scene: Scene) -> Iterator[tuple[str, str]]:
    """Logits that a product of unscaled inputs, or of large weights, made."""
    product = next(
        (
            part
            for part in closure(scene.meaning, scene.nodes[0])
            if isinstance(part, ast.BinOp) and isinstance(part.op, ast.MatMult)
        ),
        None,
    )
    if product is None:
        return
    inputs, weights = scene.read(product.left), scene.read(product.right)
    if weights is not None and weights.ndim == 2 and weights.dtype.kind == "f":
        gain = float(np.std(weights) * np.sqrt(weights.shape[0]))
        if np.isfinite(gain) and gain > 8:
            name = scene.text(product.right)
            yield (
                "SMX018",
                f"{name} multiplies the scale of its input by {gain:.3g}; a layer keeps 1",
            )
    if inputs is not None and inputs.size and inputs.dtype.kind in "fiu":
        largest = float(np.max(np.abs(inputs.astype(float))))
        if np.isfinite(largest) and largest > 30:
            yield (
                "SMX018",
                f"{scene.text(product.left)} reaches {_number(largest)}: scale the inputs",
            )


def _overflow(scene: Scene) -> _Found:
    if scene.kind != "overflow":
        return None
    integers = [v for v in scene.values if v is not None and v.dtype.kind in "iu"]
    if integers and len(integers) == len(scene.nodes):
        return "", Suspicion(
            "SMX010", f"integers of {integers[0].dtype} wrap around in {scene.operation}"
        )
    if scene.dtype == np.float16 or _casts_to_half(scene):
        return "", Suspicion(
            "SMX016", f"{scene.operation} goes beyond float16, which ends at 65504"
        )
    message = f"{scene.operation} goes beyond {scene.dtype or 'the dtype'}" + _reached(scene)
    names = set(_names(scene))
    if any(map(_GRADIENT.search, names)):
        return "", Suspicion("SMX019", f"a gradient overflows: {message}")
    growing = sorted(names & set(_updated(scene)))
    if growing:
        which = ", ".join(growing)
        return "", Suspicion("SMX017", f"{which} grew from step to step until {message}")
    return "", Suspicion("SMX031", message)


def _casts_to_half(scene: Scene) -> bool:
    return scene.operation == "cast" and scene.node is not None and "16" in scene.text(scene.node)


def _reached(scene: Scene) -> str:
    tops = [_top(np.abs(v)) for v in scene.values if v is not None and v.dtype.kind in "fiu"]
    return f": its operand reaches {_number(max(tops))}" if tops else ""


def _updated(scene: Scene) -> Iterator[str]:
    """Names that grow by steps in a loop around the event, as weights in training do."""
    for meaning, loop in scene.loops:
        for name, operator in meaning.updates_itself(loop):
            if operator in (ast.Add, ast.Sub) or _WEIGHTS.match(name):
                yield name


def _names(scene: Scene) -> Iterator[str]:
    """The names that an event's statement uses, in its callers too."""
    for module, node in scene.stack:
        meaning = Meaning(module)
        for part in closure(meaning, module.statement(node)):
            if isinstance(part, ast.Name):
                yield part.id
            elif isinstance(part, ast.Attribute):
                yield part.attr


def _invalid_quotient(scene: Scene) -> _Found:
    if scene.kind != "invalid" or scene.operation not in _DIVIDE:
        return None
    form = _quotient(scene)
    if scene.node is None or not scene.nodes:
        return form, Suspicion("SMX029", f"{form} is NaN")
    if form == "inf / inf":
        return form, Suspicion("SMX015", "inf / inf: the infinities came in from elsewhere")
    exp = scene.meaning.exponential(scene.nodes[0])
    if exp is not None:
        return form, _underflow(scene, exp)
    if scene.meaning.is_sum_of_exp(scene.nodes[-1]):
        return form, Suspicion("SMX001", "every exp of a row underflowed to 0, and 0 / 0 is NaN")
    compared = [n for n in closure(scene.meaning, scene.node) if isinstance(n, ast.Compare)]
    if any(_LABELS.search(n.id) for c in compared for n in ast.walk(c) if isinstance(n, ast.Name)):
        return form, Suspicion("SMX020", "no label counts: the mean over none of them is 0 / 0")
    return form, Suspicion("SMX029", f"{form} is NaN: {scene.text(scene.nodes[-1])} is 0")


def _quotient(scene: Scene) -> str:
    match scene.values:
        case [np.ndarray() as above, np.ndarray() as below, *_]:
            try:
                above, below = np.broadcast_arrays(above, below)
            except ValueError:
                return "0 / 0"
            return "inf / inf" if (np.isinf(above) & np.isinf(below)).any() else "0 / 0"
        case [_, np.ndarray() as below, *_] if np.isinf(below).any():
            return "inf / inf"
    return "0 / 0"


def _underflow(scene: Scene, exp: ast.Call) -> Suspicion:
    """0 / 0 of exponentials: which shift, or which mask, left nothing of a row."""
    argument = scene.meaning.arguments(exp)[0]
    z, (shift, _) = scene.read(argument), scene.meaning.shift(exp)
    if z is None or z.dtype.kind not in "fiu" or not z.size:
        if shift == "max":
            return Suspicion("SMX003", "a row far below the shared maximum underflowed to 0 / 0")
        return Suspicion("SMX001", "every exp of a row underflowed to 0, and 0 / 0 is NaN")
    with np.errstate(all="ignore"):
        tops = np.atleast_1d(z).max(axis=_axis(scene))
        alive = np.exp(tops) > 0
    if alive.all():
        return Suspicion("SMX014", "a row is masked out: all of it is 0, and 0 / 0 is NaN")
    lowest = tops[~alive]
    if np.isneginf(lowest).all():
        return Suspicion("SMX014", "a row is -inf throughout: its sum is 0, and 0 / 0 is NaN")
    name, most = scene.text(argument), _number(_top(lowest[np.isfinite(lowest)]))
    message = f"{name} is at most {most} in a row, where every exp is 0; 0 / 0 is NaN"
    if shift == "max" and alive.any():
        return Suspicion("SMX003", f"the maximum is shared between rows: {message}")
    if z.dtype == np.float16:
        return Suspicion("SMX016", message)
    return Suspicion("SMX001", message)


def _axis(scene: Scene) -> int:
    """The axis that the denominator sums along; the last where that is not to be seen."""
    total = scene.meaning.contains(scene.nodes[-1], "sum")
    for word in total.keywords if total else []:
        if word.arg == "axis":
            axis = scene.read(word.value)
            return int(axis) if axis is not None and axis.ndim == 0 else -1
    return -1


def _invalid_difference(scene: Scene) -> _Found:
    if scene.kind != "invalid" or scene.operation not in ("subtract", "add", "reduce"):
        return None
    values = [v for v in scene.values if v is not None and v.dtype.kind == "f"]
    below = bool(values) and all(np.isneginf(v).any() for v in values)
    from_maximum = scene.node is not None and scene.meaning.contains(scene.node, "max") is not None
    if scene.operation == "subtract" and below and from_maximum:
        row = "a row is -inf throughout: its maximum is -inf, and -inf - -inf is NaN"
        return "-inf - -inf", Suspicion("SMX014", row)
    form = "inf - inf"
    return form, Suspicion("SMX015", "inf - inf is NaN: the infinities came in from elsewhere")


def _invalid_product(scene: Scene) -> _Found:
    if scene.kind != "invalid" or scene.operation not in _PRODUCT - {"power", "square"}:
        return None
    if scene.operation == "multiply":
        return "0 * inf", Suspicion("SMX012", "0 * inf is NaN" + _zero_and_infinity(scene))
    message = f"{scene.operation} of infinities is NaN: they came in from elsewhere"
    return "0 * inf or inf - inf", Suspicion("SMX015", message)


def _zero_and_infinity(scene: Scene) -> str:
    names = [scene.text(node) for node in scene.nodes]
    for name, value in zip(names, scene.values, strict=True):
        if value is not None and value.dtype.kind == "f" and np.isinf(value).any():
            return f": {name} holds {_number(value[np.isinf(value)].flat[0])}"
    return ""


def _invalid_cast(scene: Scene) -> _Found:
    if scene.kind != "invalid" or scene.operation != "cast":
        return None
    value = next((v for v in scene.values if v is not None), None)
    if value is not None and np.isfinite(value).all():
        return "", Suspicion("SMX010", f"{_number(_top(np.abs(value)))} does not fit the integers")
    return "NaN to integer", Suspicion("SMX015", "NaN or infinity is converted to an integer")


def _log_of_zero(scene: Scene) -> _Found:
    if scene.kind != "divide" or scene.operation not in _LOG:
        return None
    if scene.node is None or not scene.nodes:
        return "log(0)", Suspicion("SMX030", "log(0) is -inf")
    argument, value = scene.nodes[0], scene.values[0]
    if scene.meaning.is_sum_of_exp(argument):
        return "log(0)", Suspicion("SMX005", "log(sum(exp)) is -inf: every exp underflowed to 0")
    resolved = scene.meaning.resolved(argument)
    if value is not None and value.dtype == np.float16 and isinstance(resolved, ast.BinOp):
        return "log(0)", Suspicion("SMX008", "log(0): the epsilon is 0 in float16")
    name = scene.text(argument)
    if scene.meaning.contains(argument, "softmax") or scene.meaning.is_probabilities(argument):
        return "log(0)", Suspicion("SMX004", f"log({name}) is -inf: a probability underflowed to 0")
    literal = isinstance(resolved, ast.List | ast.Tuple | ast.Constant)
    if value is not None and not literal and _are_probabilities(value):
        return "log(0)", Suspicion("SMX004", f"log({name}) is -inf: a probability is 0")
    return "log(0)", Suspicion("SMX030", f"log({name}) is -inf: {name} holds 0")


def _are_probabilities(value: NDArray[Any]) -> bool:
    if value.dtype.kind != "f" or value.ndim == 0 or value.shape[-1] < 2 or not value.size:
        return False
    sums = value.sum(axis=-1, dtype=np.float64)
    return bool((value >= 0).all() and (abs(sums - 1) < 1e-3).all())


def _domain(scene: Scene) -> _Found:
    if scene.kind == "overflow" or scene.operation not in _DOMAIN:
        return None
    value = next((v for v in scene.values if v is not None), None)
    name = scene.text(scene.nodes[0]) if scene.nodes else "its argument"
    if scene.kind == "divide" and scene.operation in ("power", "float_power"):
        return "0 to a negative power", Suspicion(
            "SMX029", f"0 to a negative power: {name} holds 0"
        )
    if value is not None and value.dtype.kind == "f" and value.size:
        low, high = float(np.nanmin(value)), float(np.nanmax(value))
        bad = low if low < (-1 if scene.operation.startswith("arc") else 0) else high
        name = f"{name} holds {_number(bad)}"
    return "", Suspicion("SMX030", f"{scene.operation} is not defined there: {name}")


def _zero_division(scene: Scene) -> _Found:
    if scene.kind != "divide":
        return None
    name = scene.text(scene.nodes[-1]) if scene.nodes else "the divisor"
    exp = scene.node is not None and scene.nodes and scene.meaning.is_sum_of_exp(scene.nodes[-1])
    if exp:
        return "x / 0", Suspicion("SMX001", f"{name} is 0: every exp of a row underflowed")
    return "x / 0", Suspicion("SMX029", f"division by zero: {name} is 0")


def _anything(scene: Scene) -> _Found:
    return "", Suspicion("SMX015", f"{scene.operation} of NaN or infinity that came in")


_RULES: tuple[Callable[[Scene], _Found], ...] = (
    _overflow_of_exp,
    _overflow,
    _invalid_quotient,
    _invalid_difference,
    _invalid_product,
    _invalid_cast,
    _log_of_zero,
    _domain,
    _zero_division,
    _anything,
)


def _top(value: NDArray[Any]) -> float:
    finite = value[np.isfinite(value)] if value.dtype.kind == "f" else value
    return float(finite.max()) if finite.size else float("nan")


def _number(value: float) -> str:
    return f"{value:.4g}"
