"""Sampling, grouping and augmentation."""

from __future__ import annotations

import math

import pytest
import torch

from foundry_bench.errors import UserError
from foundry_bench.points import (
    augment,
    farthest_point_sample,
    group,
    nearest_neighbors,
    normalize,
    rotate_about_up,
)


def test_farthest_points_start_at_point_zero_and_spread() -> None:
    line = torch.tensor([[[0.0, 0, 0], [1, 0, 0], [10, 0, 0], [4, 0, 0]]])
    assert farthest_point_sample(line, 4).tolist() == [[0, 2, 3, 1]]


def test_farthest_points_match_the_definition() -> None:
    points = torch.rand(2, 64, 3, generator=torch.Generator().manual_seed(1))
    chosen = farthest_point_sample(points, 12)
    for cloud, index in zip(points, chosen, strict=True):
        for i in range(1, 12):
            gaps = torch.cdist(cloud, cloud[index[:i]]).amin(dim=1)
            assert gaps[index[i]] == pytest.approx(float(gaps.max()), abs=1e-6)


def test_neighbors_are_the_nearest() -> None:
    points = torch.rand(3, 100, 3, generator=torch.Generator().manual_seed(2))
    found = nearest_neighbors(points, points[:, :5], 8).sort(dim=-1).values
    expected = torch.cdist(points[:, :5], points).topk(8, largest=False).indices.sort(dim=-1).values
    assert torch.equal(found, expected)


def test_patches_are_relative_to_their_centre_and_hold_it() -> None:
    points = torch.rand(2, 128, 3, generator=torch.Generator().manual_seed(3))
    patches = group(points, 8, 16)
    assert patches.neighborhoods.shape == (2, 8, 16, 3)
    assert torch.allclose(patches.centers[:, 0], points[:, 0])
    assert torch.allclose(patches.neighborhoods.norm(dim=-1).amin(dim=-1), torch.zeros(2, 8), atol=1e-6)


@pytest.mark.parametrize(
    ("points", "message"),
    [
        (torch.zeros(1, 4, 3), "needed"),
        (torch.zeros(1, 0, 3), "needed"),
        (torch.full((1, 64, 3), math.nan), "NaN"),
        (torch.zeros(1, 64, 6), "drop colours"),
        (torch.zeros(64, 3), "must be"),
    ],
)
def test_bad_clouds_get_one_line_that_names_the_fix(points: torch.Tensor, message: str) -> None:
    with pytest.raises(UserError, match=message):
        group(points, 8, 16)


def test_normalised_clouds_fill_the_unit_sphere() -> None:
    points = normalize(torch.rand(2, 50, 3) * 7 + 3)
    assert torch.allclose(points.mean(dim=1), torch.zeros(2, 3), atol=1e-5)
    assert torch.allclose(points.norm(dim=-1).amax(dim=1), torch.ones(2))


def test_turning_keeps_height_and_distance_to_the_axis() -> None:
    points = torch.rand(2, 20, 3)
    turned = rotate_about_up(points, torch.tensor([math.pi / 2, 1.0]))
    assert torch.allclose(turned[..., 2], points[..., 2])
    assert torch.allclose(turned[0, :, 0], -points[0, :, 1], atol=1e-6)
    assert torch.allclose(turned.norm(dim=-1), points.norm(dim=-1), atol=1e-6)


def test_augmentation_repeats_with_its_generator_and_differs_without() -> None:
    points = normalize(torch.rand(3, 64, 3))
    views = [augment(points, 32, torch.Generator().manual_seed(seed)) for seed in (0, 0, 1)]
    assert views[0].shape == (3, 32, 3)
    assert torch.equal(views[0], views[1])
    assert not torch.allclose(views[0], views[2])
