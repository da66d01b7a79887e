"""TensorFlow: eager, and compiled by XLA, which wins where an op is made of several."""

import os

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"

import tensorflow as tf

VERSION = f"tensorflow {tf.__version__}"
FUNCTIONS = {"softmax": tf.nn.softmax, "log_softmax": tf.nn.log_softmax}
FUNCTIONS |= {"logsumexp": tf.reduce_logsumexp}


def setup(threads):
    tf.config.threading.set_intra_op_parallelism_threads(threads)
    tf.config.threading.set_inter_op_parallelism_threads(1)


def to_numpy(value):
    return value.numpy()


def prepare(op, x, axis):
    function = FUNCTIONS[op]
    compiled = tf.function(lambda x: function(x, axis=axis), jit_compile=True, autograph=False)
    modes = {"fresh": "function(x, axis=axis)", "fresh, XLA": "compiled(x)"}
    return modes, {"function": function, "compiled": compiled, "x": tf.constant(x), "axis": axis}
