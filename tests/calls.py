"""One small call of every public function with every array that it takes."""

import numpy as np

import stablesoftmax

X = np.array([[0.5, -1.0, 2.0], [3.0, 0.25, -0.5]])
ROWS = {
    "where": np.array([[True, True, False], [True, False, True]]),
    "temperature": np.array([[0.5], [2.0]]),
}
WHERE = {"where": ROWS["where"]}
CLASSES = np.array([0, 2])
TARGETS = np.array([[0.25, 0.25, 0.5], [1.0, 0.0, 0.0]])
LOSS = {**WHERE, "weight": np.array([1.0, 0.5, 2.0])}
SUMS = np.array([1.5, -2.0])
DRAWS = {"size": 4, "rng": 7}

# name -> x, then the options; each array among them is an argument of the tests that use this.
CALLS = {
    "softmax": [ROWS],
    "log_softmax": [ROWS],
    "logsumexp": [{"axis": 1, "where": ROWS["where"], "b": np.array([[1.0, -0.25, 3.0]])}],
    "cross_entropy": [{"labels": CLASSES, **LOSS}, {"labels": TARGETS, **LOSS}],
    "cross_entropy_with_grad": [{"labels": CLASSES, **LOSS}, {"labels": TARGETS, **LOSS}],
    "selected_log_softmax": [{"index": CLASSES, **ROWS}],
    "entropy": [ROWS, {"keepdims": True, **WHERE}],
    "kl_divergence": [{"q_logits": X[::-1] + 1.0, **WHERE}],
    "logmeanexp": [{"axis": 1, **WHERE}],
    "logcumsumexp": [WHERE],
    "softmax_vjp": [{"g": X - 1.0, **ROWS}],
    "softmax_jvp": [{"dx": X - 1.0, **ROWS}],
    "log_softmax_vjp": [{"g": X - 1.0, **ROWS}],
    "log_softmax_jvp": [{"dx": X - 1.0, **ROWS}],
    "logsumexp_vjp": [{"g": SUMS, "axis": 1, **WHERE}],
    "logsumexp_jvp": [{"dx": X - 1.0, "axis": 1, **WHERE}],
    "segment_softmax": [{"segments": np.array([1, 0]), **WHERE}, {"indptr": np.array([0, 1, 2])}],
    "segment_log_softmax": [
        {"segments": np.array([1, 0]), **WHERE},
        {"indptr": np.array([0, 1, 2])},
    ],
    "segment_logsumexp": [{"segments": np.array([1, 0]), **WHERE}, {"indptr": np.array([0, 1, 2])}],
    "sample": [{**DRAWS, **ROWS}],
}

OTHERS = {  # public, and no functions of an array
    "UndefinedSoftmaxError", "backend_of", "clip_by_global_norm", "clip_by_value",
    "get_num_threads", "initial_weights", "num_threads", "set_num_threads",
}  # fmt: skip

EVERY = [(name, options) for name, several in CALLS.items() for options in several]
EVERY_ARGUMENT = [
    (name, options, argument)
    for name, options in EVERY
    for argument in ("x", *options)
    if argument == "x" or isinstance(options[argument], np.ndarray)
]


def ids(case):
    """Name a case of EVERY_ARGUMENT for pytest."""
    if isinstance(case, dict):
        return "-".join(
            f"{key}{value.ndim}" for key, value in case.items() if hasattr(value, "ndim")
        )
    return str(case)


def call(name, options, **changed):
    """Call a public function by name, with some of its arrays replaced."""
    x, options = changed.pop("x", X), {**options, **changed}
    return getattr(stablesoftmax, name)(x, **options)
