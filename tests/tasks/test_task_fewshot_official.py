"""Episodes that a data set prescribes are scored as they are: fold by fold, without turns, by their own labels."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from foundry_bench.context import Context
from foundry_bench.datasets import PointCloudDataset, load_kicad
from foundry_bench.datasets.dataset import Episode
from foundry_bench.errors import UserError
from foundry_bench.heads import probing
from foundry_bench.heads.classifier import Finetuning
from foundry_bench.heads.features import embed_clouds
from foundry_bench.task import Scores
from foundry_bench.tasks import fewshot
from foundry_bench.tasks.fewshot import FewShot, balanced_accuracy, overall_accuracy, svm_answers
from foundry_bench.teachers.transformer import PointTransformer
from foundry_bench.testing import check_task
from foundry_bench.training.finetuning import Recipe

TASK = FewShot()
QUERIES = 5


def folds(data: PointCloudDataset, way: int, shot: int, count: int) -> tuple[Episode, ...]:
    """Episodes in the style of ModelNetFewshot: labels of a fold count from 0, whatever the data set calls the class."""
    made = []
    for index in range(count):
        rng = np.random.default_rng([way, shot, index])
        large = [c for c in range(len(data.classes)) if (data.labels == c).sum() >= shot + QUERIES]
        classes = rng.choice(large, way, replace=False)
        drawn = [rng.choice(np.flatnonzero(data.labels == c), shot + QUERIES, replace=False) for c in classes]
        made.append(
            Episode(
                index,
                np.concatenate([rows[:shot] for rows in drawn]),
                np.repeat(np.arange(way), shot),
                np.concatenate([rows[shot:] for rows in drawn]),
                np.repeat(np.arange(way), QUERIES),
            )
        )
    return tuple(made)


@pytest.fixture(scope="module")
def official() -> PointCloudDataset:
    """KiCad's clouds in prescribed episodes; its own labels are taken away, as nothing may read them."""
    kicad = load_kicad()
    episodes = {"10w20s": folds(kicad, 10, 20, 4), "5w10s": folds(kicad, 5, 10, 10)}
    labels = np.zeros(len(kicad.labels), np.int64)
    return replace(
        kicad, points=kicad.points[:, :256], labels=labels, novel_classes=(), splits={}, episodes=episodes
    )


@pytest.fixture
def scores(official: PointCloudDataset, tiny_teacher: PointTransformer) -> Scores:
    return TASK.evaluate(tiny_teacher, official, Context())


def test_each_configuration_has_its_metric(official: PointCloudDataset) -> None:
    assert [metric.name for metric in TASK.metrics_for(official)] == ["acc_5w10s", "acc_10w20s"]
    named = ("5w10s", "5w20s", "10w10s", "10w20s")
    every = replace(official, episodes={name: folds(load_kicad(), 5, 10, 1) for name in named})
    assert {metric.name for metric in TASK.metrics_for(every)} == {f"acc_{name}" for name in named}


def test_one_metric_is_primary_whichever_configurations_there_are(official: PointCloudDataset) -> None:
    for kept in (("5w10s", "10w20s"), ("10w20s",)):
        data = replace(official, episodes={name: official.episodes[name] for name in kept})
        assert [metric.primary for metric in TASK.metrics_for(data)] == [True, *[False] * (len(kept) - 1)]


def test_folds_are_the_outcomes_and_give_the_interval(scores: Scores) -> None:
    for score, count in zip(scores.values, (10, 4), strict=True):
        outcomes = scores.outcomes[score.metric]
        assert len(outcomes) == score.n == count
        assert score.value == pytest.approx(outcomes.mean())
        assert score.stderr == pytest.approx(outcomes.std(ddof=1) / np.sqrt(count))
        assert score.ci_method == "student-t over folds, 95 %"
    assert scores.values[0].value > 0.3


def test_clouds_are_not_turned(
    official: PointCloudDataset,
    tiny_teacher: PointTransformer,
    scores: Scores,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    features = embed_clouds(tiny_teacher, official.points)
    expected = [overall_accuracy(e, svm_answers(features, e)) for e in official.episodes["5w10s"]]
    assert scores.outcomes["acc_5w10s"] == pytest.approx(expected, abs=1e-9)

    def never(*args: object) -> np.ndarray:
        raise AssertionError("turned")

    monkeypatch.setattr(probing, "turned", never)
    TASK.evaluate(tiny_teacher, official, Context())
    with pytest.raises(AssertionError, match="turned"):
        TASK.evaluate(tiny_teacher, load_kicad(), Context())


def test_the_data_sets_own_labels_and_drawn_episodes_play_no_part(
    official: PointCloudDataset, tiny_teacher: PointTransformer, scores: Scores
) -> None:
    other = replace(official, labels=np.full(len(official.labels), -1), sha256="other")
    again = replace(TASK, episodes_per_way=3, queries=15).evaluate(tiny_teacher, other, Context())
    assert all(np.array_equal(scores.outcomes[name], again.outcomes[name]) for name in scores.outcomes)


def test_queries_count_alike_as_in_the_official_code(
    official: PointCloudDataset, tiny_teacher: PointTransformer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nine queries of the right class and one of another are 90 %, where drawn episodes would have 50 %."""
    given = official.episodes["5w10s"][0]
    labels = np.array([0] * 9 + [1])
    episode = replace(given, query=given.query[:10], query_labels=labels)
    answers = np.zeros(10, np.int64)
    assert balanced_accuracy(episode, answers) == 0.5
    monkeypatch.setattr(fewshot, "svm_answers", lambda features, episode: answers)
    scores = TASK.evaluate(tiny_teacher, replace(official, episodes={"5w10s": (episode,)}), Context())
    assert scores.values[0].value == overall_accuracy(episode, answers) == 0.9
    assert scores.values[0].ci_method is None, "one fold has no interval"


def test_scored_rows_are_the_queries_and_experts_get_no_labels(official: PointCloudDataset) -> None:
    asked = np.concatenate([e.query for all_ in official.episodes.values() for e in all_])
    assert set(TASK.scored(official)) == set(asked)
    assert TASK.supervision(official) is None


def test_unknown_configurations_alone_cannot_be_scored(
    official: PointCloudDataset, tiny_teacher: PointTransformer
) -> None:
    data = replace(official, episodes={"3w1s": official.episodes["5w10s"]})
    with pytest.raises(UserError, match="5w10s"):
        TASK.evaluate(tiny_teacher, data, Context())


def test_fine_tuning_trains_once_a_fold_on_clouds_that_are_not_turned(
    official: PointCloudDataset, tiny_teacher: PointTransformer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        fewshot, "FINETUNING", {"quick": Finetuning(Recipe(12, lr=3e-3, frozen=0.8), views=2)}
    )
    monkeypatch.setattr(probing, "turned", None)
    data = replace(official, episodes={"5w10s": official.episodes["5w10s"][:2]})
    trained: list[str] = []
    ctx = Context(progress=lambda what, done, total: trained.append(what))
    check_task(FewShot(mode="finetune"), tiny_teacher, data, ctx)
    assert {what for what in trained if what.startswith("fine-tune")} == {
        "fine-tune acc_5w10s 0",
        "fine-tune acc_5w10s 1",
    }
    assert FewShot(mode="finetune").evaluate(tiny_teacher, data, Context()).values[0].value > 0.25


def test_the_paper_budget_is_the_official_recipe() -> None:
    recipe = fewshot.FINETUNING["paper"].recipe
    assert (recipe.epochs, recipe.frozen_epochs, recipe.batch_size, recipe.lr) == (150, 0, 32, 1e-3)
