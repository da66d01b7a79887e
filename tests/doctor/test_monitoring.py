"""The monitor on trainings of real networks: the failures that people have, and healthy ones."""

import json
from itertools import pairwise

import numpy as np
import pytest
from conftest import library

from stablesoftmax import cross_entropy_with_grad, doctor, initial_weights, softmax

FEATURES, HIDDEN, CLASSES = 20, 32, 5
IMAGES = np.random.default_rng(7).normal(size=(300, FEATURES))
LABELS = (IMAGES @ np.random.default_rng(8).normal(size=(FEATURES, CLASSES))).argmax(axis=1)


def stable(logits, labels):
    return cross_entropy_with_grad(logits, labels)


def textbook(shift, axis):
    """A loss by a softmax of one's own: what is subtracted, and over what is summed."""

    def loss_and_gradient(logits, labels):
        e = np.exp(logits - shift(logits))
        p = e / e.sum(axis=axis, keepdims=True)
        chosen = np.arange(len(labels)), labels
        loss = -np.mean(np.log(p[chosen]))
        p[chosen] -= 1
        return loss, p / len(labels)

    return loss_and_gradient


def train(loss_and_gradient=stable, *, steps=150, rate=0.1, scale=1.0, pixels=1.0, batch=64,
          momentum=0.0, depth=1, seed=0, dtype=np.float64, monitor=None):  # fmt: skip
    """Train a network; return what the monitor said, as (step, code), and the step of the NaN."""
    rng = np.random.default_rng(seed)
    monitor = monitor or doctor.Monitor()
    sizes = [FEATURES, *[HIDDEN] * depth, CLASSES]
    weights = {
        f"W{i}": (scale * initial_weights(shape, rng=rng)).astype(dtype)
        for i, shape in enumerate(pairwise(sizes))
    }
    velocity = {name: np.zeros_like(w) for name, w in weights.items()}
    said = []
    for step in range(steps):
        rows = rng.integers(0, len(IMAGES), batch)
        layers = [(pixels * IMAGES[rows]).astype(dtype)]
        for i, w in enumerate(weights.values()):
            layers.append(layers[-1] @ w)
            if i < depth:
                layers[-1] = np.maximum(layers[-1], 0)
        loss, back = loss_and_gradient(layers[-1], LABELS[rows])
        grads = {}
        for i in reversed(range(depth + 1)):
            grads[f"W{i}"] = layers[i].T @ back
            back = (back @ weights[f"W{i}"].T) * (layers[i] > 0)
        new = monitor.step(logits=layers[-1], loss=loss, grads=grads, weights=weights)
        said += [(step, finding.code) for finding in new]
        if not np.isfinite(loss):
            return said, step, monitor
        for name in weights:
            velocity[name] = momentum * velocity[name] - rate * grads[name]
            weights[name] = weights[name] + velocity[name]
    return said, None, monitor


HEALTHY = {
    "gradient descent": {},
    "momentum": {"momentum": 0.9, "rate": 0.02, "steps": 400},
    "small batches": {"batch": 8, "rate": 0.05, "steps": 600},
    "deep, float32": {"depth": 4, "dtype": np.float32, "steps": 400},
    "long, to certainty": {"batch": 300, "rate": 0.5, "steps": 3000},
}


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize("options", HEALTHY.values(), ids=HEALTHY)
def test_silent_on_the_healthy(options):
    said, nan, monitor = train(**options)
    assert (said, nan) == ([], None)
    assert monitor.report().ok


FAILURES = {
    "naive softmax": ({"loss_and_gradient": textbook(lambda x: 0, -1), "pixels": 255.0}, "SMX001"),
    "wrong axis": (
        {"loss_and_gradient": textbook(lambda x: x.max(axis=0), 0), "scale": 0.3, "rate": 0.5},
        "SMX007"),
    "rate too large": ({"rate": 200.0}, "SMX017"),
    "weights too large": ({"scale": 30.0, "rate": 1e-6}, "SMX018"),
}  # fmt: skip


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize(("options", "code"), FAILURES.values(), ids=FAILURES)
def test_failures(options, code):
    said, nan, monitor = train(**options)
    report = monitor.report()
    assert not report.ok
    assert report.findings[0].code == code, (said, nan)
    if nan:
        assert said[0][0] < nan  # warned of before


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_the_maximum_of_the_whole_batch():
    """A row far below another, at once or after logits that an unshifted exp would not survive."""
    loss_and_gradient = textbook(np.max, -1)
    logits = np.linspace(0, 1, 12).reshape(4, 3)
    for before, rows in ([], [500, 400, 0, -400]), ([800, 790, 795, 799], [1000, 900, 800, 100]):
        monitor = doctor.Monitor()
        said = []
        for offsets in [before] * bool(before) + [rows]:
            x = logits + np.array(offsets)[:, None]
            loss, _ = loss_and_gradient(x, np.array([0, 1, 2, 0]))
            said = [finding.code for finding in monitor.step(logits=x, loss=loss)]
        assert said[0] == "SMX003"


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_a_logarithm_of_a_softmax():
    loss_and_gradient = textbook(lambda x: x.max(axis=-1, keepdims=True), -1)
    logits = np.array([[900.0, 0.0], [0.0, 1.0]])
    loss, _ = loss_and_gradient(logits, np.array([1, 1]))
    assert doctor.Monitor().step(logits=logits, loss=loss)[0].code == "SMX004"


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_a_wrong_axis_without_its_first_steps():
    """A stable softmax over the batch makes no NaN, and logits that have no end."""
    wrong = textbook(lambda x: x.max(axis=0), 0)
    said, nan, _ = train(wrong, pixels=20.0, rate=0.5, steps=800)
    assert said
    assert {code for _, code in said} <= {"SMX017", "SMX018", "SMX007", "SMX004"}
    assert nan is None or said[0][0] < nan


def feed(values, **options):
    monitor = doctor.Monitor(**options)
    logits = np.array([[1.0, -1.0, 0.5]])
    return [f for v in values for f in monitor.step(logits=logits * v)]


def test_growth_is_projected():
    (finding,) = feed(2.0 ** np.arange(12))
    assert (finding.code, finding.where["step"]) == (
        "SMX017",
        7,
    )  # 128, and twice as much each step
    assert "exp in float64 at step 10, float16 itself at step 16" in finding.message
    assert [frame["high"] for frame in finding.evidence["frames"]] == [2.0**k for k in range(8)]


def test_sudden_and_grown_infinities():
    assert [f.code for f in feed([1.0] * 10 + [np.nan, np.nan])] == ["SMX015"]
    grown = feed([2.0**k for k in range(11)] + [np.inf])
    assert [f.code for f in grown] == ["SMX017"]
    assert grown[0].severity == "warning"  # what came of it is not told again


def test_masks_are_no_growth():
    monitor = doctor.Monitor()
    for _ in range(30):
        x = np.array([[1.0, -1e9, 0.5, -np.inf], [0.0, 1.0, -1e9, 2.0]])
        assert monitor.step(logits=x, loss=1.0) == []


def test_gradients():
    monitor = doctor.Monitor()
    for _ in range(10):
        assert monitor.step(grads=[np.ones(3), np.ones(2)]) == []
    (jump,) = monitor.step(grads=[np.ones(3), np.full(2, 1e3)])
    assert (jump.code, jump.severity, jump.where["layer"]) == ("SMX019", "warning", "grads[1]")
    (lost,) = monitor.step(grads=[np.full(3, np.inf), np.ones(2)], loss=1.0)
    assert (lost.code, lost.severity, lost.where["layer"]) == ("SMX019", "error", "grads[0]")
    assert doctor.Monitor().step(grads=np.full(4, 6e4, np.float16)) == []  # whose square is inf
    assert doctor.Monitor().step(grads=np.full(4, 1e200)) == []


def test_report(tmp_path):
    library("jinja2"), library("matplotlib")
    monitor = doctor.Monitor()
    for k in range(12):
        monitor.step(logits=2.0**k * np.array([[1.0, -1.0]]), loss=1.0, grads=[np.ones(2) * k])
    report = monitor.report()
    found = json.loads(report.to_json())
    assert (found["tool"], found["findings"][0]["code"]) == ("monitor", "SMX017")
    assert "step 7" in str(report)
    axes = report.plot().axes
    assert [a.get_ylabel() for a in axes] == ["logits", "entropy", "gradients"]
    report.to_html(tmp_path / "report.html")
    page = (tmp_path / "report.html").read_text()
    assert "against the numbers above which exp overflows" in page
    assert page.count("<svg") == 1
    assert doctor.Monitor().report().ok


BAD = [
    ({"frames": 3}, {}, ValueError, "frames must be an int of at least 8, got 3"),
    ({"axis": 0.5}, {}, TypeError, "axis must be an int, got 0.5"),
    ({"every": 0}, {}, ValueError, "every must be an int of at least 1, got 0"),
    ({}, {"logits": "x"}, TypeError, "logits must be an array or a number, got str"),
    ({}, {"grads": {"W": None}}, TypeError, r"grads\['W'\] must be an array or a number, got None"),
    ({}, {"loss": [1]}, TypeError, "loss must be an array or a number, got list"),
]


@pytest.mark.parametrize(("options", "given", "error", "message"), BAD)
def test_bad_input(options, given, error, message):
    with pytest.raises(error, match=f"^{message}"):
        doctor.Monitor(**options).step(**given)


def test_every_tenth_step_and_the_broken_one():
    monitor, x = doctor.Monitor(every=10), np.array([[1.0, 0.0]])
    for _ in range(45):
        monitor.step(logits=x, loss=0.5)
    assert [frame.step for frame in monitor.frames] == [*range(2, 21), 30, 40]
    (found,) = monitor.step(logits=x * np.nan, loss=np.nan)
    assert (found.where["step"], found.code) == (45, "SMX015")


def test_nothing_is_kept_of_the_arrays():
    x = softmax(np.zeros((2, 3)))
    monitor = doctor.Monitor()
    monitor.step(logits=x)
    x[:] = np.nan
    assert monitor.step(logits=np.zeros((2, 3))) == []
