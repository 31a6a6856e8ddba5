"""Corruptions take away, move and hide what they say, and nothing else."""

from __future__ import annotations

import numpy as np
import pytest

from foundry_bench.points.corruptions import (
    CLIP,
    cut,
    jitter,
    look,
    resample,
    thin,
    tilt,
    tumble,
    visible,
)


@pytest.fixture
def sphere() -> np.ndarray:
    points = np.random.default_rng(0).normal(size=(1024, 3))
    return points / np.linalg.norm(points, axis=1, keepdims=True)


def rng() -> np.random.Generator:
    return np.random.default_rng(1)


def rows(left: np.ndarray, cloud: np.ndarray) -> list[int]:
    """Where the points of ``left`` stand in ``cloud``."""
    place = {tuple(point): row for row, point in enumerate(cloud)}
    return [place[tuple(point)] for point in left]


def test_a_cut_is_flat_and_the_harder_goes_on_where_the_milder_ends(sphere: np.ndarray) -> None:
    mild, hard = (cut(sphere, rng(), share) for share in (0.25, 0.45))
    assert (len(mild), len(hard)) == (768, 563)
    assert set(rows(hard, sphere)) < set(rows(mild, sphere))
    assert rows(mild, sphere) == sorted(rows(mild, sphere)), "points keep their order"
    gone = np.delete(sphere, rows(hard, sphere), axis=0).mean(0)
    axis = gone / np.linalg.norm(gone)
    assert (hard @ axis).max() < np.quantile(sphere @ axis, 0.65)


def test_noise_has_its_deviation_and_is_clipped(sphere: np.ndarray) -> None:
    noise = jitter(sphere, rng(), 0.05) - sphere
    assert np.abs(noise).max() <= 0.05 * CLIP + 1e-12
    assert noise.std() == pytest.approx(0.05, rel=0.15)
    assert np.abs(noise.mean(0)).max() < 0.005


def test_thinning_leaves_fewer_points_far_from_the_sensor(sphere: np.ndarray) -> None:
    left = thin(sphere, rng(), 0.25)
    assert len(left) == len(set(rows(left, sphere))) == 256
    nearer = left.mean(0) / np.linalg.norm(left.mean(0))
    assert np.linalg.norm(left.mean(0)) > 0.2, "a uniform sample has 0.06 or so"
    assert np.mean(left @ nearer > 0) > 0.6


def test_a_tilt_turns_the_up_axis_by_its_angle_and_keeps_shapes(sphere: np.ndarray) -> None:
    up = np.array([[0.0, 0.0, 1.0]])
    assert np.rad2deg(np.arccos(tilt(up, rng(), 30.0)[0, 2])) == pytest.approx(30.0)
    for moved in (tilt(sphere, rng(), 30.0), tumble(sphere, rng())):
        assert np.allclose(moved @ moved.T, sphere @ sphere.T)


def test_free_poses_are_uniform() -> None:
    generator, up = rng(), np.array([[0.0, 0.0, 1.0]])
    heights = np.array([tumble(up, generator)[0, 2] for _ in range(400)])
    assert np.abs(heights.mean()) < 0.1
    assert np.var(heights) == pytest.approx(1 / 3, abs=0.05), "that of a uniform direction"


def test_hidden_points_are_those_behind_the_horizon(sphere: np.ndarray) -> None:
    """From a distance of 3 radii a sphere shows what lies beyond a third of its radius towards the eye."""
    eye = np.array([0.0, 0.0, 3.0])
    seen = np.zeros(len(sphere), bool)
    seen[visible(sphere, eye)] = True
    nearer = sphere[:, 2] > 1 / 3
    assert np.mean(seen[nearer]) > 0.95
    assert np.mean(seen[~nearer]) < 0.15


def test_a_wall_hides_what_stands_behind_it() -> None:
    grid = np.stack(np.meshgrid(np.linspace(-1, 1, 25), np.linspace(-1, 1, 25)), -1).reshape(-1, 2)
    front, back = (
        np.column_stack([grid * size, np.full(len(grid), z)]) for size, z in ((1.0, 0.3), (0.5, -0.3))
    )
    seen = visible(np.concatenate([front, back]), np.array([0.0, 0.0, 3.0]))
    assert np.mean(seen < len(front)) > 0.95


@pytest.mark.parametrize("count", [1, 3, 64])
def test_a_cloud_without_extent_hides_nothing(count: int) -> None:
    assert visible(np.zeros((count, 3)), np.array([0.0, 0.0, 3.0])).tolist() == list(range(count))


def test_two_views_show_more_than_the_one_that_they_begin_with(sphere: np.ndarray) -> None:
    one, two = (set(rows(look(sphere, rng(), views), sphere)) for views in (1, 2))
    assert one < two
    assert len(two) < len(sphere)


@pytest.mark.parametrize("count", [100, 1024, 1500])
def test_resampling_repeats_points_only_where_there_are_too_few(sphere: np.ndarray, count: int) -> None:
    drawn = resample(sphere, rng(), count)
    assert len(drawn) == count
    assert len(set(rows(drawn, sphere))) == min(count, len(sphere))
