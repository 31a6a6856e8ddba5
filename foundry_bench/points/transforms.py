"""Normalisation and augmentation of clouds (B, N, 3); random ones draw from the generator they are given."""

from __future__ import annotations

import math

import torch
from torch import Tensor

FAR_OUT = 3.0
"""Coordinate beyond which clouds are in another unit: noise and turned or shifted views stay far below it."""


def normalize(points: Tensor) -> Tensor:
    """Subtract the centroid and divide by the largest norm, so that each cloud fills the unit sphere."""
    centered = points - points.mean(dim=1, keepdim=True)
    radius = centered.norm(dim=-1).amax(dim=1)[:, None, None]
    return centered / radius.clamp_min(torch.finfo(points.dtype).eps)


def outside_unit_sphere(points: Tensor) -> bool:
    """Whether a point of ``points`` (B, N, 3) has a coordinate that no cloud in the unit sphere has, noise included."""
    return bool(points.numel()) and float(points.abs().amax()) > FAR_OUT


def random_angles(count: int, generator: torch.Generator) -> Tensor:
    """``count`` angles in [0, 2 pi), in radians."""
    return torch.rand(count, generator=generator) * (2 * math.pi)


def rotate_about_up(points: Tensor, angles: Tensor) -> Tensor:
    """Turn each cloud (B, N, 3) about the z axis by its angle (B,), in radians."""
    cos, sin = angles.cos()[:, None].to(points), angles.sin()[:, None].to(points)
    x, y, z = points.unbind(-1)
    return torch.stack([cos * x - sin * y, sin * x + cos * y, z], dim=-1)


def augment(
    points: Tensor, count: int, generator: torch.Generator, scale: tuple[float, float] = (0.8, 1.2)
) -> Tensor:
    """One random view of each cloud: ``count`` of its points, per-axis scale, mirror, unit sphere, turn about up.

    This is Point-JEPA's pre-training recipe with two changes: a random subset of points replaces farthest point sampling,
    and z is up.
    """
    batch, total, _ = points.shape
    keep = torch.rand(batch, total, generator=generator).argsort(dim=1)[:, :count].to(points.device)
    view = points.gather(1, keep[..., None].expand(-1, -1, 3))
    factor = torch.empty(batch, 1, 3).uniform_(*scale, generator=generator)
    factor[..., :2] *= torch.randint(0, 2, (batch, 1, 2), generator=generator) * 2 - 1
    return rotate_about_up(normalize(view * factor.to(points)), random_angles(batch, generator))
