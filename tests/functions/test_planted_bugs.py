"""The accuracy suite turns red: NumPy implementations with one bug each, in the library's place.

`Honest` passes the very tests that its subclasses fail, so that it is the bug which they see.
"""

import numpy as np
import pytest
import test_accuracy
from inputs import DTYPES, FUNCTIONS

import stablesoftmax


class Honest:
    """In float64, which is wide enough to be right for float32 and narrower."""

    def softmax(self, x, axis=-1, *, temperature=1.0):
        _, gap, r = self.parts(x, axis, temperature)
        return self.narrow(self.quotient(gap, r), x, axis)

    def log_softmax(self, x, axis=-1, *, temperature=1.0):
        _, gap, r = self.parts(x, axis, temperature)
        return self.narrow(gap - self.log1p(r), x, axis)

    def logsumexp(self, x, axis=-1):
        m, _, r = self.parts(x, axis, 1.0)
        return self.narrow(m + self.log1p(r), x, axis).squeeze(axis)

    def parts(self, x, axis, temperature):
        wide = np.moveaxis(x, axis, -1).astype(np.float64)
        with np.errstate(all="ignore"):
            m = self.largest(wide)
            gap = self.gap(wide, m, temperature)
            return m, gap, np.where(np.isfinite(m), self.rest(gap), 0.0)

    def largest(self, x):
        return x.max(-1, keepdims=True)

    def gap(self, x, m, temperature):
        at_m = x == m
        limit = np.isfinite(m) | ((m == np.inf) & (at_m.sum(-1, keepdims=True) == 1))
        return np.where(at_m & limit, 0.0, x - m) / temperature

    def rest(self, gap):
        terms = np.exp(gap)
        np.put_along_axis(terms, gap.argmax(-1, keepdims=True), 0.0, -1)
        return self.total(terms)

    def total(self, terms):
        return terms.sum(-1, keepdims=True)

    def quotient(self, gap, r):
        return np.exp(gap) / (1 + r)

    def log1p(self, r):
        return np.log1p(r)

    def narrow(self, result, x, axis):
        with np.errstate(over="ignore", under="ignore"):
            return np.moveaxis(result, -1, axis).astype(x.dtype)


class PlainShift(Honest):
    def gap(self, x, m, temperature):
        return super().gap(x, m, temperature).astype(np.float32).astype(np.float64)


class TemperatureFirst(Honest):
    def gap(self, x, m, temperature):
        x, m = ((v / temperature).astype(np.float32).astype(np.float64) for v in (x, m))
        return super().gap(x, m, 1.0)


class NoLimitAtInfinity(Honest):
    def gap(self, x, m, temperature):
        return (x - m) / temperature


class GlobalMaximum(Honest):
    def largest(self, x):
        return np.broadcast_to(x.max(), (*x.shape[:-1], 1))


class DroppedTail(Honest):
    def total(self, terms):
        n = terms.shape[-1]
        return super().total(terms[..., : n - n % 16])


class RunningSum32(Honest):
    def rest(self, gap):
        return np.cumsum(np.exp(gap), axis=-1, dtype=np.float32)[..., -1:].astype(np.float64) - 1


class RestByDifference(Honest):
    def rest(self, gap):
        return self.total(np.exp(gap)) - 1


class TiesForgotten(Honest):
    def rest(self, gap):
        return self.total(np.where(gap == 0, 0.0, np.exp(gap)))


class LogOfSum(Honest):
    def log1p(self, r):
        return np.log(1 + r)


class LogOfOneMinusP(Honest):
    def log1p(self, r):
        return -np.log1p(-(1 - 1 / (1 + r)))


class RoundedLogsumexp(Honest):
    def log_softmax(self, x, axis=-1):
        return (x - np.expand_dims(self.logsumexp(x, axis), axis)).astype(x.dtype)


class ReciprocalInFloat32(Honest):
    def quotient(self, gap, r):
        return np.exp(gap).astype(np.float32) * (1 / (1 + r).astype(np.float32))


class WrongAxis(Honest):
    def parts(self, x, axis, temperature):
        return super().parts(x, -1 - axis, temperature)

    def narrow(self, result, x, axis):
        return super().narrow(result, x, -1 - axis)


class NanToZero(Honest):
    def narrow(self, result, x, axis):
        return super().narrow(np.where(np.isnan(result), 0.0, result), x, axis)


class FlushToZero(Honest):
    def narrow(self, result, x, axis):
        tiny = abs(result) < np.finfo(x.dtype).tiny
        return super().narrow(np.where(tiny, 0.0, result), x, axis)


class MinusZero(Honest):
    def narrow(self, result, x, axis):
        narrow = super().narrow(result, x, axis)
        return np.where(narrow == 0, -narrow, narrow)


class LastLane(Honest):
    def narrow(self, result, x, axis):
        result[..., -1] *= 1 + 2.0**-21
        return super().narrow(result, x, axis)


class SumInFloat16(Honest):
    def total(self, terms):
        return terms.sum(-1, keepdims=True, dtype=np.float16).astype(np.float64)


BUGS = [
    (PlainShift, "softmax", "uniform"),
    (PlainShift, "softmax", "offset"),
    (NoLimitAtInfinity, "softmax", "special"),
    (NoLimitAtInfinity, "log_softmax", "special"),
    (GlobalMaximum, "softmax", "offset"),
    (GlobalMaximum, "log_softmax", "offset"),
    (GlobalMaximum, "logsumexp", "offset"),
    (DroppedTail, "softmax", "normal"),
    (DroppedTail, "log_softmax", "normal"),
    (DroppedTail, "logsumexp", "normal"),
    (RunningSum32, "softmax", "adversarial"),
    (RunningSum32, "log_softmax", "adversarial"),
    (RunningSum32, "logsumexp", "adversarial"),
    (RestByDifference, "log_softmax", "dominant"),
    (RestByDifference, "logsumexp", "dominant"),
    (TiesForgotten, "softmax", "ties"),
    (TiesForgotten, "log_softmax", "ties"),
    (TiesForgotten, "logsumexp", "ties"),
    (LogOfSum, "log_softmax", "dominant"),
    (LogOfOneMinusP, "log_softmax", "dominant"),
    (RoundedLogsumexp, "log_softmax", "uniform"),
    (RoundedLogsumexp, "log_softmax", "offset"),
    (ReciprocalInFloat32, "softmax", "normal"),
    (WrongAxis, "softmax", "normal"),
    (WrongAxis, "log_softmax", "normal"),
    (NanToZero, "softmax", "special"),
    (NanToZero, "log_softmax", "special"),
    (NanToZero, "logsumexp", "special"),
    (FlushToZero, "softmax", "subnormal"),
    (FlushToZero, "log_softmax", "dominant"),
    (MinusZero, "softmax", "special"),
    (MinusZero, "log_softmax", "special"),
    (LastLane, "softmax", "normal"),
    (LastLane, "log_softmax", "normal"),
    (LastLane, "logsumexp", "normal"),
]
BUGS_IN_FLOAT16 = [
    (SumInFloat16, "softmax", "normal"),
    (SumInFloat16, "log_softmax", "normal"),
    (SumInFloat16, "logsumexp", "normal"),
    (RoundedLogsumexp, "log_softmax", "uniform"),
]


@pytest.fixture
def plant(monkeypatch):
    def planted(implementation):
        for function in FUNCTIONS:
            monkeypatch.setattr(stablesoftmax, function, getattr(implementation(), function))

    return planted


@pytest.mark.parametrize("family", test_accuracy.FAMILIES)
@pytest.mark.parametrize("function", FUNCTIONS)
@pytest.mark.parametrize("name", ["float32", "float16", "bfloat16"])
def test_the_suite_is_green_without_a_bug(plant, name, function, family):
    plant(Honest)
    test_accuracy.test_family(DTYPES[name], function, family)


@pytest.mark.parametrize(("bug", "function", "family"), BUGS)
def test_the_suite_turns_red(plant, bug, function, family):
    plant(bug)
    with pytest.raises(AssertionError, match=r" ULP of float32, .* allowed, at "):
        test_accuracy.test_family(DTYPES["float32"], function, family)


@pytest.mark.parametrize(("bug", "function", "family"), BUGS_IN_FLOAT16)
def test_the_suite_turns_red_in_float16(plant, bug, function, family):
    plant(bug)
    with pytest.raises(AssertionError, match=r" ULP of float16, 0.51 allowed, at "):
        test_accuracy.test_family(DTYPES["float16"], function, family)


@pytest.mark.parametrize("family", ["normal", "uniform", "offset", "cancelling"])
def test_the_suite_turns_red_for_float64_that_is_not_wider(plant, family):
    plant(Honest)
    with pytest.raises(AssertionError, match=r" ULP of float64, 2 allowed, at "):
        test_accuracy.test_family(DTYPES["float64"], "softmax", family)


@pytest.mark.parametrize("function", ["softmax", "log_softmax"])
def test_the_suite_turns_red_where_the_temperature_is_rounded_in(plant, function):
    case = DTYPES["float32"], function, "offset", 0.7
    plant(Honest)
    test_accuracy.test_temperature(*case)
    plant(TemperatureFirst)
    with pytest.raises(AssertionError, match=r" ULP of float32, .* allowed, at "):
        test_accuracy.test_temperature(*case)


@pytest.mark.parametrize("bug", [DroppedTail, WrongAxis, LastLane])
def test_the_suite_turns_red_at_short_lengths(plant, bug):
    plant(bug)
    with pytest.raises(AssertionError):
        test_accuracy.test_lengths(DTYPES["float32"], "softmax")


# --- bugs in the handling of the arguments, around the library itself ----------------------------


def dropping(argument):
    def wrap(function):
        def bug(x, axis=-1, **options):
            options.pop(argument, None)
            return function(x, axis, **options)

        return bug

    return wrap


def reading_memory_in_order(function):
    return lambda x, axis: function(x.ravel(order="K").reshape(x.shape), axis)


def writing_into_the_input(function):
    def bug(x, axis):
        result = function(x, axis)
        if x.flags.writeable:
            x[...] = 0
        return result

    return bug


def widening_integers_first(function):
    return lambda x, axis: function(x.astype(np.float64), axis)


@pytest.mark.parametrize(
    ("bug", "test", "arguments"),
    [
        (dropping("where"), test_accuracy.test_where, ("float32", "softmax", "special")),
        (
            dropping("temperature"),
            test_accuracy.test_temperature,
            ("float32", "softmax", "normal", 3),
        ),
        (
            dropping("temperature"),
            test_accuracy.test_temperature_for_each_row,
            ("float64", "softmax"),
        ),
        (dropping("out"), test_accuracy.test_in_place, ("float32", "softmax", 0)),
        (dropping("dtype"), test_accuracy.test_wider_result, ("float32", "softmax")),
        (reading_memory_in_order, test_accuracy.test_layouts, ("float32", "softmax", 1)),
        (writing_into_the_input, test_accuracy.test_layouts, ("float32", "softmax", 1)),
        (widening_integers_first, test_accuracy.test_integers, ("i8", "log_softmax")),
        (widening_integers_first, test_accuracy.test_integers, ("u8", "softmax")),
    ],
)
def test_the_suite_turns_red_for_an_argument(monkeypatch, bug, test, arguments):
    name, function, *rest = arguments
    monkeypatch.setattr(stablesoftmax, function, bug(getattr(stablesoftmax, function)))
    with pytest.raises(AssertionError):
        test(DTYPES.get(name, name), function, *rest)
