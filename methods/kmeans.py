"""Static k-means clusters instead of learned SuperTokens: Foundry's "KMeans-Student" (arXiv 2511.20721, ablation table).

Each sample's tokens are clustered by content, before any position is added; the blocks run on the clusters' means. The recipe
is unpublished. Ours: a deterministic greedy k-means++ start, a fixed number of Lloyd iterations, positions averaged like
tokens. k-means needs nothing but the tokens' pairwise distances, so those T^2 D products are all that it costs.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from foundry_bench.authoring import (
    FMD,
    OFF_THE_SHELF,
    Bounds,
    Context,
    Embedding,
    Encoder,
    Family,
    Method,
    Paper,
    PointCloudDataset,
    PointTransformer,
    ReducingStudent,
    Stream,
    merge,
    require_transformer,
    sum_rows,
    take,
)


def squared_distances(x: Tensor) -> Tensor:
    """Squared distances (B, T, T) between the rows of x (B, T, D), in single precision whatever the training's."""
    with torch.autocast(x.device.type, enabled=False):
        x = x.float() - x.float().mean(dim=1, keepdim=True)
        gram = x @ x.transpose(1, 2)
    norm = gram.diagonal(dim1=1, dim2=2)
    return (norm[:, :, None] + norm[:, None] - 2 * gram).clamp_min(0)


def greedy_start(distance: Tensor, count: int) -> Tensor:
    """Seeds (B, count): each is the row that lowers the sum of squared distances (B, T, T) to the nearest seed the most.

    This is greedy k-means++ with every row as a candidate, so it needs no generator; the first seed is the row nearest to
    the sample's mean.
    """
    seeds: list[Tensor] = []
    closest = torch.full_like(distance[:, :1], torch.inf)
    for _ in range(count):
        seeds.append(torch.minimum(closest, distance).sum(dim=2).argmin(dim=1, keepdim=True))
        closest = torch.minimum(closest, take(distance, seeds[-1]))
    return torch.cat(seeds, dim=1)


def to_means(distance: Tensor, index: Tensor, count: int) -> Tensor:
    """Squared distance (B, count, T) of every row to the mean of each cluster, infinite for a cluster without rows.

    ``distance`` (B, T, T) holds the squared distances between rows, ``index`` (B, T) their clusters. A row's distance to a
    mean is its mean distance to the members less half of the members' mean distance to each other.
    """
    size = sum_rows(torch.ones_like(distance[..., :1]), index, count)
    mean = sum_rows(distance, index, count) / size.clamp_min(1)
    own = mean.gather(1, index[:, None]).transpose(1, 2)
    spread = sum_rows(own, index, count) / size.clamp_min(1) / 2
    return (mean - spread).masked_fill(size == 0, torch.inf)


def fill_empty(index: Tensor, own: Tensor, count: int) -> Tensor:
    """``index`` (B, T) with a row for every one of ``count`` <= T clusters.

    An empty cluster takes the row that is farthest from its mean, by ``own`` (B, T), of those that leave no cluster empty.
    """
    total = index.shape[1]
    order = own.argsort(dim=1, stable=True)
    member = F.one_hot(index.gather(1, order), count)
    nearest_of_its_cluster = (member.cumsum(dim=1) * member).sum(dim=2) == 1
    priority = torch.arange(1, total + 1, device=own.device).masked_fill(nearest_of_its_cluster, 0)
    donors = order.gather(1, priority.argsort(dim=1, descending=True)[:, :count])
    empty = member.sum(dim=1) == 0
    needy = empty.int().argsort(dim=1, descending=True, stable=True)
    given = torch.where(empty.gather(1, needy), needy, index.gather(1, donors))
    return index.scatter(1, donors, given)


@torch.no_grad()
def kmeans(x: Tensor, count: int, iterations: int) -> Tensor:
    """The cluster (B, T) of every row of x (B, T, D): ``count`` <= T clusters a sample, none of them empty."""
    distance = squared_distances(x)
    index = take(distance, greedy_start(distance, count)).argmin(dim=1)
    for _ in range(iterations):
        index = to_means(distance, index, count).argmin(dim=1)
    own = to_means(distance, index, count).gather(1, index[:, None])[:, 0]
    return fill_empty(index, own, count)


class KMeansStudent(ReducingStudent):
    """Runs the blocks on each sample's ``count`` cluster means; a patch reads the row of its cluster.

    The assignment has no gradient, the means have one.
    """

    def __init__(self, teacher: PointTransformer, count: int, iterations: int, upsample: bool) -> None:
        super().__init__(teacher, upsample)
        self.count, self.iterations = min(count, teacher.config.groups), iterations

    def begin(self, embedding: Embedding, pos: Tensor) -> tuple[Stream, Tensor]:
        stream, base = super().begin(embedding, pos)
        return merge(stream, kmeans(stream.x, self.count, self.iterations), self.count), base


@dataclass(frozen=True)
class KMeans(Method):
    """``clusters``: tokens that the blocks see. ``iterations``: of Lloyd's algorithm. ``upsample``: distilled students
    reconstruct the patches by Foundry's CAU instead of copying the row of their cluster."""

    name: ClassVar[str] = "kmeans"
    family: ClassVar[Family] = "pool"
    paper: ClassVar[Paper] = Paper("Foundry: Distilling 3D Foundation Models for the Edge", "2511.20721")
    abstract: ClassVar[str] = "means of k-means clusters instead of learned SuperTokens"
    variants: ClassVar[tuple[str, ...]] = (OFF_THE_SHELF, FMD)
    grid: ClassVar[dict[str, tuple[Any, ...]]] = {"clusters": (9, 27)}
    matched: ClassVar[tuple[dict[str, Any], ...]] = ({"clusters": 17},)

    clusters: Annotated[int, Bounds(at_least=1)] = 16
    iterations: Annotated[int, Bounds(at_least=0, at_most=1000)] = 10
    upsample: bool = True

    def compress(self, teacher: Encoder, data: PointCloudDataset, ctx: Context) -> Encoder:
        source = require_transformer(teacher, self.name)
        return KMeansStudent(source, self.clusters, self.iterations, self.upsample and ctx.trains)
