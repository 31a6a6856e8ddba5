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
        only: Tensor | None = None,
    ) -> ViewBank:
        """Group ``views`` random subsets of every cloud (N, P, 3); ``crop`` is the least share of a cloud that a view
        keeps, cut off by a plane of random direction (1.0: no cropping). Even and odd views share no point where
        P >= 2 * config.points. Clouds are read 128 at a time; ``into`` is filled where it is given, which may lie on disk;
        its ``parts`` from ``labels`` (N, P). Of uncropped views ``only`` (N, V) bool says which are made, each as it is
        among all."""
        total = len(points)
        bank = into or cls.empty(total, config, views)
        wanted = torch.ones(total, views, dtype=torch.bool) if only is None else only
        for start in range(0, total, 128):
            rows = torch.arange(start, min(start + 128, total))
            read = rows[wanted[rows].any(dim=1)]
            clouds = torch.as_tensor(points[read.numpy()], dtype=torch.float32) if len(read) else None
            order = None
            for view in range(views):
                if view % 2 == 0 or order is None:
                    order = torch.rand((len(rows), points.shape[1]), generator=generator)
                else:
                    order = -order
                here = wanted[read, view]
                if clouds is None or not here.any():
                    continue
                mine, chosen = clouds[here], read[here]
                keep = _subset(mine, order[chosen - start], config.points, crop, generator)
                kept = normalize(gather(mine, keep))
                patches = group(kept, config.groups, config.group_size)
                bank.neighborhoods[chosen, view] = patches.neighborhoods.half()
                bank.centers[chosen, view] = patches.centers.half()
                if bank.parts is not None and labels is not None:
                    own = torch.as_tensor(labels[chosen.numpy()]).gather(1, keep)
                    members = nearest_neighbors(kept, patches.centers, config.group_size)
                    bank.parts[chosen, view] = (
                        gather(own[..., None], members)[..., 0].mode(dim=-1).values.short()
                    )
            progress("group views", int(rows[-1]) + 1, total)
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
    matrix = random_turns(len(patches), generator, scale).to(patches.centers.device)
    return transformed(patches, matrix)


def random_turns(batch: int, generator: torch.Generator, scale: tuple[float, float] = (0.8, 1.2)) -> Tensor:
    """The matrices (B, 3, 3) of :func:`turn`."""
    angle = torch.rand(batch, generator=generator) * (2 * math.pi)
    stretch = torch.diag_embed(torch.empty(batch, 3).uniform_(*scale, generator=generator))
    cos, sin, zero, one = angle.cos(), angle.sin(), torch.zeros(batch), torch.ones(batch)
    rotation = torch.stack([cos, sin, zero, -sin, cos, zero, zero, zero, one], dim=-1).view(batch, 3, 3)
    return stretch @ rotation


def transformed(patches: Patches, matrix: Tensor) -> Patches:
    """Each cloud's patches, whose points are rows, times its matrix (B, 3, 3)."""
    return Patches(patches.neighborhoods @ matrix[:, None], patches.centers @ matrix)
