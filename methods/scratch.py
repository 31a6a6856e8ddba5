"""A light point network that takes nothing from the teacher but its tokens as targets: why compress at all?

After SLNet (arXiv 2603.07454): coordinates are lifted without weights, by Gaussians and cosines on a grid (NAPE); every layer
modulates its channels (GMU); rows are made by shared residual MLPs and max-pools over neighbours, without attention. SLNet
samples its own four stages of centres; here they are the teacher's patches, for a row of each has to come out.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

import torch
from torch import Tensor, nn

from foundry_bench.authoring import (
    Bounds,
    Context,
    Encoder,
    EncoderConfig,
    Family,
    Method,
    Paper,
    Patches,
    PointCloudDataset,
    Tokens,
    take,
)

SIGMA, BASELINE, STEEPNESS = 0.4, 0.1, 10.0
"""SLNet's bandwidth of the Gaussians, and the spread around which they take over from the cosines, and how fast."""
NEIGHBORS = 16
"""Nearest patches whose rows a stage reads, the patch itself included."""
STAGES = 2
BOTTLENECK = 0.5
"""Hidden width of a residual MLP, as a share of its width."""


def lifted(x: Tensor, spread: Tensor, channels: int) -> Tensor:
    """NAPE: coordinates x (B, ..., 3), about in [-1, 1], as ``channels`` values (B, ..., channels) without a weight.

    Each axis meets a grid of values v: b exp(-(x - v)^2 / 2 s^2) + (1 - b) cos((x - v) / s). Bandwidth s and blend b follow
    from the ``spread`` (B,) of the cloud.
    """
    per_axis = math.ceil(channels / 3)
    grid = torch.linspace(-1, 1, per_axis + 2, device=x.device, dtype=x.dtype)[1:-1]
    spread = spread.view(-1, *[1] * x.dim())
    off = (x[..., None] - grid) / (SIGMA * (1 + spread))
    blend = torch.sigmoid(STEEPNESS * (spread - BASELINE))
    values = blend * (-0.5 * off.square()).exp() + (1 - blend) * off.cos()
    return values.flatten(-2)[..., :channels]


def spread_of(x: Tensor) -> Tensor:
    """Standard deviation (B,) of the coordinates x (B, ..., 3) of each cloud around 0; one number for all axes, so that no axis
    is stretched."""
    return x.flatten(1).square().mean(dim=1).sqrt().clamp_min(1e-6)


class Modulation(nn.Module):
    """GMU: a scale and a shift of each channel."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(channels))
        self.shift = nn.Parameter(torch.zeros(channels))

    def forward(self, x: Tensor) -> Tensor:
        """(..., C) -> (..., C)."""
        return x * self.scale + self.shift


class ResidualMLP(nn.Module):
    """x + MLP(norm(x)) on every row."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        hidden = max(1, round(BOTTLENECK * channels))
        self.norm = nn.LayerNorm(channels)
        self.fc1 = nn.Linear(channels, hidden)
        self.fc2 = nn.Linear(hidden, channels)

    def forward(self, x: Tensor) -> Tensor:
        """(..., C) -> (..., C)."""
        return x + self.fc2(nn.functional.gelu(self.fc1(self.norm(x))))


class PointStage(nn.Module):
    """From the points of a patch to its row: coordinates are lifted, mixed by a residual MLP, and max-pooled."""

    def __init__(self, channels: int, width: int) -> None:
        super().__init__()
        self.channels = channels
        self.modulation = Modulation(channels)
        self.mlp = ResidualMLP(channels)
        self.widen = nn.Linear(channels, width)

    def forward(self, neighborhoods: Tensor) -> Tensor:
        """(B, T, K, 3) -> (B, T, width)."""
        spread = spread_of(neighborhoods)
        x = lifted(neighborhoods / (2 * spread.view(-1, 1, 1, 1)), spread, self.channels)
        return self.widen(self.mlp(self.modulation(x)).amax(dim=2))


class PatchStage(nn.Module):
    """Each patch reads the largest values of its neighbours, moved by where they are, and of all patches."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.read = nn.Linear(width, width)
        self.everything = nn.Linear(width, width)
        self.modulation = Modulation(width)
        self.mlp = ResidualMLP(width)

    def forward(self, x: Tensor, near: Tensor, where: Tensor) -> Tensor:
        """x (B, T, width), indices ``near`` (B, T, k), their lifted offsets ``where`` (B, T, k, width) -> (B, T, width)."""
        normed = self.norm(x)
        rows = take(self.read(normed), near.flatten(1)).unflatten(1, near.shape[1:])
        seen = (rows + self.modulation(where)).amax(dim=2)
        return self.mlp(x + seen + self.everything(normed.amax(dim=1, keepdim=True)))


class LightNetwork(Encoder):
    """Points to patches, patches among each other, a linear layer to the teacher's D. ``width``: channels of a patch."""

    def __init__(self, config: EncoderConfig, width: int) -> None:
        super().__init__()
        self.config, self.width = config, width
        self.points = PointStage(max(1, width // 2), width)
        self.place = Modulation(width)
        self.stages = nn.ModuleList(PatchStage(width) for _ in range(STAGES))
        self.norm = nn.LayerNorm(width)
        self.project = nn.Linear(width, config.dim)

    def forward(self, patches: Patches, levels: bool = False) -> Tokens:
        centers = patches.centers
        spread = spread_of(centers)
        offsets = centers[:, None] - centers[:, :, None]
        near = offsets.square().sum(dim=-1).topk(min(NEIGHBORS, centers.shape[1]), largest=False).indices
        reach = offsets.gather(2, near[..., None].expand(-1, -1, -1, 3))
        where = lifted(reach / (2 * spread_of(reach).view(-1, 1, 1, 1)), spread, self.width)
        x = self.points(patches.neighborhoods) + self.place(lifted(centers, spread, self.width))
        states = []
        for stage in self.stages:
            x = stage(x, near, where)
            states.append(x)
        kept = [states[max(round(STAGES * k / 3) - 1, 0)] for k in (1, 2, 3)] if levels else []
        return Tokens(self.project(self.norm(x)), tuple(self.project(self.norm(state)) for state in kept))

    @property
    def cost_parts(self) -> dict[str, nn.Module]:
        return {"tokenizer": self.points, "decoder": self.project}


@dataclass(frozen=True)
class Scratch(Method):
    """No weight of the teacher is used: the network starts at random and learns the teacher's tokens as every student does.
    ``width``: channels of a patch; 128 has about as many weights as SLNet-S."""

    name: ClassVar[str] = "scratch"
    family: ClassVar[Family] = "distil"
    paper: ClassVar[Paper] = Paper(
        "SLNet: A Super-Lightweight Geometry-Adaptive Network for 3D Point Cloud Recognition", "2603.07454"
    )
    abstract: ClassVar[str] = "a light point network without attention, from scratch: why compress at all?"
    grid: ClassVar[dict[str, tuple[Any, ...]]] = {"width": (128, 256)}
    matched: ClassVar[tuple[dict[str, Any], ...]] = ({"width": 128},)

    width: Annotated[int, Bounds(at_least=2, at_most=4096)] = 128

    def compress(self, teacher: Encoder, data: PointCloudDataset, ctx: Context) -> Encoder:
        return LightNetwork(teacher.config, self.width)
