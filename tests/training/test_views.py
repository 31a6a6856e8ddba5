"""Views of a data set: read in pieces, filled in place, with the labels of their patches."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from foundry_bench.context import Context
from foundry_bench.datasets import PointCloudDataset
from foundry_bench.encoder import EncoderConfig
from foundry_bench.teachers.transformer import PointTransformer
from foundry_bench.training.token_cache import token_cache
from foundry_bench.training.views import ViewBank

SIZES = EncoderConfig(groups=16, group_size=8, points=256)


class Counted:
    """Clouds on disk, as a data set larger than memory has them: remembers how many were read at a time."""

    def __init__(self, clouds: np.ndarray) -> None:
        self.clouds, self.most = clouds, 0
        self.shape = clouds.shape

    def __len__(self) -> int:
        return len(self.clouds)

    def __getitem__(self, key: slice) -> np.ndarray:
        found = self.clouds[key]
        self.most = max(self.most, len(found))
        return found


def test_views_of_clouds_on_disk_are_those_of_clouds_in_memory(clouds: PointCloudDataset) -> None:
    many = Counted(np.concatenate([clouds.points] * 4))
    first, second = (
        ViewBank.build(points, SIZES, 2, torch.Generator().manual_seed(0)) for points in (many, many.clouds)
    )
    assert torch.equal(first.neighborhoods, second.neighborhoods)
    assert many.most == 128


def test_a_patch_has_the_commonest_label_of_its_points(clouds: PointCloudDataset) -> None:
    """Points are labelled by their side of a plane: patches well inside a side must have its label."""
    labels = (clouds.points[..., 0] > 0).astype(np.int64)
    bank = ViewBank.empty(len(labels), SIZES, 2)
    bank = ViewBank(bank.neighborhoods, bank.centers, torch.zeros(bank.centers.shape[:3], dtype=torch.int16))
    ViewBank.build(clouds.points, SIZES, 2, torch.Generator().manual_seed(0), into=bank, labels=labels)
    assert bank.parts is not None
    across = bank.neighborhoods[..., 0].float() + bank.centers[..., None, 0].float()
    inside, outside = (across > 0.1).all(-1), (across < -0.1).all(-1)
    assert inside.sum() > 100
    assert outside.sum() > 100
    assert (bank.parts[inside] == 1).all()
    assert (bank.parts[outside] == 0).all()


def test_a_cache_keeps_parts_only_where_points_have_them(
    tiny_teacher: PointTransformer, clouds: PointCloudDataset, tmp_path: Path
) -> None:
    assert token_cache(tiny_teacher, clouds, 1, Context(cache=tmp_path)).parts is None
