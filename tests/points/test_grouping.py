"""Grouping gives one result whichever way it is computed."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from foundry_bench.datasets import load_kicad
from foundry_bench.points import farthest, farthest_point_sample, group, nearest_neighbors, neighbors
from foundry_bench.points.boxes import BOX, farthest_by_boxes, in_boxes
from foundry_bench.points.farthest import farthest_by_library, library_agrees, telling_clouds

SHAPES = ("ball", "copies", "grid", "line", "one point", "tiny", "far away", "half precision", "permuted")


def cloud_of(shape: str, count: int, seed: int) -> np.ndarray:
    """A cloud (count, 3) that is hard to sample in its own way."""
    rng = np.random.default_rng(seed)
    drawn = rng.normal(size=(count, 3))
    made = {
        "ball": lambda: drawn,
        "copies": lambda: drawn[rng.integers(0, count // 4 + 1, count)],
        "grid": lambda: rng.integers(-4, 5, (count, 3)) / 4,
        "line": lambda: np.outer(rng.integers(0, 50, count), np.ones(3)),
        "one point": lambda: np.repeat(drawn[:1], count, axis=0),
        "tiny": lambda: drawn * 1e-22,
        "far away": lambda: drawn + 1e4,
        "half precision": lambda: drawn.astype(np.float16),
        "permuted": lambda: rng.permuted(np.resize([0.1, 0.3, 0.7], (count, 3)), axis=1),
    }[shape]()
    return made.astype(np.float32)


def by_loop(cloud: np.ndarray, count: int) -> list[int]:
    """The definition: the farthest point from all before, and of several the first."""
    chosen, best = [0], np.full(len(cloud), np.inf, cloud.dtype)
    for _ in range(1, count):
        gap = cloud - cloud[chosen[-1]]
        gap *= gap
        best = np.minimum(best, gap[:, 0] + gap[:, 1] + gap[:, 2])
        chosen.append(int(best.argmax()))
    return chosen


@pytest.mark.parametrize("shape", SHAPES)
@settings(max_examples=15, deadline=None)
@given(count=st.integers(2, 700), share=st.floats(0, 1), seed=st.integers(0, 10**6))
def test_every_way_of_sampling_chooses_the_same_points(
    shape: str, count: int, share: float, seed: int
) -> None:
    cloud = cloud_of(shape, count, seed)
    chosen = max(1, round(share * min(count, 250)))
    expected = by_loop(cloud, chosen)
    points = torch.from_numpy(cloud)[None]
    assert farthest._together(points, chosen)[0].tolist() == expected
    assert farthest_by_boxes(cloud, chosen).tolist() == expected
    assert farthest_by_library(cloud, chosen).tolist() == expected
    assert farthest_by_boxes(cloud.astype(np.float64), chosen).tolist() == by_loop(
        cloud.astype(np.float64), chosen
    )


def test_large_real_clouds_are_sampled_as_by_the_loop() -> None:
    cloud = load_kicad().points[5].astype(np.float32)
    rng = np.random.default_rng(0)
    large = cloud[rng.integers(0, len(cloud), 20_000)]
    large[10_000:] += rng.normal(size=(10_000, 3)).astype(np.float32) * 0.01
    found = farthest_point_sample(torch.from_numpy(np.stack([large, large[::-1]])), 300)
    assert found.tolist() == [by_loop(large, 300), by_loop(large[::-1], 300)]


def test_boxes_hold_every_point_once_between_their_corners() -> None:
    cloud = cloud_of("ball", 1000, 0)
    boxes = in_boxes(cloud)
    assert boxes.ids.shape[1] <= BOX
    assert sorted(boxes.ids.ravel()[boxes.ids.ravel() < 1000].tolist()) == list(range(1000))
    for ids, low, high in zip(boxes.ids, boxes.low.T, boxes.high.T, strict=True):
        inside = cloud[ids[ids < 1000]]
        assert (inside >= low).all()
        assert (inside <= high).all()
        assert (np.diff(ids) > 0).all()


def fused(cloud: np.ndarray, count: int) -> np.ndarray:
    """What a build chooses that rounds a product and a sum once instead of twice."""
    chosen, best = [0], np.full(len(cloud), np.inf, np.float32)
    for _ in range(1, count):
        square = (cloud - cloud[chosen[-1]]).astype(np.float64) ** 2
        total = square[:, 0].astype(np.float32)
        for axis in (1, 2):
            total = (square[:, axis] + total).astype(np.float32)
        best = np.minimum(best, total)
        chosen.append(int(best.argmax()))
    return np.array(chosen)


def highest_first(cloud: np.ndarray, count: int) -> np.ndarray:
    """What a version chooses that gives ties to the highest number."""
    turned = cloud[::-1]
    start = len(cloud) - 1
    chosen, best = [start], np.full(len(cloud), np.inf, np.float32)
    for _ in range(1, count):
        best = np.minimum(best, np.square(turned - turned[chosen[-1]]).sum(axis=1))
        chosen.append(int(best.argmax()))
    return start - np.array(chosen)


@pytest.mark.parametrize("other", [fused, highest_first])
def test_a_library_that_chooses_otherwise_is_not_used(other, monkeypatch) -> None:
    monkeypatch.setattr(farthest, "farthest_by_library", other)
    library_agrees.cache_clear()
    try:
        assert not library_agrees()
        cloud, count = telling_clouds()[0]
        assert farthest_point_sample(torch.from_numpy(cloud)[None], count)[0].tolist() == by_loop(
            cloud, count
        )
    finally:
        library_agrees.cache_clear()


def test_nothing_changes_without_the_library(monkeypatch) -> None:
    points = torch.from_numpy(load_kicad().points[:3, :512].astype(np.float32))
    assert library_agrees()
    expected = farthest_point_sample(points, 32)
    monkeypatch.setitem(sys.modules, "fpsample", None)
    library_agrees.cache_clear()
    try:
        assert not library_agrees()
        assert torch.equal(farthest_point_sample(points, 32), expected)
    finally:
        library_agrees.cache_clear()


class Sampling(torch.nn.Module):
    """Sampling and neighbours as a graph."""

    def forward(self, points: torch.Tensor) -> torch.Tensor:
        centers = points[:, farthest_point_sample(points, 8)[0]]
        return nearest_neighbors(points, centers, 4)


def test_a_graph_samples_the_cloud_it_is_given() -> None:
    first, second = torch.from_numpy(load_kicad().points[:2, :64].astype(np.float32)).split(1)
    for graph in (
        torch.jit.trace(Sampling(), first, check_trace=False),
        torch.export.export(Sampling(), (first,)).module(),
    ):
        assert torch.equal(graph(second), Sampling()(second))


def test_neighbours_are_the_same_in_one_block_and_in_many(monkeypatch) -> None:
    points = torch.from_numpy(load_kicad().points[:6, :1024].astype(np.float32))
    centers = points[:, :64]
    whole = nearest_neighbors(points, centers, 32)
    monkeypatch.setattr(neighbors, "BLOCK", 6 * 1024 * 10)
    blocks = nearest_neighbors(points, centers, 32)
    assert torch.equal(blocks.sort(dim=-1).values, whole.sort(dim=-1).values)


@pytest.mark.parametrize("count", [1, 32])
def test_large_clouds_get_the_nearest_points(count: int) -> None:
    rng = np.random.default_rng(1)
    cloud = load_kicad().points[8].astype(np.float32)
    large = cloud[rng.integers(0, len(cloud), 6000)] + rng.normal(size=(6000, 3)) * 0.01
    points = torch.from_numpy(large.astype(np.float32))[None]
    found = nearest_neighbors(points, points[:, :20], count)
    assert found.shape == (1, 20, count)
    exact = torch.cdist(points[:, :20].double(), points.double(), compute_mode="donot_use_mm_for_euclid_dist")
    assert torch.equal(
        found.sort(dim=-1).values, exact.topk(count, largest=False).indices.sort(dim=-1).values
    )


PEAK = """
import torch
from foundry_bench.cost.memory import peak_resident_bytes
from foundry_bench.points import group
torch.set_num_threads(1)
group(torch.randn(1, 5000, 3), 300, 32)
before = peak_resident_bytes()
group(torch.randn(1, 60_000, 3), 512, 32)
print(peak_resident_bytes() - before)
"""


def test_no_matrix_of_all_groups_and_points_is_held() -> None:
    done = subprocess.run([sys.executable, "-c", PEAK], capture_output=True, text=True, check=True)
    assert int(done.stdout) < 60_000 * 512 * 4 / 4


def test_clouds_of_one_point_are_grouped() -> None:
    patches = group(torch.zeros(1, 20_000, 3), 300, 8)
    assert not patches.neighborhoods.any()
