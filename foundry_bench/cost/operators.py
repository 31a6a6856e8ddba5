"""What each traced operator costs: multiply-adds for those that contract, nothing for those in a
named list. Any other operator is an error.

Handlers follow fvcore's interface: they get the operator's inputs and outputs as graph values and return
multiply-adds. Every closed form is (elements of the output) x (length of the contracted axis).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import isqrt, prod
from typing import Any

Handler = Callable[[Sequence[Any], Sequence[Any]], int]


def _shape(value: Any) -> list[int]:
    if not value.isCompleteTensor():
        raise ValueError(f"the trace holds no shape for {value}")
    return list(value.type().sizes())


def _contracts_operand(position: int) -> Handler:
    """The operand at ``position`` is contracted over its last axis: linear, mm, bmm, matmul, addmm."""

    def handler(inputs: Sequence[Any], outputs: Sequence[Any]) -> int:
        return prod(_shape(outputs[0])) * _shape(inputs[position])[-1]

    return handler


def _addbmm(inputs: Sequence[Any], outputs: Sequence[Any]) -> int:
    """(b, n, m) x (b, m, p) summed over b."""
    return prod(_shape(inputs[1])) * _shape(inputs[2])[-1]


def _tensordot(inputs: Sequence[Any], outputs: Sequence[Any]) -> int:
    """|a| |b| = |out| K^2 whatever the axes, so |out| K is the root of the product of all three."""
    return isqrt(prod(_shape(inputs[0])) * prod(_shape(inputs[1])) * prod(_shape(outputs[0])))


def _convolution(inputs: Sequence[Any], outputs: Sequence[Any]) -> int:
    """Each output (transposed: input) element takes one product per weight of its filter."""
    source, weight = _shape(inputs[0]), _shape(inputs[1])
    transposed = len(inputs) > 6 and bool(inputs[6].toIValue())
    return prod(source if transposed else _shape(outputs[0])) * prod(weight[1:])


def _attention(inputs: Sequence[Any], outputs: Sequence[Any]) -> int:
    """q (..., L, E), k (..., S, E), v (..., S, V): scores L S E and sum L S V for each head."""
    query, key, value = (_shape(v) for v in inputs[:3])
    return prod(query[:-2]) * query[-2] * key[-2] * (query[-1] + value[-1])


def _einsum(inputs: Sequence[Any], outputs: Sequence[Any]) -> int:
    """Product of the lengths of all indices of a two-operand einsum; a one-operand one only moves and
    sums."""
    equation = inputs[0].toIValue()
    operands = [_shape(v) for v in inputs[1].node().inputs()]
    if len(operands) == 1:
        return 0
    if len(operands) > 2 or "." in equation:
        raise ValueError(
            f"einsum {equation!r} is not counted; write it with two operands and without an ellipsis"
        )
    terms = equation.split("->")[0].replace(" ", "").split(",")
    lengths = {
        i: n for term, shape in zip(terms, operands, strict=True) for i, n in zip(term, shape, strict=True)
    }
    return prod(lengths.values())


HANDLERS: dict[str, Handler] = {
    **dict.fromkeys(
        ("aten::linear", "aten::mm", "aten::bmm", "aten::matmul", "aten::mv", "aten::dot", "aten::vdot"),
        _contracts_operand(0),
    ),
    **dict.fromkeys(
        ("aten::inner", "aten::cdist", "aten::_cdist_forward", "aten::_int_mm"), _contracts_operand(0)
    ),
    **dict.fromkeys(("aten::addmm", "aten::baddbmm", "aten::addmv"), _contracts_operand(1)),
    **dict.fromkeys(("aten::conv1d", "aten::conv2d", "aten::conv3d", "aten::_convolution"), _convolution),
    "aten::addbmm": _addbmm,
    "aten::tensordot": _tensordot,
    "aten::scaled_dot_product_attention": _attention,
    "aten::einsum": _einsum,
}

_SHAPE_OPERATORS = """
    alias as_strided broadcast_tensors broadcast_to cat chunk clone concat concatenate constant_pad_nd
    contiguous copy detach expand expand_as flatten flip hstack index_select lift_fresh meshgrid movedim
    moveaxis narrow numpy_T pad permute ravel repeat repeat_interleave reshape reshape_as resolve_conj
    resolve_neg roll select size slice split split_with_sizes squeeze stack swapaxes swapdims swapaxes t
    take take_along_dim tensor_split tile to transpose tril triu type_as unbind unflatten unfold unsqueeze
    view view_as vstack Int Float Bool FloatImplicit IntImplicit ScalarImplicit item numel _shape_as_tensor
    sym_size _local_scalar_dense _pack_padded_sequence is_nonzero
"""
_INDEX_OPERATORS = """
    argmax argmin argsort bincount bucketize count_nonzero diag_embed diagonal diagonal_scatter embedding
    gather index index_add index_copy index_fill index_put index_reduce masked_fill masked_scatter
    masked_select nonzero nonzero_numpy one_hot scatter scatter_add scatter_reduce searchsorted
    select_scatter slice_scatter sort topk unique_consecutive unique_dim _unique2 where kthvalue msort
"""
_CREATION_OPERATORS = """
    arange empty empty_like eye fill full full_like linspace new_empty new_full new_ones new_tensor
    new_zeros ones ones_like rand rand_like randint randn randn_like randperm scalar_tensor tensor zero
    zeros zeros_like bernoulli exponential multinomial normal uniform
"""
_ELEMENTWISE_OPERATORS = """
    __and__ __or__ __xor__ __iand__ __ior__ abs add addcdiv addcmul all any atan2 bitwise_and bitwise_not
    bitwise_or bitwise_xor ceil clamp clamp_max clamp_min clip cos cumprod cumsum diff div divide dropout
    elu eq equal erf exp expm1 feature_dropout floor floor_divide fmod frac ge gelu glu gt hardsigmoid
    hardswish hardtanh isclose isfinite isinf isnan le leaky_relu lerp log log10 log1p log2 log_sigmoid
    logaddexp logical_and logical_not logical_or logical_xor logit lt maximum minimum mish mul multiply
    nan_to_num ne neg negative pow prelu reciprocal relu relu6 remainder round rsqrt rsub selu sgn sigmoid
    sign silu sin softplus sqrt square sub subtract tan tanh threshold true_divide trunc
"""
_REDUCTION_OPERATORS = """
    adaptive_avg_pool1d adaptive_max_pool1d amax amin aminmax avg_pool1d batch_norm cosine_similarity
    group_norm instance_norm l1_loss layer_norm linalg_norm linalg_vector_norm log_softmax logcumsumexp
    logsumexp max max_pool1d max_pool1d_with_indices max_pool2d mean median min mse_loss native_batch_norm
    native_group_norm native_layer_norm norm normalize prod rms_norm smooth_l1_loss softmax std std_mean sum
    var var_mean
"""
IGNORED = frozenset(
    "aten::" + op
    for group in (
        _SHAPE_OPERATORS,
        _INDEX_OPERATORS,
        _CREATION_OPERATORS,
        _ELEMENTWISE_OPERATORS,
        _REDUCTION_OPERATORS,
    )
    for op in group.split()
)
"""Operators that move, pick, compare, normalise or work element by element. The field does not count them
(Point-MAE's "4.8 G" does not either), and torch's own counter does not."""


def is_ignored(kind: str) -> bool:
    """Whether an operator such as ``aten::add_`` costs nothing by the list above; in-place forms count
    as the plain operator."""
    in_place = kind.endswith("_") and not kind.endswith("__")
    return (kind[:-1] if in_place else kind) in IGNORED
