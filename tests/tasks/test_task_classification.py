"""Classification agrees with the probe, counts near-twins once, streams its clouds and fine-tunes a copy only."""

from __future__ import annotations

import copy
import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from foundry_bench.context import Context
from foundry_bench.datasets import PointCloudDataset, load_kicad
from foundry_bench.errors import UserError
from foundry_bench.heads import classifier, probing
from foundry_bench.heads.classifier import Finetuning, classification_head, random_views
from foundry_bench.heads.features import embed_clouds, turned
from foundry_bench.heads.probe import probe
from foundry_bench.heads.probing import (
    cluster_outcomes,
    clustered_score,
    embed_objects,
    groups_of,
    level_weights,
    logistic_predictions,
    split_sides,
    svm_predictions,
)
from foundry_bench.method import OFF_THE_SHELF
from foundry_bench.methods.int8 import Int8
from foundry_bench.students.files import make_student
from foundry_bench.task import Metric
from foundry_bench.tasks import classification
from foundry_bench.tasks.classification import Classification
from foundry_bench.teachers.transformer import PointTransformer
from foundry_bench.testing import check_task
from foundry_bench.training.finetuning import Recipe

OA = Metric("oa", primary=True)


@pytest.fixture(scope="module")
def kicad() -> PointCloudDataset:
    return load_kicad()


@pytest.fixture(scope="module")
def few(kicad: PointCloudDataset) -> PointCloudDataset:
    """Three classes that differ in shape, in whole series, with the splits they have."""
    names = ("dsub", "diode_axial", "bga")
    rows = np.flatnonzero(np.isin(kicad.labels, [kicad.classes.index(name) for name in names]))
    picked = {name: getattr(kicad, name)[rows] for name in ("labels", "series", "paths")}
    splits = {name: split[rows] for name, split in kicad.splits.items()}
    points = kicad.points[rows, :256]
    return replace(kicad, points=points, **picked, splits=splits, parts=None, sha256="few")


class Recorder:
    """A :class:`CloudArray` that remembers which rows were asked for."""

    def __init__(self, points: np.ndarray) -> None:
        self.points, self.asked = points, []
        self.shape = points.shape

    def __len__(self) -> int:
        return len(self.points)

    def __getitem__(self, key: Any) -> np.ndarray:
        self.asked.append(np.atleast_1d(np.arange(len(self))[key[0] if isinstance(key, tuple) else key]))
        return self.points[key]


def test_the_probe_and_the_task_agree(few: PointCloudDataset, tiny_teacher: PointTransformer) -> None:
    features = embed_clouds(tiny_teacher, turned(few.points, few.paths))
    scores = Classification().evaluate(tiny_teacher, few, Context())
    expected = probe(features, few)
    assert scores.values[0].value == pytest.approx(expected["mean"])
    assert len({round(score, 6) for score in expected.values()}) > 1, "a mean of equals tells nothing"


def test_both_metrics_are_those_of_the_splits(
    few: PointCloudDataset, tiny_teacher: PointTransformer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A classifier that always says the first class: its accuracy is the class's share, its mean accuracy 1 / 3."""
    first = int(np.unique(few.labels)[0])
    monkeypatch.setattr(
        classification, "svm_predictions", lambda train, labels, groups, test: np.full(len(test), first)
    )
    oa, macc = Classification().evaluate(tiny_teacher, few, Context()).values
    shares = [np.mean(few.labels[split_sides(few, name)[1]] == first) for name in few.splits]
    assert oa.value == pytest.approx(np.mean(shares))
    assert macc.value == pytest.approx(1 / 3)


def test_there_is_one_outcome_for_each_series(few: PointCloudDataset, tiny_teacher: PointTransformer) -> None:
    tested = np.unique(np.concatenate([split_sides(few, name)[1] for name in few.splits]))
    series = set(zip(few.labels[tested], few.series[tested], strict=True))
    assert len(series) < len(tested), "the data must hold near-twins"
    scores = Classification().evaluate(tiny_teacher, few, Context())
    for score in scores.values:
        outcomes = scores.outcomes[score.metric]
        assert len(outcomes) == score.n == len(series)
        assert outcomes.mean() == pytest.approx(score.value)
        assert score.ci_low < score.value < score.ci_high
        assert "cluster" in score.ci_method


@pytest.mark.parametrize("mode", ["svm", "logistic"])
def test_frozen_features_are_scored_alike_each_time_and_above_chance(
    few: PointCloudDataset, tiny_teacher: PointTransformer, mode: str
) -> None:
    task = Classification(mode=mode)
    check_task(task, tiny_teacher, few, Context())
    assert task.evaluate(tiny_teacher, few, Context()).values[1].value > 0.5


def test_clouds_are_turned_by_default_and_left_alone_on_request(
    few: PointCloudDataset, tiny_teacher: PointTransformer
) -> None:
    rows = np.arange(0, len(few.labels), 3)
    still = embed_objects(tiny_teacher, few, rows, Context(), rotate=False)
    moved = embed_objects(tiny_teacher, few, rows, Context(), rotate=True)
    assert np.array_equal(still[rows], embed_clouds(tiny_teacher, few.points[rows]))
    assert np.array_equal(moved[rows], embed_clouds(tiny_teacher, turned(few.points[rows], few.paths[rows])))
    scores = [
        Classification(rotate=rotate).evaluate(tiny_teacher, few, Context()).outcomes["oa"]
        for rotate in (True, False)
    ]
    assert not np.array_equal(*scores)


def test_clouds_are_streamed_and_only_those_of_the_splits_are_read(
    few: PointCloudDataset, tiny_teacher: PointTransformer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(probing, "CHUNK", 64)
    splits = {"official": few.splits["seed0"]}
    whole = replace(few, splits=splits)
    used = np.flatnonzero(splits["official"] != "")
    assert 128 < len(used) < len(few.labels)
    clouds = Recorder(few.points)
    scores = Classification().evaluate(tiny_teacher, replace(whole, points=clouds), Context())
    assert sorted(np.concatenate(clouds.asked)) == list(used)
    assert max(map(len, clouds.asked)) == 64
    expected = Classification().evaluate(tiny_teacher, whole, Context())
    assert np.array_equal(scores.outcomes["oa"], expected.outcomes["oa"])


def test_validation_objects_are_trained_on_and_unlabelled_ones_are_not(few: PointCloudDataset) -> None:
    side = np.array(few.splits["seed0"])
    train, test = split_sides(few, "seed0")
    side[train[0]] = "val"
    labels = few.labels.copy()
    labels[[train[1], test[0]]] = -1
    data = replace(few, splits={"official": side}, labels=labels)
    assert list(split_sides(data, "official")[0]) == [train[0], *train[2:]]
    assert list(split_sides(data, "official")[1]) == list(test[1:])


def test_experts_learn_from_all_classes_and_from_nothing_that_is_scored(kicad: PointCloudDataset) -> None:
    task = Classification()
    supervision, scored = task.supervision(kicad), task.scored(kicad)
    assert supervision is not None
    assert not set(supervision.rows) & set(scored)
    assert len(supervision.rows) + len(scored) == len(kicad.labels)
    assert set(supervision.labels) == set(range(len(kicad.classes)))
    assert task.supervision(replace(kicad, labels=np.full_like(kicad.labels, -1))) is None


def test_a_side_without_classes_or_objects_is_an_error(
    few: PointCloudDataset, tiny_teacher: PointTransformer
) -> None:
    side = few.splits["seed0"]
    one = np.where((side == "train") & (few.labels != few.labels[0]), "", side)
    with pytest.raises(UserError, match="fewer than two classes"):
        Classification().evaluate(tiny_teacher, replace(few, splits={"one": one}), Context())
    none = np.where(side == "test", "", side)
    with pytest.raises(UserError, match="no test objects"):
        Classification().evaluate(tiny_teacher, replace(few, splits={"none": none}), Context())


def test_weights_make_the_mean_of_the_means() -> None:
    values = np.array([1.0, 0, 0, 1, 1, 1, 0])
    splits = np.array([0, 0, 0, 0, 1, 1, 1])
    classes = np.array([5, 5, 5, 7, 5, 7, 7])
    weights, cell = level_weights(splits)
    assert weights @ values == pytest.approx((2 / 4 + 2 / 3) / 2)
    assert weights.sum() == pytest.approx(1)
    weights, cell = level_weights(splits, classes)
    assert weights @ values == pytest.approx(((1 / 3 + 1) / 2 + (1 + 1 / 2) / 2) / 2)
    assert len(set(cell)) == 4


def test_outcomes_of_clusters_average_to_the_metric() -> None:
    values, clusters = np.array([1.0, 1, 0, 1, 0, 0]), np.array(["b", "a", "a", "b", "b", "c"])
    assert cluster_outcomes(values, clusters) == pytest.approx(np.array([1, 2, 0]) * 3 / 6)
    weights = np.array([0.5, 0.1, 0.1, 0.1, 0.1, 0.1])
    assert cluster_outcomes(values, clusters, weights).mean() == pytest.approx(0.7)


def test_single_objects_have_the_usual_error_and_twins_count_once() -> None:
    rng = np.random.default_rng(0)
    values, splits = rng.integers(0, 2, 200).astype(float), np.zeros(200)
    alone, _ = clustered_score(OA, values, np.arange(200), splits)
    assert alone.stderr == pytest.approx(values.std(ddof=1) / np.sqrt(200))
    twins, _ = clustered_score(OA, np.repeat(values, 4), np.repeat(np.arange(200), 4), np.zeros(800))
    assert twins.stderr == pytest.approx(alone.stderr)
    again, _ = clustered_score(OA, np.tile(values, 3), np.tile(np.arange(200), 3), np.repeat([0, 1, 2], 200))
    assert again.stderr == pytest.approx(alone.stderr)
    single, _ = clustered_score(OA, np.ones(3), np.zeros(3), np.zeros(3))
    assert single.stderr is None


def test_the_error_of_clusters_is_the_spread_that_resampling_them_shows() -> None:
    rng = np.random.default_rng(1)
    sizes = rng.integers(1, 9, 150)
    clusters = np.repeat(np.arange(150), sizes)
    chance = np.repeat(rng.beta(0.5, 0.5, 150), sizes)
    values = (rng.random(len(clusters)) < chance).astype(float)
    score, _ = clustered_score(OA, values, clusters, np.zeros(len(values)))
    rows = [np.flatnonzero(clusters == c) for c in range(150)]
    drawn = [values[np.concatenate([rows[c] for c in rng.integers(0, 150, 150)])].mean() for _ in range(1000)]
    binomial = np.sqrt(score.value * (1 - score.value) / len(values))
    assert score.stderr == pytest.approx(np.std(drawn), rel=0.1)
    assert score.stderr > 1.3 * binomial


def test_objects_without_series_are_clusters_of_their_own(few: PointCloudDataset) -> None:
    plain = groups_of(replace(few, series=np.full(len(few.labels), "")))
    assert len(set(plain)) == len(plain)
    shared = groups_of(replace(few, series=np.full(len(few.labels), "same")))
    assert len(set(shared)) == 3, "series of two classes are two clusters"


@pytest.mark.parametrize("predict", [svm_predictions, logistic_predictions])
def test_a_handful_of_objects_is_enough_to_classify(predict: Any) -> None:
    """Official layouts in tests are tiny; cross-validation must not be what stops them."""
    features = np.array([[0.0, 1], [1, 0], [0, 1.1], [1.1, 0]])
    for count in (2, 3, 4):
        labels = np.array([3, 8, 3, 8])[:count]
        groups = np.array([f"{i}" for i in range(count)])
        assert list(predict(features[:count], labels, groups, features)) == [3, 8, 3, 8]


def test_identities_hold_what_a_mode_reads() -> None:
    assert (
        Classification(votes=5).protocol() == Classification().protocol() == {"mode": "svm", "rotate": True}
    )
    tuned = Classification(mode="finetune", votes=5).protocol()
    assert json.loads(json.dumps(tuned))["votes"] == 5


def test_the_paper_budget_is_the_official_recipe_and_fields_replace_it() -> None:
    how = Classification(mode="finetune", votes=10).finetuning("paper")
    assert (how.recipe.epochs, how.recipe.frozen_epochs, how.recipe.batch_size) == (150, 100, 32)
    assert (how.smoothing, how.votes, how.views, how.turn) == (0.2, 10, 0, True)
    official = Classification(
        "finetune", rotate=False, scale=0.4, smoothing=0.1, epochs=200, frozen_epochs=150
    )
    how = official.finetuning("paper")
    assert (how.recipe.epochs, how.recipe.frozen_epochs, how.smoothing, how.turn) == (200, 150, 0.1, False)
    with pytest.raises(UserError, match=r"unknown budget.*quick"):
        official.finetuning("quik")


@pytest.mark.parametrize(
    "wrong", [{"mode": "knn"}, {"scale": 1.0}, {"smoothing": -0.1}, {"frozen_epochs": 3}, {"votes": -1}]
)
def test_fields_that_make_no_sense_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        Classification(**wrong)


def test_the_head_is_that_of_point_jepa() -> None:
    """2D-256-256-C with batch norm; the layers before a batch norm have no bias."""
    head = classification_head(384, 40)
    shapes = [tuple(p.shape) for p in head.parameters()]
    assert shapes == [(256, 768), (256,), (256,), (256, 256), (256,), (256,), (40, 256), (40,)]


@pytest.mark.parametrize("turn", [True, False])
def test_views_are_scaled_and_turned_as_asked(kicad: PointCloudDataset, turn: bool) -> None:
    how = Finetuning(Recipe(1), scale=0.4, turn=turn)
    points = kicad.points[:8]
    view, other = (random_views(points, 256, how, torch.Generator().manual_seed(s)) for s in (0, 1))
    assert view.shape == (8, 256, 3)
    assert view.norm(dim=-1).amax(dim=1) == pytest.approx(np.ones(8), abs=1e-5)
    assert not torch.allclose(view, other, atol=0.05)
    upright = random_views(points, 1024, replace(how, scale=0.0), torch.Generator().manual_seed(0)).numpy()
    ordered = np.sort(upright, axis=1)
    heights = np.allclose(ordered[..., 2], np.sort(points, axis=1)[..., 2], atol=1e-3)
    sides = np.allclose(ordered[..., 0], np.sort(points, axis=1)[..., 0], atol=1e-3)
    assert heights
    assert sides == (not turn)


TUNED = {"quick": Finetuning(Recipe(6, frozen=0.5), views=2), "paper": Finetuning(Recipe(2, frozen=0.5))}


@pytest.mark.parametrize(("budget", "votes"), [("quick", 0), ("paper", 2)])
def test_fine_tuning_repeats_itself_and_leaves_the_encoder_alone(
    few: PointCloudDataset,
    tiny_teacher: PointTransformer,
    monkeypatch: pytest.MonkeyPatch,
    budget: str,
    votes: int,
) -> None:
    monkeypatch.setattr(classification, "FINETUNING", TUNED)
    data = replace(few, splits={"seed0": few.splits["seed0"]})
    check_task(Classification("finetune", votes=votes), tiny_teacher, data, Context(budget=budget))


def test_fine_tuning_learns_and_draws_on_the_encoder(
    few: PointCloudDataset, tiny_teacher: PointTransformer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(classification, "FINETUNING", TUNED)
    data = replace(few, splits={"seed0": few.splits["seed0"]})
    given = []
    original = classifier.train_head

    def spy(head: torch.nn.Module, encoder: torch.nn.Module, *rest: Any, **named: Any) -> None:
        before = copy.deepcopy(encoder.state_dict())
        original(head, encoder, *rest, **named)
        given.append(any(not torch.equal(before[k], v) for k, v in encoder.state_dict().items()))

    monkeypatch.setattr(classifier, "train_head", spy)
    scores = Classification("finetune").evaluate(tiny_teacher, data, Context())
    assert given == [True], "one training for each split, which moves the copy's weights"
    assert scores.values[1].value > 0.45


def test_an_integer_student_is_pointed_to_frozen_features(
    few: PointCloudDataset, tiny_teacher: PointTransformer
) -> None:
    student = make_student(Int8(), tiny_teacher, few, Context(variant=OFF_THE_SHELF))
    with pytest.raises(UserError, match=r"fine-tune on seed0.*mode=svm"):
        Classification("finetune").evaluate(student, few, Context())
    assert Classification().evaluate(student, few, Context()).values[0].value > 0.3
