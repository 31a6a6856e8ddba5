"""Pre-training: learns, resumes to the same weights, refuses a foreign or broken checkpoint."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from foundry_bench.context import Context
from foundry_bench.datasets import PointCloudDataset
from foundry_bench.errors import UserError
from foundry_bench.points import group
from foundry_bench.points.patches import Patches
from foundry_bench.teachers import save_teacher
from foundry_bench.teachers.transformer import PointTransformer
from foundry_bench.training.objectives import (
    SURROUNDINGS,
    Grid,
    Heads,
    LossWeights,
    canonical_code,
    chamfer,
    contrast,
    objective,
    occupied,
    surroundings,
)
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


def test_the_cells_around_a_token_are_those_that_hold_a_point() -> None:
    around = torch.tensor([[[0.1, -0.2, 0.3]]])
    grids = (Grid(4, 0.35), Grid(4, 0.9))
    near, far = (grid.half / grid.cells for grid in grids)  # half a cell
    offsets = [[near, near, near], [near, near, -3 * near], [-3 * far, far, far], [far, far, 5 * far]]
    cells = occupied(around + torch.tensor([offsets]), around, grids).view(2, 4, 4, 4)
    assert cells.nonzero().tolist() == [[0, 2, 2, 0], [0, 2, 2, 2], [1, 0, 2, 2], [1, 2, 2, 1], [1, 2, 2, 2]]


@pytest.mark.parametrize("term", SURROUNDINGS)
def test_a_term_of_surroundings_is_low_only_for_the_tokens_own(term: str, clouds: PointCloudDataset) -> None:
    patches = group(torch.from_numpy(clouds.points[:4]), 64, 16)
    visible = torch.rand(4, 64, generator=torch.Generator().manual_seed(0)).argsort(dim=1)[:, :24]
    around = patches.centers.gather(1, visible[..., None].expand(-1, -1, 3))
    points = (patches.neighborhoods + patches.centers[:, :, None]).flatten(1, 2)
    there = patches.centers if term == "complete" else points
    sure = 20 * occupied(there, around, SURROUNDINGS[term]) - 10
    own, another = (surroundings(term, logits, patches, visible) for logits in (sure, sure.roll(1, 1)))
    assert float(own) < 0.01 < float(another)


def test_only_terms_with_a_weight_are_computed_and_the_others_start_as_without_them(
    clouds: PointCloudDataset,
) -> None:
    def made(weights: LossWeights) -> Heads:
        torch.manual_seed(0)
        return Heads(TINY, 8, weights)

    weights = LossWeights(reconstruct=1.0, contrast=0.5, recognize=0.0, canonical=0.0, complete=6.0)
    without, heads = made(replace(weights, complete=0.0)).state_dict(), made(weights)
    assert without.keys() == {name for name in heads.state_dict() if not name.startswith("complete.")}
    assert all(torch.equal(value, heads.state_dict()[name]) for name, value in without.items())
    bank = ViewBank.build(torch.from_numpy(clouds.points[:4]), TINY, 2, torch.Generator().manual_seed(0))
    first, second = (bank.draw(torch.arange(4), torch.full((4,), v)) for v in (0, 1))
    generator = torch.Generator().manual_seed(0)
    loss, terms = objective(
        PointTransformer(TINY), heads, (first, second), torch.zeros(4, 8), weights, 6, generator
    )
    loss.backward()
    assert terms.keys() == {"reconstruct", "contrast", "complete", "feature_std"}
    assert float(loss.detach()) == pytest.approx(
        terms["reconstruct"] + 0.5 * terms["contrast"] + 6 * terms["complete"]
    )
    assert heads.get_parameter("complete.0.weight").grad.abs().sum() > 0
    assert heads.canonical.weight.grad is None


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


def test_a_checkpoint_from_before_settings_were_added_is_continued(
    clouds: PointCloudDataset, tmp_path: Path
) -> None:
    short = replace(CONFIG, steps=2, probe_every=2)
    pretrain(clouds, short, tmp_path, Context())
    saved = torch.load(tmp_path / "checkpoint.pt", weights_only=True)
    config = json.loads(saved["config"])
    del config["weights"]["complete"], config["weights"]["detail"], config["stretch"], config["init"]
    config["autocast"] = False
    torch.save({**saved, "config": json.dumps(config)}, tmp_path / "checkpoint.pt")
    log = pretrain(clouds, replace(short, steps=4), tmp_path, Context())[1]
    assert [row["step"] for row in log if "loss" in row] == [2, 4]


def test_a_pre_training_starts_from_the_teacher_that_it_names(
    clouds: PointCloudDataset, tmp_path: Path
) -> None:
    first = pretrain(clouds, replace(CONFIG, steps=2, probe_every=2), tmp_path / "first", Context())[0]
    save_teacher(first, tmp_path / "teacher", {})
    still = replace(CONFIG, steps=1, lr=0.0, init=str(tmp_path / "teacher"))
    second = pretrain(clouds, still, tmp_path / "second", Context())[0]
    assert torch.equal(first.norm.weight.half(), second.norm.weight.half())
    assert torch.equal(first.blocks[0].attn.qkv.weight.half(), second.blocks[0].attn.qkv.weight.half())
    with pytest.raises(UserError, match="encoder must have its sizes"):
        pretrain(clouds, replace(still, encoder=replace(TINY, depth=1)), tmp_path / "third", Context())


def test_unknown_settings_are_named() -> None:
    with pytest.raises(UserError, match="stepz"):
        PretrainConfig.from_dict({"stepz": 3})
