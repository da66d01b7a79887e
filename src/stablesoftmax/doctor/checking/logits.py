"""Which exponents may be of any size, as logits are, and which are bounded or small."""

import re

from .values import Value, alternatives, number, parts, stripped, words

__all__ = ["could_be_logits", "has_dtype", "is_filler"]

# Parts of a name that say the values are bounded above, or small: exp(-d²) cannot overflow.
_BOUNDED = re.compile(
    r"^_?(d|d2|r2|dd|dx|dt|t|tau|w|p|k|i|j|n|ll|lp|lw|pos|min|max|low|high)_?\d*$"
    r"|(^|_)(lag|ages?|times?|steps?|positions?|lls?|llhs?|diffs?|angles?|phases?|gap|dev|chi2|errs?|mses?|rmse|"
    r"sse|bic|aic|aicc|delta\w*|residuals?|resid|errors?|ranks?|idx|index|indices|freqs?|bounds?|kl)($|_|\d)"
    r"|dist|rand|sample|sq|norm|kernel|sim(_|s$|$|ilar)|cos|corr|log(?!it|_?loss)|lik|prob|entrop|ratio|decay|sigmoid|tanh|"
    r"weight|diverg|hist"
)
# The same of a name that an expression was assigned to.
_CALLED = re.compile(
    r"dist|kernel|sim(_|s$|$|ilar)|cosine|corr|(^|_)log_?(p|w|q|lik|prob|weight)|lik|prob|entrop|delta|diff"
    r"|^_?(min|max)_?$"
)
_LOGARITHMS = re.compile(r"log|(^|_)l[pwl]s?($|_)|lik")


def could_be_logits(value: Value, depth: int = 8, logarithms: bool = False) -> bool:
    """Whether an exponent may be of any size: a name, a product, a layer's output.

    Squares, distances, similarities, logarithms of probabilities and the like are not; what the
    rules cannot tell is not.
    """
    value = stripped(value)
    if depth == 0 or any(_called_bounded(name, logarithms) for name in value.called):
        return False

    def also(part: Value) -> bool:
        return could_be_logits(part, depth - 1, logarithms)

    match value.op:
        case "param" | "attribute" | "name" | "item" | "loop":
            if value.op in ("item", "loop"):
                start = value.args[0] if value.args else None
                if start is not None and start.op == "buffer":  # zeros, and a loop adds to them
                    return not _named_bounded(value.name, logarithms)
                return start is not None and also(start)
            if value.op == "param" and _is_in_softmax(value):
                return True
            return not _named_bounded(value.name, logarithms) and value.name not in ("self", "args")
        case "call":
            last = value.name.rpartition(".")[2]
            if value.data[0] in ("logits", "layer"):
                return True
            if not last or last in _CALLS or _named_bounded(value.name, logarithms):
                return False
            return not any(map(_is_difference, parts(value, lambda _: True)))
        case "unknown":
            return False
        case "matmul":
            return not any(
                re.search(r"norm|dist|sim|emb", stripped(a).name.lower()) for a in value.args
            )
        case "add" | "joined":
            known = [a for a in value.args if number(a) is None]
            return bool(known) and (
                all(also(a) or _is_bias(a) for a in known) and any(also(a) for a in known)
            )
        case "mul" | "div":
            left, right = value.args
            if _unsigned(left) is _unsigned(right):  # -x * x
                return False
            if value.op == "div":
                return also(left) and not _is_shrinking(right)
            known = [a for a in value.args if number(a) is None]
            return bool(known) and all(
                also(a) or _is_scale(a) for a in known
            ) and any(also(a) for a in known)  # fmt: skip
        case "neg":
            return also(value.args[0])
        case "sub":
            return number(value.args[1]) is not None and also(value.args[0])
        case "reduce":
            return value.data[0] in ("sum", "mean") and also(value.args[0])
        case "either" | "looped" | "where":
            known = [a for a in alternatives(value) if not is_filler(a)]
            return bool(known) and all(also(a) for a in known)
        case "updated" | "filled":
            return all(also(a) for a in value.args if not is_filler(a))
        case "log" | "logsumexp":
            return logarithms
        case "clip":
            return also(value.args[0])
    return False


_CALLS = words(
    "abs sqrt square sin cos tanh sigmoid arange linspace power norm cdist pdist pow maximum "
    "minimum range len int normalize logaddexp tan arctan erf cumsum randn rand normal "
    "uniform random log1p polyval float_power hypot logspace geomspace lgamma gammaln "
    "normal_ standard_normal layer_norm expit"
)


def _unsigned(value: Value) -> Value:
    value = stripped(value)
    return stripped(value.args[0]) if value.op == "neg" else value


def _is_in_softmax(parameter: Value) -> bool:
    """Whether a parameter is one of a function that calls itself a softmax."""
    return "softmax" in getattr(parameter.data[1], "name", "").lower()


def _named_bounded(name: str, logarithms: bool) -> bool:
    last = name.rpartition(".")[2].lower()
    if logarithms and _LOGARITHMS.search(last):
        return False
    return bool(_BOUNDED.search(last)) or last.startswith(("_neg", "neg_"))


def _is_difference(value: Value) -> bool:
    return value.op == "sub" or (value.op == "reduce" and value.data[0] in ("max", "min"))


_BIASES = words("b bias offset intercept")


def _is_bias(value: Value) -> bool:
    return stripped(value).name.rpartition(".")[2].strip("_") in _BIASES


def _called_bounded(name: str, logarithms: bool) -> bool:
    last = name.rpartition(".")[2].lower()
    return bool(_CALLED.search(last)) and not (logarithms and _LOGARITHMS.search(last))


def _is_scale(value: Value) -> bool:
    """A temperature, a factor: a name by itself."""
    value = stripped(value)
    return value.op in ("param", "attribute", "name", "neg", "const") and not (
        value.name and re.search(r"dist|sq", value.name.lower())
    )


def _is_shrinking(value: Value) -> bool:
    """A divisor that bounds the quotient: a norm, a maximum, a sum."""
    value = stripped(value)
    if value.op == "reduce":
        return True
    last = value.name.rpartition(".")[2].lower()
    return bool(re.search(r"norm|max|total|range|eps|reg", last))  # epsilon: of optimal transport


_SAME_DTYPE = words("exp log view copy index neg clip softmax reduce list where")


def has_dtype(value: Value, depth: int = 8) -> str:
    """The dtype that a value was given in the source, or "" where nothing says it."""
    if depth == 0:
        return ""
    if value.op == "cast":
        return str(value.data[0])
    if value.op in _SAME_DTYPE:
        return has_dtype(value.args[0], depth - 1)
    if value.op in ("add", "sub", "mul", "div"):
        sides = [a for a in value.args if number(a) is None]
        kinds = {has_dtype(a, depth - 1) for a in sides}
        return kinds.pop() if len(kinds) == 1 else ""
    return ""


_FILLERS = words("inf min infty NINF float full_like")


def is_filler(value: Value) -> bool:
    """A number that stands for what is masked out: -inf, -1e9, `torch.finfo(x.dtype).min`."""
    value = stripped(value)
    if number(value) is not None:
        return True
    while value.op == "neg":
        value = value.args[0]
    return value.op in ("buffer", "const") or value.name.rpartition(".")[2] in _FILLERS
