"""NumPy in, NumPy out; a pair with the sign."""

from typing import Any, assert_type

import numpy as np
import numpy.ma
from numpy.typing import NDArray

from stablesoftmax import (
    backend_of,
    cross_entropy,
    log_softmax,
    logsumexp,
    logsumexp_jvp,
    sample,
    segment_logsumexp,
    segment_softmax,
    softmax,
    softmax_vjp,
)

x = np.ones((2, 3), np.float32)
assert_type(softmax(x), NDArray[Any])
assert_type(softmax(x, 0, where=x > 0, temperature=2.0, undefined="zero"), NDArray[Any])
assert_type(log_softmax([1, 2, 3], axis=-1), NDArray[Any])
assert_type(softmax(3.0), NDArray[Any])
assert_type(logsumexp(x, axis=1), Any)
assert_type(logsumexp([1.0, 2.0]), Any)
assert_type(logsumexp(x, b=x, return_sign=True), tuple[Any, Any])
assert_type(logsumexp([1.0, 2.0], return_sign=True), tuple[Any, Any])
assert_type(backend_of(x), str)
masked = np.ma.masked_invalid(x)
assert_type(softmax(masked), np.ma.MaskedArray[Any, Any])
assert_type(segment_softmax(x, [0, 1]), NDArray[Any])
assert_type(segment_logsumexp(x, indptr=[0, 2]), NDArray[Any])
assert_type(segment_logsumexp([1.0, 2.0], [0, 1]), NDArray[Any])
assert_type(softmax_vjp(x, x), NDArray[Any])
assert_type(logsumexp_jvp(x, x), Any)
assert_type(sample(x, (2, 3), top_k=4, rng=np.random.default_rng(1)), NDArray[np.int64])
assert_type(sample([1.0, 2.0]), NDArray[np.int64])
assert_type(sample(logits=x, temperature=0), Any)
assert_type(cross_entropy(x, [0, 1]), Any)

softmax(x, axes=1)  # type: ignore[call-overload]  # pyright: ignore[reportCallIssue]
softmax(x, undefined=0)  # type: ignore[call-overload]  # pyright: ignore[reportCallIssue, reportArgumentType]
sample(x, k=1)  # type: ignore[call-overload]  # pyright: ignore[reportCallIssue]
