"""Eight-bit integers in every linear layer, after training (Jacob et al., arXiv 1712.05877).

Weights have a scale per output channel (Krishnamoorthi, arXiv 1806.08342); activations one per token, taken from the token
itself (ZeroQuant, arXiv 2206.01861), or a range per layer that calibration has seen. The batch norms of a PointNet tokenizer
are folded into its layers first. Layer norms, GELU, softmax, the two products of attention and layers with fewer than eight
inputs or outputs (coordinates) stay float.

The gain is bytes and, on x86 processors, time: an integer multiply-add is a multiply-add. Elsewhere, GPUs included, the same
integers are multiplied in float32, which gives the same tokens and no speed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Annotated, Any, ClassVar, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from foundry_bench.authoring import (
    OFF_THE_SHELF,
    Bounds,
    Context,
    Encoder,
    Family,
    Method,
    Paper,
    Patches,
    PointCloudDataset,
    SparseLinear,
    calibrate,
    calibration_patches,
    linears,
    replace,
    trainable_copy,
)

WEIGHT_LEVELS = 63
"""Largest integer of a weight, so that pairs of products fit into 16 bits: 2 x 255 x 63 < 2^15. Processors without VNNI add
such pairs before they widen, and saturate silently with weights up to 127 (pytorch/pytorch#136746): other tokens on another
machine. The eighth bit of a weight is worth less than that of an activation."""
ACTIVATION_LEVELS = 127
TINY = 1e-12
"""Smallest scale: a row of zeros has one, too."""

Range = tuple[float, float]
"""Least and largest input of a layer."""


def quantize_weight(weight: Tensor) -> tuple[Tensor, Tensor]:
    """Integers q (out, in) and a scale per output channel (out,), ``W ~ scale q``, symmetric."""
    scale = weight.abs().amax(dim=1).div(WEIGHT_LEVELS).clamp_min(TINY)
    return (weight / scale[:, None]).round().to(torch.int8), scale


def quantize_tokens(x: Tensor) -> tuple[Tensor, Tensor]:
    """Integers q (N, in) and a step per token (N, 1), ``x ~ step q``, symmetric.

    One step for the whole tensor, as in ``quantized.linear_dynamic``, would make a cloud's tokens depend on its batch.
    """
    step = x.abs().amax(dim=1, keepdim=True).mul_(1 / ACTIVATION_LEVELS).clamp_min_(TINY)
    return x.div(step).round_().to(torch.int8), step


def affine(span: Range) -> tuple[float, int]:
    """Step and zero point that lay the 256 integers over ``span``, which is widened to hold 0: ``x ~ step (q - zero)``."""
    low, high = min(span[0], 0.0), max(span[1], 0.0)
    step = max((high - low) / 255, TINY)
    return step, round(-128 - low / step)


def quantize_calibrated(x: Tensor, step: Tensor, zero: Tensor) -> Tensor:
    """Integers (N, in) of x on a scale known before; what lies outside of the range is clipped to its ends."""
    return x.div(step).add_(zero).round_().clamp_(-128, 127).to(torch.int8)


@lru_cache
def has_integer_kernel() -> bool:
    """Whether ``torch._int_mm`` is a kernel of oneDNN on this processor, and not a plain loop."""
    return torch.backends.mkldnn.is_available() and "AVX" in torch.backends.cpu.get_cpu_capability()


def integer_product(q: Tensor, weight: Tensor) -> Tensor:
    """q (N, in) times weight (out, in) transposed, exact, as float32 (N, out)."""
    if q.is_cpu and has_integer_kernel():
        return torch._int_mm(q, weight.t()).float()
    return float_product(q, weight)


def float_product(q: Tensor, weight: Tensor) -> Tensor:
    """The same without an integer kernel; exact up to 2,000 inputs, whose products add up to less than 2^24."""
    with torch.autocast(q.device.type, enabled=False):
        return F.linear(q.float(), weight.float())


class Int8Linear(nn.Module):
    """A linear layer in integers, for inference. ``span``: the range of its inputs; without it each token gets its own step.

    With a range, step and zero point are constants, and ``scale`` and ``bias`` take them in:
    ``scale step (q_x - zero) q_w^T + b``. The weight is a buffer, as parameters must be able to have a gradient.
    """

    weight: Tensor
    scale: Tensor
    step: Tensor | None
    zero: Tensor | None

    def __init__(self, layer: nn.Linear, span: Range | None = None) -> None:
        super().__init__()
        weight, scale = quantize_weight(layer.weight.detach().float())
        bias = None if layer.bias is None else layer.bias.detach().float()
        step, zero = None, None
        if span is not None:
            step, zero = (torch.tensor(float(v), device=scale.device) for v in affine(span))
            scale = scale * step
            correction = scale * zero * weight.sum(dim=1)
            bias = -correction if bias is None else bias - correction
        self.bias = None if bias is None else nn.Parameter(bias.clone(), requires_grad=False)
        self.register_buffer("weight", weight)
        self.register_buffer("scale", scale)
        self.register_buffer("step", step)
        self.register_buffer("zero", zero)

    def forward(self, x: Tensor) -> Tensor:
        """(..., in) -> (..., out), of the type of ``x``."""
        rows = x.flatten(0, -2).float()
        if self.step is None or self.zero is None:
            q, step = quantize_tokens(rows)
            out = integer_product(q, self.weight).mul_(step).mul_(self.scale)
        else:
            q = quantize_calibrated(rows, self.step, self.zero)
            out = integer_product(q, self.weight).mul_(self.scale)
        if self.bias is not None:
            out.add_(self.bias)
        return out.to(x.dtype).unflatten(0, x.shape[:-1])


def input_ranges(encoder: Encoder, patches: Patches, layers: Mapping[str, nn.Linear]) -> dict[str, Range]:
    """Range of the inputs of each of ``layers`` when ``encoder`` runs on ``patches``; none for a layer that does not run."""
    ranges = {}

    def visit(name: str, layer: nn.Linear, inputs: Tensor) -> None:
        ranges[name] = (float(inputs.min()), float(inputs.max()))

    calibrate(encoder, patches, layers, visit)
    return ranges


ACTIVATIONS = ("dynamic", "static")


@dataclass(frozen=True)
class Int8(Method):
    """``activations``: ``dynamic`` measures each token when it comes, ``static`` has measured each layer's range before: a
    little faster, a little less exact. ``samples``: the clouds it was measured on, of training objects.

    There is nothing to train: a distilled student is quantised afterwards, as ``foundry+int8``.
    """

    name: ClassVar[str] = "int8"
    family: ClassVar[Family] = "quantise"
    paper: ClassVar[Paper] = Paper(
        "Quantization and Training of Neural Networks for Efficient Integer-Arithmetic-Only Inference",
        "1712.05877",
    )
    abstract: ClassVar[str] = "linear layers in 8 bits"
    variants: ClassVar[tuple[str, ...]] = (OFF_THE_SHELF,)
    grid: ClassVar[dict[str, tuple[Any, ...]]] = {"activations": ACTIVATIONS}
    matched: ClassVar[tuple[dict[str, Any], ...]] = ({"activations": "dynamic"},)
    stacked_on: ClassVar[tuple[str, ...]] = ("foundry",)

    activations: Literal["dynamic", "static"] = "dynamic"
    samples: Annotated[int, Bounds(at_least=1)] = 128

    def compress(self, teacher: Encoder, data: PointCloudDataset, ctx: Context) -> Encoder:
        student = trainable_copy(teacher, tokenizer=True).requires_grad_(False).eval()
        # other subclasses of nn.Linear are read by modules that know them, as nn.MultiheadAttention reads its own
        known = (nn.Linear, SparseLinear)
        layers = {name: layer for name, layer in linears(student).items() if type(layer) in known}
        ranges = {}
        if self.activations == "static":
            ranges = input_ranges(student, calibration_patches(student, data, self.samples), layers)
        for name, layer in layers.items():
            replace(student, name, Int8Linear(layer, ranges.get(name)))
        return student
