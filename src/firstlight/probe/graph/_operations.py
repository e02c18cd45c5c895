"""Which torch functions do what to a signal, by the names torch gives them."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class WeightOperation:
    """A function that mixes units by a weight; ``spatial`` is the number of convolved axes."""

    spatial: int = 0
    transposed: bool = False


WEIGHT_OPERATIONS: dict[str, WeightOperation] = {
    "linear": WeightOperation(),
    "conv1d": WeightOperation(1),
    "conv2d": WeightOperation(2),
    "conv3d": WeightOperation(3),
    "conv_transpose1d": WeightOperation(1, transposed=True),
    "conv_transpose2d": WeightOperation(2, transposed=True),
    "conv_transpose3d": WeightOperation(3, transposed=True),
}
MATMULS = frozenset(
    """matmul mm bmm mv addmm baddbmm addbmm addmv rmatmul einsum bilinear tensordot inner linalg_matmul
    grouped_mm grouped_mm_fallback scaled_grouped_mm sparse_mm smm sparse_addmm multi_dot""".split()
)
EMBEDDINGS = frozenset({"embedding", "embedding_bag"})
RECURRENT = frozenset(
    {"lstm", "gru", "rnn_tanh", "rnn_relu", "lstm_cell", "gru_cell", "rnn_tanh_cell", "rnn_relu_cell"}
)
NORMS = frozenset(
    {
        "batch_norm",
        "layer_norm",
        "group_norm",
        "instance_norm",
        "rms_norm",
        "local_response_norm",
        "normalize",
    }
)
ATTENTION = frozenset({"scaled_dot_product_attention", "softmax"})
OTHER_KINDS = {
    **dict.fromkeys(EMBEDDINGS, "embedding"),
    **dict.fromkeys(RECURRENT, "recurrent"),
    **dict.fromkeys(ATTENTION, "attention"),
}
DROPOUTS = frozenset({"dropout", "dropout1d", "dropout2d", "dropout3d", "feature_dropout"})

ELEMENTWISE = frozenset(
    """relu relu6 tanh sigmoid gelu silu elu selu celu leaky_relu softplus softsign logsigmoid mish
    hardtanh hardswish hardsigmoid hardshrink softshrink tanhshrink threshold prelu sin cos tan sinh
    cosh asinh acosh atanh atan arctan asin acos sinc exp exp2 expm1 log log2 log10 log1p erf erfc abs
    absolute neg negative square sqrt rsqrt reciprocal sign sgn pow float_power clamp clip clamp_min
    clamp_max xlogy add sub subtract rsub mul multiply div divide true_divide rdiv rtruediv rpow maximum
    minimum max min where addcmul gt lt ge le eq ne greater less greater_equal less_equal logical_and
    logical_or logical_not round floor ceil trunc frac heaviside positive relu_ lerp truediv radd rmul""".split()
)
SUMS = frozenset({"add", "radd", "iadd"})
SHIFTS = SUMS | {"sub", "subtract"}
PRODUCTS = frozenset({"mul", "multiply", "rmul"})
# With one of these an activation may begin on a tensor that is no function of one row: a sum, a concatenation.
ACTIVATIONS = frozenset(
    """relu relu6 tanh sigmoid gelu silu elu selu celu leaky_relu softplus softsign logsigmoid mish
    hardtanh hardswish hardsigmoid hardshrink softshrink tanhshrink threshold prelu sin cos exp clamp_min
    heaviside erf rrelu""".split()
)
# Where parts of several tensors stand side by side: a parameter among them is no weight that mixes units.
ASSEMBLIES = frozenset(
    """cat concat concatenate stack hstack vstack where masked_fill masked_scatter index_put setitem scatter
    index_copy copy pad lerp index_add scatter_add scatter_reduce""".split()
)
# What draws is never replayed.
RANDOM = (
    "rand",
    "bernoulli",
    "dropout",
    "normal",
    "uniform",
    "poisson",
    "multinomial",
    "rrelu",
    "exponential",
)

# Rearrangements: the entries stay, so their law stays.
VIEWS = frozenset(
    """view reshape flatten unflatten transpose permute squeeze unsqueeze contiguous movedim moveaxis
    swapaxes swapdims t T mT H mH view_as reshape_as ravel roll flip clone to float half bfloat16 double
    type type_as cpu cuda alias as_strided expand expand_as
    repeat tile repeat_interleave""".split()
)
PARTS = frozenset(
    {
        "getitem",
        "chunk",
        "split",
        "narrow",
        "select",
        "unbind",
        "index_select",
        "tensor_split",
        "split_with_sizes",
        "real",
        "imag",
    }
)
# Attributes of tensors that are tensors with the same entries.
GETTERS = frozenset({"get_T", "get_mT", "get_H", "get_mH", "get_data", "get_real", "get_imag"})

# The place of an entry.
PICKS = frozenset({"argmax", "argmin"})

# What makes Python numbers of a tensor.
NUMBERS = frozenset({"item", "tolist", "numpy", "__array__", "__float__", "__int__"})
# Nothing flows through these: shapes, flags, constants, comparisons of metadata.
IGNORED = frozenset(
    """size dim stride numel element_size is_floating_point is_complex is_contiguous get_device data_ptr
    storage_offset ndimension nelement len item tolist zeros_like ones_like
    full_like empty_like rand_like randn_like new_zeros new_ones new_full new_empty new_tensor
    register_hook retain_grad requires_grad is_grad_enabled set_grad_enabled repr
    format hash isnan isinf isfinite all any broadcast_shapes is_nonzero
    has_names contains array numpy dlpack is_inference has_compatible_shallow_copy_type
    result_type finfo""".split()
)


def writes(func: object) -> bool:
    """Whether a torch function writes into its first argument, by its name.

    Examples
    --------
    >>> import torch
    >>> [writes(f) for f in (torch.Tensor.mul_, torch.Tensor.__iadd__, torch.Tensor.__matmul__, torch.mul)]
    [True, True, False, False]
    """
    name = getattr(func, "__name__", "").partition(".")[0]
    if name.startswith("__"):
        return name.strip("_") in _INPLACE_OPERATORS or name == "__setitem__"
    return name.endswith("_")


def plain_name(func: object) -> str:
    """The name of a torch function without the marks of methods, operators and in-place variants.

    Examples
    --------
    >>> import torch
    >>> [plain_name(f) for f in (torch.Tensor.__rsub__, torch.relu_, torch.nn.functional.gelu)]
    ['rsub', 'relu', 'gelu']
    >>> [plain_name(f) for f in (torch.ops.aten.relu.default, torch.sparse.mm)]
    ['relu', 'sparse_mm']
    """
    name = getattr(func, "__name__", type(func).__name__).partition(".")[0]
    if name == "__get__":
        return "get_" + getattr(getattr(func, "__self__", None), "__name__", "")
    if name.startswith("__") and name.endswith("__"):
        name = name[2:-2]
        return name[1:] if name in _INPLACE_OPERATORS else name
    return name.lstrip("_") if not name.endswith("_") else name.strip("_")


_INPLACE_OPERATORS = frozenset({"iadd", "isub", "imul", "itruediv", "ipow", "idiv"})
