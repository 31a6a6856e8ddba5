"""Fixtures of the methods' tests."""

from __future__ import annotations

import pytest
import torch

from foundry_bench.datasets import PointCloudDataset
from foundry_bench.points.patches import Patches
from foundry_bench.teachers.transformer import PointTransformer


@pytest.fixture
def patches(tiny_teacher: PointTransformer, clouds: PointCloudDataset) -> Patches:
    """Four real clouds as the tiny teacher groups them."""
    return tiny_teacher.tokenize(torch.from_numpy(clouds.points[:4, :256]))
