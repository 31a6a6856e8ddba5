"""The stored form of the clouds."""

from __future__ import annotations

import numpy as np
import pytest

from foundry_bench.datasets import codec


@pytest.fixture
def clouds() -> np.ndarray:
    points = np.random.default_rng(0).normal(size=(5, 300, 3))
    return (points / np.linalg.norm(points, axis=2, keepdims=True)).astype(np.float32)


def test_points_come_back_within_half_a_step_in_the_reading_order(clouds: np.ndarray) -> None:
    planes, order = codec.encode_clouds(clouds)
    assert planes.shape == (codec.PLANES, 5, 300)
    reading = codec.reading_order(5, 300)
    expected = np.take_along_axis(np.take_along_axis(clouds, order[..., None], 1), reading[..., None], 1)
    np.testing.assert_allclose(codec.decode_clouds(planes), expected, atol=0.5001 * codec.STEP)
    assert codec.STEP <= 0.001


def test_extreme_coordinates_survive_exactly() -> None:
    corners = np.array([[[1, 0, 0], [-1, 0, 0], [0, 0, 1], [0, 0, -1], [0, 0, 0]]], dtype=np.float32)
    planes, _ = codec.encode_clouds(corners)
    assert {tuple(point) for point in codec.decode_clouds(planes)[0].tolist()} == {
        tuple(point) for point in corners[0].tolist()
    }


def test_reading_order_is_a_fixed_permutation_that_differs_by_row() -> None:
    order = codec.reading_order(3, 8)
    assert (np.sort(order, axis=1) == np.arange(8)).all()
    # Pinned: the order is part of the file format, since point 0 starts farthest point sampling.
    assert order.tolist() == codec.reading_order(4, 8)[:3].tolist()
    assert order[0].tolist() == [2, 4, 6, 5, 1, 7, 0, 3]
    assert len({tuple(row) for row in order.tolist()}) == 3


def test_half_of_a_cloud_is_a_fair_sample_of_the_sorted_points() -> None:
    order = codec.reading_order(400, 256)
    assert order[:, :128].mean() == pytest.approx(127.5, abs=1.0)
    assert order[:, 0].mean() == pytest.approx(127.5, abs=15.0)
    assert len(np.unique(order[:, 0])) > 150


@pytest.mark.parametrize("bad", [1.001, np.nan, np.inf])
def test_coordinates_outside_the_sphere_are_refused(clouds: np.ndarray, bad: float) -> None:
    clouds[0, 0, 0] = bad
    with pytest.raises(ValueError, match="in \\[-1, 1\\]"):
        codec.encode_clouds(clouds)
