"""What kind of array it is."""

import ml_dtypes
import numpy as np
import pytest
from conftest import FLOATS

from stablesoftmax._arrays import dtypes

pytestmark = pytest.mark.usefixtures("strict")

bfloat16 = np.dtype(ml_dtypes.bfloat16)


class Exporter:
    """An array that speaks DLPack and nothing else."""

    def __init__(self, array):
        self.array = array

    def __dlpack__(self, **options):
        return self.array.__dlpack__(**options)

    def __dlpack_device__(self):
        return self.array.__dlpack_device__()


class Convertible:
    def __array__(self, dtype=None, copy=None):
        return np.array([1.0, 2.0], dtype)


@pytest.mark.parametrize(
    "x", [[1.0, 2.0], (1.0, 2.0), Convertible(), Exporter(np.array([1.0, 2.0])), range(1, 3)]
)
def test_as_array(x):
    array = dtypes.as_array(x, "x")
    assert type(array) is np.ndarray
    assert array.tolist() == [1.0, 2.0]


def test_as_array_shares_memory():
    x = np.ones(3)
    assert dtypes.as_array(x, "x") is x
    assert np.shares_memory(dtypes.as_array(Exporter(x), "x"), x)


def test_as_array_passes_on_the_errors_of_others():
    class Broken:
        def __array__(self, dtype=None, copy=None):
            raise ValueError("broken")

    with pytest.raises(ValueError, match=r"^broken$"):
        dtypes.as_array(Broken(), "x")


@pytest.mark.parametrize("kind", "efdgFDG")
def test_floating_is_native(kind):
    dtype = np.dtype(kind)
    assert dtypes.floating(dtype.newbyteorder(), "x") == dtype


def test_wider():
    assert dtypes.wider(bfloat16, np.dtype("e")) == np.float32
    assert dtypes.wider(np.dtype("e"), bfloat16) == np.float32
    assert dtypes.wider(bfloat16, bfloat16) == bfloat16
    assert dtypes.wider(bfloat16, np.dtype("d")) == np.float64
    assert dtypes.wider(np.dtype("f"), np.dtype("D")) == np.complex128


def test_kernel_name():
    for name, dtype in FLOATS.items():
        assert dtypes.kernel_name(dtype) == name
    for dtype in "gFDG":
        assert dtypes.kernel_name(np.dtype(dtype)) is None
