"""`diagnose`: every cause that arrays show, and silence on clean ones."""

import ml_dtypes
import numpy as np
import pytest

from stablesoftmax import doctor, initial_weights, softmax
from stablesoftmax.doctor import diagnose

RNG = np.random.default_rng(0)
LOGITS = RNG.standard_normal((6, 5))
STEPPED = LOGITS + 400 * (np.arange(6) - 3)[:, None]
WIDE = RNG.standard_normal((64, 32))
PROBABILITIES = softmax(LOGITS)
LABELS = np.arange(6) % 5


def with_entry(x, index, value):
    x = np.array(x, dtype=float)
    x[index] = value
    return x


def smoothed(p, epsilon=1e-3):
    return p + epsilon


# name: the arguments, the first cause's code, its severity, where it is
SICK = {
    "NaN after a mask": (
        {"logits": with_entry(with_entry(LOGITS, (1, slice(2)), -np.inf), (2, 3), np.nan)},
        "SMX015", "error", [[2, 3]],
    ),
    "NaN": ({"logits": with_entry(LOGITS, (2, 3), np.nan)}, "SMX015", "error", [[2, 3]]),
    "inf": ({"logits": with_entry(LOGITS, (1, 0), np.inf)}, "SMX015", "error", [[1, 0]]),
    "-inf row": ({"logits": with_entry(LOGITS, 4, -np.inf)}, "SMX014", "error", [[4]]),
    "masked row": (
        {"logits": LOGITS, "mask": with_entry(np.ones((6, 5)), 3, 0).astype(bool)},
        "SMX014", "error", [[3]],
    ),
    "probabilities": ({"logits": PROBABILITIES}, "SMX009", "warning", [[0]]),
    "float32 probabilities": (
        {"logits": PROBABILITIES.astype(np.float32)}, "SMX009", "warning", [[0]],
    ),
    "overflow": ({"logits": with_entry(LOGITS, (0, 0), 710.0)}, "SMX001", "info", [[0]]),
    "float32 overflow": (
        {"logits": with_entry(LOGITS, (0, 0), 89.0).astype(np.float32)}, "SMX001", "info", [[0]],
    ),
    "float16 overflow": (
        {"logits": with_entry(LOGITS, (5, 0), 12.0).astype(np.float16)}, "SMX016", "info", [[5]],
    ),
    "underflow": ({"logits": LOGITS - 800}, "SMX001", "info", None),
    "mixed scales": ({"logits": STEPPED}, "SMX001", "info", None),
    "scale of logits": ({"logits": LOGITS * 1e4}, "SMX018", "info", None),
    "uint8": ({"logits": (LOGITS > 0).astype(np.uint8)}, "SMX010", "info", None),
    "negative": ({"probs": with_entry(PROBABILITIES, (0, 0), -0.1)}, "SMX024", "error", None),
    "sigmoid": ({"probs": 1 / (1 + np.exp(-LOGITS))}, "SMX002", "error", None),
    "NaN probabilities": (
        {"probs": with_entry(PROBABILITIES, (2, 1), np.nan)}, "SMX015", "error", [[2, 1]],
    ),
    "other axis": ({"probs": softmax(LOGITS, axis=0)}, "SMX007", "error", None),
    "all axes": ({"probs": softmax(LOGITS, axis=None)}, "SMX007", "error", None),
    "epsilon": ({"probs": smoothed(PROBABILITIES)}, "SMX008", "warning", None),
    "empty row": ({"probs": with_entry(PROBABILITIES, 2, 0)}, "SMX014", "warning", [[2]]),
    "saturated": ({"probs": softmax(1e4 * LOGITS)}, "SMX021", "info", None),
    "label's probability": (
        {"probs": np.eye(5)[LABELS], "labels": (LABELS + 1) % 5}, "SMX004", "error", None,
    ),
    "labels from 1": ({"logits": LOGITS, "labels": LABELS + 1}, "SMX020", "error", [[4]]),
    "labels of a shape": ({"logits": LOGITS, "labels": LABELS[:4]}, "SMX020", "error", None),
    "float labels": ({"logits": LOGITS, "labels": LABELS / 2}, "SMX020", "error", None),
    "ignored labels": ({"logits": LOGITS, "labels": np.full(6, -100)}, "SMX020", "error", None),
    "NaN gradient": (
        {"grads": {"W1": with_entry(LOGITS, (1, 1), np.nan)}}, "SMX019", "error", [[1, 1]],
    ),
    "large gradient": (
        {"grads": {"W1": LOGITS, "W2": 1e6 * LOGITS, "W3": LOGITS}}, "SMX019", "warning", None,
    ),
    "oversized weights": ({"weights": {"W1": WIDE}}, "SMX018", "warning", None),
    "constant weights": ({"weights": [np.zeros((64, 32))]}, "SMX018", "warning", None),
    "NaN weights": ({"weights": [np.full((4, 4), np.nan)]}, "SMX015", "error", [[0, 0]]),
}  # fmt: skip


@pytest.mark.parametrize("name", SICK)
def test_the_cause_comes_first(name):
    arguments, code, severity, indices = SICK[name]
    report = diagnose(**arguments)
    first = report.findings[0]
    assert (first.code, first.severity) == (code, severity), report
    assert report.ok == (severity == "info")
    if indices is not None:
        assert first.where["indices"] == indices


def test_the_layer_is_named():
    report = diagnose(grads={"W1": LOGITS, "W2": LOGITS * np.nan}, weights=None)
    assert report.findings[0].where["layer"] == "W2"


def test_the_rows_of_a_shared_maximum_are_named():
    report = diagnose(STEPPED)
    found = {finding.code: finding for finding in report.findings}
    assert found["SMX003"].where["indices"] == [[0]]
    assert report.ok  # softmax computes it


def test_scale_against_the_usual_initialisations():
    (finding,) = diagnose(weights={"W": WIDE}).findings
    assert "He" in finding.message
    assert "Glorot" in finding.message
    assert "LeCun" in finding.message
    np.testing.assert_allclose(finding.evidence["deviation"], 1, rtol=0.1)


DTYPES = [np.float16, ml_dtypes.bfloat16, np.float32, np.float64, np.longdouble]
CLEAN = {
    "N(0, 1)": lambda dtype: {"logits": RNG.standard_normal((7, 10)).astype(dtype)},
    "axis 0": lambda dtype: {"logits": RNG.standard_normal((10, 7)).astype(dtype), "axis": 0},
    "labels": lambda dtype: {"logits": LOGITS.astype(dtype), "labels": LABELS},
    "ignored label": lambda dtype: {
        "logits": LOGITS.astype(dtype), "labels": np.where(LABELS == 1, -100, LABELS),
    },
    "-inf entries": lambda dtype: {"logits": with_entry(LOGITS, (1, 2), -np.inf).astype(dtype)},
    "mask": lambda dtype: {"logits": LOGITS.astype(dtype), "mask": np.arange(5) < 3},
    "probabilities": lambda dtype: {"probs": softmax(LOGITS.astype(dtype))},
    "long probabilities": lambda dtype: {"probs": softmax(np.zeros((2, 3000), dtype))},
    "gradients": lambda dtype: {"grads": [(LOGITS / 8).astype(dtype), np.zeros(3, dtype)]},
    "weights": lambda dtype: {"weights": [initial_weights((64, 32), rng=0).astype(dtype)]},
    "transposed weights": lambda dtype: {
        "weights": [initial_weights((64, 32), rng=0).T.astype(dtype)],
    },
    "empty": lambda dtype: {"logits": np.zeros((0, 4), dtype)},
}  # fmt: skip


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", CLEAN)
def test_silence_on_clean_arrays(name, dtype):
    assert diagnose(**CLEAN[name](dtype)).findings == ()


@pytest.mark.parametrize("dtype", [np.int8, np.int32, np.int64])
def test_silence_on_clean_integers(dtype):
    assert diagnose(np.arange(12, dtype=dtype).reshape(3, 4), labels=[0, 1, 3]).findings == ()


@pytest.mark.parametrize("axis", [0, 1, 2, -1])
@pytest.mark.parametrize("order", ["C", "F", "reversed"])
def test_every_layout(axis, order):
    x = np.array(RNG.standard_normal((3, 4, 5)))
    index = [slice(None)] * 3
    x[2, 1, 3] = 800.0
    x = np.asfortranarray(x) if order == "F" else x[::-1][::-1] if order == "reversed" else x
    finding, *_ = diagnose(x, axis=axis).findings
    row = [2, 1, 3]
    del row[axis]
    assert (finding.code, finding.where["indices"]) == ("SMX001", [row]), index


def test_a_mask_takes_what_it_hides_out():
    x = with_entry(LOGITS, (1, 1), np.nan)
    assert diagnose(x, mask=~np.isnan(x)).findings == ()


def test_arrays_are_not_written_to():
    x = with_entry(LOGITS, (1, 1), np.nan)
    kept = x.copy()
    x.flags.writeable = False
    diagnose(x, labels=LABELS, grads=[x], weights=[x])
    np.testing.assert_array_equal(x, kept)


REFUSED = {
    "text": ({"logits": ["a"]}, TypeError, "logits must hold real numbers, got dtype <U1"),
    "ragged": ({"logits": [[1.0], [1.0, 2.0]]}, ValueError, "logits must be rectangular"),
    "complex": ({"probs": [1j]}, TypeError, "probs must hold real numbers, got dtype complex128"),
    "scalar": ({"logits": 3.0}, ValueError, "at least 1 dimension"),
    "axis": ({"logits": LOGITS, "axis": 2}, ValueError, "axis must be from -2 to 1"),
    "mask's shape": (
        {"logits": LOGITS, "mask": np.ones(4, bool)}, ValueError, "does not broadcast to",
    ),
    "mask's dtype": ({"logits": LOGITS, "mask": np.ones(5)}, TypeError, "mask must be bool"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_refused_in_one_line(name):
    arguments, error, message = REFUSED[name]
    with pytest.raises(error, match=message.replace("(", r"\(")) as refused:
        diagnose(**arguments)
    assert "\n" not in str(refused.value)


# ---- trace ---------------------------------------------------------------------------------------

ROWS = {
    "overflow": ([1000.0, 999.0], "SMX001", "exp", 0),
    "sum": ([709.7, 709.7, 709.7], "SMX001", "sum", 0),
    "underflow": ([-1000.0, -800.0], "SMX001", "exp", 1),
    "float16": (np.array([1.0, 12.0], np.float16), "SMX016", "exp", 1),
    "float32": (np.array([1.0, 89.0], np.float32), "SMX001", "exp", 1),
    "NaN": ([0.0, np.nan], "SMX015", "max", 1),
    "inf": ([0.0, np.inf], "SMX015", "shift", 1),
    "empty row": ([-np.inf, -np.inf], "SMX014", "shift", 0),
}


@pytest.mark.parametrize("name", ROWS)
def test_trace_names_the_first_bad_operation(name):
    row, code, step, index = ROWS[name]
    (finding,) = doctor.trace(row).report.findings
    assert (finding.code, finding.where) == (code, {"indices": [[index]], "step": step})


@pytest.mark.parametrize("row", [[1.0, 2.0], [3], [[0.0, -np.inf]], np.zeros(3, np.float16)])
def test_trace_is_silent_on_rows_that_the_textbook_computes(row):
    traced = doctor.trace(row)
    assert traced.report.findings == ()
    np.testing.assert_allclose(traced.steps[-1].stable, softmax(np.ravel(row)), rtol=1e-3)
    np.testing.assert_allclose(traced.steps[-1].textbook, softmax(np.ravel(row)), rtol=1e-3)


@pytest.mark.parametrize("row", [[], [[1.0, 2.0], [3.0, 4.0]]])
def test_trace_refuses_what_is_no_row(row):
    with pytest.raises(ValueError, match="one row and not empty"):
        doctor.trace(row)
