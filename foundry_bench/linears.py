"""The linear layers of an encoder, for methods that compress weights: copy, list, replace, calibrate in running order.

The functions take any encoder, a teacher as well as another method's student.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from foundry_bench.encoder import Encoder, Patches
from foundry_bench.teachers.tokenizer import PointNetTokenizer
from foundry_bench.token_cache import held_out

if TYPE_CHECKING:
    from foundry_bench.datasets import PointCloudDataset

SMALLEST = 8
"""Layers with fewer inputs or outputs (coordinates, gates) are left as they are: there is nothing to save in them."""
CLOUDS = 128
"""Calibration samples, as many as Wanda takes."""

Visit = Callable[[str, nn.Linear, Tensor], None]
"""Called as ``visit(name, layer, inputs)`` with all inputs (N, in_features) that the layer is about to see."""


class EvalBatchNorm1d(nn.BatchNorm1d):
    """A batch norm whose statistics never move: it stays in evaluation mode whatever holds it."""

    def __init__(self, norm: nn.BatchNorm1d) -> None:
        super().__init__(norm.num_features, norm.eps, norm.momentum, norm.affine, norm.track_running_stats)
        self.load_state_dict(norm.state_dict())
        self.eval()

    def train(self, mode: bool = True) -> EvalBatchNorm1d:
        """Nothing: ``mode`` is ignored."""
        super().train(False)
        return self


class FoldedPointNet(nn.Module):
    """A :class:`PointNetTokenizer` made of linear layers only, the same function to rounding.

    Batch norms are folded into the layers before them, and the layer that sees ``[global | local]`` is the two layers that
    it is computed as. Widths are those of the layers, so that each may be narrowed, factored or replaced.
    """

    def __init__(self, tokenizer: PointNetTokenizer) -> None:
        super().__init__()
        lift, norm_lift, _, local = tokenizer.first_conv
        expand, norm_expand, _, project = tokenizer.second_conv
        assert isinstance(expand, nn.Linear)
        weight, bias = _folded(expand, norm_expand)
        width = expand.in_features // 2
        self.lift = _linear(*_folded(lift, norm_lift))
        self.local = copy.deepcopy(local)
        self.from_group = _linear(weight[:, :width], bias)
        self.from_point = _linear(weight[:, width:], None)
        self.project = copy.deepcopy(project)

    def forward(self, neighborhoods: Tensor) -> Tensor:
        """(B, T, K, 3) -> (B, T, D)."""
        batch, groups, size, _ = neighborhoods.shape
        local = self.local(F.relu(self.lift(neighborhoods.reshape(-1, 3))))
        pooled = local.unflatten(0, (batch * groups, size)).amax(dim=1)
        from_group = self.from_group(pooled)[:, None]
        x = F.relu(from_group + self.from_point(local).unflatten(0, (batch * groups, size)))
        return self.project(x.flatten(0, 1)).reshape(batch, groups, size, -1).amax(dim=2)


def _linear(weight: Tensor, bias: Tensor | None) -> nn.Linear:
    layer = nn.Linear(weight.shape[1], weight.shape[0], bias is not None, weight.device, weight.dtype)
    with torch.no_grad():
        layer.weight.copy_(weight)
        if bias is not None:
            layer.bias.copy_(bias)
    return layer


def _folded(layer: nn.Module, norm: nn.Module) -> tuple[Tensor, Tensor]:
    """Weight and bias of a linear layer followed by a batch norm in evaluation mode."""
    assert isinstance(layer, nn.Linear)
    assert isinstance(norm, nn.BatchNorm1d)
    assert norm.running_var is not None
    assert norm.running_mean is not None
    scale = norm.weight / (norm.running_var + norm.eps).sqrt()
    return layer.weight * scale[:, None], (layer.bias - norm.running_mean) * scale + norm.bias


def trainable_copy(teacher: Encoder, tokenizer: bool) -> Encoder:
    """A copy of ``teacher`` with gradients on. ``tokenizer``: whether its tokenizer may change; a PointNet is then folded,
    else it is frozen, and distillation may start from the teacher's cached tokens."""
    student = copy.deepcopy(teacher).requires_grad_(True)
    part = getattr(student, "tokenizer", None)
    if tokenizer and isinstance(part, PointNetTokenizer):
        student.tokenizer = FoldedPointNet(part)
    elif not tokenizer and isinstance(part, nn.Module):
        part.requires_grad_(False)
    for name, module in list(student.named_modules()):
        if type(module) is nn.BatchNorm1d:
            frozen = EvalBatchNorm1d(module).to(next(module.parameters()).device)
            replace(student, name, frozen.requires_grad_(next(module.parameters()).requires_grad))
    return student


def linears(encoder: nn.Module, tokenizer: bool = True) -> dict[str, nn.Linear]:
    """The linear layers worth compressing, by name; those of the ``tokenizer`` only if asked for."""
    return {
        name: module
        for name, module in encoder.named_modules()
        if isinstance(module, nn.Linear)
        and min(module.in_features, module.out_features) >= SMALLEST
        and (tokenizer or not name.startswith("tokenizer."))
    }


def replace(encoder: nn.Module, name: str, module: nn.Module) -> None:
    """Put ``module`` where ``encoder`` has the module ``name``."""
    parent, _, leaf = name.rpartition(".")
    setattr(encoder.get_submodule(parent), leaf, module)


def calibration_patches(encoder: Encoder, data: PointCloudDataset, clouds: int = CLOUDS) -> Patches:
    """Patches of ``clouds`` objects spread over those that students train on: never of held-out ones."""
    rows = np.flatnonzero(~held_out(data))
    rows = rows[np.unique(np.linspace(0, len(rows) - 1, clouds).round().astype(int))]
    points = torch.from_numpy(data.points[rows, : encoder.config.points].astype(np.float32))
    return encoder.tokenize(points.to(next(encoder.parameters()).device))


@torch.no_grad()
def calibrate(encoder: Encoder, patches: Patches, layers: Mapping[str, nn.Linear], visit: Visit) -> None:
    """Run ``encoder`` once on ``patches`` and visit each of ``layers`` just before it runs for the first time.

    What ``visit`` does to the layer's weight holds from then on, so that a layer meets its inputs as the compressed layers
    before it leave them: layer-wise sequential compression in one pass. A layer that does not run is not visited.
    """
    handles = {}

    def hook(name: str) -> Callable[[nn.Module, tuple[Tensor, ...]], None]:
        def before(layer: nn.Module, inputs: tuple[Tensor, ...]) -> None:
            handles.pop(name).remove()
            assert isinstance(layer, nn.Linear)
            visit(name, layer, inputs[0].flatten(0, -2))

        return before

    for name, layer in layers.items():
        handles[name] = layer.register_forward_pre_hook(hook(name))
    encoder.eval()
    try:
        encoder(patches)
    finally:
        for handle in handles.values():
            handle.remove()
