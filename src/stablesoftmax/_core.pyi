from collections.abc import Callable
from typing import Any, Final, Literal, TypeVar

import numpy as np
from numpy.typing import NDArray

_F = TypeVar("_F", bound=Callable[..., Any])
_Kernel = Literal["float16", "bfloat16", "float32", "float64"]

SOFTMAX: Final[int]
LOG_SOFTMAX: Final[int]
LOGSUMEXP: Final[int]

def apply(
    op: int,
    dtype: _Kernel,
    x: NDArray[Any],
    out: NDArray[Any],
    where: NDArray[np.bool_] | None,
    temperature: NDArray[np.float64] | None,
    undefined: int,
    /,
) -> None: ...
def apply_segments(
    op: int,
    dtype: _Kernel,
    x: NDArray[Any],
    out: NDArray[Any],
    segments: NDArray[np.int32] | NDArray[np.int64],
    count: int,
    /,
) -> None: ...
def apply_indptr(
    op: int, dtype: _Kernel, x: NDArray[Any], out: NDArray[Any], indptr: NDArray[np.int64], /
) -> None: ...
def first_undefined(dtype: _Kernel, x: NDArray[Any], where: NDArray[np.bool_] | None, /) -> int: ...
def cross_entropy(
    dtype: _Kernel,
    x: NDArray[Any],
    where: NDArray[np.bool_] | None,
    labels: NDArray[np.int64] | None,
    targets: NDArray[Any] | None,
    target_dtype: _Kernel,
    weight: NDArray[np.float64] | None,
    smoothing: float,
    scale: float,
    loss: NDArray[np.float64],
    gradient: NDArray[Any] | None,
    /,
) -> None: ...
def selected_log_softmax(
    dtype: _Kernel,
    x: NDArray[Any],
    where: NDArray[np.bool_] | None,
    temperature: NDArray[np.float64] | None,
    index: NDArray[np.int64],
    out: NDArray[Any],
    /,
) -> None: ...
def logcumsumexp(
    dtype: _Kernel, x: NDArray[Any], where: NDArray[np.bool_] | None, out: NDArray[Any], /
) -> None: ...
def all_finite(array: object, /) -> bool | None: ...
def entropy(
    dtype: _Kernel,
    x: NDArray[Any],
    out: NDArray[Any],
    where: NDArray[np.bool_] | None,
    temperature: NDArray[np.float64] | None,
    /,
) -> None: ...
def kl_divergence(
    dtype: _Kernel,
    p: NDArray[Any],
    q: NDArray[Any],
    out: NDArray[Any],
    where: NDArray[np.bool_] | None,
    /,
) -> None: ...
def product(
    product: int,
    dtype: _Kernel,
    x: NDArray[Any],
    v_dtype: _Kernel,
    v: NDArray[Any],
    out: NDArray[Any],
    where: NDArray[np.bool_] | None,
    temperature: NDArray[np.float64] | None,
    /,
) -> None: ...
def weighted_logsumexp(
    dtype: _Kernel,
    x: NDArray[Any],
    b_dtype: _Kernel,
    b: NDArray[Any],
    out: NDArray[Any],
    where: NDArray[np.bool_] | None,
    /,
) -> bool: ...
def draw(
    dtype: _Kernel,
    x: NDArray[Any],
    where: NDArray[np.bool_] | None,
    temperature: NDArray[np.float64] | None,
    top_k: int | None,
    top_p: float | None,
    min_p: float | None,
    draws: NDArray[np.int64],
    /,
) -> None: ...
def total(array: NDArray[np.float64], /) -> float: ...
def entry(python_function: _F, /) -> _F: ...
def register_bfloat16(dtype: np.dtype[Any], /) -> None: ...
def set_num_threads(n: int, /) -> None: ...
def get_num_threads() -> int: ...
def isa() -> str: ...
