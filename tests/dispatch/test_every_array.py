"""Every kind of array comes back as what it was, and no row of it is wrong."""

import re

import mpmath
import numpy as np
import pytest
from conftest import library, python

import stablesoftmax as s
from stablesoftmax import UndefinedSoftmaxError, backend_of, log_softmax, logsumexp, softmax

INF, NAN, LOG2 = np.inf, np.nan, np.log(2)

pytestmark = [pytest.mark.interop, pytest.mark.usefixtures("strict")]

BOTH = pytest.mark.parametrize("name", ["softmax", "log_softmax"])


def refused(error, message, function, *args, **options):
    with pytest.raises(error, match=f"^{re.escape(message)}$"):
        function(*args, **options)


# ---- np.ma ---------------------------------------------------------------------------------


@BOTH
def test_masked(name):
    x = np.ma.array([[1.0, 2.0, 3.0], [4.0, NAN, 5.0]], mask=[[0, 1, 0], [0, 1, 0]])
    function = getattr(s, name)
    y = function(x)
    assert isinstance(y, np.ma.MaskedArray)
    assert y.mask.tolist() == x.mask.tolist()
    assert y.mask is not x.mask
    np.testing.assert_array_equal(y.data, function(x.data, where=~x.mask))
    both = function(x, where=[True, True, False])
    assert both.mask.tolist() == x.mask.tolist()
    np.testing.assert_array_equal(both.data, function(x.data, where=~x.mask & [True, True, False]))


def test_masked_reduction():
    x = np.ma.array([[1.0, 2.0], [3.0, 4.0]], mask=[[0, 1], [1, 1]])
    y = logsumexp(x, axis=1)
    assert y.mask.tolist() == [False, True]
    assert y.data.tolist() == [1, -INF]
    assert logsumexp(x, axis=1, keepdims=True).mask.tolist() == [[False], [True]]
    assert logsumexp(x) == 1
    assert isinstance(logsumexp(x), np.float64)
    assert logsumexp(np.ma.masked_all(3)) is np.ma.masked
    value, sign = logsumexp(x, axis=1, return_sign=True)
    assert value.mask.tolist() == sign.mask.tolist() == [False, True]
    assert sign.tolist() == [1, None]


def test_masked_where_of_a_wrong_shape():
    x = np.ma.array([1.0, 2.0], mask=[0, 1])
    message = "where of shape (3,) does not broadcast to x's shape (2,)"
    refused(ValueError, message, softmax, x, where=[True] * 3)


@pytest.mark.parametrize("dtype", [float, np.float32, int])
def test_masked_classes_are_never_drawn(dtype):
    """filled() would put 1e20 in their place, and draw nothing else."""
    x = np.ma.array([[1, 9, 2], [7, 8, 3]], dtype=dtype, mask=[[0, 1, 0], [1, 0, 0]])
    drawn = s.sample(x, 1000, rng=0)
    assert set(drawn[:, 0]) == {0, 2}
    assert set(drawn[:, 1]) == {1, 2}
    np.testing.assert_array_equal(x.data, [[1, 9, 2], [7, 8, 3]])
    with pytest.raises(ValueError, match="logits"):
        s.sample(np.ma.masked_all((1, 3)), rng=0)


def test_masked_without_where():
    """Where a function has no `where`, what is masked is -inf."""
    x = np.ma.array([1.0, 50.0, 2.0], mask=[False, True, False])
    np.testing.assert_array_equal(s.logcumsumexp(x).data, s.logcumsumexp([1.0, -INF, 2.0]))
    assert s.selected_log_softmax(x, 1) == -INF
    assert s.segment_softmax(x, [0, 0, 0]).data[1] == 0


def test_a_fully_masked_row_is_masked_whatever_reduces_it():
    x = np.ma.array([[1.0, 2.0], [3.0, 4.0]], mask=[[0, 0], [1, 1]])
    for y in (
        logsumexp(x, axis=1),
        s.cross_entropy(x, [0, 0], reduction="none"),
        s.selected_log_softmax(x, [0, 0]),
        s.entropy(x),
    ):
        assert y.mask.tolist() == [False, True]


def test_numbers_of_rows_keep_their_labels():
    """Of a DataFrame a Series, of xarray what is left of its dimensions; a mean has none."""
    pd, xr = library("pandas"), library("xarray")
    frame = pd.DataFrame([[1.0, 2.0], [3.0, 4.0]], index=["a", "b"])
    array = xr.DataArray(frame.to_numpy(), dims=("row", "class"), coords={"row": ["a", "b"]})
    for name, options in [
        ("cross_entropy", {"labels": [0, 1], "reduction": "none"}),
        ("selected_log_softmax", {"index": [0, 1]}),
        ("sample", {"rng": 1}),
        ("entropy", {}),
        ("logsumexp", {"axis": 1}),
    ]:
        function = getattr(s, name)
        assert list(function(frame, **options).index) == ["a", "b"]
        assert function(array, **options).coords["row"].values.tolist() == ["a", "b"]
    assert isinstance(s.cross_entropy(frame, [0, 1]), float)
    assert s.sample(frame, 3, rng=1).shape == (3, 2)
    assert isinstance(s.sample(frame, 3, rng=1), np.ndarray)


# ---- pandas --------------------------------------------------------------------------------


@BOTH
@pytest.mark.parametrize("dtype", ["float32", "float64", "int64", "Float64", "Int32", "uint8"])
def test_series(name, dtype):
    pd = library("pandas")
    x = pd.Series([1, 2, 4], index=["a", "b", "c"], name="logits", dtype=dtype)
    function = getattr(s, name)
    y = function(x)
    assert type(y) is pd.Series
    assert y.index.equals(x.index)
    assert y.name == "logits"
    assert y.dtype == (np.float32 if dtype == "float32" else np.float64)
    np.testing.assert_array_equal(y, function(np.array([1, 2, 4], y.dtype)))
    assert logsumexp(x) == logsumexp(np.array([1, 2, 4], y.dtype))


@pytest.mark.parametrize("dtype", ["Float64", "Int64", "float64"])
def test_missing_value_makes_a_row_nan(dtype):
    pd = library("pandas")
    missing = NAN if dtype == "float64" else pd.NA
    row = pd.Series([1, missing, 2], dtype=dtype)
    assert softmax(row).isna().all()
    assert np.isnan(logsumexp(row))
    x = pd.DataFrame({"a": row, "b": [1.0, 1.0, 2.0]}).set_axis([7, 8, 9])
    y = softmax(x)
    assert y.loc[8].isna().all()
    assert y.loc[9].tolist() == [0.5, 0.5]
    assert softmax(x, where=x.notna()).loc[8].tolist() == [0, 1]


def test_large_integers_stay_exact():
    pd = library("pandas")
    for dtype in ("int64", "Int64"):
        y = softmax(pd.Series([2**60, 2**60 + 1], dtype=dtype))
        np.testing.assert_allclose(y, softmax([0, 1]), rtol=5e-16)


def test_dataframe():
    pd = library("pandas")
    x = pd.DataFrame({"a": [1.0, 2.0], "b": [3, 5]}, index=["x", "y"])
    values = x.to_numpy()
    for axis in (-1, 0, 1, (0, 1), None):
        y = softmax(x, axis)
        assert type(y) is pd.DataFrame
        assert y.index.equals(x.index)
        assert y.columns.equals(x.columns)
        np.testing.assert_array_equal(y, softmax(values, axis))
    assert logsumexp(x) == logsumexp(values)
    pd.testing.assert_series_equal(
        logsumexp(x, axis=1), pd.Series(logsumexp(values, 1), index=x.index)
    )
    pd.testing.assert_series_equal(
        logsumexp(x, axis=0), pd.Series(logsumexp(values, 0), index=x.columns)
    )
    kept = logsumexp(x, axis=1, keepdims=True)
    assert kept.index.equals(x.index)
    assert kept.shape == (2, 1)
    value, sign = logsumexp(x, axis=1, b=[1, -1], return_sign=True)
    assert value.index.equals(x.index)
    assert sign.tolist() == [-1, -1]


def test_dataframe_of_other_columns():
    pd = library("pandas")
    days = pd.to_datetime(["2020-01-01"] * 2)
    x = pd.DataFrame({"a": [1.0, 2.0], "name": ["p", "q"], "day": days, "on": [True, False]})
    text, day = x["name"].dtype, x["day"].dtype
    message = (
        f"x has columns 'name' ({text}), 'day' ({day}), 'on' (bool); accepted are integer, "
        "floating-point and complex dtypes: pass x.select_dtypes('number')"
    )
    refused(TypeError, message, softmax, x)
    refused(TypeError, message, logsumexp, x)
    message = message.replace("columns 'name'", "column 'name'").replace(f", 'day' ({day})", "")
    refused(TypeError, message.replace(", 'on' (bool)", ""), softmax, x[["a", "name"]])


@pytest.mark.parametrize("values", [["a"], [True], [None]])
def test_series_of_another_dtype(values):
    pd = library("pandas")
    x = pd.Series(values)
    message = f"x has dtype {x.dtype}; accepted are integer, floating-point and complex dtypes"
    if values == [True]:
        message += ": pass where=x.to_numpy() if it is a mask"
    refused(TypeError, message, softmax, x)


def test_other_labels():
    pd = library("pandas")
    x = pd.Series([1.0, 2.0], index=["a", "b"])
    where = pd.Series([True, False], index=["b", "a"])
    message = "where has other labels than x: pass where.reindex_like(x) or where.to_numpy()"
    refused(ValueError, message, softmax, x, where=where)
    assert softmax(x, where=where.reindex_like(x)).tolist() == [0, 1]


# ---- polars --------------------------------------------------------------------------------


@BOTH
def test_polars(name):
    pl = library("polars")
    function = getattr(s, name)
    for dtype, result in ((pl.Float32, pl.Float32), (pl.Int16, pl.Float64)):
        x = pl.Series("logits", [1, 2, 4], dtype=dtype)
        y = function(x)
        assert type(y) is pl.Series
        assert (y.name, y.dtype) == ("logits", result)
        np.testing.assert_array_equal(y.to_numpy(), function(x.to_numpy()))
        assert logsumexp(x) == logsumexp(x.to_numpy())
        missing = pl.Series("logits", [1, None, 4], dtype=dtype)
        assert np.isnan(function(missing).to_numpy()).all()


def test_polars_of_another_dtype():
    pl = library("polars")
    accepted = "accepted are integer, floating-point and complex dtypes"
    refused(TypeError, f"x has dtype String; {accepted}", softmax, pl.Series(["a"]))
    refused(TypeError, f"x has dtype Boolean; {accepted}", softmax, pl.Series([True]))
    message = (
        "x is a polars DataFrame, accepted are its Series: pass x.to_numpy(), whose rows are "
        "along axis 1"
    )
    refused(TypeError, message, softmax, pl.DataFrame({"a": [1.0]}))


# ---- xarray --------------------------------------------------------------------------------


def dataarray(values=None):
    xr = library("xarray")
    return xr.DataArray(
        np.arange(6.0).reshape(2, 3) if values is None else values,
        dims=("row", "class"),
        coords={"row": [10, 20], "class": list("abc"), "both": (("row", "class"), np.ones((2, 3)))},
        name="logits",
        attrs={"from": "a test"},
    )


@BOTH
def test_dataarray(name):
    x, function = dataarray(), getattr(s, name)
    for options, axis in (
        ({}, -1),
        ({"dim": "row"}, 0),
        ({"dim": ["class", "row"]}, None),
        ({"dim": ...}, None),
        ({"dim": None}, -1),
        ({"axis": 0}, 0),
    ):
        y = function(x, **options)
        assert y.identical(x.copy(data=function(x.data, axis)))


def test_dataarray_reduction():
    x = dataarray()
    y = logsumexp(x, dim="class")
    assert y.dims == ("row",)
    assert set(y.coords) == {"row"}
    assert (y.name, y.attrs) == ("logits", {"from": "a test"})
    np.testing.assert_array_equal(y, logsumexp(x.data, 1))
    assert logsumexp(x).item() == logsumexp(x.data)
    assert logsumexp(x, dim="row", keepdims=True).shape == (1, 3)
    value, sign = logsumexp(x, dim="row", return_sign=True)
    assert value.dims == sign.dims == ("class",)
    assert logsumexp(x[:, :0], dim="class").values.tolist() == [-INF, -INF]


def test_dataarray_options_go_by_dimension():
    x = dataarray()
    temperature = x.isel({"class": 0}, drop=True).drop_vars("both") + 1
    y = softmax(x, dim="class", temperature=temperature)
    np.testing.assert_array_equal(y, softmax(x.data, temperature=temperature.values[:, None]))
    where = (x > 0).transpose("class", "row")
    np.testing.assert_array_equal(softmax(x, where=where), softmax(x.data, where=x.data > 0))
    message = "where has other coordinates than x: pass where.reindex_like(x)"
    refused(ValueError, message, softmax, x, where=(x > 0).isel(row=[1, 0]))
    message = "where has dimension 'column', which x lacks: ('row', 'class')"
    refused(ValueError, message, softmax, x, where=(x > 0).rename({"class": "column"}))


def test_dim():
    x = dataarray()
    message = "dim must be among the dimensions of x, ('row', 'class'), got 'column'"
    refused(ValueError, message, softmax, x, dim="column")
    message = "dim and axis exclude each other, got dim='row' with axis"
    refused(TypeError, message, softmax, x, 0, dim="row")
    refused(TypeError, message, softmax, x, axis=-1, dim="row")
    for other in ([1.0, 2.0], np.ones(3), np.ma.array([1.0], mask=True)):
        message = f"dim is for xarray objects, got {type(other).__name__}: pass axis"
        for function in (softmax, log_softmax, logsumexp):
            refused(TypeError, message, function, other, dim="row")


def test_out_with_another_kind():
    out = np.empty(2)
    x = np.ma.array([1.0, 2.0], mask=[0, 1])
    message = "out is for NumPy arrays, got a masked array with it: pass x.data with where=~x.mask"
    refused(TypeError, message, softmax, x, out=out)
    pd = library("pandas")
    message = "out is for NumPy arrays, got a pandas Series with it: pass x.to_numpy()"
    refused(TypeError, message, softmax, pd.Series([1.0, 2.0]), out=out)


# ---- backend_of ------------------------------------------------------------------------------


def test_backend_of():
    for x in ([1, 2], 3, np.ones(2, np.float16), np.float32(1), np.ma.array([1.0], mask=True)):
        assert backend_of(x) == "compiled"
    for x in (np.ones(2, np.longdouble), 1j, np.ones(2, np.complex64)):
        assert backend_of(x) == "numpy"
    with pytest.raises(TypeError, match=r"^x has dtype bool; accepted are"):
        backend_of([True])


@pytest.mark.parametrize(
    ("name", "make", "backend"),
    [
        ("pandas", "pandas.Series([1.0])", "compiled"),
        ("pandas", "pandas.Series([1j])", "numpy"),
        ("pandas", "pandas.DataFrame({'a': [1]})", "compiled"),
        ("polars", "polars.Series([1.0])", "compiled"),
        ("xarray", "xarray.DataArray([1.0])", "compiled"),
        ("array_api_strict", "array_api_strict.asarray([1.0])", "array_api_strict"),
        ("torch", "torch.ones(2)", "compiled"),
        ("torch", "torch.ones(2, dtype=torch.bfloat16)", "compiled"),
        ("torch", "torch.ones(2, dtype=torch.complex64)", "numpy"),
        ("torch", "torch.ones(2).requires_grad_()", "torch"),
        ("torch", "torch.nn.Parameter(torch.ones(2))", "torch"),
        ("torch", "torch.ones(2, device='meta')", "torch"),
        ("jax", "jax.numpy.ones(2)", "jax"),
    ],
)
def test_backend_of_others(name, make, backend):
    module = library(name)
    assert backend_of(eval(make, {name: module})) == backend


# ---- array-API code: one table of rows for every library ----------------------------------------

# row, where: softmax, log_softmax, logsumexp
ROWS = {
    "some -inf": ([-INF, 0, 0], None, [0, 0.5, 0.5], [-INF, -LOG2, -LOG2], LOG2),
    "one +inf": ([0, INF, -INF], None, [0, 1, 0], [-INF, 0, -INF], INF),
    "several +inf": ([INF, 0, INF], None, [NAN, 0, NAN], [NAN, -INF, NAN], INF),
    "all -inf": ([-INF] * 3, None, [NAN] * 3, [NAN] * 3, -INF),
    "a NaN": ([0, NAN, 5], None, [NAN] * 3, [NAN] * 3, NAN),
    "NaN first": ([NAN, 0, 5], None, [NAN] * 3, [NAN] * 3, NAN),
    "NaN and +inf": ([INF, NAN, 0], None, [NAN] * 3, [NAN] * 3, NAN),
    "excluded": ([NAN, INF, 3], [0, 0, 1], [0, 0, 1], [-INF, -INF, 0], 3),
    "all excluded": ([NAN, INF, 3], [0, 0, 0], [0, 0, 0], [-INF] * 3, -INF),
    "all -inf but excluded": ([-INF, -INF, 3], [1, 1, 0], [NAN, NAN, 0], [NAN, NAN, -INF], -INF),
    "dominated": (
        [0, -40, -INF],
        None,
        [1, np.exp(-40), 0],
        [-np.exp(-40), -40, -INF],
        np.exp(-40),
    ),
    "huge": ([1e30, 1e30, 0], None, [0.5, 0.5, 0], [-LOG2, -LOG2, -1e30], 1e30),
}
SHARES = {"several +inf": [0.5, 0, 0.5], "all -inf": [1 / 3] * 3}


class Library:
    """How one library makes arrays and shows them."""

    def __init__(self, name):
        self.name = name

    def array(self, values, dtype=None):
        return self.module.asarray(np.asarray(values, dtype))

    def numpy(self, y):
        return np.asarray(y)


class Numpy(Library):
    """The specification itself, on NumPy arrays: in the same way as the others."""

    module = np

    def call(self, name, x, axis=-1, **options):
        return getattr(s, name)(x.astype(np.longdouble), axis, **options)


class Other(Library):
    @property
    def module(self):
        return library(self.name)

    def call(self, name, x, axis=-1, **options):
        return getattr(s, name)(x, axis, **options)


class Strict(Other):
    def array(self, values, dtype=None):
        values = np.asarray(values, dtype)
        return self.module.asarray(values.tolist(), dtype=getattr(self.module, str(values.dtype)))

    def numpy(self, y):
        return np.from_dlpack(y)


class Torch(Other):
    def array(self, values, dtype=None):
        x = self.module.asarray(np.array(values, dtype))
        return x.requires_grad_() if x.is_floating_point() else x

    def numpy(self, y):
        return y.detach().numpy()


class Jax(Other):
    @property
    def module(self):
        return library("jax").numpy


LIBRARIES = [Numpy("numpy"), Strict("array_api_strict"), Torch("torch"), Jax("jax")]


@pytest.fixture(params=LIBRARIES, ids=lambda lib: lib.name)
def lib(request):
    request.param.module  # noqa: B018 - or skip
    return request.param


@pytest.mark.parametrize("row", ROWS)
def test_degenerate_rows(lib, row):
    values, where, *expected = ROWS[row]
    for x, mask, axis in (
        (np.array(values, np.float32), where, -1),
        (np.tile(np.array(values, np.float32), (2, 1)).T, where and np.array([where]).T, 0),
    ):
        options = {} if mask is None else {"where": lib.array(mask, bool)}
        for name, y in zip(("softmax", "log_softmax", "logsumexp"), expected, strict=True):
            if axis == 0 and name != "logsumexp":
                y = np.tile(y, (2, 1)).T
            actual = lib.call(name, lib.array(x), axis, **options)
            if lib.name != "numpy":
                assert type(actual) is type(lib.array([1.0]))
                assert "float32" in str(actual.dtype)
            actual = lib.numpy(actual)
            expected32 = np.broadcast_to(np.asarray(y, actual.dtype), actual.shape)
            np.testing.assert_allclose(actual, expected32, rtol=3e-7, err_msg=name)


@pytest.mark.parametrize("row", SHARES)
def test_undefined_rows(lib, row):
    share = np.array(SHARES[row])
    x = lib.array([[1, 2, 3], ROWS[row][0]], np.float32)
    for policy, p in (("zero", share * 0), ("uniform", share)):
        actual = lib.numpy(lib.call("softmax", x, undefined=policy))[1]
        np.testing.assert_allclose(actual.astype(float), p, rtol=3e-7)
        actual = lib.numpy(lib.call("log_softmax", x, undefined=policy))[1]
        with np.errstate(divide="ignore"):
            np.testing.assert_allclose(actual.astype(float), np.log(p), rtol=3e-7)
    with pytest.raises(UndefinedSoftmaxError) as error:
        lib.call("softmax", x, undefined="raise")
    assert error.value.row == (1,)


def test_empty(lib):
    x = lib.array(np.ones((3, 0)), np.float32)
    assert tuple(lib.call("softmax", x).shape) == (3, 0)
    assert lib.numpy(lib.call("logsumexp", x)).tolist() == [-INF] * 3
    assert tuple(lib.call("logsumexp", x, 0).shape) == (0,)
    assert tuple(lib.call("log_softmax", x, 0, undefined="raise").shape) == (3, 0)
    assert tuple(lib.call("softmax", x, undefined="raise").shape) == (3, 0)


@pytest.mark.parametrize("axis", [-1, 0, 1, (0, 2), (2, 1), None])
def test_axes(lib, axis):
    values = np.random.default_rng(0).normal(size=(2, 3, 4)).astype(np.float32)
    where = values < 0.8
    for name in ("softmax", "log_softmax", "logsumexp"):
        for options in ({}, {"where": where}):
            expected = getattr(s, name)(values.astype(float), axis, **options)
            given = {key: lib.array(value) for key, value in options.items()}
            actual = lib.numpy(lib.call(name, lib.array(values), axis, **given))
            np.testing.assert_allclose(actual.astype(float), expected, rtol=2e-6, atol=2e-7)
    expected = logsumexp(values.astype(float), axis, keepdims=True)
    actual = lib.numpy(lib.call("logsumexp", lib.array(values), axis, keepdims=True))
    np.testing.assert_allclose(actual.astype(float), expected, rtol=2e-6)


@pytest.mark.parametrize("temperature", [0, -0.0, 0.5, 1, 2.0, 1e30, INF, [[0.0], [2.0]]])
def test_temperature(lib, temperature):
    values = np.array([[1, 3, 3, -INF], [2, 0, INF, -INF]], np.float32)
    for t in (temperature, np.asarray(temperature), lib.array(temperature, np.float32)):
        for name in ("softmax", "log_softmax"):
            expected = getattr(s, name)(values, temperature=temperature)
            actual = lib.numpy(lib.call(name, lib.array(values), temperature=t))
            np.testing.assert_allclose(actual.astype(np.float32), expected, rtol=3e-7)


def test_integers(lib):
    wide = "int32" if lib.name == "jax" else "int64"
    top = 2**24 if lib.name == "jax" else 2**60
    small = lib.array([1, 5], np.uint8)
    x = lib.array([top, top + 1, -top], wide)
    if lib.name != "numpy":
        y = lib.call("softmax", x)
        assert str(y.dtype).endswith("float32" if lib.name == "jax" else "float64")
        np.testing.assert_allclose(lib.numpy(y), softmax([0, 1, -2 * top]), rtol=3e-7)
        y = lib.call("softmax", small)
        np.testing.assert_allclose(lib.numpy(y), softmax([0, 4]), rtol=3e-7)
        assert float(lib.call("logsumexp", x)) == pytest.approx(top + np.log1p(np.e), rel=3e-7)
    with pytest.raises(TypeError, match=r"^x has dtype bool; accepted are integer"):
        softmax(lib.array([True]))


def test_dtype(lib):
    if lib.name == "numpy":
        pytest.skip("NumPy's dtypes are test_functions.py's")
    x = lib.array([1, 2, 3], np.float32)
    if lib.name == "jax":
        message = "dtype float64 is switched off: jax.config.update('jax_enable_x64', True)"
        refused(TypeError, message, softmax, x, dtype="float64")
    else:
        for dtype in ("float64", np.float64, lib.module.float64):
            y = softmax(x, dtype=dtype)
            assert str(y.dtype).endswith("float64")
            np.testing.assert_allclose(lib.numpy(y), softmax([1, 2, 3]), rtol=1e-15)
    message = "dtype must be a floating-point or complex dtype, got 'int8'"
    refused(TypeError, message, softmax, x, dtype="int8")


@pytest.mark.parametrize("half", ["float16", "bfloat16"])
@pytest.mark.parametrize("name", ["torch", "jax"])
def test_half_is_rounded_once(name, half):
    lib = next(lib for lib in LIBRARIES if lib.name == name)
    values = np.random.default_rng(1).normal(size=1000).astype(np.float32) * 3
    if name == "torch":
        x = lib.module.asarray(values).to(getattr(lib.module, half)).requires_grad_()
        wide, back = x.detach().double(), lambda y: y.to(x.dtype)
    else:
        x = lib.array(values).astype(half)
        wide, back = np.asarray(x, np.float64), lambda y: lib.module.asarray(y).astype(half)
    y = softmax(x)
    assert y.dtype == x.dtype
    exact = back(softmax(wide))
    assert bool((abs(y - exact) <= abs(exact) * 2.0**-7).all())
    assert float((y != exact).sum()) < 3  # where float32 lies next to a tie


def test_bad_arguments(lib):
    if lib.name == "numpy":
        pytest.skip("NumPy's are test_arguments.py's")
    x = lib.array([[1, 2, 3]], np.float32)
    message = "where must be bool, got dtype float32: pass where != 0"
    refused(TypeError, message, softmax, x, where=x)
    message = "where of shape (2,) does not broadcast to x's shape (1, 3)"
    refused(ValueError, message, softmax, x, where=lib.array([True, False]))
    for t in (-1, -1.0, np.float32(-1), lib.array(-1.0, np.float32)):
        message = "temperature must be 0, positive or inf, got -1.0"
        with pytest.raises(ValueError, match=f"^{message[:-2]}"):
            softmax(x, temperature=t)
    message = (
        "temperature of shape (3,) does not broadcast to (1, 1), "
        "x's shape with the axis reduced to 1"
    )
    refused(ValueError, message, softmax, x, temperature=lib.array([1, 2, 3], np.float32))
    message = "undefined must be one of nan, zero, uniform, raise, got 'no'"
    refused(ValueError, message, softmax, x, undefined="no")
    message = "b of shape (2,) does not broadcast with x of shape (1, 3)"
    refused(ValueError, message, logsumexp, x, b=lib.array([1, 2], np.float32))
    message = (
        "out is for NumPy arrays and CPU tensors without a gradient, got it for an array of "
        f"{lib.name}: leave it out"
    )
    refused(TypeError, message, softmax, x, out=x)
    refused(
        TypeError,
        f"dim is for xarray objects, got {type(x).__name__}: pass axis",
        softmax,
        x,
        dim="a",
    )
    with pytest.raises(np.exceptions.AxisError):
        softmax(x, axis=2)


WEIGHTED = [
    ([0, 1, 2], [1, -2, 0.5]),
    ([1000, 1000, 3], [1, -1, 0]),
    ([INF, 0, NAN], [-2, 1, 0]),
    ([INF, INF, 0], [1, -1, 1]),
    ([-INF, 3, 0], [-5, 1, 0]),
    ([0, 0, 0], [0, 0, 0]),
    ([0, -40, -INF], [1, 1, 1]),
    ([NAN, 0, 1], [1, 1, 1]),
]


@pytest.mark.parametrize(("x", "b"), WEIGHTED)
def test_weights(lib, x, b):
    expected = logsumexp(np.array(x, float), b=b, return_sign=True)
    given = lib.array(x, np.float32), lib.array(b, np.float32)
    value, sign = lib.call("logsumexp", given[0], b=given[1], return_sign=True)
    np.testing.assert_allclose(lib.numpy(value).astype(float), expected[0], rtol=1e-6)
    np.testing.assert_allclose(lib.numpy(sign).astype(float), expected[1])
    unsigned = lib.numpy(lib.call("logsumexp", given[0], b=given[1])).astype(float)
    np.testing.assert_allclose(unsigned, logsumexp(np.array(x, float), b=b), rtol=1e-6)
    value = lib.numpy(lib.call("logsumexp", given[0], b=2)).astype(float)
    np.testing.assert_allclose(value, logsumexp(np.array(x, float), b=2), rtol=1e-6)


@pytest.mark.parametrize("name", ["array_api_strict", "torch", "jax"])
def test_complex(name):
    lib = next(lib for lib in LIBRARIES if lib.name == name)
    values = np.array([[1 + 2j, 0.5, -1j], [-INF, 2j, 2j]], np.complex64)
    x = lib.module.asarray(values.tolist(), dtype=lib.module.complex64)
    if name == "torch":
        x = x.requires_grad_()
    assert backend_of(x) == name
    for function in (softmax, logsumexp):
        actual = lib.numpy(function(x, axis=1))
        assert actual.dtype == np.complex64
        np.testing.assert_allclose(actual, function(values, axis=1), rtol=1e-5)
    value, sign = logsumexp(x, axis=1, return_sign=True)
    np.testing.assert_allclose(
        lib.numpy(value), logsumexp(values, 1, return_sign=True)[0], rtol=1e-5
    )
    np.testing.assert_allclose(
        lib.numpy(sign), logsumexp(values, 1, return_sign=True)[1], rtol=1e-5
    )


# ---- gradients -----------------------------------------------------------------------------

# x, where, temperature
GRADIENTS = {
    "plain": ([1.0, 2.0, 4.0], None, 1.0),
    "ties": ([2.0, 2.0, 1.0, 2.0], None, 1.0),
    "dominated": ([0.0, -40.0, -50.0], None, 1.0),
    "tempered": ([1.0, 2.0, 4.0], None, 0.25),
    "where": ([1.0, NAN, 4.0, INF], [1, 0, 1, 0], 1.0),
    "-inf": ([1.0, -INF, 4.0], None, 1.0),
    "-inf, tempered": ([1.0, -INF, 4.0], None, 2.0),
    "one +inf": ([1.0, INF, 4.0], None, 1.0),
    "all excluded": ([NAN, INF, 1.0], [0, 0, 0], 1.0),
    "all -inf": ([-INF, -INF, -INF], None, 1.0),
    "several +inf": ([INF, INF, 1.0], None, 1.0),
}


def exact_gradient(name, case, g):
    """By mpmath: of sum(g * f(x)); entries that take no part, and rows without a limit, have 0."""
    x, where, t = GRADIENTS[case]
    on = [i for i, v in enumerate(x) if where is None or where[i]]
    top = max((x[i] for i in on), default=-INF)
    tied = [i for i in on if x[i] == top]
    zero = [mpmath.mpf(0)] * len(x)
    if not on or (top == -INF or (top == INF and len(tied) > 1)):
        return zero
    with mpmath.workdps(60):
        if top == INF:
            p = [mpmath.mpf(i in tied) for i in range(len(x))]
        else:
            terms = [
                mpmath.exp((mpmath.mpf(v) - top) / t) if i in on and v != -INF else mpmath.mpf(0)
                for i, v in enumerate(x)
            ]
            p = [term / mpmath.fsum(terms) for term in terms]
        g = [mpmath.mpf(v) if i in on else mpmath.mpf(0) for i, v in enumerate(g)]
        if name == "softmax":
            mean = mpmath.fsum(a * b for a, b in zip(p, g, strict=True))
            return [a * (b - mean) / t for a, b in zip(p, g, strict=True)]
        if name == "logsumexp":
            return p
        total = mpmath.fsum(g)
        return [
            (b - a * total) / t if i in on else 0 for i, (a, b) in enumerate(zip(p, g, strict=True))
        ]


def torch_gradient(name, x, g, **options):
    torch = library("torch")
    x = torch.tensor(x, dtype=torch.float64, requires_grad=True)
    if options.get("where") is not None:
        options["where"] = torch.tensor(options["where"], dtype=torch.bool)
    y = getattr(s, name)(x, -1, **options)
    y.backward(torch.tensor(g, dtype=torch.float64) if name != "logsumexp" else None)
    return x.grad.numpy()


def jax_gradient(name, x, g, **options):
    jax = library("jax")
    with jax.enable_x64(True):
        if options.get("where") is not None:
            options["where"] = jax.numpy.asarray(options["where"], dtype=bool)
        x = jax.numpy.asarray(x, dtype="float64")
        _, back = jax.vjp(jax.jit(lambda x: getattr(s, name)(x, -1, **options)), x)
        g = jax.numpy.asarray(g) if name != "logsumexp" else jax.numpy.asarray(1.0)
        return np.asarray(back(g)[0])


@pytest.mark.parametrize("gradient", [torch_gradient, jax_gradient])
@pytest.mark.parametrize("name", ["softmax", "log_softmax", "logsumexp"])
@pytest.mark.parametrize("case", GRADIENTS)
def test_gradient(gradient, name, case):
    x, where, t = GRADIENTS[case]
    if name == "logsumexp" and t != 1:
        pytest.skip("logsumexp has no temperature")
    options = {} if name == "logsumexp" else {"temperature": t}
    g = np.array([1.0, -0.5, 2.0, 0.25][: len(x)])
    if case == "dominated":
        g = np.array([1.0, 0.0, 0.0])  # nothing else shows the digits of 1 - p
    actual = gradient(name, x, g, where=where, **options)
    expected = exact_gradient(name, case, g)
    if case in SHARES:  # no limit, and so no gradient: it does no harm
        assert np.isfinite(actual).all()
        return
    np.testing.assert_allclose(actual, np.array(expected, float), rtol=2e-14, atol=1e-40)


def test_weighted_gradient():
    torch, jax = library("torch"), library("jax")
    x, b = [1000.0, 1001.0, -INF, NAN], [1.0, -0.25, 3.0, 0.0]
    terms = np.array(b[:2]) * np.exp([0.0, 1.0])
    expected = [*(terms / terms.sum()), 0, 0]
    tensor = torch.tensor(x, dtype=torch.float64, requires_grad=True)
    logsumexp(tensor, b=torch.tensor(b, dtype=torch.float64)).backward()
    np.testing.assert_allclose(tensor.grad, expected, rtol=1e-14)
    with jax.enable_x64(True):
        b = jax.numpy.asarray(b)
        actual = jax.grad(lambda x: logsumexp(x, b=b))(jax.numpy.asarray(x))
        np.testing.assert_allclose(actual, expected, rtol=1e-14)


@BOTH
@pytest.mark.parametrize("odd", [-INF, NAN, INF])
def test_gradient_of_a_temperature(name, odd):
    """A -inf, and whatever is excluded, has no say in it."""
    torch = library("torch")
    x = torch.tensor([[1.0, 3.0, odd], [0.0, 2.0, 5.0]], dtype=torch.float64)
    where = None if odd == -INF else torch.isfinite(x)
    t = torch.tensor([[0.5], [2.0]], dtype=torch.float64, requires_grad=True)

    def values(t):
        return getattr(s, name)(x, temperature=t, where=where)[..., 1]

    values(t).sum().backward()
    step = 1e-6
    up, down = values(t.detach() + step), values(t.detach() - step)
    np.testing.assert_allclose(t.grad[:, 0], (up - down) / (2 * step), rtol=1e-7)


# ---- tracing -------------------------------------------------------------------------------


def everything(x, where):
    y = softmax(x, where=where, temperature=2.0) + log_softmax(x, axis=(0, 1))
    return y + logsumexp(x, axis=1, keepdims=True) * softmax(x, undefined="uniform")


def test_torch_compile():
    torch = library("torch")
    torch.manual_seed(0)
    x = torch.randn(4, 5)
    where = x < 1
    compiled = torch.compile(everything, fullgraph=True, backend="eager")
    np.testing.assert_allclose(compiled(x, where), everything(x, where), rtol=1e-5, atol=1e-6)
    compiled = torch.compile(
        lambda x: softmax(x, undefined="raise"), fullgraph=True, backend="eager"
    )
    with pytest.raises(Exception, match=r"undefined=.raise. needs values"):
        compiled(x)


@pytest.mark.filterwarnings("ignore:.*torch.jit.script.*:DeprecationWarning")  # torch's own
def test_torch_transforms():
    torch = library("torch")
    x = torch.randn(3, 4, dtype=torch.float64)
    np.testing.assert_allclose(torch.func.vmap(softmax)(x), softmax(x), rtol=1e-14)
    jacobian = torch.func.jacrev(softmax)(x[0])
    p = softmax(x[0])
    np.testing.assert_allclose(jacobian, torch.diag(p) - torch.outer(p, p), atol=1e-15)
    _, tangent = torch.func.jvp(softmax, (x[0],), (torch.ones(4, dtype=torch.float64),))
    np.testing.assert_allclose(tangent, np.zeros(4), atol=1e-15)
    assert torch.autograd.gradcheck(log_softmax, x.clone().requires_grad_())


def test_jax_jit():
    jax = library("jax")
    x = jax.random.normal(jax.random.key(0), (4, 5))
    where = x < 1
    np.testing.assert_allclose(
        jax.jit(everything)(x, where), everything(x, where), rtol=1e-5, atol=1e-6
    )
    np.testing.assert_allclose(jax.jit(softmax)(x), softmax(x), rtol=1e-6)
    np.testing.assert_allclose(jax.vmap(softmax)(x), softmax(x), rtol=1e-6)
    message = (
        'undefined="raise" needs values, which a traced array has none of: '
        'pass "nan", "zero" or "uniform"'
    )
    with pytest.raises(TypeError, match=f"^{re.escape(message)}"):  # JAX adds to it
        jax.jit(lambda x: softmax(x, undefined="raise"))(x)
    cold = jax.jit(lambda x, t: softmax(x, temperature=t))
    np.testing.assert_allclose(cold(x, 0.5), softmax(x, temperature=0.5), rtol=1e-6)


# ---- CPU tensors by the kernels -----------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32", "float64"])
def test_cpu_tensor(dtype):
    torch = library("torch")
    x = torch.randn(6, 8).to(getattr(torch, dtype))
    for view in (x, x.T, x[::2, 1::3], x[1]):
        before = view.clone()
        for function in (softmax, log_softmax):
            y = function(view)
            assert type(y) is torch.Tensor
            assert y.dtype == view.dtype
            exact = function(view.double())
            # half an ulp of rounding, and 2 of the kernel in float32 and float64
            limit = (0.51 if dtype in ("float16", "bfloat16") else 3) * torch.finfo(y.dtype).eps
            assert bool((abs(y.double() - exact) <= abs(exact) * limit).all())
        assert torch.equal(view, before)
        z = logsumexp(view, axis=-1)
        assert type(z) is torch.Tensor
        assert z.dtype == view.dtype


def test_cpu_tensor_shares_memory(monkeypatch):
    """Neither the way in nor the way out copies."""
    torch = library("torch")
    seen = []
    from stablesoftmax import _dispatch

    @_dispatch.every_array(softmax)
    def same(x, axis=-1):
        seen.append(x)
        return x

    monkeypatch.setitem(globals(), "same", same)
    for dtype in (torch.float32, torch.bfloat16, torch.int16, torch.complex64):
        x = torch.ones(4, 3, dtype=dtype)[:, ::2]
        same.__module__, same.__wrapped__.__module__ = __name__, __name__
        same.__wrapped__.__name__ = "same"
        y = same(x)
        assert y.data_ptr() == x.data_ptr() == seen[-1].ctypes.data
        assert y.dtype == x.dtype
        assert y.stride() == x.stride()


def test_cpu_tensor_options():
    torch = library("torch")
    x = torch.randn(3, 4)
    where, t = x > 0, torch.tensor([[1.0], [2.0], [0.0]])
    y = softmax(x, where=where, temperature=t)
    np.testing.assert_array_equal(y, softmax(x.numpy(), where=where.numpy(), temperature=t.numpy()))
    assert softmax(x, dtype=torch.float64).dtype == torch.float64
    assert softmax(x, dtype=torch.bfloat16).dtype == torch.bfloat16
    out = torch.empty(3, 4)
    assert softmax(x, out=out) is out
    np.testing.assert_array_equal(out, softmax(x))
    out = torch.empty(3, 4, dtype=torch.bfloat16)
    assert softmax(x, out=out) is out
    value, sign = logsumexp(x, axis=1, return_sign=True, out=out[:, 0])
    assert type(sign) is torch.Tensor
    assert value.data_ptr() == out.data_ptr()
    assert logsumexp(x).shape == ()
    with torch.no_grad():
        assert backend_of(torch.nn.Parameter(x)) == "compiled"
        assert not softmax(torch.nn.Parameter(x)).requires_grad
    message = "out has shape (2,), accepted is the result's shape (3, 4)"
    refused(ValueError, message, softmax, x, out=torch.empty(2))


def test_lazy_bits():
    """torch keeps a conjugate and a minus as bits, which NumPy lacks."""
    torch = library("torch")
    z = torch.tensor([1 + 2j, 3 - 1j])
    np.testing.assert_array_equal(softmax(z.conj()), softmax(z.conj().resolve_conj()))
    minus = z.conj().imag
    assert minus.is_neg()
    np.testing.assert_array_equal(softmax(minus), softmax(np.array([-2, 1], np.float32)))


def test_odd_tensors():
    torch = library("torch")
    x = torch.ones(2).to(torch.float8_e4m3fn)
    with pytest.raises(TypeError, match=r"^x has dtype float8_e4m3fn; accepted are integer"):
        softmax(x)
    y = softmax(torch.ones(3, 4, device="meta"))
    assert (y.device.type, tuple(y.shape)) == ("meta", (3, 4))


def test_the_array_by_name():
    x = np.ma.array([1.0, 2.0], mask=[0, 1])
    assert softmax(x=x, axis=0).mask.tolist() == [False, True]
    assert softmax(axis=0, x=[1.0, 1.0]).tolist() == [0.5, 0.5]
    with pytest.raises(TypeError, match="missing 1 required positional argument: 'x'"):
        softmax()


# ---- what is loaded ----------------------------------------------------------------------------

WITHOUT = "import sys; sys.modules[{!r}] = None; "


@pytest.mark.parametrize("name", ["torch", "jax", "array_api_strict"])
def test_without_array_api_compat(name):
    library(name)
    make = {
        "torch": "torch.ones(2, requires_grad=True)",
        "jax": "jax.numpy.ones(2)",
        "array_api_strict": "array_api_strict.ones(2)",
    }[name]
    code = WITHOUT.format("array_api_compat") + f"import {name}, stablesoftmax\n"
    code += f"try: stablesoftmax.softmax({make})\nexcept ImportError as error: print(error)"
    message = (
        f"array-api-compat is needed for arrays of {name}: pip install 'stablesoftmax[arrays]'"
    )
    assert python(code).stdout.strip() == message


def test_bfloat16_without_ml_dtypes():
    library("torch")
    code = (
        WITHOUT.format("ml_dtypes")
        + """
import torch, stablesoftmax
x = torch.randn(50, 7, dtype=torch.float64).bfloat16()
y = stablesoftmax.softmax(x)
assert y.dtype == torch.bfloat16
exact = stablesoftmax.softmax(x.double())
assert bool((abs(y.double() - exact) <= exact * 0.51 * torch.finfo(y.dtype).eps).all())
assert stablesoftmax.logsumexp(x).dtype == torch.bfloat16
assert stablesoftmax.softmax(x, dtype=torch.float32).dtype == torch.float32
try: stablesoftmax.softmax(x, out=y)
except ImportError as error: print(error)
"""
    )
    message = "ml_dtypes is needed for a bfloat16 out: pip install ml_dtypes"
    assert python(code).stdout.strip() == message
