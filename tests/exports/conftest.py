"""Fixtures of the exports' tests: a tiny teacher, the clouds that it is verified on, one exported folder."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from foundry_bench.datasets import PointCloudDataset
from foundry_bench.encoder import EncoderConfig
from foundry_bench.exports.folder import export
from foundry_bench.exports.golden import Golden, golden_of
from foundry_bench.teachers.transformer import PointTransformer

SMALL = EncoderConfig(
    dim=32, depth=2, heads=2, groups=16, group_size=8, points=256, tokenizer_widths=(16, 16, 32)
)


@pytest.fixture(scope="session")
def teacher() -> PointTransformer:
    torch.manual_seed(0)
    return PointTransformer(SMALL).eval().requires_grad_(False)


@pytest.fixture(scope="session")
def golden(teacher: PointTransformer, clouds: PointCloudDataset) -> Golden:
    return golden_of(teacher, clouds)


@pytest.fixture(scope="session")
def folder(
    teacher: PointTransformer, clouds: PointCloudDataset, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """The teacher, exported with grouping."""
    place = tmp_path_factory.mktemp("exported") / "teacher"
    export(teacher, place, clouds, points_in=True)
    return place
