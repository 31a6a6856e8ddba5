"""Views for self-supervision and distillation: grouped once, turned and scaled at every step."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from foundry_bench.context import Progress, no_progress
from foundry_bench.datasets.dataset import CloudArray
from foundry_bench.encoder import EncoderConfig
from foundry_bench.points import gather, group, nearest_neighbors, normalize
from foundry_bench.points.patches import Patches


@dataclass(frozen=True)
class ViewBank:
    """``views`` groupings of every object, each from its own random subset of points; half precision.

    ``neighborhoods`` (N, V, T, K, 3) and ``centers`` (N, V, T, 3), in the data set's own upright pose. Grouping is the
    costly part of a step and does not depend on the turn about the up axis, so it is done once. ``parts`` (N, V, T) is the
    commonest label among the points of each patch, where points have labels.
    """

    neighborhoods: Tensor
    centers: Tensor
    parts: Tensor | None = None

    @classmethod
    def build(
        cls,
        points: Tensor | np.ndarray | CloudArray,
        config: EncoderConfig,
        views: int,
        generator: torch.Generator,
        progress: Progress = no_progress,
        crop: float = 1.0,
        into: ViewBank | None = None,
        labels: np.ndarray | CloudArray | None = None,
    ) -> ViewBank:
        """Group ``views`` random subsets of every cloud (N, P, 3); ``crop`` is the least share of a cloud that a view
        keeps, cut off by a plane of random direction (1.0: no cropping). Even and odd views share no point where
        P >= 2 * config.points. Clouds are read 128 at a time; ``into`` is filled where it is given, which may lie on disk;
        its ``parts`` from ``labels`` (N, P)."""
        total = len(points)
        bank = into or cls.empty(total, config, views)
        for start in range(0, total, 128):
            rows = slice(start, min(start + 128, total))
            clouds = torch.as_tensor(points[rows], dtype=torch.float32)
            order = None
            for view in range(views):
                if view % 2 == 0 or order is None:
                    order = torch.rand(clouds.shape[:2], generator=generator)
                else:
                    order = -order
                keep = _subset(clouds, order, config.points, crop, generator)
                kept = normalize(gather(clouds, keep))
                patches = group(kept, config.groups, config.group_size)
                bank.neighborhoods[rows, view] = patches.neighborhoods.half()
                bank.centers[rows, view] = patches.centers.half()
                if bank.parts is not None and labels is not None:
                    own = torch.as_tensor(labels[rows]).gather(1, keep)
                    members = nearest_neighbors(kept, patches.centers, config.group_size)
                    bank.parts[rows, view] = (
                        gather(own[..., None], members)[..., 0].mode(dim=-1).values.short()
                    )
            progress("group views", rows.stop, total)
        return bank

    @classmethod
    def empty(cls, total: int, config: EncoderConfig, views: int) -> ViewBank:
        """A bank of ``total`` objects to be filled."""
        shape = (total, views, config.groups)
        return cls(
            torch.empty(*shape, config.group_size, 3, dtype=torch.float16),
            torch.empty(*shape, 3, dtype=torch.float16),
        )

    def draw(self, index: Tensor, views: Tensor) -> Patches:
        """Patches of objects ``index`` (B,) in views ``views`` (B,), single precision."""
        return Patches(self.neighborhoods[index, views].float(), self.centers[index, views].float())


def _subset(points: Tensor, order: Tensor, count: int, crop: float, generator: torch.Generator) -> Tensor:
    """Indices (B, count) of the points of a view."""
    if crop < 1:
        direction = torch.nn.functional.normalize(torch.randn(len(points), 3, generator=generator), dim=-1)
        height = torch.einsum("bnc,bc->bn", points, direction)
        share = crop + (1 - crop) * torch.rand(len(points), generator=generator)
        rank = height.argsort(dim=1).argsort(dim=1)
        order = order + 10.0 * (rank > share[:, None] * points.shape[1])
    return order.argsort(dim=1)[:, :count]


def turn(patches: Patches, generator: torch.Generator, scale: tuple[float, float] = (0.8, 1.2)) -> Patches:
    """Turn each cloud's patches about the up axis by a random angle and stretch each axis by a random factor."""
    batch = len(patches)
    angle = torch.rand(batch, generator=generator) * (2 * math.pi)
    stretch = torch.diag_embed(torch.empty(batch, 3).uniform_(*scale, generator=generator))
    cos, sin, zero, one = angle.cos(), angle.sin(), torch.zeros(batch), torch.ones(batch)
    rotation = torch.stack([cos, sin, zero, -sin, cos, zero, zero, zero, one], dim=-1).view(batch, 3, 3)
    matrix = (stretch @ rotation).to(patches.centers.device)
    return Patches(patches.neighborhoods @ matrix[:, None], patches.centers @ matrix)
