"""Farthest point sampling and nearest neighbours together: grouping into patches."""

from __future__ import annotations

import torch
from torch import Tensor

from foundry_bench.errors import UserError
from foundry_bench.points.farthest import farthest_point_sample
from foundry_bench.points.neighbors import nearest_neighbors
from foundry_bench.points.patches import Patches


def gather(points: Tensor, index: Tensor) -> Tensor:
    """Rows of ``points`` (B, N, C) at ``index`` (B, ...) -> (B, ..., C)."""
    flat = index.reshape(index.shape[0], -1, 1).expand(-1, -1, points.shape[-1])
    return points.gather(1, flat).reshape(*index.shape, points.shape[-1])


def group(points: Tensor, groups: int, group_size: int) -> Patches:
    """Cut clouds (B, N, 3) into ``groups`` patches of ``group_size`` points, relative to their centres.

    The coordinates are not divided by a radius; Point-JEPA and Point-MAE do not divide those of objects either. Raises
    UserError for a wrong shape, for NaN or infinite coordinates and for fewer points than a group needs.
    """
    check_clouds(points, max(groups, group_size))
    with torch.no_grad():
        centers = gather(points, farthest_point_sample(points, groups))
        neighbors = gather(points, nearest_neighbors(points, centers, group_size))
    return Patches(neighbors - centers[:, :, None], centers)


def check_clouds(points: Tensor, needed: int) -> None:
    """Raise UserError, in one line that names the fix, unless ``points`` is (B, N >= needed, 3) and finite."""
    if points.dim() != 3 or points.shape[-1] != 3:
        raise UserError(
            f"points must be (clouds, points, 3), got {tuple(points.shape)}; drop colours and normals first"
        )
    if points.shape[1] < needed:
        raise UserError(
            f"a cloud has {points.shape[1]} points but {needed} are needed to form the patches; sample at least {needed}"
        )
    bad = ~torch.isfinite(points).all(dim=-1).all(dim=-1)
    if bad.any():
        raise UserError(
            f"cloud {int(bad.nonzero()[0])} has NaN or infinite coordinates; remove those points first"
        )
