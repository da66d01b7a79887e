"""torch, eager, in inference mode."""

import numpy as np
import torch

VERSION = f"torch {torch.__version__}"
inference = torch.inference_mode()


def setup(threads):
    torch.set_num_threads(threads)
    inference.__enter__()  # for the life of the process


def to_numpy(value):
    return value.double().numpy()


def tensor(x):
    if x.dtype.name == "bfloat16":  # from_numpy does not know it
        return torch.from_numpy(x.view(np.int16)).view(torch.bfloat16)
    return torch.from_numpy(x)


def prepare(op, x, axis):
    function, x = getattr(torch, op), tensor(x)
    modes = {"fresh": "function(x, axis)", "out": "function(x, axis, out=out)"}
    return modes, {"function": function, "x": x, "axis": axis, "out": function(x, axis)}
