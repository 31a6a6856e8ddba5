"""Self-supervised objectives of the shipped teacher and the heads they need. No label is used anywhere.

Six terms on two views (other points, other crop, other turn about the up axis, other stretch) of each object:
- ``reconstruct``: chamfer distance of the masked patches of one view (Point-MAE, arXiv 2203.06604);
- ``contrast``: InfoNCE between the pooled visible tokens of the two views (as ReCon combines it, arXiv 2302.02318);
- ``recognize``: every *token* finds its object among the other view's, which it can only do from context;
- ``canonical``: the object's upright, unturned occupancy, read linearly from the pooled tokens of a turned view;
- ``complete``: every visible token tells where around *itself* the cloud goes on, hidden patches included. The answer differs
  from token to token, so that no one vector broadcast to all of them can give it: attention has to depend on who asks;
- ``detail``: the same of the *points* in a fine grid close around each visible token, which one vector cannot hold for all.

A term of weight 0 is not computed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

import numpy as np
import torch
import torch.nn.functional as F
from annotated_types import Ge
from torch import Tensor, nn

from foundry_bench.beforehand.configuration import STRICT
from foundry_bench.datasets.dataset import CloudArray
from foundry_bench.datasets.lazy import BLOCK
from foundry_bench.encoder import EncoderConfig, pool
from foundry_bench.points.patches import Patches
from foundry_bench.teachers.transformer import PointTransformer, make_blocks, positional_mlp, run_blocks

Weight = Annotated[float, Ge(0)]


@dataclass(frozen=True)
class LossWeights:
    """Weight of each term."""

    __pydantic_config__: ClassVar[Any] = STRICT

    reconstruct: Weight = 1.0
    contrast: Weight = 1.0
    recognize: Weight = 0.5
    canonical: Weight = 0.5
    complete: Weight = 0.0
    detail: Weight = 0.0


@dataclass(frozen=True)
class Grid:
    """A cube of ``cells``^3 cells around a patch, ``half`` its side's half length in the unit sphere."""

    cells: int
    half: float


SURROUNDINGS: dict[str, tuple[Grid, ...]] = {
    "complete": (Grid(4, 0.35), Grid(4, 0.9)),
    "detail": (Grid(6, 0.3),),
}
"""Where each of these terms asks: for patch centres near by and in most of the object, for points close by."""


def cells_of(grids: Sequence[Grid]) -> int:
    """How many cells ``grids`` have together."""
    return sum(grid.cells**3 for grid in grids)


class Heads(nn.Module):
    """Everything that is thrown away after pre-training. The heads of ``complete`` and ``detail`` are made where their weight
    is not 0, and last: all other weights start the same with and without them."""

    def __init__(
        self, config: EncoderConfig, code_dim: int, weights: LossWeights, decoder_depth: int = 1
    ) -> None:
        super().__init__()
        self.mask_token = nn.Parameter(torch.zeros(config.dim))
        self.decoder_positions = positional_mlp(config.dim)
        self.decoder = make_blocks(config, decoder_depth)
        self.decoder_norm = nn.LayerNorm(config.dim)
        self.to_points = nn.Linear(config.dim, 3 * config.group_size)
        self.project = nn.Sequential(
            nn.Linear(2 * config.dim, 512), nn.BatchNorm1d(512), nn.ReLU(inplace=True), nn.Linear(512, 128)
        )
        self.project_token = nn.Sequential(nn.Linear(config.dim, 512), nn.GELU(), nn.Linear(512, 128))
        self.canonical = nn.Linear(2 * config.dim, code_dim)
        nn.init.normal_(self.mask_token, std=0.02)
        for name, grids in SURROUNDINGS.items():
            if getattr(weights, name):
                cells = cells_of(grids)
                head = nn.Sequential(nn.Linear(config.dim, 256), nn.GELU(), nn.Linear(256, cells))
                self.add_module(name, head)


@dataclass(frozen=True)
class ViewOutput:
    """One view after the encoder: visible ``features`` (B, Tv, D), index of ``visible`` and ``masked`` tokens."""

    features: Tensor
    visible: Tensor
    masked: Tensor


def encode_visible(
    model: PointTransformer, patches: Patches, keep: int, generator: torch.Generator
) -> ViewOutput:
    """Encode a random ``keep`` of the T patches of each cloud."""
    batch, groups = patches.centers.shape[:2]
    order = torch.rand(batch, groups, generator=generator).argsort(dim=1).to(patches.centers.device)
    visible, masked = order[:, :keep], order[:, keep:]
    rows = torch.arange(batch, device=order.device)[:, None]
    tokens = model.tokenizer(patches.neighborhoods[rows, visible])
    pos = model.positional_encoding(patches.centers[rows, visible])
    x, _ = model.run(tokens, pos)
    return ViewOutput(model.norm(x), visible, masked)


def reconstruct(heads: Heads, out: ViewOutput, patches: Patches) -> Tensor:
    """Chamfer distance (L2, squared) between decoded and true masked patches."""
    rows = torch.arange(len(patches), device=out.masked.device)[:, None]
    order = torch.cat([out.visible, out.masked], dim=1)
    pos = heads.decoder_positions(patches.centers[rows, order])
    blank = heads.mask_token.to(out.features.dtype).expand(*out.masked.shape, -1)
    x, _ = run_blocks(heads.decoder, torch.cat([out.features, blank], dim=1), pos)
    decoded = heads.to_points(heads.decoder_norm(x[:, out.visible.shape[1] :]))
    target = patches.neighborhoods[rows, out.masked].flatten(0, 1)
    return chamfer(decoded.float().reshape(-1, target.shape[1], 3), target)


def chamfer(a: Tensor, b: Tensor) -> Tensor:
    """Symmetric squared chamfer distance of (G, K, 3) and (G, K', 3), mean over groups and points."""
    squared = a.square().sum(-1)[:, :, None] + b.square().sum(-1)[:, None] - 2 * a @ b.transpose(1, 2)
    return squared.amin(dim=2).mean() + squared.amin(dim=1).mean()


def contrast(a: Tensor, b: Tensor, temperature: float = 0.1) -> Tensor:
    """Symmetric InfoNCE (NT-Xent over the two views) of projections (B, C)."""
    z = F.normalize(torch.cat([a, b]).float(), dim=-1)
    logits = (z @ z.T / temperature).fill_diagonal_(-1e4)
    count = len(a)
    target = torch.cat([torch.arange(count, 2 * count), torch.arange(count)]).to(z.device)
    return F.cross_entropy(logits, target)


def recognize(tokens: Tensor, objects: Tensor, temperature: float = 0.1) -> Tensor:
    """InfoNCE that lets every projected token (B, T, C) find its object among ``objects`` (B, C), seen in another view."""
    z, targets = F.normalize(tokens.float(), dim=-1), F.normalize(objects.float(), dim=-1)
    logits = (z @ targets.T / temperature).flatten(0, 1)
    truth = torch.arange(len(objects), device=z.device).repeat_interleave(tokens.shape[1])
    return F.cross_entropy(logits, truth)


def canonical_code(points: Tensor | np.ndarray | CloudArray, dim: int = 128) -> Tensor:
    """Half-whitened principal components (N, dim) of the upright occupancy of clouds (N, P, 3), unit mean variance.

    Occupancy: square root of the share of points in each cell of an 8^3 and a 10^3 grid over the unit sphere's cube. Clouds are
    read ``BLOCK`` at a time.
    """
    blocks = (points[start : start + BLOCK] for start in range(0, len(points), BLOCK))
    occupancy = torch.cat([_occupancy(torch.as_tensor(block, dtype=torch.float32)) for block in blocks])
    occupancy = occupancy - occupancy.mean(dim=0)
    u, s, _ = torch.linalg.svd(occupancy, full_matrices=False)
    code = u[:, :dim] * s[:dim].sqrt()
    return code / code.std(dim=0).square().mean().sqrt()


def _occupancy(points: Tensor) -> Tensor:
    grids = []
    for cells in (8, 10):
        index = ((points + 1) * (cells / 2)).long().clamp_(0, cells - 1)
        flat = (index[..., 0] * cells + index[..., 1]) * cells + index[..., 2]
        counts = torch.zeros(len(points), cells**3).scatter_add_(1, flat, torch.ones(flat.shape))
        grids.append((counts / points.shape[1]).sqrt())
    return torch.cat(grids, dim=1)


def occupied(points: Tensor, around: Tensor, grids: Sequence[Grid]) -> Tensor:
    """Which cells around each of ``around`` (B, A, 3) hold any of ``points`` (B, P, 3): (B, A, cells of ``grids``).

    1 or 0, one grid after the other, x slowest and z fastest. A cell holds its lower faces.
    """
    offsets = points[:, None].float() - around[:, :, None].float()
    told = []
    for grid in grids:
        cell = ((offsets / grid.half + 1) * (grid.cells / 2)).floor().long()
        flat = (cell[..., 0] * grid.cells + cell[..., 1]) * grid.cells + cell[..., 2]
        inside = ((cell >= 0) & (cell < grid.cells)).all(dim=-1)
        held = offsets.new_zeros(*flat.shape[:2], grid.cells**3 + 1)
        held.scatter_(2, flat.where(inside, grid.cells**3), 1.0)
        told.append(held[..., :-1])
    return torch.cat(told, dim=-1)


def surroundings(
    term: str, logits: Tensor, patches: Patches, visible: Tensor, positive: float = 3.0
) -> Tensor:
    """Binary cross-entropy of ``logits`` (B, Tv, cells) of ``visible`` (B, Tv) tokens for the cells around each.

    What lies there is told from all patches, the masked ones included: their centres for ``complete``, their points for
    ``detail``. Most cells are empty: those that are not weigh ``positive`` times as much.
    """
    centers = patches.centers
    around = centers.gather(1, visible[..., None].expand(-1, -1, 3))
    there = centers if term == "complete" else (patches.neighborhoods + centers[:, :, None]).flatten(1, 2)
    cells = occupied(there, around, SURROUNDINGS[term])
    weight = logits.new_tensor(positive, dtype=torch.float32)
    return F.binary_cross_entropy_with_logits(logits.float(), cells, pos_weight=weight)


def objective(
    model: PointTransformer,
    heads: Heads,
    views: tuple[Patches, Patches],
    code: Tensor,
    weights: LossWeights,
    keep: int,
    generator: torch.Generator,
) -> tuple[Tensor, dict[str, float]]:
    """Loss of one batch, and its terms with the spread of the pooled features, which tells a collapse.

    ``views`` are two turned views of each object, ``code`` (B, C) the objects' canonical code, ``keep`` the number of
    patches that the encoder sees of each.
    """
    outs = [encode_visible(model, patches, keep, generator) for patches in views]
    summaries = [pool(out.features) for out in outs]
    terms: dict[str, Tensor] = {}
    if weights.reconstruct:
        terms["reconstruct"] = 50 * reconstruct(heads, outs[0], views[0])
    if weights.contrast or weights.recognize:
        projections = [heads.project(summary) for summary in summaries]
    if weights.contrast:
        terms["contrast"] = contrast(*projections)
    if weights.recognize:
        found = [
            recognize(heads.project_token(out.features), other)
            for out, other in zip(outs, reversed(projections), strict=True)
        ]
        terms["recognize"] = torch.stack(found).mean()
    if weights.canonical:
        read = [F.mse_loss(heads.canonical(summary).float(), code) for summary in summaries]
        terms["canonical"] = torch.stack(read).mean()
    for name in SURROUNDINGS:
        if getattr(weights, name):
            head = heads.get_submodule(name)
            told = [
                surroundings(name, head(out.features), patches, out.visible)
                for out, patches in zip(outs, views, strict=True)
            ]
            terms[name] = torch.stack(told).mean()
    loss = sum(
        (getattr(weights, name) * value for name, value in terms.items()), torch.zeros((), device=code.device)
    )
    spread = sum(float(summary.detach().float().std(dim=0).mean()) / 2 for summary in summaries)
    return loss, {**{name: float(value.detach()) for name, value in terms.items()}, "feature_std": spread}
