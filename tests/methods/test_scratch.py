"""The light network from scratch: no weight of the teacher, patches that see their neighbours, the papers' formulas."""

from __future__ import annotations

import math

import pytest
import torch

from foundry_bench.context import Context
from foundry_bench.datasets import PointCloudDataset
from foundry_bench.encoder import EncoderConfig
from foundry_bench.methods.scratch import LightNetwork, Scratch, lifted, spread_of
from foundry_bench.points.patches import Patches
from foundry_bench.students.files import make_student
from foundry_bench.teachers.transformer import PointTransformer
from foundry_bench.testing.rules import stranger_to

ZERO = None


def closed_form(method: Scratch, config: EncoderConfig, trains: bool) -> int:
    """A residual MLP of c channels is c^2; points run at half the width, all else runs once a patch or once a cloud."""
    tokens, width, half = config.groups, method.width, method.width // 2
    points = tokens * (config.group_size * half**2 + half * width)
    stages = 2 * (tokens * 2 * width**2 + width**2)
    return points + stages + tokens * width * config.dim


def test_nothing_of_the_teacher_is_in_it_and_the_seed_decides_its_start(
    tiny_teacher: PointTransformer, clouds: PointCloudDataset
) -> None:
    first, same, other = (
        make_student(Scratch(), teacher, clouds, Context(seed=seed)).state_dict()
        for teacher, seed in ((tiny_teacher, 0), (stranger_to(tiny_teacher), 0), (tiny_teacher, 1))
    )
    assert all(torch.equal(first[name], same[name]) for name in first)
    assert not torch.equal(first["project.weight"], other["project.weight"])


def test_it_is_as_light_as_the_published_one() -> None:
    """SLNet-S has 0.14 M weights."""
    network = LightNetwork(EncoderConfig(dim=192), Scratch().width)
    assert 0.12e6 < sum(p.numel() for p in network.parameters()) < 0.16e6


def test_lifting_is_the_published_blend_of_gaussians_and_cosines() -> None:
    x, spread = torch.tensor([[[0.3, -0.2, 0.0]]]), torch.tensor([0.15])
    values = lifted(x, spread, 9)[0, 0]
    blend = 1 / (1 + math.exp(-10 * (0.15 - 0.1)))
    for channel, (at, grid) in enumerate((at, grid) for at in (0.3, -0.2, 0.0) for grid in (-0.5, 0.0, 0.5)):
        off = (at - grid) / (0.4 * 1.15)
        expected = blend * math.exp(-0.5 * off**2) + (1 - blend) * math.cos(off)
        assert float(values[channel]) == pytest.approx(expected, abs=1e-6)
    assert lifted(x, spread, 8).shape == (1, 1, 8)


def test_each_cloud_has_its_own_spread() -> None:
    x = torch.tensor([1.0, 3.0])[:, None, None] * torch.ones(2, 5, 3)
    assert spread_of(x).tolist() == [1.0, 3.0]


def test_rows_follow_their_patches_and_points_have_no_order(
    tiny_teacher: PointTransformer, patches: Patches, clouds: PointCloudDataset
) -> None:
    student = make_student(Scratch(width=16), tiny_teacher, clouds, Context())
    order = torch.randperm(16, generator=torch.Generator().manual_seed(0))
    points = torch.randperm(8, generator=torch.Generator().manual_seed(1))
    moved = Patches(patches.neighborhoods[:, order][:, :, points], patches.centers[:, order])
    with torch.no_grad():
        assert torch.allclose(student(moved).features, student(patches).features[:, order], atol=1e-5)


def test_a_patch_hears_of_far_ones_and_most_of_near_ones(
    tiny_teacher: PointTransformer, patches: Patches, clouds: PointCloudDataset
) -> None:
    student = make_student(Scratch(width=32), tiny_teacher, clouds, Context())
    neighborhoods = patches.neighborhoods.clone().requires_grad_()
    student(Patches(neighborhoods, patches.centers)).features[0, 0].sum().backward()
    heard = neighborhoods.grad.flatten(2).norm(dim=2)
    assert not heard[1:].any()
    assert int((heard[0] > 0).sum()) > 8
    assert int(heard[0].argmax()) == 0


@pytest.mark.parametrize("values", [{"width": 1}, {"width": 5000}])
def test_impossible_widths_are_refused(values: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="width"):
        Scratch(**values)
