"""`run`: the line and the cause of scripts that print NaN; silence on those that do not."""

import subprocess
import sys

import pytest

# name -> script, the cause that is named first, and its line
SCRIPTS = {
    "question": (
        """
import numpy as np
x = np.array([1000.0, 2.0])
y = np.array([1.0, 2.0])
print(np.exp(x) / np.sum(np.exp(x)))
""",
        "SMX001",
        4,
    ),
    "question_xy": (
        """
import numpy as np
x = np.array([1000.0, 2000.0])
y = np.array([1000.0, 1.0])
print(np.exp(x)/np.sum(np.exp(y)))
""",
        "SMX001",
        4,
    ),
    "function": (
        """
import numpy as np
def softmax(x):
    e = np.exp(x)
    return e / e.sum(axis=-1, keepdims=True)
print(softmax(np.array([[1.0, 2.0], [800.0, 3.0]])))
""",
        "SMX001",
        3,
    ),
    "underflow": (
        """
import numpy as np
x = np.array([-1000.0, -1001.0])
e = np.exp(x)
print(e / np.sum(e))
""",
        "SMX001",
        4,
    ),
    "mean_shift": (
        """
import numpy as np
x = np.array([[0.0, 0.0, 3000.0]])
e = np.exp(x - x.mean())
p = e / e.sum()
""",
        "SMX001",
        3,
    ),
    "global_max": (
        """
import numpy as np
x = np.array([[0.0, 1.0], [1000.0, 1001.0]])
e = np.exp(x - np.max(x))
p = e / e.sum(axis=1, keepdims=True)
print(p)
""",
        "SMX003",
        4,
    ),
    "log_softmax": (
        """
import numpy as np
def softmax(x):
    e = np.exp(x - x.max(axis=-1, keepdims=True))
    return e / e.sum(axis=-1, keepdims=True)
def loss(x, y):
    p = softmax(x)
    return -np.mean(np.log(p[np.arange(len(y)), y]))
print(loss(np.array([[1000.0, 0.0]]), np.array([1])))
""",
        "SMX004",
        7,
    ),
    "naive_lse": (
        """
import numpy as np
x = np.array([1000.0, 999.0])
print(np.log(np.sum(np.exp(x))))
""",
        "SMX005",
        3,
    ),
    "lse_under": (
        """
import numpy as np
x = np.array([-1000.0, -999.0])
print(np.log(np.sum(np.exp(x))))
""",
        "SMX005",
        3,
    ),
    "keepdims": (
        """
import numpy as np
x = np.ones((3, 4))
e = np.exp(x - x.max(axis=1))
""",
        "SMX006",
        3,
    ),
    "onehot": (
        """
import numpy as np
p = np.array([1.0, 0.0])
y = np.array([1.0, 0.0])
loss = -np.sum(y * np.log(p))
print(loss)
""",
        "SMX012",
        4,
    ),
    "bce": (
        """
import numpy as np
def bce(p, y):
    return -(y * np.log(p) + (1 - y) * np.log(1 - p)).mean()
z = np.array([50.0, -1.0])
p = 1 / (1 + np.exp(-z))
print(bce(p, np.array([1.0, 0.0])))
""",
        "SMX012",
        3,
    ),
    "masked": (
        """
import numpy as np
scores = np.array([[1.0, 2.0], [3.0, 4.0]])
mask = np.array([[True, True], [False, False]])
scores = np.where(mask, scores, -np.inf)
w = np.exp(scores - scores.max(axis=-1, keepdims=True))
w /= w.sum(axis=-1, keepdims=True)
print(w)
""",
        "SMX014",
        5,
    ),
    "mask_mult": (
        """
import numpy as np
x = np.array([[1.0, 2.0], [3.0, 4.0]])
mask = np.array([[1, 1], [0, 0]])
e = np.exp(x - x.max(axis=1, keepdims=True)) * mask
p = e / e.sum(axis=1, keepdims=True)
""",
        "SMX014",
        5,
    ),
    "inf_input": (
        """
import numpy as np
x = np.array([1.0, np.inf])
e = np.exp(x - x.max())
print(e / e.sum())
""",
        "SMX015",
        3,
    ),
    "half": (
        """
import numpy as np
x = np.array([12.0, 3.0], dtype=np.float16)
p = np.exp(x) / np.exp(x).sum()
""",
        "SMX016",
        3,
    ),
    "half_mask": (
        """
import numpy as np
x = np.zeros((1, 3), np.float16)
x = x + np.float16(-6e4) + np.float16(-6e4)
p = np.exp(x - x.max(axis=-1, keepdims=True))
print(p)
""",
        "SMX016",
        3,
    ),
    "divergence": (
        """
import numpy as np
rng = np.random.default_rng(0)
X = rng.standard_normal((50, 3)); y = X @ np.array([1.0, 2.0, 3.0])
w = np.zeros(3)
for step in range(3000):
    error = X @ w - y
    loss = np.mean(error ** 2)
    w -= 5.0 * X.T @ error / 50
print(loss)
""",
        "SMX017",
        7,
    ),
    "zero_std": (
        """
import numpy as np
X = np.array([[1.0, 2.0], [1.0, 3.0]])
Z = (X - X.mean(axis=0)) / X.std(axis=0)
print(Z)
""",
        "SMX029",
        3,
    ),
    "sqrt": (
        """
import numpy as np
v = np.array([4.0, -1e-17])
print(np.sqrt(v))
""",
        "SMX030",
        3,
    ),
    "log_neg": (
        """
import numpy as np
def f(a):
    return np.log(a)
print(f(np.array([-2.0, 1.0])))
""",
        "SMX030",
        3,
    ),
    "overflow_square": (
        """
import numpy as np
x = np.array([1e200, 1.0])
s = x * x
print(s - s)
""",
        "SMX031",
        3,
    ),
    "empty_mean": (
        """
import numpy as np
labels = np.array([-100, -100])
loss = np.array([1.0, 2.0])
print(loss[labels != -100].mean())
""",
        "SMX020",
        4,
    ),
    "labels_range": (
        """
import numpy as np
p = np.ones((2, 3)) / 3
labels = np.array([1, 3])
print(p[np.arange(2), labels])
""",
        "SMX020",
        4,
    ),
    "int_buffer": (
        """
import numpy as np
x = np.array([1, 2, 3])
e = np.exp(x - x.max())
out = np.zeros(3, dtype=int)
np.divide(e, e.sum(), out=out)
""",
        "SMX010",
        5,
    ),
    "uint": (
        """
import numpy as np
x = np.array([1, 200, 3], dtype=np.uint8)
p = np.exp(x - x.max())
print(p / p.sum())
""",
        "SMX010",
        3,
    ),
    "hidden": (
        """
import numpy as np
x = np.array([1000.0, 2.0])
p = np.nan_to_num(np.exp(x) / np.exp(x).sum())
""",
        "SMX001",
        3,
    ),
    "mathexp": (
        """
import math
xs = [1000.0, 1.0]
total = sum(math.exp(x) for x in xs)
""",
        "SMX001",
        3,
    ),
    "clip_grad": (
        """
import numpy as np
g = np.array([1e200, 1e200])
norm = np.sqrt(np.sum(g ** 2))
grad = g * min(1.0, 1.0 / norm)
grad_norm = np.sqrt((g * g).sum())
""",
        "SMX019",
        3,
    ),
    "weights_init": (
        """
import numpy as np
rng = np.random.default_rng(0)
images = rng.integers(0, 256, (10, 784)).astype(float)
W = rng.standard_normal((784, 10))
z = images @ W
p = np.exp(z) / np.exp(z).sum(axis=1, keepdims=True)
""",
        "SMX001",
        6,
    ),
}

CLEAN = {
    "plain": """
import numpy as np
print(np.arange(3).sum())
""",
    "sigmoid": """
import numpy as np, warnings
warnings.simplefilter("ignore")
x = np.array([-1000.0, 3.0])
print(1 / (1 + np.exp(-x)))
""",
    "stable": """
import numpy as np
x=np.array([[1000.0,1.0],[2.0,3.0]])
e=np.exp(x-x.max(axis=-1,keepdims=True))
p=e/e.sum(axis=-1,keepdims=True)
print(p)
""",
    "ours": """
import numpy as np
from stablesoftmax import softmax, cross_entropy
print(softmax([1000.0,-np.inf]), cross_entropy(np.eye(3)*1e4,[0,1,2]))
""",
    "errstate": """
import numpy as np
with np.errstate(all="ignore"):
    q = np.array([1.0,0.0])/np.array([0.0,0.0])
print(np.where(np.isfinite(q), q, 0))
""",
    "mask": """
import numpy as np
m=np.where(np.tri(3)>0,0,-np.inf)
x=np.ones((3,3))+m
e=np.exp(x-x.max(-1,keepdims=True))
print(e/e.sum(-1,keepdims=True))
""",
    "nanmean": """
import numpy as np
x=np.array([1.0,np.nan,3.0])
print(np.nanmean(x))
""",
    "divide_where": """
import numpy as np
a=np.array([1.0,2.0]);b=np.array([0.0,2.0])
print(np.divide(a,b,out=np.zeros(2),where=b!=0))
""",
    "train": """
import numpy as np
rng=np.random.default_rng(0)
X=rng.standard_normal((100,3));y=X@np.ones(3)
w=np.zeros(3)
for i in range(200):
    w -= 0.1*X.T@(X@w-y)/100
print(w)
""",
    "exit0": """
import sys
sys.exit(0)
""",
    "underflow": """
import numpy as np
print(np.exp(np.array([-1e4])), np.float64(1e-300)*1e-300)
""",
}


@pytest.mark.parametrize("name", SCRIPTS)
def test_the_line_and_the_cause(doctor, name):
    code, cause, line = SCRIPTS[name]
    report, done = doctor.run(code, check=1)
    first = report["findings"][0]
    assert (first["code"], first["where"]["line"]) == (cause, line), done.stderr
    assert cause in done.stderr
    assert not any("could not be looked at" in note for note in report["notes"])


@pytest.mark.parametrize("options", [(), ("--thorough",)], ids=["run", "thorough"])
@pytest.mark.parametrize("name", CLEAN)
def test_silence(doctor, name, options):
    report, _ = doctor.run(CLEAN[name], *options, check=0)
    assert all(finding["severity"] == "info" for finding in report["findings"])


def test_the_chain_and_the_operands(doctor):
    report, _ = doctor.run(SCRIPTS["function"][0])
    (first, *_) = report["findings"]
    assert [(step["line"], step["what"]) for step in first["evidence"]["chain"]] == [
        (3, "overflow in exp"),
        (4, "inf / inf"),
    ]
    (operand,) = first["evidence"]["operands"]
    assert (operand["name"], operand["shape"], operand["max"], operand["at"]) == (
        "x", [2, 2], 800, [1, 0],
    )  # fmt: skip
    assert first["where"]["function"] == "softmax"


SILENCED = """
import numpy as np
np.seterr(all="ignore")
class Net:
    def __init__(self):
        self.weights = {"W": np.full((2, 2), 400.0)}
    def forward(self, x):
        self.z = x @ self.weights["W"]
        e = np.exp(self.z)
        return e / e.sum(axis=-1, keepdims=True)
p = Net().forward(np.ones((1, 2)))
"""


def test_a_silenced_script(doctor):
    report, _ = doctor.run(SILENCED)
    assert "--thorough" in report["notes"][0]
    report, _ = doctor.run(SILENCED, "--thorough", check=1)
    first = report["findings"][0]
    assert (first["code"], first["where"]["line"], first["severity"]) == ("SMX001", 8, "error")


THOROUGH = {
    "a file": (
        """
import io
import numpy as np
best = float("inf")
data = np.genfromtxt(io.StringIO("1,2 3,".replace(" ", chr(10))), delimiter=",")
print(data.mean(), best)
""",
        "SMX015",
        4,
    ),
    "pandas": (
        """
import pandas
frame = pandas.DataFrame({"a": [1.0, 2.0]})
frame = frame.reindex([0, 5])
""",
        "SMX015",
        3,
    ),
    "a row of -inf": (
        """
import numpy as np
from stablesoftmax import softmax
x = np.full((2, 3), -np.inf)
x[0] = 1.0
p = softmax(x)
""",
        "SMX014",
        5,
    ),
    "a list": (
        """
import math
values = [1.0, 2.0]
values[0] = math.inf
values[1] = values[0] - values[0]
""",
        "SMX015",
        4,
    ),
    "under errstate": (
        """
import numpy as np
@np.errstate(all="ignore")
def loss(z, y):
    p = np.exp(z) / np.sum(np.exp(z), axis=-1, keepdims=True)
    return -np.mean(np.log(p[np.arange(len(y)), y]))
print(loss(np.array([[1000.0, 2.0]]), np.array([0])))
""",
        "SMX001",
        4,
    ),
}


@pytest.mark.parametrize("name", THOROUGH)
def test_thorough(doctor, name):
    code, cause, line = THOROUGH[name]
    if name == "pandas":
        pytest.importorskip("pandas", reason="pandas is not installed")
    report, done = doctor.run(code, "--thorough", check=1)
    first = report["findings"][0]
    assert (first["code"], first["where"]["line"]) == (cause, line), done.stderr


def test_warnings_still_appear():
    code = (
        "import warnings, numpy as np\nfrom stablesoftmax import doctor\n"
        "with warnings.catch_warnings(record=True) as seen, doctor.watch() as watched:\n"
        "    warnings.simplefilter('always')\n"
        "    np.exp(1000.0)\n"
        "print([str(w.message) for w in seen], seen[0].lineno, np.geterr()['over'])\n"
        "print(watched.report.findings[0].code)\n"
    )
    run = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    assert run.stdout == "['overflow encountered in exp'] 5 warn\nSMX001\n"


THREADS = """
import threading
import numpy as np
def work():
    x = np.array([1000.0])
    print(np.exp(x) / np.exp(x).sum())
thread = threading.Thread(target=work)
thread.start(); thread.join()
"""


def test_threads_are_watched(doctor):
    report, _ = doctor.run(THREADS, check=1)
    assert (report["findings"][0]["code"], report["findings"][0]["where"]["line"]) == ("SMX001", 5)


BEHAVIOUR = {
    "exit": ("import sys\nsys.exit(7)\n", 7, ""),
    "message": ("import sys\nsys.exit('so long')\n", 1, "so long"),
    "traceback": ("def f():\n    return 1 // {}['a']\nf()\n", 1, "KeyError: 'a'"),
    "syntax": ("x = = 1\n", 1, "SyntaxError"),
    "chdir": ("import os\nos.chdir('/')\n", 0, "nothing found"),
    "fork": ("import os\npid = os.fork()\nif pid:\n    os.waitpid(pid, 0)\n", 0, "nothing found"),
    "subprocess": (
        "import subprocess, sys\nsubprocess.run([sys.executable, '-c', '1'], check=True)\n",
        0,
        "nothing",
    ),
    "arguments": (
        "import sys\nassert sys.argv[1:] == ['--x', 'y'], sys.argv\n",
        0,
        "nothing found",
    ),
    "main": (
        "import pickle, sys\nclass A: pass\nassert __name__ == '__main__'\n"
        "pickle.loads(pickle.dumps(A()))\nassert sys.modules['__main__'].A is A\n",
        0,
        "nothing found",
    ),
    "seterrcall": (
        "import numpy as np\nwith np.errstate(all='raise'):\n    np.exp(1000.0)\n",
        1,
        "SMX001",
    ),
}


@pytest.mark.parametrize("name", BEHAVIOUR)
def test_the_script_runs_as_under_python(doctor, name):
    code, status, told = BEHAVIOUR[name]
    _, done = doctor.run(code, arguments=["--x", "y"], check=status)
    assert told in done.stderr
    assert done.stderr.count("nothing found") <= 1  # a forked child has no report
    assert "running.py" not in done.stderr


def test_a_module(doctor):
    doctor.write("import numpy as np\nprint(np.log(np.sum(np.exp([1000.0]))))\n", "naive.py")
    done = doctor.command("run", "-m", "naive", check=1)
    assert "SMX005" in done.stderr
    doctor.command("run", "-m", "no_such_module", check=2)


def test_no_such_script(doctor):
    done = doctor.command("run", "nothing.py", check=2)
    assert done.stderr == "stablesoftmax run: No such file or directory: nothing.py\n"


@pytest.mark.parametrize(
    ("path", "message"),
    [("report.pdf", "suffix must be"), ("no/folder/report.json", "no folder for the report")],
)
def test_a_report_that_cannot_be_written_is_refused_first(doctor, path, message):
    script = doctor.write("print('ran')\n")
    done = doctor.command("run", "--report", path, script, check=2)
    assert message in done.stderr
    assert "ran" not in done.stdout


def test_a_closed_pipe(doctor):
    script = doctor.write("print('x\\n' * 200_000)\n")
    command = f"{sys.executable} -m stablesoftmax run {script} | head -n 1"
    done = subprocess.run(
        command,
        shell=True,
        cwd=doctor.folder,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.stdout == "x\n"
    assert "cli.py" not in done.stderr


def test_text_of_the_script_is_escaped(doctor):
    _, done = doctor.run("import numpy as np\nnp.exp(np.float64(1000.0))  # \x1b[31m \u202e\n")
    assert "\x1b" not in done.stderr
    assert "\u202e" not in done.stderr
