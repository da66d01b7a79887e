"""scipy.special: no out=, no threads."""

import numpy as np
import scipy.special

VERSION = f"scipy {scipy.__version__}"
to_numpy = np.asarray


def setup(threads):
    """It has no threads."""


def prepare(op, x, axis):
    function = getattr(scipy.special, op)
    return {"fresh": "function(x, axis)"}, {"function": function, "x": x, "axis": axis}
