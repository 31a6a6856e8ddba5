"""Class from one patch: what is known beforehand is scored so, objects are embedded once, sums stand for tokens."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from patch_worlds import CATEGORIES, Says, height, height_in_context, world

from foundry_bench.context import Context
from foundry_bench.datasets import PointCloudDataset, load_kicad
from foundry_bench.encoder import Encoder
from foundry_bench.errors import UserError
from foundry_bench.tasks.onepatch import OnePatch
from foundry_bench.testing import check_task


@pytest.fixture(scope="module")
def data() -> PointCloudDataset:
    return world()


def score(encoder: Encoder, data: PointCloudDataset) -> float:
    return OnePatch().evaluate(encoder, data, Context()).values[0].value


def test_it_keeps_the_task_contract(data: PointCloudDataset) -> None:
    check_task(OnePatch(), Says(height), data, Context())


def test_tokens_that_know_their_object_solve_it(data: PointCloudDataset) -> None:
    assert score(Says(height_in_context), data) == 1.0


def test_tokens_without_context_know_the_telling_patches_alone(data: PointCloudDataset) -> None:
    assert score(Says(height), data) == pytest.approx((1 + 1 / CATEGORIES) / 2, abs=0.06)


def test_shuffled_labels_are_chance(data: PointCloudDataset) -> None:
    shuffled = replace(data, labels=np.random.default_rng(1).permutation(data.labels))
    assert score(Says(height_in_context), shuffled) == pytest.approx(1 / CATEGORIES, abs=0.15)


def test_every_object_is_embedded_once_for_all_splits(data: PointCloudDataset) -> None:
    encoder = Says(height).train()
    OnePatch().evaluate(encoder, data, Context())
    assert encoder.clouds == len(data.labels)
    assert encoder.training


def test_a_split_scores_as_it_does_alone(data: PointCloudDataset) -> None:
    """Sums that several splits share are added up for each of them rightly."""
    alone = [score(Says(height), replace(data, splits={name: side})) for name, side in data.splits.items()]
    assert alone[0] != alone[1]
    assert score(Says(height), data) == pytest.approx(np.mean(alone))


def test_outcomes_are_those_of_clusters(data: PointCloudDataset) -> None:
    scores = OnePatch().evaluate(Says(height), data, Context(seed=3))
    (found,) = scores.values
    assert found.n == len(scores.outcomes["acc"]) == CATEGORIES * 4
    assert scores.outcomes["acc"].mean() == pytest.approx(found.value)
    assert found.value == score(Says(height), data), "there is no seed"
    assert not OnePatch().uses_budget


def test_unlabelled_objects_are_left_out(data: PointCloudDataset) -> None:
    encoder, labels = Says(height), data.labels.copy()
    labels[::12] = -1
    assert 0 < score(encoder, replace(data, labels=labels)) < 1
    assert encoder.clouds == np.sum(labels >= 0)


def test_what_cannot_be_scored_is_said_in_one_line(data: PointCloudDataset) -> None:
    side = data.splits["fold0"]
    with pytest.raises(UserError, match="no test objects"):
        score(Says(height), replace(data, splits={"none": np.where(side == "test", "", side)}))
    with pytest.raises(UserError, match="fewer than two classes"):
        score(Says(height), replace(data, labels=np.zeros_like(data.labels)))
    with pytest.raises(UserError, match="not finite"):
        score(Says(lambda patches: height(patches) / 0), data)


def test_the_rehearsal_is_small_and_runs() -> None:
    task, piece = OnePatch().rehearsal(load_kicad())
    assert len(piece.labels) <= 60
    assert 0 <= task.evaluate(Says(height), piece, Context()).values[0].value <= 1
