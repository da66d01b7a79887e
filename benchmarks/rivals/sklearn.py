"""sklearn.utils.extmath.softmax: rows of a matrix only; its preallocated mode is in place."""

import numpy as np
import sklearn
from sklearn.utils.extmath import softmax

VERSION = f"scikit-learn {sklearn.__version__}"
to_numpy = np.asarray


def setup(threads):
    """Its softmax has no threads."""


def prepare(op, x, axis):
    if op != "softmax":
        raise NotImplementedError("public softmax only")
    if axis != -1:
        raise NotImplementedError("rows only")
    x = np.atleast_2d(x)
    modes = {"fresh": "softmax(x)", "out": "softmax(out, copy=False)"}
    return modes, {"softmax": softmax, "x": x, "out": x.copy()}
