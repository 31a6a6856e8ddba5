"""Part segmentation's pieces: what the head reads, what the measure counts, and intervals that know about near-twins."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from foundry_bench.datasets import PointCloudDataset, load_kicad
from foundry_bench.errors import UserError
from foundry_bench.heads.features import turned
from foundry_bench.heads.probing import clustered_score, groups_of
from foundry_bench.heads.segmentation import (
    NO_PART,
    PartHead,
    PartObjects,
    average_levels,
    bootstrap,
    instance_iou,
    interpolation,
    part_loss,
    predict,
)
from foundry_bench.task import Metric


@pytest.fixture(scope="module")
def kicad() -> PointCloudDataset:
    return load_kicad()


def test_levels_are_normed_before_they_are_averaged() -> None:
    """A level that is a thousand times larger counts as much as the others."""
    levels = torch.randn(3, 2, 5, 8)
    expected = sum(F.layer_norm(level, (8,)) for level in levels) / 3
    assert torch.allclose(average_levels(tuple(levels)), expected, atol=1e-6)
    scaled = (levels[0] * 1000, levels[1], levels[2])
    assert torch.allclose(average_levels(scaled), expected, atol=1e-4)


def test_a_point_takes_its_three_nearest_centres_by_inverse_squared_distance() -> None:
    centers = torch.tensor([[[1.0, 0, 0], [0, 2.0, 0], [0, 0, 4.0], [-5.0, 0, 0]]])
    weights = interpolation(torch.zeros(1, 1, 3), centers)[0, 0]
    expected = torch.tensor([1, 1 / 4, 1 / 16, 0])
    assert torch.allclose(weights, expected / expected.sum(), atol=1e-6)


def test_a_point_on_a_centre_takes_that_centre_and_weights_sum_to_one() -> None:
    points = torch.rand(2, 50, 3)
    weights = interpolation(points, points[:, :10])
    assert torch.allclose(weights[:, :10], torch.eye(10).expand(2, 10, 10), atol=1e-3)
    assert torch.allclose(weights.sum(dim=-1), torch.ones(2, 50), atol=1e-5)
    assert ((weights > 0).sum(dim=-1) <= 3).all()


def test_two_patches_are_enough_to_interpolate() -> None:
    weights = interpolation(torch.rand(1, 4, 3), torch.rand(1, 2, 3))
    assert torch.allclose(weights.sum(dim=-1), torch.ones(1, 4), atol=1e-5)


def concatenated(
    head: PartHead,
    tokens: torch.Tensor,
    centers: torch.Tensor,
    points: torch.Tensor,
    categories: torch.Tensor,
) -> torch.Tensor:
    """The head as its sources write it: interpolate, concatenate, then apply whole layers to every point."""
    count = points.shape[1]
    carried = torch.cat([interpolation(points, centers) @ tokens, points], dim=-1)
    local = head.refine(head.propagate(carried).flatten(0, 1)).unflatten(0, (-1, count))
    category = head.category(F.one_hot(categories, 4).float())
    whole = torch.cat([tokens.amax(dim=1), tokens.mean(dim=1), category], dim=-1)
    joined = head.join(torch.cat([local, whole[:, None].expand(-1, count, -1)], dim=-1))
    return head.classify(joined.flatten(0, 1)).unflatten(0, (-1, count))


@pytest.mark.parametrize("training", [True, False])
def test_a_layer_applied_piece_by_piece_is_the_sources_layer(training: bool) -> None:
    head = PartHead(16, 4, 9, dropout=0.0).train(training)
    tokens, points, categories = torch.randn(3, 10, 16), torch.rand(3, 40, 3), torch.tensor([0, 3, 1])
    inputs = (tokens, points[:, :10], points, categories)
    assert head(*inputs).shape == (3, 40, 9)
    assert torch.allclose(head(*inputs), concatenated(head, *inputs), atol=1e-4)


def test_the_category_tells_the_head_something() -> None:
    head = PartHead(16, 4, 9).eval()
    tokens, points = torch.randn(1, 10, 16), torch.rand(1, 40, 3)
    first, second = (head(tokens, points[:, :10], points, torch.tensor([c])) for c in (0, 1))
    assert not torch.allclose(first, second)


def test_points_without_a_part_do_not_train() -> None:
    logits = torch.randn(2, 3, 5, requires_grad=True)
    labels = torch.tensor([[0, NO_PART, 4], [NO_PART, NO_PART, 2]])
    loss = part_loss(logits, labels)
    labelled = labels != NO_PART
    assert loss.item() == pytest.approx(F.cross_entropy(logits[labelled], labels[labelled]).item())
    loss.backward()
    assert logits.grad is not None
    assert not logits.grad[~labelled].any()
    assert logits.grad[labelled].any()


def test_a_batch_without_any_part_has_no_loss() -> None:
    assert part_loss(torch.randn(1, 3, 5), torch.full((1, 3), NO_PART)).item() == 0


def test_only_the_categorys_own_parts_compete() -> None:
    logits = torch.tensor([[[9.0, 1.0, 2.0, 8.0], [9.0, 2.0, 1.0, 8.0]]])
    allowed = torch.tensor([[False, True, True, False]])
    assert predict(logits, allowed).tolist() == [[2, 1]]


def iou(predicted: list[int], labels: list[int], parts: int = 2) -> float:
    return instance_iou(np.array(predicted), np.array(labels), range(parts))


def test_instance_iou_by_hand() -> None:
    assert iou([0, 0, 1, 1], [0, 0, 1, 1]) == 1
    assert iou([1, 1, 0, 0], [0, 0, 1, 1]) == 0
    # part 0: 2 of 3, part 1: 1 of 2
    assert iou([0, 0, 0, 1], [0, 0, 1, 1]) == pytest.approx((2 / 3 + 1 / 2) / 2)


def test_a_part_that_is_neither_there_nor_predicted_counts_one() -> None:
    assert iou([0, 0, 0, 0], [0, 0, 0, 0], parts=3) == 1
    assert iou([0, 0, 0, 1], [0, 0, 1, 1], parts=3) == pytest.approx((2 / 3 + 1 / 2 + 1) / 3)


def test_a_part_that_is_predicted_and_not_there_counts_nothing() -> None:
    assert iou([0, 0, 0, 1], [0, 0, 0, 0]) == pytest.approx((3 / 4 + 0) / 2)


def test_points_without_a_part_are_not_scored() -> None:
    assert iou([0, 0, 1, 1, 0], [0, 0, 1, NO_PART, NO_PART]) == 1


ALL = np.zeros(40)
"""One stratum."""


def items() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Values, clusters and strata of 40 items; clusters of unequal size, each in one stratum."""
    clusters = np.repeat(np.arange(10), [1, 1, 2, 3, 8, 1, 4, 5, 5, 10])
    return np.random.default_rng(0).random(40), clusters, (clusters > 5).astype(int)


def outcomes_of(values: np.ndarray, clusters: np.ndarray, strata: np.ndarray) -> np.ndarray:
    return clustered_score(Metric("miou"), values, clusters, strata)[1]


def test_the_mean_over_clusters_is_the_metric() -> None:
    values, clusters, strata = items()
    assert len(outcomes_of(values, clusters, ALL)) == 10
    assert outcomes_of(values, clusters, ALL).mean() == pytest.approx(values.mean())
    by_stratum = np.mean([values[strata == stratum].mean() for stratum in (0, 1)])
    assert outcomes_of(values, clusters, strata).mean() == pytest.approx(by_stratum)


def test_items_of_their_own_are_their_outcomes() -> None:
    values = items()[0]
    assert outcomes_of(values, np.arange(40), ALL) == pytest.approx(values)


def test_unequal_clusters_alone_make_no_spread() -> None:
    values, clusters, strata = items()
    assert outcomes_of(np.full(40, 0.8), clusters, ALL).std() == pytest.approx(0)
    assert outcomes_of(np.where(strata, 0.3, 0.9), clusters, strata).std() == pytest.approx(0)
    # one encoder is better everywhere by the same amount: the paired comparison must not doubt it
    pair = (outcomes_of(better, clusters, ALL) for better in (values, values - 0.1))
    assert np.subtract(*pair).std() == pytest.approx(0)


def test_twins_widen_the_interval() -> None:
    """Ten copies of each object are no more evidence than the object."""
    values = items()[0][:10]
    once = outcomes_of(values, np.arange(10), np.zeros(10)).std(ddof=1) / np.sqrt(10)
    copies = outcomes_of(np.repeat(values, 10), np.repeat(np.arange(10), 10), np.zeros(100))
    assert copies.std(ddof=1) / np.sqrt(len(copies)) == pytest.approx(once)


def test_the_bootstrap_draws_whole_clusters_and_keeps_strata() -> None:
    values = np.array([0.0] + [1.0] * 9 + [0.5] * 4)
    clusters = np.array([0] + [1] * 9 + [2, 2, 3, 3])
    strata = np.array([0] * 10 + [1] * 4)
    drawn = bootstrap(values, clusters, strata)
    assert len(drawn) == 1000
    assert {round(2 * mean - 0.5, 6) for mean in drawn} == {0.0, 0.9, 1.0}
    assert (drawn == bootstrap(values, clusters, strata)).all()


def test_the_bootstrap_agrees_with_the_outcomes_of() -> None:
    rng = np.random.default_rng(0)
    clusters = np.repeat(np.arange(200), rng.integers(1, 6, 200))
    values = rng.random(200)[clusters]
    strata = clusters % 2
    outcomes = outcomes_of(values, clusters, strata)
    error = outcomes.std(ddof=1) / np.sqrt(len(outcomes))
    assert bootstrap(values, clusters, strata).std() == pytest.approx(error, rel=0.15)


def test_parts_are_numbered_through_over_the_categories(kicad: PointCloudDataset) -> None:
    objects = PartObjects.of(kicad, rotate=False)
    assert len(objects.names) == 17
    assert sum(objects.sizes) == 41
    rows = np.array([np.flatnonzero(objects.category == c)[0] for c in range(17)])
    _, labels, categories = objects.batch(rows)
    assert categories.tolist() == list(range(17))
    assert kicad.parts is not None
    for row, own, category in zip(rows, labels, categories.tolist(), strict=True):
        parts = objects.parts_of(category)
        assert len(parts) == len(kicad.part_names[kicad.classes[kicad.labels[row]]])
        known = own[own != NO_PART]
        assert known.min() >= parts.start
        assert known.max() < parts.stop
        assert (own[own != NO_PART].numpy() - parts.start == kicad.parts[row][kicad.parts[row] >= 0]).all()
    allowed = objects.allowed(categories)
    assert allowed.sum(dim=1).tolist() == list(objects.sizes)
    assert (allowed.sum(dim=0) == 1).all()
    assert all(allowed[c, list(objects.parts_of(c))].all() for c in range(17))


def test_objects_of_classes_without_parts_are_left_out(kicad: PointCloudDataset) -> None:
    objects = PartObjects.of(kicad, rotate=False)
    without = [i for i, name in enumerate(kicad.classes) if name not in kicad.part_names]
    assert without
    assert not (objects.category[np.isin(kicad.labels, [*without, -1])] >= 0).any()
    for name in kicad.splits:
        train, test = objects.sides(name)
        assert not set(train) & set(test)
        assert not set(groups_of(objects.data)[train]) & set(groups_of(objects.data)[test])


def test_validation_objects_train_where_a_split_has_them(kicad: PointCloudDataset) -> None:
    side = kicad.splits["seed0"]
    official = np.where((side == "train") & (np.arange(len(side)) % 2 == 0), "val", side)
    expected = PartObjects.of(kicad, rotate=False).sides("seed0")
    found = PartObjects.of(replace(kicad, splits={"official": official}), rotate=False).sides("official")
    assert all((one == other).all() for one, other in zip(expected, found, strict=True))


def test_a_split_without_a_test_side_is_an_error(kicad: PointCloudDataset) -> None:
    data = replace(kicad, splits={"all": np.full(len(kicad.labels), "train")})
    with pytest.raises(UserError, match="choose a data set with parts on both sides"):
        PartObjects.of(data, rotate=False).sides("all")


def test_poses_are_those_of_the_other_tasks(kicad: PointCloudDataset) -> None:
    objects, upright = PartObjects.of(kicad, rotate=True), PartObjects.of(kicad, rotate=False)
    rows = np.flatnonzero(objects.category >= 0)[:5]
    assert np.allclose(objects.batch(rows)[0], turned(kicad.points[rows], kicad.paths[rows]), atol=1e-6)
    assert np.allclose(upright.batch(rows)[0], kicad.points[rows])
