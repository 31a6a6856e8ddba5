"""Twins: the same shape up to the noise of sampling is found among all pairs, nothing else is."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from foundry_bench.datasets.preparation.twins import HALF, TWIN_RATIO, Halves, ratios, twin_pairs, united


def box_cloud(size: tuple[float, float, float], seed: int) -> np.ndarray:
    """Points of a box's surface ``(2 * HALF, 3)``, as the preparation makes them: centred, in the unit sphere."""
    rng = np.random.default_rng(seed)
    size_ = np.array(size)
    points = rng.random((2 * HALF, 3)) * size_
    areas = size_.prod() / size_
    axis = rng.choice(3, 2 * HALF, p=areas / areas.sum())
    points[np.arange(2 * HALF), axis] = rng.integers(0, 2, 2 * HALF) * size_[axis]
    points -= points.mean(axis=0)
    return (points / np.linalg.norm(points, axis=1).max()).astype(np.float32)


SIZES = [(1, 1, 1), (2, 2, 2), (1, 2, 3), (1.15, 2, 3), (3, 1, 2), (1.3, 1, 1), (2, 4, 6.02)]
SAME = {(0, 1), (2, 6)}


@pytest.fixture(scope="module")
def halves() -> Halves:
    return Halves.of(np.stack([box_cloud(size, seed) for seed, size in enumerate(SIZES)]))


def test_same_shapes_of_any_size_are_twins_and_others_are_not(halves: Halves) -> None:
    assert {tuple(pair) for pair in twin_pairs(halves).tolist()} == SAME


def test_what_is_ruled_out_early_is_no_twin_in_full(halves: Halves) -> None:
    pairs = np.array(list(itertools.combinations(range(len(SIZES)), 2)))
    full = ratios(halves, halves, pairs)
    assert {tuple(pair) for pair in pairs[full < TWIN_RATIO].tolist()} == SAME
    assert full[[tuple(pair) in SAME for pair in pairs]] == pytest.approx(1.0, abs=0.1)


def test_twins_between_two_sets_are_found(halves: Halves) -> None:
    left, right = halves[np.array([0, 2, 4])], halves[np.array([5, 6, 1])]
    assert {tuple(pair) for pair in twin_pairs(left, right).tolist()} == {(0, 2), (1, 1)}
    assert twin_pairs(left, halves[np.array([5])]).shape == (0, 2)


def test_series_are_united_over_chains_and_take_the_first_name() -> None:
    series = ["b", "a", "c", "a", "d"]
    assert united(series, [(0, 1), (2, 0)]) == ["a", "a", "a", "a", "d"]
    assert united(series, []) == series
