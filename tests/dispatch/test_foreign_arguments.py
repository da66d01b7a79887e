"""An array of another library than x is taken by value, or refused in one line."""

import numpy as np
import pytest
from calls import CALLS, EVERY_ARGUMENT, OTHERS, X, call, ids
from conftest import library, python

import stablesoftmax

pytestmark = pytest.mark.interop


def of_torch(a):
    return library("torch").tensor(np.ascontiguousarray(a))


def with_gradient(a):
    tensor = of_torch(a)
    return tensor.requires_grad_() if tensor.is_floating_point() else tensor


def of_jax(a):
    return library("jax").numpy.asarray(a)  # int32 and float32, whatever a was


KINDS = {"numpy": np.asarray, "torch": of_torch, "gradient": with_gradient, "jax": of_jax}


def numpy_of(y):
    return np.asarray(y.detach() if hasattr(y, "detach") else y)


def test_the_table_names_every_public_function():
    assert set(CALLS) | OTHERS == set(stablesoftmax.__all__)


@pytest.mark.parametrize("other", KINDS)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("name", "options", "argument"), EVERY_ARGUMENT, ids=ids)
def test_by_value_or_refused(name, options, argument, kind, other):
    given = {"x": KINDS[kind](X)}
    if argument != "x":
        given[argument] = value = KINDS[other](options[argument])
        lost = getattr(value, "requires_grad", False) and kind in ("numpy", "jax")
        if lost and (name, kind) != ("sample", "jax"):  # draws have no gradient to lose
            with pytest.raises(
                TypeError, match=rf"^{argument} is a torch tensor that needs a grad"
            ):
                call(name, options, **given)
            return
    parts, expected = call(name, options, **given), call(name, options)
    if not isinstance(expected, tuple):
        parts, expected = [parts], [expected]
    for part, right in zip(parts, expected, strict=True):
        np.testing.assert_allclose(numpy_of(part), right, rtol=2e-5, atol=1e-6)


@pytest.mark.parametrize("argument", ["where", "temperature"])
def test_traced_argument_of_numpy_x_is_refused(argument):
    jax = library("jax")
    with pytest.raises(TypeError, match=f"^{argument} must be an array, got .*Tracer"):
        jax.jit(lambda value: stablesoftmax.softmax(np.ones(2), **{argument: value}))(True)


def test_sparse_and_nested_tensors_are_refused_in_a_line():
    torch = library("torch")
    with pytest.raises(TypeError, match=r"^x is a sparse tensor: pass x.to_dense\(\)$"):
        stablesoftmax.softmax(torch.eye(2).to_sparse())
    with pytest.raises(TypeError, match=r"^weight is a sparse tensor: pass weight.to_dense\(\)$"):
        stablesoftmax.cross_entropy(np.ones((1, 2)), [1], weight=torch.ones(2).to_sparse())
    nested = torch.nested.nested_tensor([torch.ones(2), torch.ones(3)], layout=torch.jagged)
    with pytest.raises(TypeError, match=r"^x is a nested tensor: pass x.to_padded_tensor"):
        stablesoftmax.softmax(nested)


def test_dask_is_refused_in_a_line():
    dask = library("dask.array")
    x = dask.ones((4, 3), chunks=2)
    message = r"^{} is a dask Array, which would be computed whole: pass {}.compute\(\), or dask"
    for name in CALLS:
        first = {"kl_divergence": "p_logits"}.get(name, "x")
        first = (
            "logits" if name in ("sample", "cross_entropy", "cross_entropy_with_grad") else first
        )
        (options, *_) = CALLS[name]
        with pytest.raises(TypeError, match=message.format(first, first)):
            call(name, options, x=x)
    with pytest.raises(TypeError, match=message.format("where", "where")):
        stablesoftmax.softmax(np.ones((4, 3)), where=x > 0)
    with pytest.raises(TypeError, match=message.format("x", "x")):
        stablesoftmax.backend_of(x)
    chunked = library("xarray").DataArray(x, dims=("rows", "classes"))
    with pytest.raises(TypeError, match=message.format("x", "x")):
        stablesoftmax.softmax(chunked, dim="classes")


WITHOUT = """
import torch
from stablesoftmax import backend_of, softmax
x = torch.tensor([1.0, 2.0])
assert backend_of(x) == "compiled"
del {name}
assert backend_of(x) == "torch"
print(softmax(x).tolist(), softmax(x.requires_grad_()).tolist())
"""


@pytest.mark.parametrize(
    "name",
    [
        "torch._C._is_tracing",
        "torch._C._are_functorch_transforms_active",
        "torch._C._len_torch_dispatch_stack",
        "torch.autograd.forward_ad._current_level",
    ],
)
def test_a_torch_without_a_private_name_computes_itself(name):
    library("torch")
    assert python(WITHOUT.format(name=name)).stdout.split()[0].startswith("[0.2689414")
