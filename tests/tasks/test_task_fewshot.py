"""Few-shot episodes are fair, repeatable and the same for everybody; scores are those of a linear probe."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy import stats

from foundry_bench.context import Context
from foundry_bench.datasets import PointCloudDataset, load_furniture, load_kicad
from foundry_bench.encoder import EncoderConfig
from foundry_bench.errors import UserError
from foundry_bench.heads.classifier import Finetuning
from foundry_bench.heads.probing import groups_of
from foundry_bench.task import CLUSTERS, Score
from foundry_bench.tasks import fewshot
from foundry_bench.tasks.fewshot import (
    DRAWN,
    SHOTS,
    Episode,
    FewShot,
    episode_accuracy,
    scores_over_clusters,
)
from foundry_bench.teachers.transformer import PointTransformer
from foundry_bench.training.finetuning import Recipe

TASK = FewShot(episodes_per_way=12)


@pytest.fixture(scope="module")
def kicad() -> PointCloudDataset:
    return load_kicad()


@pytest.fixture(scope="module")
def encoder() -> PointTransformer:
    torch.manual_seed(0)
    return PointTransformer(
        EncoderConfig(
            dim=32, depth=2, heads=2, groups=16, group_size=8, points=256, tokenizer_widths=(16, 16, 16)
        )
    ).eval()


@pytest.mark.parametrize("way", [5, 10])
def test_support_and_query_never_share_an_object_or_a_series(kicad: PointCloudDataset, way: int) -> None:
    for episode in TASK.episodes(kicad, way):
        assert not set(episode.support) & set(episode.query)
        support = set(zip(episode.support_labels, kicad.series[episode.support], strict=True))
        query = set(zip(episode.query_labels, kicad.series[episode.query], strict=True))
        assert not support & query


@pytest.mark.parametrize("way", [5, 10])
def test_every_class_gets_its_shots_and_enough_queries(kicad: PointCloudDataset, way: int) -> None:
    for episode in TASK.episodes(kicad, way):
        labels, shots = np.unique(episode.support_labels, return_counts=True)
        asked, queries = np.unique(episode.query_labels, return_counts=True)
        assert len(labels) == way
        assert (shots == SHOTS).all()
        assert (asked == labels).all()
        assert TASK.min_queries <= queries.min()
        assert queries.max() <= TASK.queries


def test_rows_carry_their_own_labels_and_only_novel_classes_appear(kicad: PointCloudDataset) -> None:
    for episode in TASK.episodes(kicad, 10):
        assert (kicad.labels[episode.support] == episode.support_labels).all()
        assert (kicad.labels[episode.query] == episode.query_labels).all()
        assert {kicad.classes[label] for label in episode.support_labels} <= set(kicad.novel_classes)


def as_lists(episodes: list[Episode]) -> list[list[int]]:
    return [[*episode.support, *episode.query] for episode in episodes]


def test_episodes_depend_on_data_and_protocol_only(kicad: PointCloudDataset) -> None:
    drawn = as_lists(TASK.episodes(kicad, 5))
    assert drawn == as_lists(TASK.episodes(kicad, 5))
    assert drawn == as_lists(FewShot(episodes_per_way=20).episodes(kicad, 5))[:12]
    assert drawn != as_lists(TASK.episodes(replace(kicad, sha256="other"), 5))
    assert drawn != as_lists(replace(TASK, queries=15).episodes(kicad, 5))
    assert len({tuple(rows) for rows in drawn}) == 12


def test_furniture_is_five_way_only() -> None:
    furniture = load_furniture()
    assert [metric.name for metric in TASK.metrics_for(furniture)] == ["acc_5w10s", "acc_5w20s"]
    assert len(TASK.eligible_classes(furniture)) == 7


def test_kicad_supports_both_ways_with_the_default_protocol(kicad: PointCloudDataset) -> None:
    assert [metric.name for metric in FewShot().metrics_for(kicad)] == ["acc_5w10s", "acc_10w10s"]


def test_twenty_shots_come_from_as_many_series() -> None:
    """Ten ways of twenty shots need ten classes of more than twenty series; here every third object has a twin."""
    kicad = load_kicad()
    own = np.array([f"{row // 3 if row % 3 < 2 else -row}" for row in range(len(kicad.labels))])
    data = replace(kicad, series=own)
    assert [metric.name for metric in FewShot().metrics_for(data)] == list(DRAWN)
    for episode in TASK.episodes(data, 10, shots=20):
        support = list(zip(episode.support_labels, data.series[episode.support], strict=True))
        query = zip(episode.query_labels, data.series[episode.query], strict=True)
        assert len(set(support)) == len(support) == 200
        assert not set(support) & set(query)
        assert np.unique(episode.query_labels, return_counts=True)[1].min() >= TASK.min_queries


def test_a_class_of_one_series_is_not_drawn(kicad: PointCloudDataset) -> None:
    label = kicad.classes.index("bga")
    series = np.where(kicad.labels == label, "one", kicad.series)
    assert label in TASK.eligible_classes(kicad)
    assert label not in TASK.eligible_classes(replace(kicad, series=series))


def test_objects_without_series_are_drawn_at_random(kicad: PointCloudDataset) -> None:
    plain = replace(kicad, series=np.full(len(kicad.labels), ""))
    for episode in TASK.episodes(plain, 5):
        assert not set(episode.support) & set(episode.query)
        assert len(episode.query) == 5 * TASK.queries


def test_too_few_classes_is_an_error(kicad: PointCloudDataset, encoder: PointTransformer) -> None:
    with pytest.raises(UserError, match="too few classes"):
        TASK.evaluate(encoder, replace(kicad, novel_classes=kicad.novel_classes[:4]), Context())


def test_accuracy_is_perfect_on_labels_and_chance_on_noise(kicad: PointCloudDataset) -> None:
    episodes = TASK.episodes(kicad, 5)
    oracle = np.eye(len(kicad.classes), dtype=np.float32)[kicad.labels]
    noise = np.random.default_rng(0).normal(size=(len(kicad.labels), 64)).astype(np.float32)
    assert all(episode_accuracy(oracle, episode) == 1 for episode in episodes)
    assert np.mean([episode_accuracy(noise, episode) for episode in episodes]) == pytest.approx(0.2, abs=0.05)


def test_accuracy_weighs_classes_not_queries() -> None:
    """Nine right answers of class 0 and one wrong of class 1 are 50 %, not 90 %."""
    features = (
        np.concatenate([np.zeros(20), np.ones(20)])[:, None].astype(np.float32)
        + np.eye(40, 3, dtype=np.float32) * 0.01
    )
    query = np.arange(10, 20)
    labels = np.array([0] * 9 + [1])
    support = np.concatenate([np.arange(10), np.arange(20, 30)])
    episode = Episode(0, support, np.repeat([0, 1], 10), query, labels)
    assert episode_accuracy(features, episode) == 0.5


@pytest.mark.parametrize("load", [load_kicad, load_furniture], ids=["kicad", "furniture"])
def test_scores_are_pure_above_chance_and_keep_their_outcomes(load, encoder: PointTransformer) -> None:
    data = load()
    scores, again = (TASK.evaluate(encoder, data, Context(seed=seed)) for seed in (0, 1))
    for score in scores.values:
        outcomes, episodes = (scores.outcomes[f"{score.metric}{kept}"] for kept in ("", "/episodes"))
        assert len(episodes) == 12 < len(outcomes) == score.n
        assert score.value == episodes.mean()
        assert score.value == pytest.approx(outcomes.mean())
        assert (score.unit, score.stderr) == (CLUSTERS, pytest.approx(stats.sem(outcomes)))
        assert score.ci_low < score.value < score.ci_high
        assert (outcomes == again.outcomes[score.metric]).all()
        assert score.value > {5: 0.3, 10: 0.15}[DRAWN[score.metric][0]]


def test_the_interval_is_that_of_other_objects_not_of_more_episodes(kicad: PointCloudDataset) -> None:
    """A classifier that is always right about some objects and always wrong about the others: how often it is asked about them
    adds nothing. The standard error is that of the bootstrap that draws the clusters of each class again."""
    task, rng = FewShot(episodes_per_way=120), np.random.default_rng(0)
    names, clusters = np.unique(groups_of(kicad), return_inverse=True)
    known = (rng.random(len(names)) < 0.8)[clusters]
    episodes = task.episodes(kicad, 5)

    def score(count: int) -> Score:
        given = [np.where(known[e.query], e.query_labels, _other(e.query_labels)) for e in episodes[:count]]
        problems = {"acc_5w10s": episodes[:count]}
        return scores_over_clusters(FewShot.metrics[:1], problems, {"acc_5w10s": given}, clusters).values[0]

    few, many = score(60), score(120)
    assert few.stderr is not None
    assert many.stderr == pytest.approx(few.stderr, rel=0.1), "sqrt(1/2) if episodes were independent"
    rows, labels = (
        np.concatenate([getattr(e, part) for e in episodes]) for part in ("query", "query_labels")
    )
    weights = np.concatenate([1 / np.bincount(e.query_labels)[e.query_labels] for e in episodes])
    drawn = [_drawn(rng, known[rows], weights, labels, clusters[rows]) for _ in range(150)]
    assert many.stderr == pytest.approx(np.std(drawn), rel=0.2)


def _other(labels: np.ndarray) -> np.ndarray:
    """For each query a class of its episode that is not its own."""
    classes, index = np.unique(labels, return_inverse=True)
    return np.roll(classes, 1)[index]


def _drawn(
    rng: np.random.Generator, right: np.ndarray, weights: np.ndarray, labels: np.ndarray, clusters: np.ndarray
) -> float:
    """The score with the clusters of each class drawn again, in as many copies as they are drawn."""
    copies = np.zeros(len(right))
    for label in np.unique(labels):
        names, index = np.unique(clusters[labels == label], return_inverse=True)
        times = np.bincount(rng.integers(0, len(names), len(names)), minlength=len(names))
        copies[labels == label] = times[index]
    share = np.bincount(labels, weights) / weights.sum()
    seen = np.bincount(labels, weights * copies)
    means = np.bincount(labels, weights * copies * right) / np.where(seen > 0, seen, 1)
    return float(share @ means)


def test_the_first_episodes_are_those_of_the_committed_results(kicad: PointCloudDataset) -> None:
    """Rows that the seed of an episode decides; they change with its version, its protocol and the data."""
    first, last = FewShot().episodes(kicad, 5)[0], FewShot().episodes(kicad, 10)[59]
    assert FewShot.version == "1"
    assert list(first.support[:5]) == [701, 653, 690, 651, 684]
    assert list(first.query[:5]) == [657, 705, 670, 694, 693]
    assert list(last.support[:5]) == [1222, 1217, 1214, 1218, 1221]
    assert list(last.query[:5]) == [1228, 1197, 1233, 1181, 1227]
    assert FewShot().protocol()["classifier"] == "linear SVM, C=10.0"


def test_every_row_that_an_episode_may_draw_counts_as_scored(kicad: PointCloudDataset) -> None:
    scored = set(TASK.scored(kicad))
    drawn = [rows for way in (5, 10) for e in TASK.episodes(kicad, way) for rows in (e.support, e.query)]
    assert set(np.concatenate(drawn)) <= scored
    assert {kicad.classes[label] for label in kicad.labels[list(scored)]} <= set(kicad.novel_classes)
    supervision = TASK.supervision(kicad)
    assert supervision is not None
    assert not scored & set(supervision.rows)


def test_fine_tuning_scores_the_same_episodes(
    kicad: PointCloudDataset, encoder: PointTransformer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        fewshot, "FINETUNING", {"quick": Finetuning(Recipe(10, lr=3e-3, frozen=0.8), views=1)}
    )
    task = FewShot(episodes_per_way=2, mode="finetune")
    scores = task.evaluate(encoder, kicad, Context())
    assert [len(scores.outcomes[f"{score.metric}/episodes"]) for score in scores.values] == [2, 2]
    assert scores.values[0].value > 0.25
    with pytest.raises(UserError, match="unknown budget"):
        task.evaluate(encoder, kicad, Context(budget="slow"))


def test_an_unknown_mode_is_refused() -> None:
    with pytest.raises(ValueError, match="svm, finetune"):
        FewShot(mode="knn")
