"""Fifty wrong functions that people really write, each with the cause that must come first."""

import time

import numpy as np
from scipy import special

MISTAKES = {}


def mistake(code, kind="softmax"):
    def add(function):
        MISTAKES[function.__name__] = code, kind, function
        return function

    return add


def stable(x, axis=-1):
    e = np.exp(x - np.max(x, axis=axis, keepdims=True))
    return e / np.sum(e, axis=axis, keepdims=True)


def top(x):
    return np.max(x, axis=-1, keepdims=True)


def over_rows(e):
    return e / e.sum(axis=-1, keepdims=True)


# ---- softmax -------------------------------------------------------------------------------------


@mistake("SMX001")
def naive(x):
    return over_rows(np.exp(x))


@mistake("SMX001")
def shifted_by_the_mean(x):
    return over_rows(np.exp(x - x.mean(axis=-1, keepdims=True)))


@mistake("SMX001")
def shifted_by_the_minimum(x):
    return over_rows(np.exp(x - x.min(axis=-1, keepdims=True)))


@mistake("SMX001")
def shifted_by_a_constant(x):
    return over_rows(np.exp(x - x.dtype.type(100)))


@mistake("SMX001")
def shifted_the_wrong_way(x):
    return over_rows(np.exp(x + top(x)))


@mistake("SMX002")
def other_shift_below(x):
    return np.exp(x - top(x)) / np.sum(np.exp(x), axis=-1, keepdims=True)


@mistake("SMX002")
def other_shift_above(x):
    return np.exp(x) / np.sum(np.exp(x - top(x)), axis=-1, keepdims=True)


@mistake("SMX002")
def other_array_below(x):
    return np.exp(x) / np.sum(np.exp(x * 0.5), axis=-1, keepdims=True)


@mistake("SMX003")
def global_maximum(x):
    return over_rows(np.exp(x - x.max()))


@mistake("SMX003")
def maximum_of_the_other_axis(x):
    return over_rows(np.exp(x - x.max(axis=0, keepdims=True)))


@mistake("SMX006")
def sum_without_keepdims(x):
    e = np.exp(x - top(x))
    return e / e.sum(axis=-1)


@mistake("SMX006")
def maximum_without_keepdims(x):
    return over_rows(np.exp(x - x.max(axis=-1)))


@mistake("SMX006")
def neither_with_keepdims(x):
    e = np.exp(x - x.max(axis=-1))
    return e / e.sum(axis=-1)


@mistake("SMX007")
def builtin_sum(x):
    e = np.exp(x - top(x))
    return e / sum(e)


@mistake("SMX007")
def sum_over_everything(x):
    e = np.exp(x - top(x))
    return e / e.sum()


@mistake("SMX007")
def naive_builtin_sum(x):
    return np.exp(x) / sum(np.exp(x))


@mistake("SMX007")
def columns(x):
    return stable(x, axis=0)


@mistake("SMX007")
def axis_is_ignored(x, axis=-1):
    return stable(x)


@mistake("SMX008")
def epsilon_below(x):
    e = np.exp(x - top(x))
    return e / (e.sum(axis=-1, keepdims=True) + 1e-6)


@mistake("SMX008")
def epsilon_on_top(x):
    return stable(x) + x.dtype.type(1e-7)


@mistake("SMX008")
def floor_of_probabilities(x):
    return np.clip(stable(x), 1e-7, 1 - 1e-7)


@mistake("SMX009")
def twice(x):
    return stable(stable(x))


@mistake("SMX010")
def filled_into_the_same_dtype(x):
    out = np.zeros_like(x)
    out[...] = stable(x)
    return out


@mistake("SMX010")
def cut_to_integers(x):
    return stable(np.asarray(x) if np.asarray(x).dtype.kind == "f" else (x // 2))


@mistake("SMX011")
def in_float32(x):
    return stable(x.astype(np.float32)).astype(x.dtype)


@mistake("SMX011")
def in_float16(x):
    return stable(x.astype(np.float16)).astype(x.dtype)


@mistake("SMX011")
def one_by_one_in_float16(x):
    e = np.exp(x - top(x))
    total = np.cumsum(e, axis=-1)[..., -1:]  # each partial sum is rounded
    return e / total


@mistake("SMX013")
def hidden(x):
    return np.nan_to_num(over_rows(np.exp(x)))


@mistake("SMX013")
def hidden_by_where(x):
    p = over_rows(np.exp(x))
    return np.where(np.isnan(p), 1 / x.shape[-1], p).astype(x.dtype)


@mistake("SMX016")
def unshifted_in_half_alone(x):
    return over_rows(np.exp(x)) if x.dtype == np.float16 else stable(x)


@mistake("SMX022")
def in_place(x):
    x -= top(x)
    return over_rows(np.exp(x))


@mistake("SMX023")
def clipped(x):
    return over_rows(np.exp(np.clip(x, -80, 80)))


@mistake("SMX023")
def clipped_at_500(x):
    return stable(np.clip(x, -500, 500))


@mistake("SMX023")
def clipped_after_the_shift(x):
    return over_rows(np.exp(np.clip(x - top(x), -30, 0)))


@mistake("SMX024")
def sigmoid(x):
    return special.expit(x)


@mistake("SMX024")
def powers_of_two(x):
    return over_rows(np.exp2(x - top(x)))


@mistake("SMX024")
def one_hot(x):
    return np.eye(x.shape[-1], dtype=x.dtype)[np.argmax(x, axis=-1)]


@mistake("SMX024")
def not_divided(x):
    return np.exp(x - top(x))


@mistake("SMX024")
def negated(x):
    return stable(-x)


@mistake("SMX024")
def last_left_out(x):
    e = np.exp(x - top(x))
    return e / e[..., :-1].sum(axis=-1, keepdims=True)


@mistake("SMX025")
def through_logsumexp(x):
    return np.exp(x - special.logsumexp(x, axis=-1, keepdims=True))


@mistake("SMX026")
def always_a_matrix(x):
    return np.atleast_2d(stable(x))


@mistake("SMX026")
def always_float64(x):
    return stable(x.astype(np.float64))


@mistake("SMX026")
def a_list(x):
    return stable(x).tolist()


@mistake("SMX027")
def raises(x):
    raise RuntimeError("not written yet")


@mistake("SMX028")
def a_random_shift(x):
    return over_rows(np.exp(x - top(x) + x.dtype.type(np.random.default_rng().normal())))


_KEPT = {}


@mistake("SMX028")
def a_buffer_that_is_kept(x):
    out = _KEPT.setdefault((x.shape, x.dtype), np.empty(x.shape, x.dtype))
    out[...] = stable(x)
    return out


@mistake("SMX001")
def the_textbook(x):  # a function of vectors, which is a matter of contract
    return np.exp(x) / np.sum(np.exp(x))


@mistake("SMX006")
def sum_over_axis_1_without_keepdims(x):
    e = np.exp(x - np.max(x, axis=1, keepdims=True))
    return e / np.sum(e, axis=1)


@mistake("SMX008")
def epsilon_over_axis_1(x):
    e = np.exp(x - np.max(x, axis=1, keepdims=True))
    return e / (np.sum(e, axis=1, keepdims=True) + 1e-10)


@mistake("SMX001")
def naive_in_float32(x):
    return over_rows(np.exp(x.astype(np.float32)))


@mistake("SMX001")
def naive_over_an_epsilon(x):
    return np.exp(x) / (np.exp(x).sum(axis=-1, keepdims=True) + 1e-8)


@mistake("SMX003")
def global_maximum_in_float32(x):
    e = np.exp(x.astype(np.float32) - x.max().astype(np.float32))
    return over_rows(e).astype(x.dtype)


@mistake("SMX008")
def epsilon_that_is_divided_again(x):
    p = stable(x) + x.dtype.type(1e-7)
    return over_rows(p)


@mistake("SMX013")
def nan_left_out(x):
    e = np.exp(x - np.nanmax(x, axis=-1, keepdims=True))
    return e / np.nansum(e, axis=-1, keepdims=True)


@mistake("SMX014")
def mask_that_is_a_zero(x):
    return stable(np.where(np.isneginf(x), x.dtype.type(0), x))


@mistake("SMX028")
def kept_by_shape(x, kept={}):  # noqa: B006
    return kept.setdefault((x.shape, x.dtype), stable(x))


# ---- the others ----------------------------------------------------------------------------------


@mistake("SMX004", "log_softmax")
def log_of_stable(x):
    return np.log(stable(x))


@mistake("SMX001", "log_softmax")
def log_of_naive(x):
    return np.log(naive(x))


@mistake("SMX005", "log_softmax")
def minus_naive_logsumexp(x):
    return x - np.log(np.sum(np.exp(x), axis=-1, keepdims=True))


@mistake("SMX008", "log_softmax")
def log_plus_epsilon(x):
    return np.log(stable(x) + x.dtype.type(1e-7))


@mistake("SMX025", "log_softmax")
def minus_logsumexp(x):
    return x - special.logsumexp(x, axis=-1, keepdims=True)


@mistake("SMX005", "logsumexp")
def naive_logsumexp(x):
    return np.log(np.sum(np.exp(x), axis=-1))


@mistake("SMX003", "logsumexp")
def logsumexp_by_the_global_maximum(x):
    return x.max() + np.log(np.sum(np.exp(x - x.max()), axis=-1))


@mistake("SMX026", "logsumexp")
def logsumexp_that_keeps_the_axis(x):
    return top(x) + np.log(np.sum(np.exp(x - top(x)), axis=-1, keepdims=True))


def picked(table, labels):
    return np.take_along_axis(table, np.expand_dims(labels, -1), axis=-1)[..., 0]


@mistake("SMX004", "cross_entropy")
def loss_of_log_softmax(x, labels):
    return -np.log(picked(stable(x), labels))


@mistake("SMX008", "cross_entropy")
def loss_plus_epsilon(x, labels):
    return -np.log(picked(stable(x), labels) + x.dtype.type(1e-7))


@mistake("SMX008", "cross_entropy")
def loss_of_a_clip(x, labels):
    return -np.log(np.clip(picked(stable(x), labels), 1e-7, 1))


@mistake("SMX008", "cross_entropy")
def loss_of_one_hot_plus_a_tiny_epsilon(x, labels):  # seen at the ends alone
    return -np.sum(np.eye(x.shape[-1], dtype=x.dtype)[labels] * np.log(stable(x) + 1e-15), axis=-1)


@mistake("SMX012", "cross_entropy")
def one_hot_times_log(x, labels):
    return -np.sum(np.eye(x.shape[-1], dtype=x.dtype)[labels] * np.log(stable(x)), axis=-1)


@mistake("SMX020", "cross_entropy")
def labels_from_one(x, labels):
    return -picked(special.log_softmax(x, axis=-1), labels - 1)


@mistake("SMX009", "cross_entropy")
def loss_of_probabilities(x, labels):
    return -picked(special.log_softmax(stable(x), axis=-1), labels)


@mistake("SMX026", "cross_entropy")
def mean_loss(x, labels):
    return -np.mean(picked(special.log_softmax(x, axis=-1), labels))


# ---- what must not disturb ----------------------------------------------------------------------


def hangs(x):
    while True:
        time.sleep(0.01)


def prints(x):
    print("here", x)
    return stable(x)


def sets_errors(x):
    np.seterr(all="raise", under="ignore")
    return stable(x)
