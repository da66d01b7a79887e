"""How NumPy, torch, JAX, TensorFlow and their kin spell what the rules know."""

from .values import words

__all__ = [
    "ARRAY_ROOTS",
    "FUNCTIONS",
    "LAYERS",
    "LOGIT_LOSSES",
    "METHODS",
    "NAMESPACES",
    "REDUCTIONS",
    "dtype_named",
]

ARRAY_ROOTS = words(
    "aesara autograd builtins chainer chex cmath cupy dask flax haiku jax keras keras_core "
    "math mesh_tensorflow mlx mxnet numpy optax paddle pytensor scipy sklearn stablesoftmax "
    "tensorflow tensorflow_probability tf_keras theano tinygrad torch torch_geometric "
    "torch_scatter"
)
"""The packages whose functions are known by their last name."""

NAMESPACES = {
    "np": "numpy",
    "numpy": "numpy",
    "onp": "numpy",
    "cp": "cupy",
    "xp": "numpy",
    "jnp": "jax.numpy",
    "torch": "torch",
    "tf": "tensorflow",
    "math": "math",
    "F": "torch.nn.functional",
    "nn": "torch.nn",
    "mx": "mlx.core",
    "jax": "jax",
    "lax": "jax.lax",
    "tt": "theano.tensor",
    "pt": "pytensor.tensor",
    "K": "keras.backend",
}
"""Names that stand for a library where the module itself does not say which they are."""


def _by_name(operations: dict[str, str]) -> dict[str, str]:
    return {name: op for op, names in operations.items() for name in names.split()}


REDUCTIONS = _by_name(
    {
        "sum": (
            "scatter segment sum nansum reduce_sum fsum sumover segment_sum scatter_sum "
            "scatter_add unsorted_segment_sum"
        ),
        "max": ("max max_axis amax nanmax reduce_max segment_max scatter_max unsorted_segment_max"),
        "min": "min min_axis amin nanmin reduce_min segment_min",
        "mean": "mean nanmean reduce_mean average",
        "median": "median nanmedian",
    }
)
"""The reduction that each function is, by its last name."""

FUNCTIONS = _by_name(
    {
        "exp": "exp exp2 exp_",
        "log": "log log2 log10 log_",
        "softmax": "softmax softmax_",
        "log_softmax": "log_softmax logsoftmax",
        "logsumexp": "logsumexp reduce_logsumexp",
        "add": "broadcast_add add add_",
        "sub": "broadcast_minus broadcast_sub subtract sub sub_ subtract_",
        "mul": "broadcast_mul multiply mul mul_",
        "div": "broadcast_div divide true_divide div div_ truediv divide_ divide_no_nan div_no_nan",
        "neg": "negative neg neg_",
        "reciprocal": "reciprocal",
        "clip": "clip clamp clamp_ clip_ clip_by_value",
        "floor": "clamp_min clamp_min_ maximum clip_min",
        "ceiling": "clamp_max clamp_max_ minimum",
        "where": "where",
        "masked_fill": "masked_fill masked_fill_",
        "hide": "nan_to_num nan_to_num_",
        "isnan": "isnan is_nan",
        "copy": "copy clone detach stop_gradient deepcopy detach_ identity",
        "same": (
            "ascontiguousarray contiguous atleast_1d ensure_tensor numpy cpu cuda "
            "block_until_ready item requires_grad_ asnumpy tolist data"
        ),
        "cast": (
            "asarray array tensor as_tensor convert_to_tensor astype cast asanyarray to type "
            "convert_to_numpy constant from_numpy array_equal_nan"
        ),
        "cast_by_name": (
            "float half double bfloat16 float16 float32 float64 int long byte short int32 "
            "int64 uint8 longdouble"
        ),
        "view": (
            "reshape view expand_dims unsqueeze unsqueeze_ squeeze squeeze_ expand expand_as "
            "broadcast_to broadcast_to_ tile repeat ravel flatten atleast_2d rearrange "
            "broadcast_like repeat_interleave reshape_as view_as repeat_elements newaxis "
            "broadcast_in_dim kron"
        ),
        "transpose": (
            "transpose permute swapaxes moveaxis movedim rollaxis t permute_dimensions "
            "matrix_transpose"
        ),
        "index": (
            "take_along_axis gather take index_select gather_nd batch_gather getitem pick "
            "take_along_dim narrow"
        ),
        "matmul": "matmul dot einsum tensordot mm bmm inner addmm vdot batch_dot mv",
        "buffer": (
            "zeros empty zeros_like empty_like new_zeros new_empty full full_like ones ones_like"
        ),
        "joined": ("stack concatenate concat hstack vstack cat column_stack row_stack r_ c_"),
    }
)
"""The operation that each function is, by its last name; a module's path does not matter."""

METHODS = frozenset(FUNCTIONS) - {"where", "tensor", "array", "asarray"}
"""What is taken for the array's own where it is called as a method of an unknown object."""

LAYERS = {
    "Softmax": "softmax",
    "Softmax2d": "softmax",
    "LogSoftmax": "log_softmax",
    "CrossEntropyLoss": "logit_loss",
    "Sequential": "sequential",
}
"""Classes whose instances are called."""

LOGIT_LOSSES = {
    "cross_entropy": ("input", "logits"),
    "cross_entropy_with_grad": ("logits",),
    "softmax_cross_entropy": ("logits", "x"),
    "softmax_cross_entropy_with_integer_labels": ("logits",),
    "softmax_cross_entropy_with_logits": ("logits",),
    "softmax_cross_entropy_with_logits_v2": ("logits",),
    "sparse_softmax_cross_entropy_with_logits": ("logits",),
    "sparse_softmax_cross_entropy": ("logits",),
    "softmax": ("input", "x", "logits"),
    "log_softmax": ("input", "x", "logits"),
    "CrossEntropyLoss": ("input",),
}
"""Functions that take a softmax of what they are given, and the keywords by which they take it."""

_DTYPES = _by_name(
    {
        "float16": "float16 half f16 f2",
        "float32": "float32 float single f4",
        "float64": "float64 double f8 float_",
        "bfloat16": "bfloat16",
        "longdouble": "longdouble",
        "int8": "int8",
        "int16": "int16 short",
        "int32": "int32 i4",
        "int64": "int64 int int_ long intp i8",
        "uint8": "uint8 byte u1",
        "uint16": "uint16",
        "uint32": "uint32",
        "uint64": "uint64 uint",
        "bool": "bool",
    }
)


def dtype_named(name: str) -> str:
    """The dtype that a name such as "np.float16" or "torch.half" stands for, or ""."""
    if (
        name == "float"
    ):  # Python's own, which NumPy takes for float64; torch's is spelled torch.float
        return "float64"
    return _DTYPES.get(name.rpartition(".")[2].lstrip("<>="), "")
