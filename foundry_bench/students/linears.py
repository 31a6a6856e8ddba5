"""The linear layers of an encoder, for methods that compress its weights: copy, list, replace, calibrate.

The functions take any encoder: a teacher, or the student of another method.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.hooks import RemovableHandle

from foundry_bench.encoder import Encoder
from foundry_bench.errors import UserError
from foundry_bench.points.patches import Patches
from foundry_bench.teachers.tokenizer import PointNetTokenizer, ReducedTokenizer

SMALLEST = 8
"""Layers with fewer inputs or outputs (coordinates, gates) are left as they are: there is nothing to save in them."""
ROWS = 4096
"""Largest number of input rows that a second moment is computed from. More would add little: points of one patch, and patches
of one cloud, resemble each other."""
RIDGE = 1e-3
"""Damping of second moments, relative to their mean diagonal, so that they can be factored and solved."""

Visit = Callable[[str, nn.Linear, Tensor], None]
"""Called as ``visit(name, layer, inputs)`` with all inputs (N, in_features) that the layer is about to see."""


class EvalBatchNorm1d(nn.BatchNorm1d):
    """A batch norm, with the parameters of ``norm``, whose statistics never change: it stays in evaluation mode
    even when the module that holds it is trained."""

    def __init__(self, norm: nn.BatchNorm1d) -> None:
        super().__init__(norm.num_features, norm.eps, norm.momentum, device="meta")
        self.weight, self.bias = norm.weight, norm.bias
        self.running_mean, self.running_var = norm.running_mean, norm.running_var
        self.num_batches_tracked = norm.num_batches_tracked
        self.eval()

    def train(self, mode: bool = True) -> EvalBatchNorm1d:
        """Do nothing: ``mode`` is ignored."""
        super().train(False)
        return self


class FoldedPointNet(nn.Module):
    """A :class:`PointNetTokenizer` made of linear layers only, the same function to rounding.

    Batch norms are folded into the layers before them, and the layer that sees ``[global | local]`` is written as
    two layers, one for each half. Widths are read from the layers, so that each layer may be narrowed, factored or replaced.
    """

    def __init__(self, tokenizer: PointNetTokenizer) -> None:
        super().__init__()
        lift, norm_lift, _, local = tokenizer.first_conv
        expand, norm_expand, _, project = tokenizer.second_conv
        assert isinstance(expand, nn.Linear)
        weight, bias = _folded(expand, norm_expand)
        width = expand.in_features // 2
        self.lift = linear(*_folded(lift, norm_lift))
        self.local = copy.deepcopy(local)
        self.from_group = linear(weight[:, :width], bias)
        self.from_point = linear(weight[:, width:], None)
        self.project = copy.deepcopy(project)

    def forward(self, neighborhoods: Tensor) -> Tensor:
        """(B, T, K, 3) -> (B, T, D)."""
        batch, groups, size, _ = neighborhoods.shape
        local = self.local(F.relu(self.lift(neighborhoods.reshape(-1, 3))))
        pooled = local.unflatten(0, (batch * groups, size)).amax(dim=1)
        from_group = self.from_group(pooled)[:, None]
        x = F.relu(from_group + self.from_point(local).unflatten(0, (batch * groups, size)))
        return self.project(x.flatten(0, 1)).unflatten(0, (batch, groups, size)).amax(dim=2)


def linear(weight: Tensor, bias: Tensor | None) -> nn.Linear:
    """A linear layer with copies of ``weight`` (out, in) and ``bias`` (out,)."""
    layer = nn.Linear(weight.shape[1], weight.shape[0], bias is not None, device="meta")
    layer.weight = nn.Parameter(weight.detach().clone())
    if bias is not None:
        layer.bias = nn.Parameter(bias.detach().clone())
    return layer


class SparseLinear(nn.Linear):
    """A linear layer whose zero weights stay zero: they get no gradient, and without one AdamW does not change a zero.

    Which weights stay zero is read from the weight itself, so it survives saving, loading and copying. A hook on the weight
    would not survive copying.
    """

    @classmethod
    def of(cls, layer: nn.Linear) -> SparseLinear:
        """A sparse layer with the parameters of ``layer``."""
        made = cls(layer.in_features, layer.out_features, layer.bias is not None, device="meta")
        made.weight, made.bias = layer.weight, layer.bias
        return made

    def forward(self, x: Tensor) -> Tensor:
        """(..., in) -> (..., out)."""
        weight = self.weight * (self.weight != 0) if torch.is_grad_enabled() else self.weight
        return F.linear(x, weight, self.bias)


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
    else it is frozen, and distillation may start from the teacher's cached tokens. Raises UserError for one that another
    runtime runs, whose weights PyTorch cannot change."""
    if teacher.in_torch is not teacher:
        raise UserError("nothing can change an encoder that another runtime runs; compress its float parent")
    student = copy.deepcopy(teacher).requires_grad_(True)
    part = getattr(student, "tokenizer", None)
    if tokenizer and isinstance(part, PointNetTokenizer):
        student.tokenizer = FoldedPointNet(part)
    elif tokenizer and isinstance(part, ReducedTokenizer):
        if isinstance(part.pointnet, PointNetTokenizer):
            part.pointnet = FoldedPointNet(part.pointnet)
    elif not tokenizer and isinstance(part, nn.Module):
        part.requires_grad_(False)
    for name, module in list(student.named_modules()):
        if type(module) is nn.BatchNorm1d:
            replace(student, name, EvalBatchNorm1d(module))
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


@torch.no_grad()
def calibrate(encoder: Encoder, patches: Patches, layers: Mapping[str, nn.Linear], visit: Visit) -> None:
    """Run ``encoder`` once on ``patches`` and visit each of ``layers`` just before it runs for the first time.

    A change that ``visit`` makes to the layer's weight holds from then on. Each layer therefore gets its inputs from layers
    that are already compressed, as in sequential layer-wise calibration, in a single pass. A layer that does not run is not
    visited.
    """
    handles: dict[str, RemovableHandle] = {}

    def watch(name: str, layer: nn.Linear) -> None:
        def before(_: nn.Module, inputs: tuple[Tensor, ...]) -> None:
            handles.pop(name).remove()
            visit(name, layer, inputs[0].flatten(0, -2))

        handles[name] = layer.register_forward_pre_hook(before)

    for name, layer in layers.items():
        watch(name, layer)
    encoder.eval()
    try:
        encoder(patches)
    finally:
        for handle in handles.values():
            handle.remove()


def second_moments(encoder: Encoder, patches: Patches, layers: Mapping[str, nn.Linear]) -> dict[str, Tensor]:
    """E[x x^T] (in, in) of the inputs x of each layer, float64 and damped by ``RIDGE`` of its mean diagonal.

    Of more than ``ROWS`` inputs a fixed random choice is used; a regular choice would take the same point of every patch. A
    layer that does not run gets the identity matrix, because nothing is known of its inputs.
    """
    moments = {name: torch.eye(layer.in_features, dtype=torch.double) for name, layer in layers.items()}

    def visit(name: str, layer: nn.Linear, inputs: Tensor) -> None:
        rows = torch.randperm(len(inputs), generator=torch.Generator().manual_seed(0))[:ROWS]
        x = inputs[rows.to(inputs.device)].float()
        moment = (x.T @ x).double().cpu() / len(x)
        damping = RIDGE * moment.diagonal().mean().clamp_min(torch.finfo(torch.float32).tiny)
        moments[name] = moment + damping * moments[name]

    calibrate(encoder, patches, layers, visit)
    return moments
