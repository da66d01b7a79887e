"""Run the ONNX node tests of these operators; test_onnx_conformance.py starts it.

    python -W ignore onnx_node_tests.py

It prints a line for each case that passes, and the error of each that does not.
"""

import traceback

import numpy as np
from onnx.backend.test.case.node import collect_testcases
from onnx.helper import get_attribute_value

from stablesoftmax import cross_entropy, log_softmax, logsumexp, softmax


def softmax_like(function):
    def run(inputs, attributes):
        return [function(inputs[0], attributes.get("axis", -1))]

    return run


def reduce_log_sum_exp(inputs, attributes):
    """Without axes: all, or none if noop_with_empty_axes."""
    x, *axes = inputs
    chosen = tuple(int(a) for a in np.ravel(axes)) if axes else ()
    if not chosen and not attributes.get("noop_with_empty_axes", 0):
        chosen = None
    return [logsumexp(x, chosen, keepdims=bool(attributes.get("keepdims", 1)))]


def cross_entropy_options(inputs, attributes):
    """An ignore_index that is not given ignores nothing: -1 is no class."""
    return {
        "weight": inputs[2] if len(inputs) > 2 else None,
        "ignore_index": attributes.get("ignore_index", -1),
        "reduction": attributes.get("reduction", b"mean").decode(),
    }


def softmax_cross_entropy_loss(inputs, attributes):
    x, labels = inputs[:2]
    loss = cross_entropy(x, labels, 1, **cross_entropy_options(inputs, attributes))
    return [loss, log_softmax(x, 1)]


def negative_log_likelihood_loss(inputs, attributes):
    """Of x as it is: cross_entropy takes each row's logsumexp off x, which is given back here."""
    x, labels = inputs[:2]
    options = cross_entropy_options(inputs, attributes)
    loss = cross_entropy(x, labels, 1, **options)
    kept = labels != options["ignore_index"]
    of_class = np.ones(x.shape[1]) if options["weight"] is None else options["weight"]
    weight = np.where(kept, of_class[np.where(kept, labels, 0)], 0)
    back = weight * logsumexp(x, 1)
    reduced = {"none": back, "sum": back.sum(), "mean": back.sum() / weight.sum()}
    return [np.asarray(loss - reduced[options["reduction"]], x.dtype)]


OPERATORS = {
    "Softmax": softmax_like(softmax),
    "LogSoftmax": softmax_like(log_softmax),
    "ReduceLogSumExp": reduce_log_sum_exp,
    "SoftmaxCrossEntropyLoss": softmax_cross_entropy_loss,
    "NegativeLogLikelihoodLoss": negative_log_likelihood_loss,
}


def check(case, run):
    """Dtype, shape and values, to the case's own tolerance."""
    (node,) = case.model.graph.node
    attributes = {a.name: get_attribute_value(a) for a in node.attribute}
    for inputs, outputs in case.data_sets:
        results = run([np.asarray(a) for a in inputs], attributes)
        assert 1 <= len(outputs) <= len(results), case.name
        for got, wanted in zip(results, outputs, strict=False):
            assert np.shape(got) == np.shape(wanted), case.name
            assert np.asarray(got).dtype == np.asarray(wanted).dtype, case.name
            np.testing.assert_allclose(got, wanted, case.rtol, case.atol, err_msg=case.name)


def main():
    for case in collect_testcases(None):
        nodes = case.model.graph.node
        operator = nodes[0].op_type
        if len(nodes) > 1 or operator not in OPERATORS or case.name.endswith("_expanded"):
            continue  # onnx wrote the operator out in others, or it is no concern of ours
        try:
            check(case, OPERATORS[operator])
        except Exception:
            traceback.print_exc()
        else:
            print(operator, case.name)


if __name__ == "__main__":
    main()
