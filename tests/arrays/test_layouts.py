"""Every array argument of every public function, however it lies in memory, and xarray's dim."""

import inspect

import numpy as np
import pytest
from calls import EVERY, EVERY_ARGUMENT, X, call, ids
from conftest import library

import stablesoftmax


def unaligned(a):
    moved = np.zeros(a.nbytes + 1, np.uint8)[1:].view(a.dtype).reshape(a.shape)
    moved[...] = a
    return moved


def byte_swapped(a):
    return a.astype(a.dtype.newbyteorder())


def backwards(a):
    back = (slice(None, None, -1),) * a.ndim
    return np.ascontiguousarray(a[back])[back]


def read_only(a):
    a = a.copy()
    a.flags.writeable = False
    return a


def strided(a):
    return np.repeat(a, 2, axis=-1)[..., ::2]


def of_zero_strides(a):
    return np.broadcast_to(a[(0,) * a.ndim], a.shape)


LAYOUTS = [unaligned, byte_swapped, backwards, read_only, strided, of_zero_strides]


def parts(y):
    return y if isinstance(y, tuple) else (y,)


@pytest.mark.parametrize("layout", LAYOUTS, ids=lambda layout: layout.__name__)
@pytest.mark.parametrize(("name", "options", "argument"), EVERY_ARGUMENT, ids=ids)
def test_the_same_bits_in_every_layout(name, options, argument, layout):
    if argument == "indptr" and layout is of_zero_strides:
        return  # zeros are no offsets of these rows, in any layout
    laid = layout(X if argument == "x" else options[argument])
    plain = np.array(laid, laid.dtype.newbyteorder("="), order="C")
    for y, expected in zip(
        parts(call(name, options, **{argument: laid})),
        parts(call(name, options, **{argument: plain})),
        strict=True,
    ):
        np.testing.assert_array_equal(y, expected, strict=True)


WITH_AXIS = [
    (name, options)
    for name, options in EVERY
    if "axis" in inspect.signature(getattr(stablesoftmax, name)).parameters
]


@pytest.mark.parametrize(("name", "options"), WITH_AXIS, ids=ids)
def test_dim_of_xarray(name, options):
    xarray = library("xarray")
    options = {key: value for key, value in options.items() if key != "axis"}
    x = xarray.DataArray(X, dims=("row", "class"))
    for y, expected in zip(
        parts(call(name, options, x=x, dim="class")),
        parts(call(name, options, axis=1)),
        strict=True,
    ):
        np.testing.assert_array_equal(y, expected)
