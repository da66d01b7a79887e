"""The lines that people paste, shifted by the maximum; with `out`, every large temporary reused."""

import numpy as np

VERSION = f"numpy {np.__version__}"
to_numpy = np.asarray


def setup(threads):
    """Its loops have no threads."""


def softmax(x, axis):
    e = np.exp(x - x.max(axis, keepdims=True))
    return e / e.sum(axis, keepdims=True)


def softmax_out(x, axis, out, scratch):
    np.subtract(x, x.max(axis, keepdims=True), out=out)
    np.exp(out, out=out)
    return np.divide(out, out.sum(axis, keepdims=True), out=out)


def log_softmax(x, axis):
    shifted = x - x.max(axis, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(axis, keepdims=True))


def log_softmax_out(x, axis, out, scratch):
    np.subtract(x, x.max(axis, keepdims=True), out=out)
    np.exp(out, out=scratch)
    return np.subtract(out, np.log(scratch.sum(axis, keepdims=True)), out=out)


def logsumexp(x, axis):
    shift = x.max(axis, keepdims=True)
    return np.log(np.exp(x - shift).sum(axis)) + shift.squeeze(axis)


def logsumexp_out(x, axis, out, scratch):
    shift = x.max(axis, keepdims=True)
    np.subtract(x, shift, out=scratch)
    np.exp(scratch, out=scratch)
    np.log(scratch.sum(axis), out=out)
    return np.add(out, shift.squeeze(axis), out=out)


def prepare(op, x, axis):
    function, function_out = globals()[op], globals()[f"{op}_out"]
    modes = {"fresh": "function(x, axis)", "out": "function_out(x, axis, out, scratch)"}
    names = {"function": function, "function_out": function_out, "x": x, "axis": axis}
    scratch = None if op == "softmax" else np.empty_like(x)
    out = np.empty_like(x.max(axis) if op == "logsumexp" else x)
    return modes, names | {"out": out, "scratch": scratch}
