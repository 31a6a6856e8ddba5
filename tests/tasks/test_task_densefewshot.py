"""Parts of patches from few labelled objects: what is known beforehand is scored so, and the support is beyond reproach."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from patch_worlds import CATEGORIES, CONFIG, SERIES, TWINS, Says, height, height_in_context, world

from foundry_bench.context import Context
from foundry_bench.datasets import PointCloudDataset, load_kicad
from foundry_bench.encoder import Encoder
from foundry_bench.errors import UserError
from foundry_bench.heads.patches import patch_labels
from foundry_bench.heads.probing import groups_of
from foundry_bench.heads.segmentation import PartObjects
from foundry_bench.tasks.densefewshot import (
    RANKS,
    DenseFewShot,
    PatchTable,
    Problem,
    accuracies,
    ranked,
)
from foundry_bench.testing import check_task


@pytest.fixture(scope="module")
def data() -> PointCloudDataset:
    return world()


def score(encoder: Encoder, data: PointCloudDataset, task: DenseFewShot | None = None) -> dict[str, float]:
    scores = (task or DenseFewShot()).evaluate(encoder, data, Context())
    return {found.metric: found.value for found in scores.values}


def test_it_keeps_the_task_contract(data: PointCloudDataset) -> None:
    check_task(DenseFewShot(), Says(height), data, Context())


def test_tokens_that_know_their_object_solve_it_from_one(data: PointCloudDataset) -> None:
    assert set(score(Says(height_in_context), data).values()) == {1.0}


def test_tokens_without_context_know_the_high_part_and_guess_the_category_of_the_low_one(
    data: PointCloudDataset,
) -> None:
    """Half of the patches are low, and one of four categories is right there."""
    assert score(Says(height), data)["acc_3"] == pytest.approx((1 + 1 / CATEGORIES) / 2, abs=0.05)


def test_where_names_mean_the_same_in_all_categories_no_context_is_needed(data: PointCloudDataset) -> None:
    assert score(Says(height), data, DenseFewShot(label="name"))["acc_10"] == 1.0


def test_shuffled_labels_are_chance(data: PointCloudDataset) -> None:
    rng = np.random.default_rng(1)
    shuffled = replace(data, labels=rng.permutation(data.labels), parts=rng.permuted(data.parts, axis=1))
    values = score(Says(height_in_context), shuffled)
    assert max(values.values()) < 0.3
    assert np.mean(list(values.values())) == pytest.approx(1 / (2 * CATEGORIES), abs=0.06)


def test_queries_are_unseen_series_and_a_support_holds_distinct_ones(data: PointCloudDataset) -> None:
    groups = groups_of(data)
    for problem in DenseFewShot().problems(PartObjects.of(data, rotate=True)).values():
        assert problem.support.shape == (RANKS, CATEGORIES)
        assert not set(groups[problem.support.ravel()]) & set(groups[problem.query])
        for start in (0, 4):  # four series are left to train on
            assert len(set(groups[problem.support[start : start + 4]].ravel())) == 4 * CATEGORIES
        assert len(problem.query) == CATEGORIES * 2 * TWINS


def test_the_support_of_real_data_is_fixed_by_data_and_protocol_alone() -> None:
    kicad = load_kicad()
    task, objects = DenseFewShot(), PartObjects.of(kicad, rotate=True)
    first, again = task.problems(objects)["seed1"], task.problems(objects)["seed1"]
    assert np.array_equal(first.support, again.support)
    other = task.problems(replace(objects, data=replace(kicad, sha256="other")))["seed1"]
    assert not np.array_equal(first.support, other.support)
    assert set(np.concatenate([p.query for p in task.problems(objects).values()])) == set(task.scored(kicad))
    assert not set(first.support.ravel()) & set(first.query)


def test_series_take_turns_and_few_objects_are_repeated() -> None:
    series = np.array(["a"] * 8 + ["b", "c"])
    order = ranked(np.arange(10), series, np.random.default_rng(0))
    assert sorted(order) == list(range(10))
    assert set(series[order[:3]]) == {"a", "b", "c"}
    few = ranked(np.array([0, 9]), series, np.random.default_rng(0))
    assert list(few) == [few[0], few[1]] * 5


def test_each_support_counts_the_same_and_every_query_is_crossed_with_it() -> None:
    """One of ten labelled objects calls the queries' token by its name, the others know another token."""
    tokens = np.zeros((RANKS + 1, 1, 2), np.float32)
    tokens[:, 0, 1] = 1
    tokens[[4, RANKS], 0] = [1, 0]
    labels = np.zeros((RANKS + 1, 1), np.int64)
    labels[[4, RANKS]] = 1
    table = PatchTable(np.arange(RANKS + 1), tokens, labels)
    found = accuracies(Problem(np.arange(RANKS)[:, None], np.array([RANKS])), table, classes=2)
    assert {name: values.tolist() for name, values in found.items() if name[:2] == "nn"} == {
        "nn_1": [1 / 10],
        "nn_3": [1 / 3],
        "nn_10": [1.0],
    }
    assert found["acc_1"] == pytest.approx([1 / 10])


def test_every_object_is_embedded_once(data: PointCloudDataset) -> None:
    encoder = Says(height)
    DenseFewShot().evaluate(encoder, data, Context())
    assert encoder.clouds == len(data.labels)


def test_the_seed_and_the_mode_of_the_encoder_are_left_alone(data: PointCloudDataset) -> None:
    encoder = Says(height).train()
    one, other = (DenseFewShot().evaluate(encoder, data, Context(seed=seed)) for seed in (0, 7))
    assert one.values == other.values
    assert encoder.training
    assert not DenseFewShot().uses_budget


def test_near_twins_are_one_outcome(data: PointCloudDataset) -> None:
    scores = DenseFewShot().evaluate(Says(height), data, Context())
    assert (
        {found.n for found in scores.values} == {CATEGORIES * 4} == {len(v) for v in scores.outcomes.values()}
    )
    assert SERIES > 4, "two splits must leave some series untested"


def test_a_patch_has_the_commonest_label_of_its_points_and_none_counts_last() -> None:
    points = torch.tensor([[[0.0, 0, 0], [1, 0, 0], [2, 0, 0], [9, 0, 0], [9, 1, 0], [9, 2, 0]]])
    labels = torch.tensor([[2, 2, 1, -1, -1, 4]])
    centers = torch.tensor([[[0.0, 0, 0], [9, 0, 0]]])
    assert patch_labels(points, labels, centers, 3).tolist() == [[2, -1]]
    assert patch_labels(points, torch.tensor([[3, 1, -1, -1, 4, -1]]), centers, 2).tolist() == [[1, 4]]


def test_what_cannot_be_scored_is_said_in_one_line(data: PointCloudDataset) -> None:
    task, encoder = DenseFewShot(), Says(height)
    with pytest.raises(UserError, match="choose a data set with parts"):
        task.evaluate(encoder, replace(data, parts=np.full_like(data.parts, -1)), Context())
    bare = replace(data, parts=np.where(np.arange(64) == 0, 0, -1).astype(np.int8) + 0 * data.parts)
    untested = replace(
        data, parts=np.where((data.splits["fold0"] == "test")[:, None], bare.parts, data.parts)
    )
    for unclear in (bare, untested):
        with pytest.raises(UserError, match="without a patch that shows a part"):
            task.evaluate(encoder, unclear, Context())
    with pytest.raises(UserError, match="point of part 2 in 'a', which has 2 part_names"):
        task.evaluate(encoder, replace(data, parts=np.full_like(data.parts, 2)), Context())
    with pytest.raises(UserError, match="not finite"):
        task.evaluate(Says(lambda patches: height(patches) / 0), data, Context())


def test_the_rehearsal_is_small_and_runs() -> None:
    task, piece = DenseFewShot().rehearsal(load_kicad())
    assert len(piece.labels) <= 60
    assert 0 <= score(Says(height), piece, task)["acc_3"] <= 1
    assert CONFIG.points <= piece.points.shape[1]
