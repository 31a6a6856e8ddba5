"""Farthest-point token sampling."""

from __future__ import annotations

import closed_form as form
import torch

from foundry_bench.context import Context
from foundry_bench.datasets import PointCloudDataset
from foundry_bench.encoder import EncoderConfig
from foundry_bench.methods.fps import FPS
from foundry_bench.points import farthest_point_sample
from foundry_bench.students.files import make_student
from foundry_bench.students.tokens import Stream, nearest, select, take
from foundry_bench.teachers.transformer import PointTransformer

ZERO = FPS(tokens=64)


def closed_form(method: FPS, config: EncoderConfig, trains: bool) -> int:
    """Blocks on the kept tokens; every patch looks for its nearest kept centre."""
    kept = min(method.tokens, config.groups)
    total = form.tokenizer(config) + form.position(config) + 3 * config.groups * kept
    total += config.depth * form.block(config, kept)
    return total + (form.cau(config) if trains and method.upsample else 0)


def test_the_first_tokens_are_the_farthest_point_subset(
    tiny_teacher: PointTransformer, clouds: PointCloudDataset
) -> None:
    """The kept patches are those that farthest point sampling of the *centres* would keep."""
    patches = tiny_teacher.tokenize(torch.from_numpy(clouds.points[:4, :256]))
    chosen = farthest_point_sample(patches.centers, 5)
    assert torch.equal(take(patches.centers, chosen), patches.centers[:, :5])


def test_off_the_shelf_every_patch_copies_the_nearest_kept_one(
    tiny_teacher: PointTransformer, clouds: PointCloudDataset
) -> None:
    student = make_student(FPS(tokens=4), tiny_teacher, clouds, Context(variant="off-the-shelf"))
    patches = tiny_teacher.tokenize(torch.from_numpy(clouds.points[:2, :256]))
    with torch.no_grad():
        features = student(patches).features
    source = nearest(patches.centers, patches.centers[:, :4])
    assert torch.equal(features, take(features[:, :4], source))
    assert not torch.equal(features[:, 0], features[:, 1])


def test_selection_counts_the_patches_that_read_a_row_and_composes() -> None:
    stream = Stream.of(torch.arange(4.0).reshape(1, 4, 1), torch.zeros(1, 4, 1))
    first = select(stream, torch.tensor([[0, 2, 3]]), torch.tensor([[0, 0, 1, 2]]))
    second = select(first, torch.tensor([[1]]), torch.tensor([[0, 0, 0]]))
    assert first.size.flatten().tolist() == [2, 1, 1]
    assert take(first.x, first.source).flatten().tolist() == [0, 0, 2, 3]
    assert second.size.flatten().tolist() == [4]
    assert take(second.x, second.source).flatten().tolist() == [2, 2, 2, 2]


def test_the_nearest_is_found_in_half_precision_training_too(clouds: PointCloudDataset) -> None:
    centers = torch.from_numpy(clouds.points[:8, :64])
    expected = nearest(centers, centers[:, :32])
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(nearest(centers, centers[:, :32]), expected)
