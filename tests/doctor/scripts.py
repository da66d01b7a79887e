"""Scripts as people write them: the cause that `run` must name first, with its line; clean ones."""

# name: the script, the cause, the line
SCRIPTS = {
    "seterr": (
        """
import numpy as np
np.seterr(all="warn")
x = np.array([1000.0, 1.0])
print(np.exp(x) / np.exp(x).sum())
""",
        "SMX001",
        4,
    ),
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
    "class_net": (
        """
import numpy as np
class Net:
    def __init__(self, rng):
        self.W = rng.normal(0, 20, (20, 5)); self.b = np.zeros(5)
    def softmax(self, a):
        return np.exp(a) / np.sum(np.exp(a), axis=1, keepdims=True)
    def forward(self, x):
        self.out = self.softmax(x.dot(self.W) + self.b)
        return self.out
rng = np.random.default_rng(0)
net = Net(rng)
print(net.forward(rng.normal(0, 10, (8, 20))))
""",
        "SMX001",
        6,
    ),
    "python_loop": (
        """
import numpy as np
def softmax(z):
    out = []
    for v in z:
        out.append(np.exp(v))
    total = sum(out)
    return [v / total for v in out]
print(softmax(np.array([1000.0, 2.0])))
""",
        "SMX001",
        5,
    ),
    "inplace": (
        """
import numpy as np
x = np.array([[800.0, 1.0]])
np.exp(x, out=x)
x /= x.sum(axis=1, keepdims=True)
print(x)
""",
        "SMX001",
        3,
    ),
    "bce_log0": (
        """
import numpy as np
def sigmoid(z):
    return 1 / (1 + np.exp(-z))
y = np.array([1.0, 0.0])
a = sigmoid(np.array([40.0, -40.0]))
loss = -(y * np.log(a) + (1 - y) * np.log(1 - a))
print(loss.mean())
""",
        "SMX012",
        6,
    ),
    "linreg": (
        """
import numpy as np
rng = np.random.default_rng(0)
X = rng.normal(0, 10, (100, 3)); y = X @ [1.0, 2.0, 3.0]
w = np.zeros(3)
for step in range(500):
    r = X @ w - y
    w = w - 1.0 * X.T @ r / len(y)
print(w, (r ** 2).mean())
""",
        "SMX017",
        7,
    ),
    "kl0": (
        """
import numpy as np
p = np.array([0.0, 0.4, 0.6])
q = np.array([0.2, 0.3, 0.5])
print(np.sum(p * np.log(p / q)))
""",
        "SMX012",
        4,
    ),
    "entropy0": (
        """
import numpy as np
def entropy(p):
    return -np.sum(p * np.log2(p))
print(entropy(np.array([0.5, 0.5, 0.0])))
""",
        "SMX012",
        3,
    ),
    "cosine": (
        """
import numpy as np
def cosine(a, b):
    return a @ b / (np.linalg.norm(a) * np.linalg.norm(b))
print(cosine(np.zeros(3), np.ones(3)))
""",
        "SMX029",
        3,
    ),
    "rnn": (
        """
import numpy as np
rng = np.random.default_rng(0)
W = rng.normal(0, 3, (50, 50))
h = np.ones(50)
for t in range(400):
    h = W @ h
    h = h - h.mean() * (h - h)
print(h.sum())
""",
        "SMX017",
        6,
    ),
    "nan_to_num": (
        """
import numpy as np
z = np.array([1000.0, 1.0])
p = np.nan_to_num(np.exp(z) / np.exp(z).sum())
print(p)
""",
        "SMX001",
        3,
    ),
    "boltzmann": (
        """
import numpy as np
rng = np.random.default_rng(0)
Q = np.array([100.0, 101.0, 99.0]); T = 0.1
p = np.exp(Q / T) / np.sum(np.exp(Q / T))
print(p)
""",
        "SMX001",
        4,
    ),
    "likelihood": (
        """
import numpy as np
x = np.random.default_rng(0).normal(size=5000)
likelihood = np.prod(np.exp(-x ** 2 / 2) / np.sqrt(2 * np.pi))
print(np.log(likelihood))
""",
        "SMX030",
        4,
    ),
    "minmax": (
        """
import numpy as np
def scale(x):
    return (x - x.min()) / (x.max() - x.min())
print(scale(np.full((2, 3), 5.0)))
""",
        "SMX029",
        3,
    ),
    "float32_logits": (
        """
import numpy as np
logits = np.array([[90.0, 1.0], [3.0, 2.0]], dtype=np.float32)
def softmax(x):
    return np.exp(x) / np.exp(x).sum(axis=1)[:, None]
print(softmax(logits))
""",
        "SMX001",
        4,
    ),
    "log_prob0": (
        """
import numpy as np
def softmax(x):
    e = np.exp(x - x.max(axis=-1, keepdims=True))
    return e / e.sum(axis=-1, keepdims=True)
p = softmax(np.array([[1000.0, 0.0]]))
loss = -np.log(p[np.arange(1), [1]]).mean()
print(loss)
""",
        "SMX004",
        6,
    ),
    "argmax_nan": (
        """
import numpy as np
x = np.array([1.0, np.inf, np.inf])
d = np.diff(x)
print(d, d.mean())
""",
        "SMX015",
        3,
    ),
    "sqrt_arccos": (
        """
import numpy as np
v = np.array([0.1, 0.7, 0.7]); u = np.array([1 + 1e-9])
print(np.arccos(u))
""",
        "SMX030",
        3,
    ),
    "softplus": (
        """
import numpy as np
def softplus(x):
    return np.log(1 + np.exp(x))
print(softplus(np.array([1000.0])))
""",
        "SMX005",
        3,
    ),
    "tanh_manual": (
        """
import numpy as np
def tanh(x):
    return (np.exp(x) - np.exp(-x)) / (np.exp(x) + np.exp(-x))
print(tanh(np.array([1000.0])))
""",
        "SMX001",
        3,
    ),
    "mean_axis": (
        """
import numpy as np
scores = {"a": [1.0, 2.0], "b": []}
for k, v in scores.items():
    print(k, np.mean(v))
""",
        "SMX029",
        4,
    ),
    "adam_sqrt": (
        """
import numpy as np
g = np.zeros(3); m = np.zeros(3); v = np.zeros(3); w = np.ones(3)
for t in range(1, 4):
    m = 0.9 * m + 0.1 * g
    v = 0.999 * v + 0.001 * g * g
    m_hat, v_hat = m / (1 - 0.9 ** t), v / (1 - 0.999 ** t)
    w = w - 0.1 * m_hat / np.sqrt(v_hat)
print(w)
""",
        "SMX029",
        7,
    ),
    "global_max_rows": (
        """
import numpy as np
X = np.array([[1.0, 2.0], [1000.0, 1001.0]])
def softmax(X):
    X = X - np.max(X)
    e = np.exp(X)
    return e / np.sum(e, axis=1, keepdims=True)
print(softmax(X))
""",
        "SMX003",
        6,
    ),
    "wrong_axis_max": (
        """
import numpy as np
def softmax(z):
    z = z - z.max(axis=0)
    e = np.exp(z)
    return e / e.sum(axis=1, keepdims=True)
print(softmax(np.array([[0.0, 1.0], [1000.0, 1001.0]])))
""",
        "SMX003",
        5,
    ),
}

# nothing, whether followed or not
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
    "gelu": """
import numpy as np
x = np.linspace(-50, 50, 101)
print((0.5 * x * (1 + np.tanh(0.8 * (x + 0.04 * x ** 3)))).sum())
""",
    "sigmoid_clip": """
import numpy as np
print(1 / (1 + np.exp(-np.clip(np.array([1000.0, -1000.0]), -500, 500))))
""",
    "sigmoid_big": """
import numpy as np
print(1 / (1 + np.exp(np.array([1000.0, -1000.0]))))
""",
    "logaddexp": """
import numpy as np
print(np.logaddexp.reduce(np.array([1000.0, 999.0])), np.logaddexp(-np.inf, 0.0))
""",
    "where_mask": """
import numpy as np
x = np.array([1.0, 0.0])
print(np.divide(1.0, x, out=np.zeros(2), where=x != 0))
print(np.log(x, where=x > 0, out=np.full(2, -np.inf)))
""",
    "argsort_inf": """
import numpy as np
d = np.full((3, 3), np.inf); d[0, 1] = 2.0
np.fill_diagonal(d, 0)
for k in range(3):
    d = np.minimum(d, d[:, [k]] + d[[k], :])
print(d)
""",
    "best": """
import numpy as np
best = np.inf
for v in [3.0, 2.0, 5.0]:
    if v < best: best = v
low = -np.inf
print(best, max(low, 1.0))
""",
    "pdist": """
import numpy as np
X = np.random.default_rng(0).normal(size=(20, 3))
D = np.sqrt(np.maximum(((X[:, None] - X[None]) ** 2).sum(-1), 0))
print(D.max(), (D + np.diag(np.full(20, np.inf))).argmin(1))
""",
    "nan_pad": """
import numpy as np
a = np.full((3, 4), np.nan)
for i in range(3):
    a[i, : i + 1] = i
print(np.nansum(a), np.nanmax(a, axis=1))
""",
    "viterbi": """
import numpy as np
A = np.array([[0.0, 1.0], [0.5, 0.5]])
with np.errstate(divide="ignore"):
    logA = np.log(A)
v = np.array([0.0, -np.inf])
for _ in range(5):
    v = (v[:, None] + logA).max(axis=0)
print(v)
""",
}

# what NumPy's status does not tell
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
