"""Array kind in, array kind out; stand-ins bear the attributes by which kinds are told apart."""

from typing import Any, assert_type

from stablesoftmax import log_softmax, logsumexp, softmax


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
softmax(object())  # type: ignore[call-overload]  # pyright: ignore[reportCallIssue, reportArgumentType]
