"""Arrays that are not NumPy's, and how a function of them is called: at once, or traced."""

import numpy as np
from conftest import FLOATS, library


class Torch:
    """Tensors that need a gradient, which the kernels cannot take."""

    def array(self, a):
        torch, a = library("torch"), np.asarray(a)
        if a.dtype == FLOATS["bfloat16"]:
            return torch.tensor(a.astype(np.float32)).bfloat16().requires_grad_()
        tensor = torch.tensor(a)
        return tensor.requires_grad_() if tensor.is_floating_point() else tensor

    def call(self, function, *args, **options):
        return function(*args, **options)

    def numpy(self, y):
        torch = library("torch")
        assert type(y) is torch.Tensor
        bfloat16, y = y.dtype == torch.bfloat16, y.detach()
        return y.float().numpy().astype(FLOATS["bfloat16"]) if bfloat16 else y.numpy()


class Compiled(Torch):
    """torch.compile, in whose trace ids have no values."""

    def call(self, function, *args, **options):
        torch = library("torch")
        torch.compiler.reset()
        return torch.compile(function, fullgraph=True, backend="eager")(*args, **options)


class Jax:
    def array(self, a):
        return library("jax").numpy.asarray(a)

    def call(self, function, *args, **options):
        return function(*args, **options)

    def numpy(self, y):
        assert isinstance(y, library("jax").Array)
        return np.asarray(y)


class Jit(Jax):
    """Under jax.jit, where ids have no values."""

    def call(self, function, *args, **options):
        jax = library("jax")
        arrays = {k: v for k, v in options.items() if isinstance(v, jax.Array)}
        static = {k: v for k, v in options.items() if k not in arrays}

        def traced(args, arrays):
            return function(*args, **arrays, **static)

        return jax.jit(traced)(args, arrays)


class Strict:
    def array(self, a):
        return library("array_api_strict").asarray(np.asarray(a))

    def call(self, function, *args, **options):
        return function(*args, **options)

    def numpy(self, y):
        assert type(y).__module__.startswith("array_api_strict")
        return np.asarray(y)
