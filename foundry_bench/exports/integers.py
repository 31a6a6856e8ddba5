"""Layers of eight-bit integers as the float layers that they stand for: a runtime quantises floats its own way."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from foundry_bench.encoder import Encoder
from foundry_bench.students.linears import linear, replace


def with_float_layers(encoder: Encoder) -> Encoder:
    """``encoder`` itself, its integer layers replaced in place by linear layers of the weights that the integers stand for.

    An integer layer has buffers ``weight`` (out, in) int8 and ``scale`` (out,), and where the range of its inputs is known
    beforehand ``step`` and ``zero``, which its scale and bias have taken in.
    """
    for name, module in list(encoder.named_modules()):
        weight = getattr(module, "weight", None)
        if isinstance(weight, Tensor) and weight.dtype == torch.int8:
            replace(encoder, name, _float_layer(module, weight))
    return encoder


def has_integers(encoder: Encoder) -> bool:
    """Whether layers of ``encoder`` store eight-bit integers."""
    return any(buffer.dtype == torch.int8 for buffer in encoder.buffers())


def _float_layer(layer: nn.Module, weight: Tensor) -> nn.Linear:
    scale: Tensor = layer.get_buffer("scale")
    bias: Tensor | None = layer.bias  # type: ignore[assignment]
    step, zero = (dict(layer.named_buffers()).get(name) for name in ("step", "zero"))
    whole = weight.float()
    if step is not None and zero is not None:
        correction = scale * zero * whole.sum(dim=1)
        bias = correction if bias is None else bias + correction
        scale = scale / step
    return linear(whole * scale[:, None], bias)
