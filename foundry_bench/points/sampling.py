"""Farthest point sampling with a fixed start, nearest neighbours, and the two together: grouping into patches."""

from __future__ import annotations

import torch
from torch import Tensor

from foundry_bench.errors import UserError
from foundry_bench.points.patches import Patches


def gather(points: Tensor, index: Tensor) -> Tensor:
    """Rows of ``points`` (B, N, C) at ``index`` (B, ...) -> (B, ..., C)."""
    flat = index.reshape(index.shape[0], -1, 1).expand(-1, -1, points.shape[-1])
    return points.gather(1, flat).reshape(*index.shape, points.shape[-1])


def farthest_point_sample(points: Tensor, count: int) -> Tensor:
    """Indices (B, count) of farthest point sampling on ``points`` (B, N, 3), starting at point 0.

    The official code starts at a random point even in evaluation; a fixed start makes every evaluation repeatable.
    Ties go to the lowest index.
    """
    batch, total, _ = points.shape
    chosen = torch.zeros(batch, count, dtype=torch.long, device=points.device)
    distance = torch.full((batch, total), torch.inf, dtype=points.dtype, device=points.device)
    x, y, z = points.unbind(-1)
    rows = torch.arange(batch, device=points.device)
    last = chosen[:, 0]
    for i in range(1, count):
        dx, dy, dz = (c - c[rows, last, None] for c in (x, y, z))
        distance = torch.minimum(distance, dx.square_().add_(dy.square_()).add_(dz.square_()))
        last = distance.argmax(dim=1)
        chosen[:, i] = last
    return chosen


def nearest_neighbors(points: Tensor, centers: Tensor, count: int) -> Tensor:
    """Indices (B, T, count) of the points (B, N, 3) nearest to each of ``centers`` (B, T, 3), in no fixed order."""
    # The squared norm of the centre is the same for all points, so it is left out.
    squared = points.square().sum(-1)[:, None] - 2 * centers @ points.transpose(1, 2)
    return squared.topk(count, dim=-1, largest=False, sorted=False).indices


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
