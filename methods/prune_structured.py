"""Structured pruning of attention heads, MLP units and PointNet widths, as DepGraph does it (Torch-Pruning, arXiv 2301.12900),
with the layers that read pruned units re-fitted by least squares (channel pruning, arXiv 1707.06168).

Which rows and columns go together is known in closed form for these encoders, so no dependency graph is traced.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal

import torch
from torch import Tensor, nn

from foundry_bench.authoring import (
    FMD,
    OFF_THE_SHELF,
    Bounds,
    Context,
    Encoder,
    Family,
    FoldedPointNet,
    Method,
    Paper,
    Patches,
    PointCloudDataset,
    UserError,
    attend,
    calibration_patches,
    second_moments,
    trainable_copy,
)


class NarrowAttention(nn.Module):
    """Self-attention of fewer heads than fill D: queries, keys and values are D -> H' d each, the projection H' d -> D.

    timm's own ``Attention``, whose attribute names these are, reshapes to D in older releases.
    """

    def __init__(self, attention: Any, heads: int) -> None:
        super().__init__()
        self.qkv, self.proj = attention.qkv, attention.proj
        self.num_heads, self.head_dim = heads, attention.head_dim
        self.scale, self.fused_attn = attention.scale, attention.fused_attn

    def forward(self, x: Tensor, attn_mask: Tensor | None = None, is_causal: bool = False) -> Tensor:
        """(B, N, D) -> (B, N, D); ``attn_mask`` is added to the scores. Raises ValueError for causal attention."""
        if is_causal:
            raise ValueError("a point transformer has no order to be causal in")
        return attend(self, x, attn_mask).out


@dataclass(frozen=True)
class Group:
    """What has to be pruned together: ``units`` of ``width`` numbers each, of which ``kept`` stay.

    ``writers`` make them in their rows, each as often as ``repeats`` says (query, key and value: 3), and ``readers`` take
    them in their columns.
    """

    units: int
    width: int
    kept: int
    writers: tuple[nn.Linear, ...]
    readers: tuple[nn.Linear, ...]
    repeats: int = 1

    def columns(self, chosen: Tensor) -> Tensor:
        """The readers' columns of the units ``chosen`` (kept,)."""
        return (chosen[:, None] * self.width + torch.arange(self.width)).flatten()

    def rows(self, chosen: Tensor) -> Tensor:
        """The writers' rows of them: the same in each of the ``repeats`` equal parts."""
        start = torch.arange(self.repeats)[:, None] * (self.units * self.width)
        return (start + self.columns(chosen)).flatten()


def heads_kept(index: int, heads: int, share: float) -> int:
    """Heads that block ``index`` keeps, at least 1: fractions of a head are spread evenly over the depth."""
    return max(1, round((index + 1) * heads * share) - round(index * heads * share))


def groups(student: Encoder, keep: float, tokenizer: bool) -> Iterator[Group]:
    """The groups of an encoder's ``blocks`` and, if asked for, of its PointNet. Raises UserError if it cannot be pruned.

    Of MLP units, ``keep`` stay. Of heads and of PointNet widths, sqrt(keep): a head is a wide unit that the few others cannot
    stand in for, and what a PointNet layer costs is the product of two widths.
    """
    root, blocks = math.sqrt(keep), blocks_of(student)
    t = pointnet_of(student)
    if tokenizer and isinstance(t, FoldedPointNet):
        yield from pointnet_groups(t, root)
    for i, block in enumerate(blocks):
        attention, mlp = block.attn, block.mlp
        heads, units = attention.num_heads, mlp.fc1.out_features
        kept = heads_kept(i, heads, root)
        yield Group(heads, attention.head_dim, kept, (attention.qkv,), (attention.proj,), repeats=3)
        yield Group(units, 1, max(1, round(keep * units)), (mlp.fc1,), (mlp.fc2,))


def pointnet_groups(pointnet: FoldedPointNet, share: float) -> Iterator[Group]:
    """The three widths of a PointNet, of which ``share`` each stays."""
    t = pointnet
    for writers, readers in (
        ((t.lift,), (t.local,)),
        ((t.local,), (t.from_group, t.from_point)),
        ((t.from_group, t.from_point), (t.project,)),
    ):
        units = writers[0].out_features
        yield Group(units, 1, max(1, round(share * units)), writers, readers)


def pointnet_of(student: Encoder) -> nn.Module | None:
    """The tokenizer, or the PointNet that is a part of it."""
    tokenizer = getattr(student, "tokenizer", None)
    return getattr(tokenizer, "pointnet", tokenizer)


def blocks_of(student: Encoder) -> list[Any]:
    """The transformer blocks of ``student``, after a check that it can be pruned. Raises UserError if it cannot."""
    blocks = getattr(student, "blocks", None)
    if not isinstance(blocks, nn.ModuleList):
        raise UserError(f"prune-structured needs transformer blocks, {type(student).__name__} has none")
    layers = [(name, block) for block in blocks for name in ("attn.qkv", "attn.proj", "mlp.fc1", "mlp.fc2")]
    tokenizer = pointnet_of(student)
    if isinstance(tokenizer, FoldedPointNet):
        layers += [(name, tokenizer) for name, _ in tokenizer.named_children()]
    for name, parent in layers:
        if not isinstance(parent.get_submodule(name), nn.Linear):
            raise UserError(
                f"prune-structured cannot prune {name}, which another method changed; put it before that one"
            )
    return list(blocks)


def best(scores: Tensor, count: int) -> Tensor:
    """Indices (count,) of the highest scores, in ascending order."""
    return scores.topk(count).indices.sort().values.cpu()


def reader_moments(student: Encoder, every: list[Group], patches: Patches) -> list[list[Tensor]]:
    """Second moments of the inputs of each group's readers."""
    layers = {f"{i} {j}": r for i, group in enumerate(every) for j, r in enumerate(group.readers)}
    found = second_moments(student, patches, layers)
    return [[found[f"{i} {j}"] for j in range(len(group.readers))] for i, group in enumerate(every)]


@torch.no_grad()
def magnitude(group: Group) -> Tensor:
    """Group L2 norm, squared, of each unit (units,): its rows in the writers and its columns in the readers."""
    parts = [w.weight.view(group.repeats, group.units, -1).square().sum(dim=(0, 2)) for w in group.writers]
    parts += [r.weight.square().sum(dim=0).view(group.units, group.width).sum(dim=1) for r in group.readers]
    return torch.stack(parts).sum(dim=0)


@torch.no_grad()
def activation(group: Group, moments: list[Tensor]) -> Tensor:
    """What each unit adds to the readers' outputs on average (units,): E[x^2] of its numbers times |W column|^2."""
    parts = [
        r.weight.double().square().sum(dim=0) * m.diagonal().to(r.weight.device)
        for r, m in zip(group.readers, moments, strict=True)
    ]
    return torch.stack(parts).sum(dim=0).view(group.units, group.width).sum(dim=1)


def refitted(weight: Tensor, moment: Tensor, columns: Tensor) -> Tensor:
    """W' (out, kept) of a reader that sees only ``columns`` of its inputs, to come closest to W (out, in) on them.

    Least squares: W' = W M[:, K] M[K, K]^-1 with M = E[x x^T] (in, in); removed numbers are predicted from those kept.
    """
    solved = torch.linalg.solve(moment[columns][:, columns], moment[columns])
    return weight.double() @ solved.T.to(weight.device)


@torch.no_grad()
def prune(group: Group, chosen: Tensor, moments: list[Tensor]) -> None:
    """Remove all units but ``chosen`` from the layers; with ``moments`` (one per reader) the readers
    are re-fitted."""
    columns, rows = group.columns(chosen), group.rows(chosen)
    for i, layer in enumerate(group.readers):
        weight = layer.weight[:, columns] if not moments else refitted(layer.weight, moments[i], columns)
        layer.weight = nn.Parameter(weight.to(layer.weight.dtype).contiguous())
        layer.in_features = len(columns)
    for layer in group.writers:
        layer.weight = nn.Parameter(layer.weight[rows].contiguous())
        layer.bias = None if layer.bias is None else nn.Parameter(layer.bias[rows].contiguous())
        layer.out_features = len(rows)


@dataclass(frozen=True)
class StructuredPruning(Method):
    """The student is dense and smaller; its residual width D is the teacher's.

    ``keep``: share of every MLP's hidden units that stay; of heads and PointNet widths, its square root (see :func:`groups`).
    ``tokenizer``: whether the PointNet is pruned too; it is then trained, on patches; if not it is the teacher's, frozen.
    ``importance``: ``activation`` on calibration clouds, or ``magnitude``, DepGraph's group norm of the weights. ``refit``:
    least squares for the layers that read pruned units. ``samples``: calibration clouds, of training objects.
    """

    name: ClassVar[str] = "prune-structured"
    family: ClassVar[Family] = "prune"
    paper: ClassVar[Paper] = Paper("DepGraph: Towards Any Structural Pruning", "2301.12900")
    abstract: ClassVar[str] = "fewer attention heads, hidden units and PointNet widths"
    variants: ClassVar[tuple[str, ...]] = (OFF_THE_SHELF, FMD)
    grid: ClassVar[dict[str, tuple[Any, ...]]] = {"keep": (0.51, 0.29, 0.15)}
    matched: ClassVar[tuple[dict[str, Any], ...]] = ({"keep": 0.27},)

    keep: Annotated[float, Bounds(above=0, at_most=1)] = 0.29
    tokenizer: bool = True
    importance: Literal["activation", "magnitude"] = "activation"
    refit: bool = True
    samples: Annotated[int, Bounds(at_least=1)] = 64

    def compress(self, teacher: Encoder, data: PointCloudDataset, ctx: Context) -> Encoder:
        student = trainable_copy(teacher, self.tokenizer)
        every = [group for group in groups(student, self.keep, self.tokenizer) if group.kept < group.units]
        measured = self.refit or self.importance == "activation"
        patches = calibration_patches(student, data, self.samples) if every and measured else None
        moments: list[list[Tensor]] = [[] for _ in every]
        if patches is not None:
            moments = reader_moments(student, every, patches)
        scores = [
            activation(g, m) if self.importance == "activation" else magnitude(g)
            for g, m in zip(every, moments, strict=True)
        ]
        for group, score, moment in zip(every, scores, moments, strict=True):
            prune(group, best(score, group.kept), moment if self.refit else [])
        for block in blocks_of(student):
            heads = block.attn.proj.in_features // block.attn.head_dim
            if heads < block.attn.num_heads:
                block.attn = NarrowAttention(block.attn, heads)
        return student
