"""Part segmentation of a frozen or fine-tuned encoder: the head of Point-JEPA and point2vec, and the ShapeNetPart measure.

Head: point2vec (github.com/kabouzeid/point2vec, models/part_segmentation.py, modules/feature_upsampling.py), which Point-JEPA
(github.com/Ayumu-J-S/Point-JEPA) uses unchanged; the feature propagation is that of PointNet++ (arXiv 1706.02413, 3.4).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from foundry_bench.errors import UserError
from foundry_bench.heads.features import turn_angles
from foundry_bench.heads.probing import split_sides
from foundry_bench.points import rotate_about_up

if TYPE_CHECKING:
    from foundry_bench.datasets import PointCloudDataset
    from foundry_bench.encoder import Encoder

NEIGHBORS = 3
CATEGORY_WIDTH = 64
NO_PART = -1
"""Label of a point without a part; neither trained on nor scored."""

Dense = tuple[Tensor, Tensor, Tensor | None]
"""Tokens (B, T, D), their centres (B, T, 3) and the student's own penalty."""
Source = Callable[[np.ndarray, Tensor], Dense]
"""A function that gives :data:`Dense` for some rows (B,) and their clouds (B, P, 3)."""


def average_levels(levels: Sequence[Tensor]) -> Tensor:
    """Mean of hidden states (B, T, D), each layer-normed without weights, (B, T, D)."""
    return torch.stack([F.layer_norm(level, level.shape[-1:]) for level in levels]).mean(dim=0)


def live_tokens(encoder: Encoder) -> Source:
    """Tokens from the encoder as it is, with gradients where they are on."""

    def source(rows: np.ndarray, clouds: Tensor) -> Dense:
        patches = encoder.tokenize(clouds[:, : encoder.config.points])
        tokens = encoder(patches, levels=True)
        return average_levels(tokens.levels), patches.centers, tokens.penalty

    return source


@torch.no_grad()
def interpolation(points: Tensor, centers: Tensor) -> Tensor:
    """Weights (B, P, T) that carry rows at ``centers`` (B, T, 3) to ``points`` (B, P, 3).

    Each point takes its three nearest centres by inverse squared distance; weights sum to 1 and the others are 0. A matrix
    is used instead of indices because T is small, and because the gradient of indexing sums in an order that varies.
    """
    squared = torch.cdist(points, centers, compute_mode="donot_use_mm_for_euclid_dist").square()
    near, index = squared.topk(min(NEIGHBORS, centers.shape[1]), dim=-1, largest=False)
    inverse = 1 / (near + torch.finfo(near.dtype).eps)
    return torch.zeros_like(squared).scatter_(-1, index, inverse / inverse.sum(dim=-1, keepdim=True))


class PartHead(nn.Module):
    """Part logits of points, from an encoder's tokens and the object's category.

    ``dim`` is D; the propagation is as wide as the encoder (384 in the sources), then come 512, 256 and ``parts`` outputs.
    The sources apply one layer to local and global features at every point; here its global half is computed once per
    object.
    """

    def __init__(
        self, dim: int, categories: int, parts: int, hidden: int = 512, dropout: float = 0.5
    ) -> None:
        super().__init__()
        self.dim, self.categories = dim, categories
        self.category = nn.Sequential(
            nn.Linear(categories, CATEGORY_WIDTH, bias=False),
            nn.BatchNorm1d(CATEGORY_WIDTH),
            nn.LeakyReLU(0.2),
        )
        self.propagate = nn.Linear(dim + 3, dim, bias=False)
        self.refine = nn.Sequential(
            nn.BatchNorm1d(dim), nn.ReLU(), nn.Linear(dim, dim, bias=False), nn.BatchNorm1d(dim), nn.ReLU()
        )
        self.join = nn.Linear(3 * dim + CATEGORY_WIDTH, hidden, bias=False)
        self.classify = nn.Sequential(
            nn.BatchNorm1d(hidden),
            nn.ReLU(),
            nn.Dropout(dropout),
            nn.Linear(hidden, hidden // 2, bias=False),
            nn.BatchNorm1d(hidden // 2),
            nn.ReLU(),
            nn.Linear(hidden // 2, parts),
        )

    def forward(self, tokens: Tensor, centers: Tensor, points: Tensor, categories: Tensor) -> Tensor:
        """Logits (B, P, parts) of ``points`` (B, P, 3), given ``tokens`` (B, T, D) at ``centers`` (B, T, 3).

        ``categories`` (B,) int64.
        """
        carried = torch.cat([interpolation(points, centers) @ tokens, points], dim=-1)
        local = self.refine(self.propagate(carried.flatten(0, 1)))
        category = self.category(F.one_hot(categories, self.categories).to(tokens))
        whole = torch.cat([tokens.amax(dim=1), tokens.mean(dim=1), category], dim=-1)
        by_point, by_object = self.join.weight.split((self.dim, whole.shape[-1]), dim=1)
        joined = (
            F.linear(local, by_point).unflatten(0, points.shape[:2]) + F.linear(whole, by_object)[:, None]
        )
        return self.classify(joined.flatten(0, 1)).unflatten(0, points.shape[:2])


def part_loss(logits: Tensor, labels: Tensor) -> Tensor:
    """Cross-entropy of ``logits`` (B, P, parts) over the parts of all categories, mean over points that have a part.

    ``labels`` (B, P) int64; 0 where no point has one.
    """
    flat = labels.flatten()
    total = F.cross_entropy(logits.flatten(0, 1).float(), flat, ignore_index=NO_PART, reduction="sum")
    return total / (flat != NO_PART).sum().clamp_min(1)


def predict(logits: Tensor, allowed: Tensor) -> Tensor:
    """The likeliest part (B, P) of each point among those that its object's category has, ``allowed`` (B, parts) bool."""
    return logits.masked_fill(~allowed[:, None], -torch.inf).argmax(dim=-1)


def instance_iou(predicted: np.ndarray, labels: np.ndarray, parts: Sequence[int]) -> float:
    """Mean IoU of one object over its category's ``parts``; ``predicted`` and ``labels`` are (P,).

    A part that is neither there nor predicted counts 1 (ShapeNetPart). Points without a part do not count.
    """
    predicted, labels = predicted[labels != NO_PART], labels[labels != NO_PART]
    ious = []
    for part in parts:
        found, true = predicted == part, labels == part
        union = np.count_nonzero(found | true)
        ious.append(np.count_nonzero(found & true) / union if union else 1.0)
    return float(np.mean(ious))


def bootstrap(
    values: np.ndarray, clusters: np.ndarray, strata: np.ndarray, resamples: int = 1000, seed: int = 0
) -> np.ndarray:
    """Mean over ``strata`` (n,) of the means of ``values`` (n,), in ``resamples`` draws (resamples,) of whole clusters.

    Clusters are drawn with replacement within their stratum, and must lie in one. Categories are not a random sample.
    """
    rng = np.random.default_rng(seed)
    means = np.zeros((resamples, len(np.unique(strata))))
    for column, stratum in enumerate(np.unique(strata)):
        inside = strata == stratum
        number = np.unique(clusters[inside], return_inverse=True)[1]
        sums, sizes = np.bincount(number, values[inside]), np.bincount(number)
        drawn = rng.integers(0, len(sizes), (resamples, len(sizes)))
        means[:, column] = sums[drawn].sum(axis=1) / sizes[drawn].sum(axis=1)
    return means.mean(axis=1)


@dataclass(frozen=True)
class PartObjects:
    """The objects of ``data`` that have parts. Parts are numbered consecutively over the C categories ``names``, in the
    order of the data set's classes; ``sizes`` says how many parts each category has. ``category`` (N,) is -1 for objects
    without parts, ``angles`` (N,) the turn of each cloud about the up axis, in radians.
    """

    data: PointCloudDataset
    names: tuple[str, ...]
    sizes: tuple[int, ...]
    category: np.ndarray
    angles: np.ndarray

    @classmethod
    def of(cls, data: PointCloudDataset, rotate: bool) -> PartObjects:
        """The objects of ``data``, turned by angles hashed from the objects' paths
        (:func:`foundry_bench.heads.features.turn_angles`) if ``rotate``."""
        names = tuple(name for name in data.classes if name in data.part_names)
        number = np.array([*(names.index(name) if name in names else -1 for name in data.classes), -1])
        has_parts = (
            np.zeros(len(data.labels), bool)
            if data.parts is None
            else (np.asarray(data.parts) >= 0).any(axis=1)
        )
        return cls(
            data,
            names,
            tuple(len(data.part_names[name]) for name in names),
            np.where(has_parts, number[data.labels], -1),
            turn_angles(data.paths) if rotate else np.zeros(len(data.labels)),
        )

    def parts_of(self, category: int) -> range:
        """Numbers of a category's parts."""
        first = sum(self.sizes[:category])
        return range(first, first + self.sizes[category])

    def allowed(self, categories: Tensor) -> Tensor:
        """Which parts (B, parts) objects of ``categories`` (B,) can have."""
        owner = torch.repeat_interleave(torch.arange(len(self.sizes)), torch.tensor(self.sizes))
        return owner.to(categories.device) == categories[:, None]

    def sides(self, split: str) -> tuple[np.ndarray, np.ndarray]:
        """Rows (n,) with parts to train on (``train`` and, where a data set has it, ``val``) and to score (``test``).

        Raises UserError where there are too few.
        """
        train, test = (rows[self.category[rows] >= 0] for rows in split_sides(self.data, split))
        if len(train) < 2 or not len(test):
            raise UserError(
                f"split {split!r} of data set {self.data.name!r} has {len(train)} objects with parts to train on and "
                f"{len(test)} to score, at least 2 and 1 are needed: label more objects, or choose a data set with parts on "
                "both sides"
            )
        return train, test

    def _hold(self, highest: np.ndarray, categories: np.ndarray) -> None:
        """Raise UserError unless the ``highest`` part (B,) of each object is one of its category's."""
        for part, category in zip(highest.tolist(), categories.tolist(), strict=True):
            if part >= self.sizes[category]:
                raise UserError(
                    f"data set {self.data.name!r} has a point of part {part} in {self.names[category]!r}, which has "
                    f"{self.sizes[category]} part_names; name all of its parts"
                )

    def batch(self, rows: np.ndarray) -> tuple[Tensor, Tensor, Tensor]:
        """Clouds (B, P, 3) in their pose, parts (B, P) int64 and categories (B,) int64; the rows must have parts.

        Raises UserError for a part that its category does not have.
        """
        assert self.data.parts is not None
        points = torch.from_numpy(np.asarray(self.data.points[rows], dtype=np.float32))
        turned = rotate_about_up(points, torch.from_numpy(self.angles[rows]).float())
        first = np.array([self.parts_of(category).start for category in self.category[rows]])
        own = self.data.parts[rows].astype(np.int64)
        self._hold(own.max(axis=1), self.category[rows])
        labels = np.where(own < 0, NO_PART, own + first[:, None])
        return turned, torch.from_numpy(labels), torch.from_numpy(self.category[rows].astype(np.int64))
