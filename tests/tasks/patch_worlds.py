"""Small worlds of objects with parts in which it is known what a single token can say."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from foundry_bench.datasets import PointCloudDataset
from foundry_bench.encoder import Encoder, EncoderConfig, Tokens
from foundry_bench.points.patches import Patches

CONFIG = EncoderConfig(dim=8, depth=1, heads=1, groups=16, group_size=4, points=64)
CATEGORIES, SERIES, TWINS = 4, 6, 2


def world(seed: int = 0) -> PointCloudDataset:
    """Four categories of a low part and a high part; categories differ in the height of the high part only.

    A low patch therefore looks the same in every category. Two objects a series; two of six series are tested.
    """
    rng = np.random.default_rng(seed)
    count = CATEGORIES * SERIES * TWINS
    labels = np.repeat(np.arange(CATEGORIES), SERIES * TWINS)
    series = np.tile(np.repeat(np.arange(SERIES), TWINS), CATEGORIES)
    points = rng.uniform(-0.1, 0.1, (count, 64, 3)).astype(np.float32)
    parts = rng.permuted(np.tile(np.arange(64) % 2, (count, 1)), axis=1).astype(np.int8)
    points[..., 2] += np.where(parts == 0, -0.5, 0.3 + labels[:, None])
    names = tuple("abcd")
    return PointCloudDataset(
        name="world",
        version="1",
        sha256=f"world {seed}",
        classes=names,
        points=points,
        labels=labels,
        series=np.array([f"s{number}" for number in series]),
        paths=np.array([f"{row}.stl" for row in range(count)]),
        splits={f"fold{i}": np.where(np.isin(series, (2 * i, 2 * i + 1)), "test", "train") for i in range(2)},
        parts=parts,
        part_names=dict.fromkeys(names, ("low", "high")),
        novel_classes=(),
        licence="CC0-1.0",
    )


class Says(Encoder):
    """An encoder whose tokens are what ``say`` makes of the patches, (B, T, 8)."""

    def __init__(self, say: Callable[[Patches], Tensor]) -> None:
        super().__init__()
        self.config, self.say = CONFIG, say
        self.clouds = 0

    def forward(self, patches: Patches, levels: bool = False) -> Tokens:
        self.clouds += len(patches)
        return Tokens(self.say(patches))


def height(patches: Patches) -> Tensor:
    """What a patch knows by itself: how high it lies, in bins."""
    return _bins(patches.centers[..., 2])


def height_in_context(patches: Patches) -> Tensor:
    """The patch's height beside that of the highest one of its object."""
    z = patches.centers[..., 2]
    top = z.amax(dim=1, keepdim=True).expand_as(z)
    return torch.cat([_bins(z)[..., :3], _bins(top)[..., :5]], dim=-1)


def _bins(z: Tensor) -> Tensor:
    """Low, and 0.3, 1.3, 2.3 or 3.3 high: which of them (..., 8)."""
    return torch.nn.functional.one_hot((z + 0.7).round().long().clamp(0, 7), 8).float()
