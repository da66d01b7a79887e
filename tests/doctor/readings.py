"""Small programs that `check` reads: the codes that it must say of each, and those it must not.

A line that ends in `#! SMX004` is where that code is due; a program without one is read in silence.
"""

NP, TORCH, JAX, TF = (
    "import numpy as np\n",
    "import torch\nimport torch.nn as nn\nimport torch.nn.functional as F\n",
    "import jax\nimport jax.numpy as jnp\n",
    "import tensorflow as tf\n",
)

SAID = {
    # SMX001
    "quotient": NP + """
def softmax(x):
    return np.exp(x) / np.sum(np.exp(x), axis=-1, keepdims=True)  #! SMX001
""",
    "named exponentials": NP + """
def softmax(x):
    e = np.exp(x)
    return e / e.sum(axis=1, keepdims=True)  #! SMX001
""",
    "named sum": NP + """
def softmax(x):
    e = np.exp(x)
    total = np.sum(e)
    p = e / total  #! SMX001
    return p
""",
    "temperature": NP + """
def policy(q_values, temperature):
    return np.exp(q_values / temperature) / np.sum(np.exp(q_values / temperature))  #! SMX001
""",
    "from import": """
from numpy import exp, sum as total
def softmax(x):
    return exp(x) / total(exp(x))  #! SMX001
""",
    "lists": """
import math
def softmax(scores):
    exps = [math.exp(s) for s in scores]
    total = sum(exps)
    return [e / total for e in exps]  #! SMX001
""",
    "a loop that adds": """
import math
def softmax(scores):
    total = 0.0
    for s in scores:
        total += math.exp(s)
    out = []
    for s in scores:
        out.append(math.exp(s) / total)  #! SMX001
    return out
""",
    "dictionary": """
import math
def weights(scores):
    exps = {k: math.exp(v) for k, v in scores.items()}
    total = sum(exps.values())
    return {k: v / total for k, v in exps.items()}  #! SMX001
""",
    "in place": NP + """
def softmax(x):
    e = np.exp(x)
    e /= np.sum(e, axis=1, keepdims=True)  #! SMX001
    return e
""",
    "ufuncs": NP + """
def softmax(x):
    e = np.exp(x)
    return np.divide(e, np.add.reduce(e, axis=-1, keepdims=True))  #! SMX001
""",
    "reciprocal": NP + """
def softmax(x):
    e = np.exp(x)
    return e * (1 / e.sum(axis=1, keepdims=True))  #! SMX001
""",
    "torch methods": TORCH + """
def attention(q, k):
    scores = (q @ k.transpose(-2, -1)).exp()
    return scores / scores.sum(dim=-1, keepdim=True)  #! SMX001
""",
    "torch functions": TORCH + """
def softmax(x):
    return torch.exp(x) / torch.sum(torch.exp(x), dim=1).view(-1, 1)  #! SMX001
""",
    "jax": JAX + """
def softmax(x):
    e = jnp.exp(x)
    return e / jnp.sum(e, axis=-1, keepdims=True)  #! SMX001
""",
    "tensorflow": TF + """
def softmax(x):
    return tf.exp(x) / tf.reduce_sum(tf.exp(x), 1, keepdims=True)  #! SMX001
""",
    "mean for maximum": NP + """
def softmax(x):
    e = np.exp(x - np.mean(x, axis=1, keepdims=True))
    return e / e.sum(axis=1, keepdims=True)  #! SMX001
""",
    "constant for maximum": NP + """
def softmax(x):
    e = np.exp(x - 100)
    return e / e.sum()  #! SMX001
""",
    "minimum for maximum": NP + """
def softmax(x):
    e = np.exp(x - x.min(axis=1, keepdims=True))
    return e / e.sum(axis=1, keepdims=True)  #! SMX001
""",
    "masked": NP + """
def masked_softmax(x, mask):
    e = np.exp(x) * mask
    return e / e.sum(axis=-1, keepdims=True)  #! SMX001
""",
    "losses in a list": NP + """
from sklearn.metrics import log_loss
def weights(labels, predictions, t):
    powers = []
    for p in predictions:
        powers.append(np.exp(-t * log_loss(labels, p)))
    return np.array(powers) / sum(powers)  #! SMX001
""",
    "losses": NP + """
def weights(losses, t):
    w = np.exp(-t * losses)
    return w / w.sum()  #! SMX001
""",
    "a method of a class": NP + """
class Layer:
    def forward(self, x):
        self.e = np.exp(x @ self.weights + self.bias)
        return self.e / np.sum(self.e, axis=1, keepdims=True)  #! SMX001
""",
    "a helper normalises": NP + """
def normalized(e):
    return e / e.sum(axis=1, keepdims=True)  #! SMX001
def softmax(x):
    return normalized(np.exp(x))
""",
    "lambda": NP + """
softmax = lambda x: np.exp(x) / np.exp(x).sum()  #! SMX001
""",
    "one element over the sum": NP + """
def probability(x, i):
    return np.exp(x[i]) / np.sum(np.exp(x))  #! SMX001
""",
    "one class more": NP + """
def probabilities(x):
    return np.exp(x) / (1 + np.sum(np.exp(x), axis=0))  #! SMX001
""",
    "one sign or another": NP + """
def weights(checkpoints, maximize):
    weights = [np.exp(c[0]) if maximize else np.exp(-c[0]) for c in checkpoints]
    return [w / sum(weights) for w in weights]  #! SMX001
""",
    "a helper whose value a constructor keeps": NP + """
def _exp(x):
    e = np.exp(x)
    return e / e.sum()  #! SMX001
class Policy:
    def __init__(self, preferences):
        self.p = _exp(preferences)
""",
    "a helper that unknown values reach": NP + """
from .data import load
def _softmax(scores):
    e = np.exp(scores)
    return e / np.sum(e)  #! SMX001
def predict():
    return _softmax(np.array(load() - 1.0 * load()))
def predict_other():
    return _softmax(load())
""",
    "a column of ones": NP + """
def cdf(X):
    eXB = np.column_stack((np.ones(len(X)), np.exp(X)))
    return eXB / eXB.sum(1)[:, None]  #! SMX001
""",
    "added to zeros": NP + """
class Learner:
    def policy(self, state, temperature):
        probs = np.zeros(self.n)
        probs += [np.exp(self.q_values[state][i] / temperature) for i in range(self.n)]
        probs /= np.sum(probs)  #! SMX001
        return probs
""",
    "shifted in a branch that returned": NP + """
def softmax(x):
    if x.ndim == 1:
        x = x - x.max()
        return np.exp(x) / np.exp(x).sum()
    e = np.exp(x)
    return e / e.sum(axis=1, keepdims=True)  #! SMX001
""",
    "a sum in a list": NP + """
def softmax(X):
    e = np.exp(X)
    return e / np.array([np.sum(e, axis=1)]).T  #! SMX001
""",
    "weights of a masked softmax": TORCH + """
def masked_softmax(weights, mask, dim=-1, eps=1e-30):
    exps = torch.exp(weights).masked_fill(mask == 0, eps)
    return exps / exps.sum(dim, keepdim=True)  #! SMX001
""",
    "utilities": NP + """
def mnl(u):
    e = np.exp(u)
    return e / np.sum(e, axis=0)  #! SMX001
""",
    "weights of a softmax": NP + """
def softmax(w, t=1.0):
    e = np.exp(np.array(w) / t)
    return e / np.sum(e)  #! SMX001
""",
    "divided in a loop": NP + """
def softmax(x):
    y = [np.exp(v) for v in x]
    total = np.sum(y)
    for j in range(len(y)):
        y[j] = y[j] / total  #! SMX001
    return y
""",
    "xp": """
def softmax(x, xp):
    e = xp.exp(x)
    return e / xp.sum(e, axis=-1, keepdims=True)  #! SMX001
""",
    # SMX002
    "two arrays": NP + """
def softmax(x, y):
    return np.exp(x) / np.sum(np.exp(y))  #! SMX002
""",
    "two shifts": NP + """
def softmax(x):
    return np.exp(x - np.max(x)) / np.sum(np.exp(x))  #! SMX002
""",
    "unshifted above": NP + """
def softmax(x):
    top = x.max(axis=1, keepdims=True)
    return np.exp(x) / np.exp(x - top).sum(axis=1, keepdims=True)  #! SMX002
""",
    # SMX003
    "maximum of all": NP + """
def softmax(x):
    e = np.exp(x - np.max(x))
    return e / np.sum(e, axis=1, keepdims=True)  #! SMX003
""",
    "maximum of another axis": NP + """
def softmax(x):
    e = np.exp(x - np.max(x, axis=0))
    return e / np.sum(e, axis=1, keepdims=True)  #! SMX003
""",
    "maximum of all, torch": TORCH + """
def softmax(x):
    e = torch.exp(x - x.max())
    return e / e.sum(-1, keepdim=True)  #! SMX003
""",
    "maximum of all, groups": TORCH + """
from torch_scatter import scatter_add
def softmax(src, index, n):
    out = (src - src.max()).exp()
    total = torch.zeros(n).scatter_add_(0, index, out)
    return out / total[index]  #! SMX003
""",
    "maximum in a helper": NP + """
def shifted(x):
    return x - np.max(x)
def softmax(x):
    e = np.exp(shifted(x))
    return e / e.sum(axis=1, keepdims=True)  #! SMX003
""",
    "logsumexp with the maximum of all": NP + """
def logsumexp(x):
    m = x.max()
    return m + np.log(np.exp(x - m).sum(axis=1))  #! SMX003
""",
    "minimum of all": NP + """
def weights(r):
    e = np.exp(-(r - r.min()) / 2)
    return e / e.sum(axis=1, keepdims=True)  #! SMX003
""",
    # SMX004
    "log of scipy's": """
import numpy as np
from scipy.special import softmax
def loss(x):
    return np.log(softmax(x, axis=1))  #! SMX004
""",
    "log on a later line": TORCH + """
def loss(logits, y):
    p = F.softmax(logits, dim=1)
    picked = p[range(len(y)), y]
    return -torch.log(picked).mean()  #! SMX004
""",
    "labels times the log of a softmax, in a method": NP + """
class Classifier:
    def _softmax(self, z):
        e = np.exp(z - z.max(axis=1, keepdims=True))
        return e / e.sum(axis=1, keepdims=True)
    def _cross_entropy(self, output, y_target):
        return -np.sum(np.log(output) * y_target, axis=1)  #! SMX004
    def fit(self, z, y):
        return self._cross_entropy(self._softmax(z), y)
""",
    "log across methods": TORCH + """
class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.softmax = nn.Softmax(dim=1)
    def forward(self, x):
        self.p = self.softmax(x)
        return self.p
    def entropy(self):
        return -(self.p * self.p.log()).sum()  #! SMX004
""",
    "log of a local softmax": NP + """
def softmax(x):
    e = np.exp(x - x.max(axis=1, keepdims=True))
    return e / e.sum(axis=1, keepdims=True)
def loss(x, y):
    p = softmax(x)
    return -np.sum(y * np.log(p))  #! SMX004
""",
    "log of a method": TORCH + """
def f(x):
    return x.softmax(-1).log()  #! SMX004
""",
    "log of a gathered softmax": TORCH + """
def f(x, actions):
    p = torch.softmax(x, dim=-1)
    return p.gather(1, actions).log()  #! SMX004
""",
    "log of jax's": JAX + """
def f(x):
    return jnp.log(jax.nn.softmax(x))  #! SMX004
""",
    "log of tensorflow's": TF + """
def f(x):
    return tf.math.log(tf.nn.softmax(x))  #! SMX004
""",
    "log through a model": TORCH + """
model = nn.Sequential(nn.Linear(4, 3), nn.Softmax(dim=1))
def loss(x, y):
    return F.nll_loss(torch.log(model(x)), y)  #! SMX004
""",
    "log of exp of log_softmax": TORCH + """
def entropy(x):
    p = F.log_softmax(x, dim=-1).exp()
    return -(p * torch.log(p)).sum(-1)  #! SMX004
""",
    "log of a softmax in one branch": TORCH + """
def log_probs(scores, sampled):
    if sampled:
        probs = nn.functional.softmax(scores, dim=-1)
    else:
        probs = scores
    return probs.log()  #! SMX004
""",
    "log of a row's probability": NP + """
def loss(W, X, y):
    total = 0.0
    for i in range(len(X)):
        f = X[i].dot(W)
        f -= np.max(f)
        sum_exp = np.sum(np.exp(f))
        p = lambda k: np.exp(f[k]) / sum_exp
        total += -np.log(p(y[i]))  #! SMX004
    return total
""",
    "log of exp less logsumexp": """
import numpy as np
from scipy.special import logsumexp
def loss(x, y):
    p = np.exp(x - logsumexp(x, axis=1, keepdims=True))
    return -np.sum(y * np.log(p))  #! SMX004
""",
    "a dictionary of steps": NP + """
def loss(inputs, targets):
    xs, ys, ps = {}, {}, {}
    total = 0
    for t in range(len(inputs)):
        ys[t] = np.dot(W, xs[t]) + b
        ps[t] = np.exp(ys[t]) / np.sum(np.exp(ys[t]))  #! SMX001
        total += -np.log(ps[t][targets[t], 0])  #! SMX004
    return total
""",
    "log of what a mask left of a softmax": TF + """
def loss(logits, mask):
    p = tf.nn.softmax(logits, axis=-1)
    return -tf.reduce_mean(tf.math.log(tf.where(mask, p, tf.ones_like(p))))  #! SMX004
""",
    # SMX005
    "log of sum of exp": NP + """
def logsumexp(x):
    return np.log(np.sum(np.exp(x), axis=1))  #! SMX005
""",
    "log of sum of exp, methods": TORCH + """
def logsumexp(x):
    return x.exp().sum(dim=1).log()  #! SMX005
""",
    "log of a mean of exp": NP + """
def log_mean(log_w):
    return np.log(np.mean(np.exp(log_w)))  #! SMX005
""",
    "log of a generator's sum": """
import math
def logsumexp(xs):
    return math.log(sum(math.exp(x) for x in xs))  #! SMX005
""",
    "log of two exp": NP + """
def logaddexp(a, b):
    return np.log(np.exp(a) + np.exp(b))  #! SMX005
""",
    "log of a named sum": JAX + """
def f(x):
    z = jnp.exp(x).sum(-1)
    return x - jnp.log(z)[..., None]  #! SMX005
""",
    # SMX006
    "maximum without keepdims": NP + """
def softmax(x):
    e = np.exp(x - np.max(x, axis=1))
    return e / np.sum(e, axis=1, keepdims=True)  #! SMX006
""",
    "sum without keepdims": NP + """
def softmax(x):
    e = np.exp(x - np.max(x, axis=1, keepdims=True))
    return e / np.sum(e, axis=1)  #! SMX006
""",
    "sum without keepdim, torch": TORCH + """
def softmax(x):
    e = torch.exp(x - x.max(dim=1, keepdim=True)[0])
    return e / e.sum(dim=1)  #! SMX006
""",
    "logsumexp without keepdims": NP + """
def logsumexp(x):
    m = np.max(x, axis=1)
    return m + np.log(np.sum(np.exp(x - m), axis=1))  #! SMX006
""",
    # SMX007
    "builtin sum of an array": NP + """
def softmax(x):
    e = np.exp(x - np.max(x, axis=1, keepdims=True))
    return e / sum(e)  #! SMX007
""",
    "sum over all": NP + """
def softmax(x):
    e = np.exp(x - np.max(x, axis=1, keepdims=True))
    return e / np.sum(e)  #! SMX007
""",
    # SMX008
    "log with an epsilon": TORCH + """
def loss(x, y):
    p = F.softmax(x, dim=1)
    return -(y * torch.log(p + 1e-8)).sum()  #! SMX008
""",
    "log of a clip": """
import numpy as np
from scipy.special import softmax
def loss(x, y):
    p = np.clip(softmax(x, axis=1), 1e-12, 1 - 1e-12)
    return -np.mean(np.log(p[np.arange(len(y)), y]))  #! SMX008
""",
    "an epsilon that a call makes": TF + """
from .util import constant
def states(logits):
    epsilon = constant(1e-6)
    p = tf.nn.softmax(logits=logits, axis=-1)
    return tf.math.log(x=(p + epsilon))  #! SMX008
""",
    "log of a named epsilon": NP + """
EPS = 1e-10
def softmax(x):
    e = np.exp(x - x.max(axis=1, keepdims=True))
    return e / e.sum(axis=1, keepdims=True)
def loss(x, y):
    return -np.sum(y * np.log(softmax(x) + EPS))  #! SMX008
""",
    "a scaled softmax": JAX + """
def kl(q_values, num_actions):
    weights = jax.nn.softmax(q_values, axis=0)
    return jnp.mean(weights * jnp.log(num_actions * weights + 1e-8))  #! SMX008
""",
    "log of a maximum": TF + """
def entropy(x):
    p = tf.nn.softmax(x)
    return -tf.reduce_sum(p * tf.math.log(tf.maximum(p, 1e-9)))  #! SMX008
""",
    "epsilon in the denominator": TORCH + """
def masked_softmax(x, mask):
    e = torch.exp(x - x.max(dim=-1, keepdim=True)[0]) * mask
    return e / (e.sum(dim=-1, keepdim=True) + 1e-13)  #! SMX008
""",
    "log of a masked softmax": TORCH + """
def entropy(s, mask=None):
    s = torch.softmax(s, dim=-1)
    if mask is not None:
        s = s * mask
    return (-s * torch.log(s + 1e-15)).sum(dim=-1).mean()  #! SMX008
""",
    "a loss of probabilities": NP + """
def cross_entropy(y_pred, y_true, eps=1e-12):
    return -np.sum(y_true * np.log(y_pred + eps))  #! SMX008
""",
    "a loss of clipped probabilities": NP + """
def cross_entropy(targets, predictions):
    predictions = np.clip(predictions, 1e-12, 1.0 - 1e-12)
    return -np.sum(targets * np.log(predictions)) / len(targets)  #! SMX008
""",
    "what labels pick from a clip": NP + """
def loss(y_pred, y_true):
    clipped = np.clip(y_pred, 1e-7, 1 - 1e-7)
    if len(y_true.shape) == 1:
        picked = clipped[range(len(y_pred)), y_true]
    else:
        picked = np.sum(clipped * y_true, axis=1)
    return -np.log(picked)  #! SMX008
""",
    "a masked softmax normalised again": TORCH + """
def masked_softmax(x, mask):
    p = F.softmax(x * mask, dim=-1) * mask
    return p / (p.sum(dim=-1, keepdim=True) + 1e-13)  #! SMX008
""",
    "an epsilon in groups": TORCH + """
from torch_geometric.utils import scatter
def softmax(src, index, dim=0):
    top = scatter(src.detach(), index, dim, reduce="max")
    out = (src - top.index_select(dim, index)).exp()
    total = scatter(out, index, dim, reduce="sum") + 1e-16
    return out / total.index_select(dim, index)  #! SMX008
""",
    "an actor": TORCH + """
class Actor(nn.Module):
    def __init__(self):
        super().__init__()
        self.net = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Softmax(dim=-1))
    def log_prob(self, state):
        probs = self.net(state)
        return torch.log(probs + 1e-8)  #! SMX008
""",
    # SMX009
    "softmax into cross_entropy": TORCH + """
def loss(x, y):
    return F.cross_entropy(F.softmax(x, dim=1), y)  #! SMX009
""",
    "a network into CrossEntropyLoss": TORCH + """
class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(4, 3)
    def forward(self, x):
        return F.softmax(self.layer(x), dim=1)
def train(x, y):
    model = Net()
    criterion = nn.CrossEntropyLoss()
    return criterion(model(x), y)  #! SMX009
""",
    "a network on a device into CrossEntropyLoss": TORCH + """
class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(4, 3)
        self.softmax = nn.Softmax(dim=1)
    def forward(self, x):
        return self.softmax(F.relu(self.layer(x)))
net = Net().to("cuda")
criterion = nn.CrossEntropyLoss()
for epoch in range(10):
    for i, (inputs, labels) in enumerate(loader):
        outputs = net(inputs.to("cuda"))
        loss = criterion(outputs, labels)  #! SMX009
""",
    "an inherited forward into CrossEntropyLoss": TORCH + """
class Base(nn.Module):
    def forward(self, x):
        return torch.softmax(self.features(x), dim=1)
class Net(Base):
    def features(self, x):
        return x @ self.weight
def loss(x, y):
    return nn.CrossEntropyLoss()(Net()(x), y)  #! SMX009
""",
    "sequential into CrossEntropyLoss": TORCH + """
model = nn.Sequential(nn.Linear(4, 3), nn.Softmax(dim=1))
criterion = nn.CrossEntropyLoss()
for x, y in batches:
    output = model(x)
    loss = criterion(output, y)  #! SMX009
""",
    "softmax of a softmax": """
from scipy.special import softmax
def f(x):
    p = softmax(x, axis=1)
    return softmax(p, axis=1)  #! SMX009
""",
    "softmax into tensorflow's loss": TF + """
def loss(x, y):
    p = tf.nn.softmax(x)
    return tf.nn.softmax_cross_entropy_with_logits(labels=y, logits=p)  #! SMX009
""",
    "softmax into a loss from_logits": TF + """
from tensorflow import keras
model = keras.Sequential([keras.layers.Dense(8), keras.layers.Dense(3, activation="softmax")])
model.compile("adam", loss=keras.losses.CategoricalCrossentropy(from_logits=True))  #! SMX009
""",
    "softmax into optax": JAX + """
import optax
def loss(x, y):
    return optax.softmax_cross_entropy(jax.nn.softmax(x), y)  #! SMX009
""",
    "probabilities as a distribution's logits": TORCH + """
from torch.distributions import Categorical
def act(x):
    return Categorical(logits=F.softmax(x, dim=-1)).sample()  #! SMX009
""",
    "a functional model and a loss from_logits": TF + """
from tensorflow import keras
inputs = keras.Input(shape=(4,))
outputs = keras.layers.Dense(3, activation="softmax")(inputs)
model = keras.Model(inputs, outputs)
loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
model.compile(optimizer="adam", loss=loss)  #! SMX009
""",
    "a loss object from_logits": TF + """
loss_object = tf.keras.losses.SparseCategoricalCrossentropy(from_logits=True)
def loss(x, y):
    return loss_object(y, tf.nn.softmax(x))  #! SMX009
""",
    "log_softmax of a softmax, by method": TORCH + """
def f(x):
    return F.softmax(x, dim=1).log_softmax(dim=1)  #! SMX009
""",
    # SMX010
    "probabilities into integers": NP + """
from scipy.special import softmax
def f(x):
    out = np.zeros(x.shape, dtype=int)
    for i in range(len(x)):
        out[i] = softmax(x[i])  #! SMX010
    return out
""",
    "unsigned shift": NP + """
def f(image):
    x = image.astype(np.uint8)
    e = np.exp(x - x.max())  #! SMX010
    return e / e.sum()
""",
    "probabilities as integers": TORCH + """
def f(x):
    return F.softmax(x, dim=1).long()  #! SMX010
""",
    # SMX011
    "a narrow sum": NP + """
def f(x):
    e = np.exp(x - x.max(axis=1, keepdims=True))
    return e / e.sum(axis=1, keepdims=True, dtype=np.float16)  #! SMX011
""",
    "an array rounded, and its maximum not": NP + """
def softmax(x):
    e = np.exp(x.astype(np.float32) - x.max())
    return e / e.sum()  #! SMX011
""",
    # SMX012
    "labels times a log, from the left": NP + """
def loss(labels, probs):
    return -np.sum(np.log(probs) * labels)  #! SMX012
""",
    "labels times a log, of a tuple": NP + """
def loss(Y, AL):
    m = Y.shape[1]
    return -1 / m * np.sum(Y * np.log(AL) + (1 - Y) * np.log(1 - AL))  #! SMX012
""",
    "labels times a log": NP + """
def loss(y_true, y_pred):
    return -np.sum(y_true * np.log(y_pred))  #! SMX012
""",
    "where around a log": JAX + """
def entropy(p):
    return -jnp.sum(jnp.where(p > 0, p * jnp.log(p), 0.0))  #! SMX012
""",
    "where around a log, torch": TORCH + """
def f(p):
    return torch.where(p == 0, 0.0, torch.log(p))  #! SMX012
""",
    # SMX013
    "nan_to_num": TORCH + """
def attention(scores, mask):
    p = F.softmax(scores.masked_fill(mask, float("-inf")), dim=-1)
    return torch.nan_to_num(p)  #! SMX013
""",
    "nan assigned to": """
import numpy as np
from scipy.special import softmax
def f(x):
    p = softmax(x, axis=1)
    p[np.isnan(p)] = 0  #! SMX013
    return p
""",
    "where isnan": TORCH + """
def f(x):
    p = torch.softmax(x, -1)
    return torch.where(torch.isnan(p), torch.zeros_like(p), p)  #! SMX013
""",
    # SMX016
    "float16": NP + """
def softmax(x):
    e = np.exp(x.astype(np.float16))
    return e / e.sum()  #! SMX016
""",
    "half": TORCH + """
def softmax(x):
    e = torch.exp(x.half())
    return e / e.sum(-1, keepdim=True)  #! SMX016
""",
    "a mask in half precision": TORCH + """
def attention(scores, mask):
    scores = scores.half()
    scores = scores.masked_fill(mask, -1e9)  #! SMX016
    return F.softmax(scores, dim=-1)
""",
    "a mask as float16": """
import numpy as np
from scipy.special import softmax
def attention(scores, mask):
    scores = np.where(mask, scores, -1e9).astype(np.float16)  #! SMX016
    return softmax(scores, axis=-1)
""",
    # SMX022
    "shift of the argument": NP + """
def softmax(x):
    x -= np.max(x, axis=1, keepdims=True)  #! SMX022
    e = np.exp(x)
    return e / e.sum(axis=1, keepdims=True)
""",
    "exp into the argument": NP + """
def softmax(x):
    np.exp(x, out=x)  #! SMX022
    return x / x.sum()  #! SMX001
""",
    "subtract into the argument": NP + """
def softmax(x):
    np.subtract(x, x.max(axis=1, keepdims=True), out=x)  #! SMX022
    e = np.exp(x)
    return e / e.sum(axis=1, keepdims=True)
""",
    # SMX023
    "clip after the mean": TORCH + """
def gate(x):
    centered = x - x.mean(dim=1, keepdim=True)
    e = torch.exp(torch.clamp(centered, min=-5.0, max=5.0))
    return e / e.sum(dim=1, keepdim=True)  #! SMX023
""",
    "clip for shift": NP + """
def softmax(x):
    e = np.exp(np.clip(x, -500, 500))
    return e / e.sum(axis=1, keepdims=True)  #! SMX023
""",
    "clip by what was given": NP + """
class Policy:
    def __init__(self, clip=(-500.0, 500.0)):
        self.clip = clip
    def probabilities(self, q_values):
        e = np.exp(np.clip(q_values / self.tau, self.clip[0], self.clip[1]))
        return e / np.sum(e)  #! SMX023
""",
    "clamp for shift": TORCH + """
def softmax(x):
    e = torch.exp(torch.clamp(x, max=80))
    return e / e.sum(-1, keepdim=True)  #! SMX023
""",
}  # fmt: skip

SILENT = {
    "shift in one line": NP + """
def softmax(x):
    e = np.exp(x - np.max(x, axis=-1, keepdims=True))
    return e / np.sum(e, axis=-1, keepdims=True)
""",
    "shift on an earlier line": NP + """
def softmax(x):
    x = x - x.max(axis=1, keepdims=True)
    return np.exp(x) / np.exp(x).sum(axis=1, keepdims=True)
""",
    "shift two lines above": NP + """
def softmax(x):
    m = np.amax(x, axis=1)
    m = m.reshape(-1, 1)
    shifted = x - m
    return np.exp(shifted) / np.sum(np.exp(shifted), axis=1).reshape(-1, 1)
""",
    "shift in a helper": NP + """
def stable(x):
    return x - np.max(x, axis=-1, keepdims=True)
def softmax(x):
    e = np.exp(stable(x))
    return e / e.sum(axis=-1, keepdims=True)
""",
    "shift by the caller": NP + """
def _softmax(x):
    e = np.exp(x)
    return e / e.sum(axis=-1, keepdims=True)
def softmax(x):
    return _softmax(x - x.max(axis=-1, keepdims=True))
""",
    "shift by out": NP + """
def softmax(x):
    y = np.empty_like(x)
    np.subtract(x, np.max(x, axis=1, keepdims=True), out=y)
    np.exp(y, out=y)
    return y / y.sum(axis=1, keepdims=True)
""",
    "shift by a minimum of the negated": NP + """
def weights(r):
    e = np.exp(-(r - r.min()) / 2)
    return e / e.sum()
""",
    "minimum minus": NP + """
def weights(cost):
    e = np.exp((np.min(cost) - cost) / 0.1)
    return e / e.sum()
""",
    "shift before a loop": NP + """
def rows(x):
    x = x - x.max(axis=1, keepdims=True)
    out = []
    for row in x:
        e = np.exp(row)
        out.append(e / e.sum())
    return out
""",
    "shift in a branch of each": NP + """
def softmax(x):
    if x.ndim == 1:
        x = x - x.max()
    else:
        x = x - x.max(axis=1, keepdims=True)
    e = np.exp(x)
    return e / e.sum(axis=-1, keepdims=True)
""",
    "shift perhaps": NP + """
def softmax(x, stable):
    if stable:
        x = x - x.max()
    e = np.exp(x)
    return e / e.sum()
""",
    "shift by log-sum-exp": """
import numpy as np
from scipy.special import logsumexp
def softmax(x):
    e = np.exp(x - logsumexp(x, axis=1, keepdims=True))
    return e / e.sum(axis=1, keepdims=True)
""",
    "exp of log_softmax": TORCH + """
def f(x):
    p = F.log_softmax(x, dim=1).exp()
    return p / p.sum(dim=1, keepdim=True)
""",
    "shift with amax": TORCH + """
def softmax(x):
    e = torch.exp(x - x.amax(dim=-1, keepdim=True))
    return e / e.sum(dim=-1, keepdim=True)
""",
    "shift with values": TORCH + """
def softmax(x):
    top, _ = x.max(dim=1, keepdim=True)
    e = (x - top).exp()
    return e / e.sum(dim=1, keepdim=True)
""",
    "shift with stop_gradient": JAX + """
def softmax(x):
    e = jnp.exp(x - jax.lax.stop_gradient(x.max(-1, keepdims=True)))
    return e / e.sum(-1, keepdims=True)
""",
    "groups": TORCH + """
from torch_scatter import scatter_max, scatter_add
def softmax(src, index):
    top = scatter_max(src, index)[0][index]
    e = torch.exp(src - top)
    return e / scatter_add(e, index)[index]
""",
    "lists with builtin max and sum": """
import math
def softmax(xs):
    top = max(xs)
    exps = [math.exp(x - top) for x in xs]
    total = sum(exps)
    return [e / total for e in exps]
""",
    "builtin sum of a vector": NP + """
def softmax(x):
    e = np.exp(x - max(x))
    return e / sum(e)
""",
    "generator": """
import math
def normalizer(xs):
    top = max(xs)
    return top + math.log(sum(math.exp(x - top) for x in xs))
""",
    "dictionary shifted": """
import math
def softmax(scores):
    top = max(scores.values())
    exps = {k: math.exp(v - top) for k, v in scores.items()}
    total = sum(exps.values())
    return {k: v / total for k, v in exps.items()}
""",
    "axis 0 without keepdims": NP + """
def softmax(x):
    e = np.exp(x - np.max(x, axis=0))
    return e / np.sum(e, axis=0)
""",
    "newaxis": NP + """
def softmax(x):
    e = np.exp(x - x.max(axis=1)[:, np.newaxis])
    return e / e.sum(axis=1)[:, None]
""",
    "ellipsis": JAX + """
def softmax(x):
    e = jnp.exp(x - x.max(-1)[..., None])
    return e / e.sum(-1)[..., None]
""",
    "expand_dims": NP + """
def softmax(x, axis):
    e = np.exp(x - np.expand_dims(np.max(x, axis=axis), axis))
    return e / np.expand_dims(np.sum(e, axis=axis), axis)
""",
    "unsqueeze": TORCH + """
def softmax(x):
    e = torch.exp(x - x.max(1)[0].unsqueeze(1))
    return e / e.sum(1).unsqueeze(1)
""",
    "transposed": NP + """
def softmax(x):
    e = np.exp(x.T - x.max(axis=1))
    return (e / e.sum(axis=0)).T
""",
    "commented out": NP + """
def softmax(x):
    # return np.exp(x) / np.sum(np.exp(x))
    '''np.exp(x) / np.sum(np.exp(x))'''
    e = np.exp(x - x.max())
    return e / e.sum()
""",
    "normalised again": """
from scipy.special import softmax
def f(x):
    p = softmax(x, axis=1)
    return p / p.sum(axis=1, keepdims=True)
""",
    "gaussian": NP + """
def kernel(n, sigma):
    x = np.arange(n) - n // 2
    k = np.exp(-x**2 / (2 * sigma**2))
    return k / k.sum()
""",
    "gaussian of a parameter": NP + """
def kernel(x, sigma):
    k = np.exp(-0.5 * (x / sigma) ** 2)
    return k / np.sum(k)
""",
    "distances": NP + """
def weights(dist, tau):
    w = np.exp(-dist / tau)
    return w / w.sum()
""",
    "importance weights": NP + """
def weights(log_weights):
    w = np.exp(log_weights)
    return w / w.sum()
""",
    "adaboost": NP + """
def update(w, alpha, y, prediction):
    w = w * np.exp(-alpha * y * prediction)
    return w / w.sum()
""",
    "n-grams": """
import math
def normalize(logprobs):
    probs = [math.exp(lp) for lp in logprobs]
    z = sum(probs)
    return [p / z for p in probs]
""",
    "a difference": NP + """
def f(energies, reference):
    w = np.exp(energies - reference)
    return w / w.sum()
""",
    "sigmoid": NP + """
def sigmoid(x):
    return np.exp(x) / (1 + np.exp(x))
""",
    "another sigmoid": NP + """
def sigmoid(x):
    return 1 / (1 + np.exp(-x))
""",
    "tanh": NP + """
def tanh(x):
    return (np.exp(x) - np.exp(-x)) / (np.exp(x) + np.exp(-x))
""",
    "softplus": NP + """
def softplus(x):
    return np.log(1 + np.exp(x))
""",
    "exponential over another sum": NP + """
def rate(x, counts):
    return np.exp(x) / np.sum(counts)
""",
    "performer": TORCH + """
def features(data, diag, eps=1e-4):
    return torch.exp(data - diag - torch.amax(data, dim=(-1, -2), keepdim=True)) + eps
""",
    "softmax into a divergence": TORCH + """
def loss(student, teacher):
    return F.kl_div(F.log_softmax(student, dim=1), F.softmax(teacher, dim=1))
""",
    "softmax as a target": TORCH + """
def loss(student, teacher):
    return F.cross_entropy(student, F.softmax(teacher, dim=1))
""",
    "softmax as labels": TF + """
def loss(x, teacher):
    return tf.nn.softmax_cross_entropy_with_logits(labels=tf.nn.softmax(teacher), logits=x)
""",
    "a name alone": NP + """
def softmax(x):
    return x / np.sum(x)
def f(x):
    return np.log(softmax(x))
""",
    "an unknown softmax": NP + """
from .layers import softmax
def f(x):
    return np.log(softmax(x))
""",
    "a stable logsumexp": NP + """
def logsumexp(x):
    top = x.max(axis=1, keepdims=True)
    return top + np.log(np.sum(np.exp(x - top), axis=1, keepdims=True))
""",
    "log_softmax by hand": NP + """
def log_softmax(x):
    x = x - x.max(axis=1, keepdims=True)
    return x - np.log(np.sum(np.exp(x), axis=1, keepdims=True))
""",
    "losses from logits": TORCH + """
class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(4, 3)
    def forward(self, x):
        return self.layer(x)
def train(x, y):
    return nn.CrossEntropyLoss()(Net()(x), y)
""",
    "probabilities for the user alone": TORCH + """
def step(model, x, y):
    logits = model(x)
    probs = F.softmax(logits, dim=1)
    loss = F.cross_entropy(logits, y)
    return loss, probs.argmax(dim=1)
""",
    "a distribution of probabilities": TORCH + """
from torch.distributions import Categorical
def act(x):
    return Categorical(F.softmax(x, dim=-1)).sample(), Categorical(logits=x)
""",
    "a loss object of probabilities": TF + """
loss_object = tf.keras.losses.SparseCategoricalCrossentropy()
def loss(x, y):
    return loss_object(y, tf.nn.softmax(x))
""",
    "keras, probabilities": TF + """
model = tf.keras.Sequential([tf.keras.layers.Dense(3, activation="softmax")])
model.compile(loss=tf.keras.losses.CategoricalCrossentropy())
""",
    "log of a histogram": NP + """
def entropy(counts):
    p = counts / counts.sum()
    return -np.sum(p * np.log(p + 1e-12))
""",
    "log of a spectrogram": NP + """
def decibels(power):
    return 10 * np.log10(np.maximum(power, 1e-10))
""",
    "log of a mean of softmaxes": TORCH + """
def marginal(x):
    mean = F.softmax(x, dim=-1).mean(dim=0)
    return mean.log()
""",
    "epsilon in a norm": NP + """
def normalize(x):
    return x / (np.sum(x) + 1e-12)
""",
    "a copy is written to": NP + """
def softmax(x):
    x = np.array(x, dtype=float)
    x -= x.max(axis=1, keepdims=True)
    e = np.exp(x)
    return e / e.sum(axis=1, keepdims=True)
""",
    "in place, and said so": NP + """
def softmax(x):
    '''Softmax in place.'''
    x -= x.max(axis=1, keepdims=True)
    np.exp(x, out=x)
    x /= x.sum(axis=1, keepdims=True)
""",
    "a copy perhaps": NP + """
def softmax(X, copy=True):
    if copy:
        X = np.copy(X)
    X -= np.max(X, axis=1).reshape((-1, 1))
    np.exp(X, X)
    X /= np.sum(X, axis=1).reshape((-1, 1))
    return X
""",
    "jax writes nowhere": JAX + """
def softmax(x):
    x -= x.max(axis=-1, keepdims=True)
    e = jnp.exp(x)
    return e / e.sum(axis=-1, keepdims=True)
""",
    "where in NumPy": NP + """
def f(p):
    return np.where(p > 0, np.log(p), 0.0)
""",
    "double where": JAX + """
def f(p):
    safe = jnp.where(p > 0, p, 1.0)
    return jnp.where(p > 0, jnp.log(safe), 0.0)
""",
    "nan_to_num of something else": NP + """
def f(x):
    return np.nan_to_num(x / x.std())
""",
    "clip after the shift": NP + """
def softmax(x):
    e = np.exp(np.clip(x - x.max(axis=1, keepdims=True), -50, 0))
    return e / e.sum(axis=1, keepdims=True)
""",
    "actions within their space": NP + """
def step(self, action):
    action = np.clip(action, self.space.low, self.space.high)
    return np.exp(action) / np.exp(action).sum()
""",
    "clip in a sigmoid": NP + """
def sigmoid(x):
    return 1 / (1 + np.exp(-np.clip(x, -500, 500)))
""",
    "pixels": TORCH + """
def f(x):
    return (F.softmax(x, dim=1) * 255).byte()
""",
    "a mask that float16 has": TORCH + """
def attention(scores, mask):
    scores = scores.half().masked_fill(mask, -6e4)
    return F.softmax(scores.masked_fill(mask, float("-inf")), dim=-1)
""",
    "float16 shifted": NP + """
def softmax(x):
    x = x.astype(np.float16)
    e = np.exp(x - x.max())
    return e / e.sum()
""",
    "logger": NP + """
import logging
logger = logging.getLogger(__name__)
def f(x):
    e = np.exp(x - x.max())
    logger.log(10, e / e.sum())
""",
    "this library": """
import stablesoftmax
def f(x, y):
    p = stablesoftmax.softmax(x)
    return p, stablesoftmax.log_softmax(x), stablesoftmax.cross_entropy(x, y)
""",
    "pandas": """
import numpy as np
def f(df):
    e = np.exp(df.sub(df.max(axis=1), axis=0))
    return e.div(e.sum(axis=1), axis=0)
""",
    "contrast": TORCH + """
def loss(positive, negatives):
    return -torch.log(torch.exp(positive) / torch.exp(negatives).sum())
""",
    "a sigmoid in the branch that is meant": TORCH + """
def cost(logits, focal):
    if focal:
        p = torch.sigmoid(logits)
    else:
        p = logits.softmax(-1)
    return -(p + 1e-8).log()
""",
    "the largest of a softmax": TORCH + """
def route(logits, k):
    weights = F.softmax(logits, dim=-1)
    top = weights.gather(1, weights.topk(k)[1])
    return top / (top.sum(dim=-1, keepdim=True) + 1e-20)
""",
    "an entropy of what is given": NP + """
def entropy(true_dist, y_pred):
    return -np.sum(true_dist * np.log(true_dist)), -sum(p * np.log(p) for p in y_pred if p > 0)
""",
    "optimal transport": TORCH + """
def sinkhorn(out, epsilon):
    Q = torch.exp(out / epsilon).t()
    return Q / Q.sum()
""",
    "a Poisson loss": NP + """
def poisson(y_true, y_pred, eps=1e-7):
    return np.mean(y_pred - y_true * np.log(y_pred + eps))
""",
    "named a similarity": TORCH + """
def match(video, text):
    similarity = video @ text.T
    scores = torch.exp(similarity)
    return scores / scores.sum(dim=0, keepdim=True)
""",
    "one dimension": NP + """
def softmax(x):
    e = np.exp(x - np.max(x))
    return e / e.sum(axis=0)
""",
    "one dimension, kept": NP + """
def weights(x):
    x = x - x.max()
    return np.exp(x) / np.exp(x).sum(axis=0, keepdims=True)
""",
    "a vector's maximum times a matrix": JAX + """
def condition(A, ll, axis=-1):
    A = A * jnp.exp(ll - ll.max(axis=axis))
    return A / jnp.expand_dims(A.sum(axis=axis), axis=axis)
def condition_rows(A, ll):
    return condition(A, ll)
""",
    "a median": NP + """
def f(x):
    return np.log(np.median(np.exp(x)))
""",
    "one row": NP + """
def softmax(start):
    start = np.exp(start - start.max(axis=-1, keepdims=True))
    return start / start.sum()
""",
    "a helper of another module shifts": NP + """
from .utils import force_array
def logsumexp(x):
    m = x.max(axis=1, keepdims=True)
    y = force_array(x - m)
    np.exp(y, out=y)
    return np.log(y.sum(axis=1)) + m
""",
    "masked zeros": """
import numpy
from scipy.special import softmax
def f(x):
    return numpy.ma.log(softmax(x)).filled(-1e10)
""",
    "squares by a product": NP + """
def kernel(x):
    k = np.exp(-x * x)
    return k / k.sum()
""",
    "shifted unless a loop runs": NP + """
def weights(x, steps):
    y = x - x.max()
    for step in steps:
        y = load(step)
    e = np.exp(y)
    return e / e.sum()
""",
    "a method of an unknown object": NP + """
def f(model, x):
    return np.log(model.softmax(x))
""",
    "squares by a method": TORCH + """
def kernel(x, sigma):
    pdf = torch.exp(-0.5 * (x / sigma).pow(2))
    return pdf / pdf.sum()
""",
    "a copy by a keyword": """
def softmax(X, xp, copy=True):
    if copy:
        X = xp.asarray(X, copy=True)
    X -= xp.reshape(xp.max(X, axis=1), (-1, 1))
    X = xp.exp(X)
    return X / xp.reshape(xp.sum(X, axis=1), (-1, 1))
""",
    "a module by a function": """
torch = lazy_import("torch")
def kernel(n, sigma):
    x = torch.arange(n)
    k = torch.exp(-0.5 * (x / sigma) ** 2)
    return k / k.sum()
""",
    "an empty array in a helper": TORCH + """
def _logsumexp(x, dim):
    if x.numel() == 0:
        return torch.sum(torch.exp(x), dim).log()
    return torch.logsumexp(x, dim)
def total(x):
    return _logsumexp(x, 0)
""",
    "an empty array": TORCH + """
def logsumexp(x, dim):
    if x.numel() == 0:
        return torch.sum(torch.exp(x), dim).log()
    return torch.logsumexp(x, dim)
""",
    "literals": NP + """
p = np.exp([1, 2]) / np.exp([1, 2]).sum()
entropy = -np.sum(p * np.log(p))
""",
    "running maximum": NP + """
def online(blocks):
    top, total = -np.inf, 0.0
    for block in blocks:
        new = max(top, block.max())
        total = total * np.exp(top - new) + np.exp(block - new).sum()
        top = new
    return top + np.log(total)
""",
    "flash attention": JAX + """
def step(s, m, l, acc, v):
    m_next = jnp.maximum(m, s.max(axis=-1))
    p = jnp.exp(s - m_next[..., None])
    l_next = jnp.exp(m - m_next) * l + p.sum(axis=-1)
    return p / l_next[..., None]
""",
    "own value of a sum": NP + """
def perplexity(log_likelihood, n):
    return np.exp(-log_likelihood / n)
""",
}  # fmt: skip
