"""Pre-training: learns, resumes to the same weights, refuses a foreign or broken checkpoint."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from foundry_bench.context import Context
from foundry_bench.datasets import PointCloudDataset
from foundry_bench.errors import UserError
from foundry_bench.points.patches import Patches
from foundry_bench.training.objectives import canonical_code, chamfer, contrast
from foundry_bench.training.pretrain import PretrainConfig, pretrain, sampling_weights
from foundry_bench.training.views import ViewBank, turn
from tests.conftest import TINY

CONFIG = PretrainConfig(encoder=TINY, steps=12, batch_size=16, views=2, warmup=2, probe_every=6, lr=3e-3)


def test_chamfer_of_equal_sets_is_zero_and_of_a_shift_its_square() -> None:
    a = torch.tensor([[[0.0, 0, 0], [5, 0, 0]]])
    assert float(chamfer(a, a.flip(1))) == pytest.approx(0)
    assert float(chamfer(a, a + torch.tensor([0.0, 0, 2]))) == pytest.approx(8)


def test_contrast_is_low_only_for_matching_rows() -> None:
    z = torch.eye(8)
    assert float(contrast(z, z)) < 0.01 < float(contrast(z, z.roll(1, 0)))


def test_canonical_code_does_not_depend_on_point_order(clouds: PointCloudDataset) -> None:
    points = torch.from_numpy(clouds.points)
    codes = [canonical_code(p, 8) for p in (points, points.flip(1))]
    assert torch.allclose(codes[0].abs(), codes[1].abs(), atol=1e-3)


def test_paired_views_share_no_point(clouds: PointCloudDataset) -> None:
    points = torch.from_numpy(clouds.points[:4])
    config = replace(TINY, points=1024, groups=64)
    bank = ViewBank.build(points, config, 2, torch.Generator().manual_seed(0))
    first, second = (bank.draw(torch.arange(4), torch.full((4,), v)).centers for v in (0, 1))
    assert (torch.cdist(first, second).amin(dim=-1) > 0).float().mean() > 0.95


def test_turn_moves_centres_and_neighbours_alike() -> None:
    generator = torch.Generator().manual_seed(0)
    patches = Patches(torch.rand(2, 4, 8, 3), torch.rand(2, 4, 3))
    turned = turn(patches, generator, scale=(1.0, 1.0))
    whole = patches.neighborhoods + patches.centers[:, :, None]
    moved = turned.neighborhoods + turned.centers[:, :, None]
    assert torch.allclose(whole.norm(dim=-1), moved.norm(dim=-1), atol=1e-6)
    assert torch.allclose(whole[..., 2], moved[..., 2], atol=1e-6)


def test_long_series_do_not_fill_the_batches(clouds: PointCloudDataset) -> None:
    weights = sampling_weights(clouds.series)
    assert len(weights) == len(clouds.points)
    shared = {s for s in clouds.series if (clouds.series == s).sum() > 1}
    if shared:
        assert weights[clouds.series == shared.pop()].max() < 1


def test_interrupted_training_ends_where_an_uninterrupted_one_does(
    clouds: PointCloudDataset, tmp_path: Path
) -> None:
    whole, log = pretrain(clouds, CONFIG, tmp_path / "whole", Context())

    class StopError(Exception):
        pass

    def stop(what: str, done: int, total: int) -> None:
        if what == "pre-train" and done == 9:
            raise StopError

    with pytest.raises(StopError):
        pretrain(clouds, CONFIG, tmp_path / "halves", Context(progress=stop))
    resumed, again = pretrain(clouds, CONFIG, tmp_path / "halves", Context())
    assert [row["step"] for row in again] == [row["step"] for row in log] == [6, 12]
    assert log[1]["loss"] < log[0]["loss"]
    for name, value in whole.state_dict().items():
        assert torch.equal(value, resumed.state_dict()[name]), name


def test_checkpoints_of_another_configuration_or_truncated_are_refused(
    clouds: PointCloudDataset, tmp_path: Path
) -> None:
    short = replace(CONFIG, steps=2, probe_every=2)
    pretrain(clouds, short, tmp_path, Context())
    with pytest.raises(UserError, match="another configuration"):
        pretrain(clouds, replace(short, lr=1e-4), tmp_path, Context())
    path = tmp_path / "checkpoint.pt"
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(UserError, match="cannot be read"):
        pretrain(clouds, short, tmp_path, Context())


def test_unknown_settings_are_named() -> None:
    with pytest.raises(UserError, match="stepz"):
        PretrainConfig.from_dict({"stepz": 3})
