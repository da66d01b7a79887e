"""The catalogue of causes: every tool of the doctor reports from it, and nothing else.

`python -m stablesoftmax.doctor.causes > docs/causes.md` makes the page.
"""

from dataclasses import dataclass

__all__ = ["CAUSES", "Cause", "markdown"]


@dataclass(frozen=True, slots=True)
class Cause:
    """One cause of a wrong softmax: what it is, the smallest input that shows it, the cure.

    Parameters
    ----------
    code : str
        "SMX001" and on; stable, what ``# noqa`` and ``explain`` take.
    name : str
        A name of two or three words.
    summary : str
        The cause in one sentence.
    mechanism : str
        What happens, step by step.
    example : str
        The smallest input that shows it, as a doctest; NumPy's warnings are off, `np` is NumPy.
    fix : str
        How to mend it, in a sentence or two.
    cure : str
        The example mended, as a doctest after it.
    """

    code: str
    name: str
    summary: str
    mechanism: str
    example: str
    fix: str
    cure: str


_ROWS = (
    Cause(
        "SMX001",
        "unshifted-exp",
        "exp of logits as they are, or shifted by something that is not the row's maximum.",
        "exp overflows to inf above 88.7 in float32 and 709.8 in float64, and inf / inf is NaN. "
        "Where all logits of a row lie below -103 or -745, every exp is 0, and 0 / 0 is NaN. A "
        "shift by the mean, the minimum or a constant moves these limits and keeps them.",
        """
>>> x = np.array([1000.0, 0.0])
>>> np.exp(x) / np.sum(np.exp(x))
array([nan,  0.])
""",
        "Subtract the maximum of each row first, or call softmax, which does.",
        """
>>> from stablesoftmax import softmax
>>> softmax(x)
array([1., 0.])
""",
    ),
    Cause(
        "SMX002",
        "mismatched-sum",
        "Numerator and denominator come of different arrays, or of different shifts.",
        "The quotient is no softmax: its rows do not sum to 1. Often nothing is NaN, and the "
        "network trains on numbers that are no probabilities.",
        """
>>> x, y = np.array([1.0, 2.0]), np.array([1.0, 3.0])
>>> p = np.exp(x) / np.sum(np.exp(y))
>>> p.sum()
np.float64(0.44323...)
""",
        "Name the exponentials once and divide them by their own sum, or call softmax.",
        """
>>> from stablesoftmax import softmax
>>> softmax(x).sum()
np.float64(1.0)
""",
    ),
    Cause(
        "SMX003",
        "shared-shift",
        "Shifted by the maximum of the whole array, or of another axis.",
        "The largest row is safe. A row that lies 745 or more below it (103 in float32) underflows "
        "to zeros throughout, and 0 / 0 is NaN: one large row of a batch spoils the others.",
        """
>>> x = np.array([[0.0, 1.0], [1000.0, 1001.0]])
>>> e = np.exp(x - np.max(x))
>>> e / e.sum(axis=-1, keepdims=True)
array([[       nan,        nan],
       [0.26894142, 0.73105858]])
""",
        "Take the maximum along the axis that is summed: np.max(x, axis=-1, keepdims=True).",
        """
>>> from stablesoftmax import softmax
>>> softmax(x)
array([[0.26894142, 0.73105858],
       [0.26894142, 0.73105858]])
""",
    ),
    Cause(
        "SMX004",
        "log-of-softmax",
        "The logarithm of a probability that underflowed: -inf.",
        "A probability below 1e-323 (1e-45 in float32) is 0, though its logarithm is an ordinary "
        "number such as -1000. The loss becomes inf, and its gradient NaN. Near 1 the logarithm "
        "loses its digits.",
        """
>>> from stablesoftmax import log_softmax, softmax
>>> x = np.array([1000.0, 0.0])
>>> np.log(softmax(x))
array([  0., -inf])
""",
        "Call log_softmax on the logits, or cross_entropy for the loss.",
        """
>>> log_softmax(x)
array([    0., -1000.])
""",
    ),
    Cause(
        "SMX005",
        "naive-logsumexp",
        "log(sum(exp(x))) without a shift.",
        "exp overflows and the result is inf, or every exp is 0 and the result is -inf, though the "
        "answer is close to the maximum of x.",
        """
>>> x = np.array([1000.0, 1000.0])
>>> np.log(np.sum(np.exp(x)))
np.float64(inf)
""",
        "Call logsumexp.",
        """
>>> from stablesoftmax import logsumexp
>>> logsumexp(x)
np.float64(1000.6931471805599)
""",
    ),
    Cause(
        "SMX006",
        "missing-keepdims",
        "A maximum or a sum that lost its axis.",
        "The row values of a (rows, classes) array have shape (rows,), and NumPy broadcasts them "
        "along the classes. Where rows and classes differ in number that is an error; on a square "
        "array each column is divided by another row's sum, and nothing is said.",
        """
>>> x = np.array([[0.0, 1.0], [2.0, 5.0]])
>>> e = np.exp(x - x.max(axis=-1, keepdims=True))
>>> (e / e.sum(axis=-1)).sum(axis=-1)
array([1.2215..., 0.9889...])
""",
        "Pass keepdims=True to both the maximum and the sum.",
        """
>>> (e / e.sum(axis=-1, keepdims=True)).sum(axis=-1)
array([1., 1.])
""",
    ),
    Cause(
        "SMX007",
        "wrong-axis",
        "Normalised over another axis than asked, or over all.",
        "The builtin sum adds along axis 0, np.sum without an axis over everything. Columns, or "
        "the whole batch, sum to 1 in place of rows. A stable softmax hides it: no NaN appears, "
        "the logits grow without bound, and accuracy stays at chance.",
        """
>>> x = np.array([[0.0, 1.0], [2.0, 3.0]])
>>> e = np.exp(x - np.max(x, axis=-1, keepdims=True))
>>> (e / sum(e)).sum(axis=-1)
array([1., 1.])
>>> e / sum(e)
array([[0.5, 0.5],
       [0.5, 0.5]])
""",
        "Sum along the axis of the classes: np.sum(e, axis=-1, keepdims=True).",
        """
>>> from stablesoftmax import softmax
>>> softmax(x)
array([[0.26894142, 0.73105858],
       [0.26894142, 0.73105858]])
""",
    ),
    Cause(
        "SMX008",
        "epsilon",
        "An epsilon added, or a floor clipped in, to keep a logarithm or a quotient finite.",
        "Rows no longer sum to 1, the loss cannot exceed -log(eps) however wrong the network is, "
        "and the gradient is cut off there. In float16 an epsilon below 3e-8 is 0 and saves "
        "nothing.",
        """
>>> p = np.array([1.0, 0.0])  # of the logits [1000, 0]: the loss of class 1 is 1000
>>> -np.log(p + 1e-9)[1]
np.float64(20.72326583694641)
>>> np.float16(1e-9)
np.float16(0.0)
""",
        "Leave the epsilon out and work on the logits: log_softmax, cross_entropy.",
        """
>>> from stablesoftmax import cross_entropy
>>> cross_entropy([1000.0, 0.0], 1)
np.float64(1000.0)
""",
    ),
    Cause(
        "SMX009",
        "double-softmax",
        "Probabilities are used as logits: a softmax of a softmax.",
        "Probabilities differ by 1 at most, so that the second softmax is nearly uniform: with ten "
        "classes no probability exceeds 0.24, the loss never falls below 1.46, and gradients are "
        "small.",
        """
>>> from stablesoftmax import softmax
>>> x = np.array([10.0, 0.0])
>>> softmax(softmax(x))
array([0.73104..., 0.26895...])
""",
        "Pass the logits; leave out the softmax before a loss that takes logits.",
        """
>>> softmax(x)
array([9.99954602e-01, 4.53978687e-05])
""",
    ),
    Cause(
        "SMX010",
        "integer-dtype",
        "Integers that wrap around, cut off the fraction, or are asked to hold the result.",
        "x - max(x) of unsigned integers wraps to huge numbers; a difference of extreme signed "
        "ones overflows in silence; probabilities stored in an integer array are all 0.",
        """
>>> x = np.array([1, 2, 3], dtype=np.uint8)
>>> x - x.max()
array([254, 255,   0], dtype=uint8)
""",
        "Convert first, x.astype(float), or call softmax, which takes integers as they are.",
        """
>>> from stablesoftmax import softmax
>>> softmax(x)
array([0.09003057, 0.24472847, 0.66524096])
""",
    ),
    Cause(
        "SMX011",
        "narrow-precision",
        "Computed, or summed, in a narrower dtype than the input's.",
        "The digits are gone, whatever dtype comes back: logits of 16777217 and 16777216 are one "
        "number in float32, and a sum of float16 stops growing at 2048.",
        """
>>> x = np.array([16777217.0, 16777216.0])
>>> e = np.exp(x.astype(np.float32) - x.max())
>>> e / e.sum()
array([0.5, 0.5])
""",
        "Keep the input's dtype, and let sums be wider: np.sum(..., dtype=np.float64).",
        """
>>> from stablesoftmax import softmax
>>> softmax(x)
array([0.73105858, 0.26894142])
""",
    ),
    Cause(
        "SMX012",
        "zero-times-infinity",
        "0 * inf in a loss or a gradient: one-hot labels times log 0, or a `where` around a log.",
        "log(0) is -inf, and the 0 of a one-hot label does not remove it: 0 * inf is NaN. "
        "np.where(p > 0, np.log(p), 0) computes both sides, and in a gradient the side that was "
        "not taken comes back as 0 * inf.",
        """
>>> labels, p = np.array([1.0, 0.0]), np.array([1.0, 0.0])
>>> -np.sum(labels * np.log(p))
np.float64(nan)
""",
        "Compute the loss from the logits with cross_entropy, or pick the entries that count.",
        """
>>> from stablesoftmax import cross_entropy
>>> cross_entropy([1000.0, 0.0], 0)
np.float64(0.0)
""",
    ),
    Cause(
        "SMX013",
        "hidden-nan",
        "nan_to_num, or the like: the NaN is still made, and hidden.",
        "The row was lost when the NaN arose. Zeros in its place are no probabilities, train the "
        "network on nothing, and take away the sign that something is wrong.",
        """
>>> x = np.array([1000.0, 999.0])
>>> np.nan_to_num(np.exp(x) / np.exp(x).sum())
array([0., 0.])
""",
        "Mend what makes the NaN and take nan_to_num out.",
        """
>>> from stablesoftmax import softmax
>>> softmax(x)
array([0.73105858, 0.26894142])
""",
    ),
    Cause(
        "SMX014",
        "empty-row",
        "A row that is masked out, or -inf throughout.",
        "Its maximum is -inf, and -inf - -inf is NaN; without a shift the sum is 0, and 0 / 0 is "
        "NaN. No distribution over nothing exists: the program has to say what it wants.",
        """
>>> x = np.array([-np.inf, -np.inf])
>>> np.exp(x - x.max())
array([nan, nan])
""",
        'Say what such a row means: softmax(x, where=mask) gives zeros, undefined="zero" or '
        '"uniform" a value, undefined="raise" an error that names the row.',
        """
>>> from stablesoftmax import softmax
>>> softmax(x, undefined="zero")
array([0., 0.])
""",
    ),
    Cause(
        "SMX015",
        "bad-input",
        "NaN or infinity that came in, or inf - inf made of it.",
        "No softmax made it: a file, a division, an earlier step did. One NaN makes a whole row "
        "NaN, and a gradient spreads it to every weight.",
        """
>>> x = np.array([1.0, np.nan, 3.0])
>>> np.exp(x - x.max())
array([nan, nan, nan])
""",
        "Look upstream: np.argwhere(~np.isfinite(x)) says where, `stablesoftmax run --thorough` "
        "after which line.",
        """
>>> from stablesoftmax import softmax
>>> np.argwhere(~np.isfinite(x)).tolist()
[[1]]
>>> softmax(x, where=np.isfinite(x))
array([0.11920292, 0.        , 0.88079708])
""",
    ),
    Cause(
        "SMX016",
        "half-precision",
        "The range of float16: exp overflows at 11.09, and a mask of -1e9 is -inf.",
        "float16 ends at 65504. exp(12) is inf, and so is a sum of exponentials beyond it; masks "
        "of -1e9 become -inf, and a row of them NaN.",
        """
>>> x = np.array([12.0, 0.0], dtype=np.float16)
>>> np.exp(x) / np.exp(x).sum()
array([nan,  0.], dtype=float16)
""",
        "Call softmax, which computes float16 in float32 and rounds once; mask with where=.",
        """
>>> from stablesoftmax import softmax
>>> softmax(x)
array([1.00e+00, 6.14e-06], dtype=float16)
""",
    ),
    Cause(
        "SMX017",
        "divergence",
        "Logits, loss or weights that grow from step to step.",
        "Each step overshoots by more than the last, so that weights grow geometrically until they "
        "overflow. A stable softmax puts off the NaN and mends nothing.",
        """
>>> w = 1.0
>>> for step in range(5):
...     w -= 2.5 * w  # the gradient of w² / 2, at a rate above 2
>>> w
-7.59375
""",
        "Lower the learning rate, scale the inputs, clip the gradients (clip_by_global_norm).",
        """
>>> w = 1.0
>>> for step in range(5):
...     w -= 0.5 * w
>>> w
0.03125
""",
    ),
    Cause(
        "SMX018",
        "scale",
        "First weights, or inputs, of a scale that no layer keeps.",
        "A layer multiplies the scale of its input by the deviation of its weights times the "
        "square root of the inputs it sums. With weights of deviation 1, or pixels up to 255, "
        "the first logits are in the thousands, and softmax is one-hot from the first step.",
        """
>>> rng = np.random.default_rng(0)
>>> pixels, weights = rng.uniform(0, 255, 784), rng.standard_normal((784, 10))
>>> bool(np.abs(pixels @ weights).max() > 1000)
True
""",
        "Scale the inputs to deviation 1, and draw weights with initial_weights (He, Glorot or "
        "LeCun).",
        """
>>> from stablesoftmax import initial_weights
>>> weights = initial_weights((784, 10), rng=rng)
>>> bool(np.abs(pixels / 255 @ weights).max() < 5)
True
""",
    ),
    Cause(
        "SMX019",
        "exploding-gradient",
        "A gradient that is not finite, or that jumped by orders of magnitude.",
        "A step along it throws the weights far away. Clipping by the norm mends a gradient that "
        "is large; it cannot mend one that holds inf or NaN, because inf / inf is NaN.",
        """
>>> g = np.array([np.inf, 1.0])
>>> g * (1 / np.linalg.norm(g))
array([nan,  0.])
""",
        "Mend the function that made the infinity; clip finite gradients with clip_by_global_norm, "
        "which refuses others.",
        """
>>> from stablesoftmax import clip_by_global_norm
>>> clip_by_global_norm([np.array([300.0, 400.0])], 1.0)[0]
[array([0.6, 0.8])]
""",
    ),
    Cause(
        "SMX020",
        "bad-labels",
        "Labels out of range, counted from 1, all ignored, or of a wrong shape.",
        "A label of -1 silently picks the last class in NumPy; labels from 1 to n raise, or train "
        "the wrong class; a mean over no label is 0 / 0.",
        """
>>> log_p = np.log([[0.7, 0.2, 0.1]])
>>> labels = np.array([-1])  # meant: ignore this row
>>> -log_p[[0], labels]
array([2.30258509])
""",
        "Count classes from 0, and name the label that is to be ignored: "
        "cross_entropy(..., ignore_index=-1).",
        """
>>> from stablesoftmax import cross_entropy
>>> cross_entropy(log_p, labels, ignore_index=-1, reduction="none")
array([0.])
""",
    ),
    Cause(
        "SMX021",
        "saturation",
        "All probability on one class: gradients vanish.",
        "Where one logit exceeds the others by 40 or more, its probability is 1 and the gradient "
        "below rounding: the network no longer learns from this row.",
        """
>>> from stablesoftmax import softmax
>>> p = softmax([1000.0, 0.0])
>>> p * (1 - p)
array([0., 0.])
""",
        "Scale the inputs and the first weights, or soften with temperature.",
        """
>>> softmax([1000.0, 0.0], temperature=200)
array([0.99330715, 0.00669285])
""",
    ),
    Cause(
        "SMX022",
        "mutated-input",
        "The function writes to its argument.",
        "x -= x.max() changes the caller's array. The logits are gone for the loss, for the next "
        "call and for whoever else holds them.",
        """
>>> def softmax_in_place(x):
...     x -= x.max()
...     return np.exp(x) / np.exp(x).sum()
>>> x = np.array([1.0, 2.0])
>>> p = softmax_in_place(x)
>>> x
array([-1.,  0.])
""",
        "Write x = x - x.max(), or pass out=x where work in place is meant.",
        """
>>> from stablesoftmax import softmax
>>> x = np.array([1.0, 2.0])
>>> p = softmax(x)
>>> x
array([1., 2.])
""",
    ),
    Cause(
        "SMX023",
        "clipped-logits",
        "A clip of the logits, which changes probabilities.",
        "np.clip(x, -500, 500) prevents the overflow, and makes all logits beyond the limit equal: "
        "classes that differ come out alike.",
        """
>>> x = np.array([900.0, 600.0])
>>> e = np.exp(np.clip(x, -500, 500))
>>> e / e.sum()
array([0.5, 0.5])
""",
        "Subtract the maximum in place of the clip, or call softmax.",
        """
>>> from stablesoftmax import softmax
>>> softmax(x)
array([1.00000000e+000, 5.14820022e-131])
""",
    ),
    Cause(
        "SMX024",
        "not-a-softmax",
        "Finite, and something else: a sigmoid, another base, a dropped element, a sign.",
        "Each entry by itself, 2**x in place of exp, one-hot of the maximum, or exponentials that "
        "were never divided: the numbers look like probabilities and are none.",
        """
>>> x = np.array([1.0, 2.0])
>>> 1 / (1 + np.exp(-x))
array([0.73105858, 0.88079708])
""",
        "Call softmax.",
        """
>>> from stablesoftmax import softmax
>>> softmax(x)
array([0.26894142, 0.73105858])
""",
    ),
    Cause(
        "SMX025",
        "inexact",
        "Right, and digits are lost.",
        "x - max(x) is rounded before exp, which multiplies the error by its argument; "
        "x - logsumexp(x) loses everything where one class dominates.",
        """
>>> from stablesoftmax import log_softmax, logsumexp
>>> x = np.array([40.0, 0.0])
>>> (x - logsumexp(x))[0]
np.float64(0.0)
""",
        "Call log_softmax and softmax, which are right to 2 units in the last place.",
        """
>>> log_softmax(x)[0]
np.float64(-4.248354255291589e-18)
""",
    ),
    Cause(
        "SMX026",
        "wrong-result-kind",
        "Another shape, dtype or kind of array than asked.",
        "A vector that comes back as a matrix, float64 for float32, a list: the next line "
        "broadcasts it into something that nobody meant.",
        """
>>> x = np.array([1.0, 2.0])
>>> x = np.atleast_2d(x)
>>> (np.exp(x) / np.exp(x).sum()).shape
(1, 2)
""",
        "Give back the shape and dtype that came in.",
        """
>>> from stablesoftmax import softmax
>>> softmax(np.array([1.0, 2.0])).shape
(2,)
""",
    ),
    Cause(
        "SMX027",
        "fails",
        "Raises, or runs past the time limit, on valid input.",
        "An empty batch, one class, a list or a scalar meets code that was written for one shape.",
        """
>>> x = np.zeros((3, 0))
>>> try:
...     x.max(axis=-1)
... except ValueError as error:
...     print(error)
zero-size array to reduction operation maximum which has no identity
""",
        "Take every shape, or say in one line which are taken.",
        """
>>> from stablesoftmax import softmax
>>> softmax(x).shape
(3, 0)
""",
    ),
    Cause(
        "SMX028",
        "not-a-function",
        "A row's result depends on other rows, on earlier calls, or on chance.",
        "A maximum of the batch, a buffer that is kept between calls, a random shift: the same row "
        "gives other bits in another batch, and results cannot be repeated.",
        """
>>> x = np.array([[0.0, 1.0], [700.0, 0.0]])
>>> def probabilities(x):
...     e = np.exp(x - x.max())
...     return e / e.sum(axis=-1, keepdims=True)
>>> bool((probabilities(x)[0] == probabilities(x[:1])[0]).all())
False
""",
        "Compute each row from itself alone.",
        """
>>> from stablesoftmax import softmax
>>> bool((softmax(x)[0] == softmax(x[:1])[0]).all())
True
""",
    ),
    Cause(
        "SMX029",
        "zero-division",
        "0 / 0 or x / 0 outside a softmax: a standard deviation, a norm, a count of 0.",
        "A constant feature has deviation 0, a vector of zeros norm 0, an empty selection count 0. "
        "x / 0 is inf and 0 / 0 is NaN.",
        """
>>> x = np.array([5.0, 5.0, 5.0])
>>> (x - x.mean()) / x.std()
array([nan, nan, nan])
""",
        "Decide what the quotient is there: np.divide(a, b, out=np.zeros_like(a), where=b != 0).",
        """
>>> a, b = x - x.mean(), x.std()
>>> np.divide(a, b, out=np.zeros_like(a), where=b != 0)
array([0., 0., 0.])
""",
    ),
    Cause(
        "SMX030",
        "domain",
        "log, sqrt, power or arccos of what they are not defined for.",
        "A variance of -1e-17 by rounding, a cosine of 1.0000000000000002, a negative price: the "
        "root, the arc and the logarithm are NaN.",
        """
>>> np.sqrt(np.array([1.0, -1e-17]))
array([ 1., nan])
""",
        "Find out why the value is there; where only rounding made it, np.maximum(x, 0) or "
        "np.clip(x, -1, 1) first.",
        """
>>> np.sqrt(np.maximum([1.0, -1e-17], 0))
array([1., 0.])
""",
    ),
    Cause(
        "SMX031",
        "overflow",
        "A product, power or sum beyond the dtype's range, outside exp.",
        "Beyond 3.4e38 in float32 or 1.8e308 in float64 the result is inf, and inf - inf or "
        "0 * inf is NaN later.",
        """
>>> x = np.array([1e200])
>>> x * x - x * x
array([nan])
""",
        "Work with logarithms (a product of probabilities is a sum of log-probabilities), scale "
        "first, or take a wider dtype.",
        """
>>> log_x = np.log(x)
>>> 2 * log_x - 2 * log_x
array([0.])
""",
    ),
)

CAUSES: dict[str, Cause] = {cause.code: cause for cause in _ROWS}
"""Every cause by its code, in the order of the codes."""


def markdown() -> str:
    """Return the catalogue as a page in Markdown.

    Returns
    -------
    str
        A table of all causes, then a section for each; no newline at the end.

    Examples
    --------
    >>> from stablesoftmax.doctor.causes import markdown
    >>> markdown().splitlines()[0]
    '# Causes of NaN, and of wrong results without one'
    """
    rows = [
        f"| [{c.code}](#{c.code.lower()}-{c.name}) | {c.name} | {c.summary} |"
        for c in CAUSES.values()
    ]
    return "\n".join([_HEAD, *rows, *map(_section, CAUSES.values())])


_HEAD = """# Causes of NaN, and of wrong results without one

Every tool of [the doctor](doctor.md) reports causes of this catalogue, and `stablesoftmax explain
SMX003` prints one. NumPy's warnings are off in the examples.

```python
>>> import numpy as np
```

| code | name | meaning |
| --- | --- | --- |"""


def _section(cause: Cause) -> str:
    example, cure = (f"```python\n{code.strip()}\n```" for code in (cause.example, cause.cure))
    heading = f"\n## {cause.code} {cause.name}\n\n{cause.summary}"
    return f"{heading} {cause.mechanism}\n\n{example}\n\n{cause.fix}\n\n{cure}"


if __name__ == "__main__":
    print(markdown())
