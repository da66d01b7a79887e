"""This library."""

import numpy as np

import stablesoftmax

VERSION = f"stablesoftmax {stablesoftmax.__version__}, ISA {stablesoftmax._core.isa()}"
setup = stablesoftmax.set_num_threads
to_numpy = np.asarray


def prepare(op, x, axis):
    function = getattr(stablesoftmax, op)
    out = np.array(function(x, axis))
    modes = {"fresh": "function(x, axis)", "out": "function(x, axis, out=out)"}
    return modes, {"function": function, "x": x, "axis": axis, "out": out}
