"""A wrong argument is refused in one line, before anything is written."""

import datetime
import re

import ml_dtypes
import numpy as np
import pytest
import scipy.sparse
from numpy.exceptions import AxisError

import stablesoftmax
from stablesoftmax import UndefinedSoftmaxError, log_softmax, logsumexp, softmax
from stablesoftmax.functions.arguments import validate

pytestmark = pytest.mark.usefixtures("strict")

X = np.arange(6.0).reshape(2, 3)
X.flags.writeable = False


def refused(error, message, function, *arguments, **options):
    """The message is the whole of it, and one line."""
    with pytest.raises(error, match=f"^{re.escape(message)}$"):
        function(*arguments, **options)


@pytest.mark.parametrize("axis", [2, -3, (0, 2), 10**30])
def test_axis_out_of_bounds(function, axis):
    wrong = axis[1] if isinstance(axis, tuple) else axis
    message = f"axis {wrong} is out of bounds for array of dimension 2"
    refused(AxisError, message, function, X, axis)


@pytest.mark.parametrize("axis", [1, -2])
def test_axis_of_a_scalar(function, axis):
    message = f"axis {axis} is out of bounds for array of dimension 0"
    refused(AxisError, message, function, 3.0, axis)


@pytest.mark.parametrize("wrong", [True, 1.0, "0", [0, 1], np.bool_(True), (0,)])
@pytest.mark.parametrize("within", [False, True])
def test_axis_of_a_wrong_kind(function, wrong, within):
    axis = (0, wrong) if within or isinstance(wrong, tuple) else wrong
    message = f"axis must be an int, a tuple of ints or None, got {wrong!r}"
    refused(TypeError, message, function, X, axis)


@pytest.mark.parametrize("axis", [(0, 0), (1, -1)])
def test_axis_twice(function, axis):
    message = f"axis={axis} names an axis twice, accepted are different axes"
    refused(ValueError, message, function, X, axis)


def test_axis_twice_of_a_scalar(function):
    message = "axis=(0, -1) names an axis twice, accepted are different axes"
    refused(ValueError, message, function, 3.0, (0, -1))


def test_axes_ascend():
    """In any order they are the same rows, read in the order of memory."""
    x = np.zeros((2, 3, 4))
    for axis in ((2, 0), (-1, -3), (0, 2)):
        call = validate(x, axis, where=None, out=None, dtype=None)
        assert call.axes == (0, 2)


@pytest.mark.parametrize("x", [[[1, 2], [3]], ([1.0], 2), [[[1], [2, 3]]]])
def test_ragged(function, x):
    message = "x must be rectangular, got nested sequences of unequal length"
    refused(ValueError, message, function, x)


@pytest.mark.parametrize(
    ("x", "dtype"),
    [
        (np.array([1, None]), "object"),
        (np.array([2**64]), "object"),
        (np.array(["1"]), "<U1"),
        (np.array([b"1"]), "|S1"),
        (np.array(["2017-03-04"], "datetime64[D]"), "datetime64[D]"),
        (np.array([1], "timedelta64[s]"), "timedelta64[s]"),
        (np.zeros(2, "V2"), "|V2"),
        (np.zeros(2, [("a", float)]), "[('a', '<f8')]"),
        (np.zeros(2, ml_dtypes.float8_e5m2), "float8_e5m2"),
        (np.zeros(2, ml_dtypes.int4), "int4"),
        ([datetime.date(2017, 3, 4)], "object"),
    ],
)
def test_dtype_of_x(function, x, dtype):
    message = (
        f"x has dtype {dtype}; accepted are integer, floating-point and complex dtypes: "
        "pass x.astype(float)"
    )
    refused(TypeError, message, function, x)


@pytest.mark.parametrize("x", [True, [True, False], np.ones((2, 3), bool)])
def test_bool(function, x):
    message = (
        "x has dtype bool; accepted are integer, floating-point and complex dtypes: "
        "pass x.astype(float), or where=x if it is a mask"
    )
    refused(TypeError, message, function, x)


def test_masked_where(function):
    """x may be masked; of another argument the mask would be ignored."""
    where = np.ma.array([True, True, False], mask=[0, 1, 0])
    message = (
        "where is a masked array, whose mask would be ignored: "
        "pass where.compressed(), or where.filled(value) with a value that means what is masked"
    )
    refused(TypeError, message, function, X, where=where)


@pytest.mark.parametrize("where", [[1, 0, 1], [[1.0, 0.0, 1.0]], 1, ["a"]])
def test_where_of_a_wrong_kind(function, where):
    message = f"where must be bool, got dtype {np.asarray(where).dtype}: pass where != 0"
    refused(TypeError, message, function, X, where=where)


@pytest.mark.parametrize("shape", [(2,), (4, 3), (2, 2), (1, 2, 3), (0,)])
def test_where_of_a_wrong_shape(function, shape):
    message = f"where of shape {shape} does not broadcast to x's shape (2, 3)"
    refused(ValueError, message, function, X, where=np.ones(shape, bool))


@pytest.mark.parametrize("temperature", [-1, -0.5, np.nan, np.float32(-2), -np.inf])
def test_temperature_negative(mapping, temperature):
    got = np.float64(temperature)
    message = f"temperature must be 0, positive or inf, got {got}"
    refused(ValueError, message, mapping, X, temperature=temperature)


def test_temperature_negative_in_an_array(mapping):
    message = "temperature must be 0, positive or inf, got -2.0 at (1, 0)"
    refused(ValueError, message, mapping, X, temperature=[[1.0], [-2.0]])
    message = "temperature must be 0, positive or inf, got nan at (0, 0)"
    refused(ValueError, message, mapping, X, temperature=[[np.nan], [-2.0]])


@pytest.mark.parametrize("temperature", [["1"], True, 1j, [None], np.array("2017", "M8[Y]")])
def test_temperature_of_a_wrong_kind(mapping, temperature):
    got = np.asarray(temperature).dtype
    message = f"temperature must be a real number or an array of them, got {got}"
    refused(TypeError, message, mapping, X, temperature=temperature)


@pytest.mark.parametrize("x", [None, "abc", b"abc", {"a": 1.0}, {1.0, 2.0}, object], ids=repr)
def test_what_is_no_array(function, x):
    got = repr(x) if x is None or isinstance(x, str | bytes) else f"a {type(x).__name__}"
    accepted = "must be an array, a number or nested lists of numbers"
    refused(TypeError, f"x {accepted}, got {got}", function, x)
    refused(TypeError, f"where {accepted}, got a dict", function, X, where={})


@pytest.mark.parametrize("kind", ["csr_matrix", "csr_array", "coo_array"])
def test_sparse_matrix(function, kind):
    x = getattr(scipy.sparse, kind)(np.eye(2))
    refused(TypeError, f"x is a sparse {kind}: pass x.toarray()", function, x)


@pytest.mark.parametrize("shape", [(2,), (3,), (2, 3), (1, 2, 1)])
def test_temperature_of_a_wrong_shape(mapping, shape):
    message = (
        f"temperature of shape {shape} does not broadcast to (2, 1), "
        "x's shape with the axis reduced to 1"
    )
    refused(ValueError, message, mapping, X, temperature=np.full(shape, 2.0))


@pytest.mark.parametrize("undefined", ["zeros", "NaN", None, 0, ["nan"]])
def test_undefined(mapping, undefined):
    message = f"undefined must be one of nan, zero, uniform, raise, got {undefined!r}"
    refused(ValueError, message, mapping, X, undefined=undefined)


@pytest.mark.parametrize("dtype", ["int64", bool, "U3", object, "M8[s]", ml_dtypes.float8_e5m2])
def test_dtype_not_floating(function, dtype):
    message = f"dtype must be a floating-point or complex dtype, got {np.dtype(dtype)}"
    refused(TypeError, message, function, X, dtype=dtype)


def test_dtype_unknown(function):
    message = "dtype must be a floating-point or complex dtype, got 'float33'"
    refused(TypeError, message, function, X, dtype="float33")


@pytest.mark.parametrize("dtype", [np.float64, np.longdouble])
def test_dtype_real_for_complex(function, dtype):
    message = f"dtype must be complex for a complex x, got {np.dtype(dtype)}"
    refused(TypeError, message, function, X + 1j, dtype=dtype)


@pytest.mark.parametrize("out", [[0.0] * 3, (), 1.0, np.float64(1), "x"])
def test_out_not_an_array(function, out):
    message = f"out must be a NumPy array, got {type(out).__name__}"
    refused(TypeError, message, function, X, out=out)


@pytest.mark.parametrize("shape", [(3, 2), (6,), (1, 2, 3), (), (2, 4), (2, 1)])
def test_out_of_a_wrong_shape(function, shape):
    right = (2,) if function.__name__ == "logsumexp" else (2, 3)
    out = np.full(shape, 7.0)
    message = f"out has shape {shape}, accepted is the result's shape {right}"
    refused(ValueError, message, function, X, out=out)
    assert np.all(out == 7)


def test_out_keeps_dims():
    refused(
        ValueError,
        "out has shape (2,), accepted is the result's shape (2, 1)",
        lambda: logsumexp(X, 1, keepdims=True, out=np.empty(2)),
    )
    out = np.empty((2, 1))
    assert logsumexp(X, 1, keepdims=True, out=out) is out


def test_out_read_only(function):
    out = np.full_like(function(X), 7)
    out.flags.writeable = False
    message = "out is read-only, accepted is a writeable array"
    refused(ValueError, message, function, X, out=out)
    assert np.all(out == 7)


def test_out_of_shared_elements(function):
    shape = function(X).shape
    out = np.lib.stride_tricks.as_strided(np.full(1, 7.0), shape, (0,) * len(shape))
    message = f"out has strides {out.strides}, accepted are elements that lie apart"
    refused(ValueError, message, function, X, out=out)
    assert np.all(out == 7)


@pytest.mark.parametrize("dtype", [int, np.uint8, bool, object, "U8", "M8[s]", "V8"])
def test_out_that_holds_no_fraction(function, dtype):
    out = np.zeros(function(X).shape, dtype)
    before = out.copy()
    message = (
        f"out has dtype {np.dtype(dtype)}, which cannot hold a result of float64, "
        "accepted are floating-point dtypes"
    )
    refused(TypeError, message, function, X, out=out)
    assert np.all(out == before)


def test_out_real_for_complex(function):
    out = np.full(function(X).shape, 7.0)
    message = (
        "out has dtype float64, which cannot hold a result of complex128, "
        "accepted are complex dtypes"
    )
    refused(TypeError, message, function, X + 1j, out=out)
    assert np.all(out == 7)


@pytest.mark.parametrize("shape", [(2,), (4, 3), (3, 3)])
def test_b_of_a_wrong_shape(shape):
    message = f"b of shape {shape} does not broadcast with x of shape (2, 3)"
    refused(ValueError, message, logsumexp, X, b=np.ones(shape))


def test_b_of_a_wrong_kind():
    accepted = "accepted are integer, floating-point and complex dtypes: pass b.astype(float)"
    message = f"b has dtype bool; {accepted}, or where=b if it is a mask"
    refused(TypeError, message, logsumexp, X, b=X > 1)
    refused(TypeError, f"b has dtype object; {accepted}", logsumexp, X, b=[None])
    message = "b must be rectangular, got nested sequences of unequal length"
    refused(ValueError, message, logsumexp, X, b=[[1], [2, 3]])


BAD = {
    "axis": 5,
    "where": [1, 0, 1],
    "temperature": -1.0,
    "undefined": "none",
    "dtype": int,
}


@pytest.mark.parametrize("argument", BAD)
@pytest.mark.parametrize("name", ["softmax", "log_softmax"])
def test_nothing_is_written(name, argument):
    """Whatever is wrong, out keeps what it held; so does x where that is out."""
    for dtype in (np.float64, np.float32, ">f8"):
        out = np.arange(6.0).reshape(2, 3).astype(dtype)
        with pytest.raises((TypeError, ValueError)):
            getattr(stablesoftmax, name)(out, out=out, **{argument: BAD[argument]})
        assert np.all(out == X)


@pytest.mark.parametrize("dtype", ["f8", ">f8", "f4", "g", "f2"])
@pytest.mark.parametrize("axis", [-1, 0, (0, 2)])
def test_undefined_row_leaves_out_alone(mapping, dtype, axis):
    """Where x must be copied to be read, it is not copied to out before it has been judged."""
    x = np.zeros((3, 4, 5), dtype)
    x[2, 1, 3] = np.inf
    if axis == -1:
        x[2, 1, 4], row = np.inf, (2, 1)
    elif axis == 0:
        x[0, 1, 3], row = np.inf, (1, 3)
    else:
        x[0, 1, 0], row = np.inf, (1,)
    out = np.full(x.shape, 7.0)
    with pytest.raises(UndefinedSoftmaxError) as caught:
        mapping(x, axis, undefined="raise", out=out)
    assert caught.value.row == row
    assert str(caught.value) == (
        f"row {row} of x has no softmax: it is -inf throughout or holds several +inf "
        '(undefined="nan", "zero" or "uniform" gives it a value)'
    )
    assert np.all(out == 7)


def test_undefined_row_of_many():
    """Past the first block of those that x is copied in."""
    x = np.zeros((700, 1000), ">f8")
    x[[612, 650]] = -np.inf
    with pytest.raises(UndefinedSoftmaxError) as caught:
        softmax(x, undefined="raise")
    assert caught.value.row == (612,)


def test_undefined_row_without_batch():
    with pytest.raises(UndefinedSoftmaxError) as caught:
        log_softmax(-np.inf, undefined="raise")
    assert caught.value.row == ()
    assert isinstance(caught.value, FloatingPointError)


def test_positional_arguments(function):
    """x and axis alone; the rest by name, so that an argument can be added."""
    with pytest.raises(TypeError, match="positional"):
        getattr(stablesoftmax, function.__name__)(X, 1, None)
