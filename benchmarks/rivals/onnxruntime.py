"""ONNX Runtime: a model of one node; input and output bound beforehand."""

import numpy as np
import onnxruntime
from onnx import TensorProto, helper

VERSION = f"onnxruntime {onnxruntime.__version__}"
NODES = {"softmax": "Softmax", "log_softmax": "LogSoftmax", "logsumexp": "ReduceLogSumExp"}
TYPES = {"float32": TensorProto.FLOAT, "float64": TensorProto.DOUBLE}
TYPES |= {"float16": TensorProto.FLOAT16, "bfloat16": TensorProto.BFLOAT16}
options = onnxruntime.SessionOptions()
to_numpy = np.asarray


def setup(threads):
    options.intra_op_num_threads = threads


def model(op, x, axis, shape):
    kind = TYPES[x.dtype.name]
    inputs = [helper.make_tensor_value_info("x", kind, x.shape)]
    outputs = [helper.make_tensor_value_info("y", kind, shape)]
    if op == "logsumexp":
        node = helper.make_node(NODES[op], ["x", "axes"], ["y"], keepdims=0)
        axes = [helper.make_tensor("axes", TensorProto.INT64, [1], [axis])]
    else:
        node, axes = helper.make_node(NODES[op], ["x"], ["y"], axis=axis), []
    graph = helper.make_graph([node], op, inputs, outputs, axes)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)


def value(array):
    """The array as an OrtValue that shares its memory; bfloat16 has to come as raw bits."""
    raw = array.view(np.uint16) if array.dtype.name == "bfloat16" else array
    return onnxruntime.OrtValue.ortvalue_from_numpy_with_onnx_type(raw, TYPES[array.dtype.name])


def prepare(op, x, axis):
    out = np.empty(np.delete(x.shape, axis) if op == "logsumexp" else x.shape, x.dtype)
    serialized = model(op, x, axis, out.shape).SerializeToString()
    session = onnxruntime.InferenceSession(serialized, options, ["CPUExecutionProvider"])
    binding = session.io_binding()
    binding.bind_ortvalue_input("x", value(x))
    binding.bind_ortvalue_output("y", value(out))
    modes = {"fresh": "session.run(None, feed)[0]", "out": "session.run_with_iobinding(binding)"}
    if x.dtype.name == "bfloat16":
        del modes["fresh"]  # run does not know it
    return modes, {"session": session, "feed": {"x": x}, "binding": binding, "out": out}
