"""Nearest neighbours, by a matrix of distances for usual clouds and by a tree for large ones."""

from __future__ import annotations

import numpy as np
import torch
from scipy.spatial import cKDTree
from torch import Tensor

from foundry_bench.points.farthest import readable, traced

USUAL = 2**12
"""Points of a cloud up to which the matrix is used on a CPU too."""
BLOCK = 2**24
"""Most distances that are held at a time, 64 MB in single precision."""


def nearest_neighbors(points: Tensor, centers: Tensor, count: int) -> Tensor:
    """Indices (B, T, count) of the points (B, N, 3) nearest to each of ``centers`` (B, T, 3), in no fixed order.

    Which of several points at the largest distance are among them is not fixed either. Of up to 4,096 points, and on a GPU,
    distances are rounded to the precision of ``points``, so that points whose squared distances differ by less than about 1e-7
    count as equally far; of more, they are those of double precision.
    """
    if readable(points) and points.shape[1] > USUAL:
        return _by_tree(points, centers, count)
    # The squared norm of the centre is the same for all points, so it is left out.
    norms = points.square().sum(-1)[:, None]
    if traced():
        return _by_matrix(points, norms, centers, count)
    blocks = centers.split(max(1, BLOCK // max(1, len(points) * points.shape[1])), dim=1)
    return torch.cat([_by_matrix(points, norms, block, count) for block in blocks], dim=1)


def _by_matrix(points: Tensor, norms: Tensor, centers: Tensor, count: int) -> Tensor:
    squared = norms - 2 * centers @ points.transpose(1, 2)
    return squared.topk(count, dim=-1, largest=False, sorted=False).indices


def _by_tree(points: Tensor, centers: Tensor, count: int) -> Tensor:
    found = []
    for cloud, around in zip(points.detach(), centers.detach(), strict=True):
        # Sliding midpoints are built in half the time of medians and asked as fast.
        tree = cKDTree(cloud.double().numpy(), balanced_tree=False, compact_nodes=False)
        index = tree.query(around.double().numpy(), count)[1]
        found.append(index.reshape(len(around), count).astype(np.int64))
    return torch.from_numpy(np.stack(found))
