"""Array kind in, array kind out; stand-ins bear the attributes by which kinds are told apart."""

from typing import Any, assert_type

import numpy as np
from numpy.typing import NDArray

from stablesoftmax import (
    cross_entropy,
    log_softmax,
    log_softmax_jvp,
    logsumexp,
    logsumexp_jvp,
    logsumexp_vjp,
    sample,
    segment_log_softmax,
    segment_logsumexp,
    segment_softmax,
    selected_log_softmax,
    softmax,
    softmax_vjp,
)


class Tensor:
    device: str = "cpu"

    def __dlpack__(self, *, stream: int | None = None) -> object:
        return stream


class Series:
    @property
    def iloc(self) -> object:
        return self


class PolarsSeries:
    def to_physical(self) -> "PolarsSeries":
        return self


class DataArray:
    @property
    def dims(self) -> tuple[str, ...]:
        return ("row", "column")

    @property
    def coords(self) -> object:
        return self


tensor, series, polars, array = Tensor(), Series(), PolarsSeries(), DataArray()

assert_type(softmax(tensor), Tensor)
assert_type(log_softmax(tensor, -1, temperature=2.0), Tensor)
assert_type(logsumexp(tensor, 1), Tensor)
assert_type(logsumexp(tensor, 1, return_sign=True), tuple[Tensor, Tensor])
assert_type(softmax(series), Series)
assert_type(logsumexp(series), Any)
assert_type(softmax(polars), PolarsSeries)
assert_type(softmax(array, 0), DataArray)
assert_type(softmax(array, dim="row"), DataArray)
assert_type(logsumexp(array, dim=["row", "column"]), DataArray)
assert_type(logsumexp(array, dim="row", return_sign=True), tuple[DataArray, DataArray])
assert_type(segment_softmax(tensor, [0, 1], num_segments=2), Tensor)
assert_type(segment_log_softmax(tensor, indptr=np.array([0, 2])), Tensor)
assert_type(segment_logsumexp(tensor, [0, 1]), Tensor)
assert_type(segment_logsumexp(series, [0, 1]), NDArray[Any])
assert_type(softmax_vjp(tensor, [1.0, 0.0], where=[True, False]), Tensor)
assert_type(log_softmax_jvp(tensor, 1.0, 0, temperature=2.0), Tensor)
assert_type(logsumexp_vjp(tensor, 1.0), Tensor)
assert_type(logsumexp_jvp(tensor, 1.0, keepdims=True), Tensor)
assert_type(logsumexp_jvp(array, 1.0, axis=0), DataArray)
assert_type(sample(tensor, 3, rng=1), Tensor)
assert_type(cross_entropy(tensor, [0, 1], reduction="none"), Tensor)
assert_type(selected_log_softmax(tensor, [0, 1]), Tensor)
assert_type(sample(array, axis=0), NDArray[np.int64])
softmax(object())  # type: ignore[call-overload]  # pyright: ignore[reportCallIssue, reportArgumentType]
