"""Robustness asks about the same objects of the same episodes, clean and corrupted; corruption depends on the object alone."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from foundry_bench.context import Context
from foundry_bench.datasets import PointCloudDataset, load_furniture, load_kicad
from foundry_bench.errors import UserError
from foundry_bench.heads.episodes import rows_of
from foundry_bench.heads.probing import groups_of, posed
from foundry_bench.tasks import robustness
from foundry_bench.tasks.robustness import CORRUPTIONS, Robustness, columns, corrupted, embed_corrupted
from foundry_bench.teachers.transformer import PointTransformer

SMALL = Robustness(episodes=6, objects=5)


@pytest.fixture(scope="module")
def kicad() -> PointCloudDataset:
    return load_kicad()


def test_every_series_is_asked_about_by_one_object_that_no_support_is_a_twin_of(
    kicad: PointCloudDataset,
) -> None:
    clusters, episodes = groups_of(kicad), Robustness(episodes=12).problems(kicad)
    asked = rows_of(e.query for e in episodes)
    assert len(set(clusters[asked])) == len(asked) > 150
    for episode in episodes:
        assert not set(clusters[episode.support]) & set(clusters[episode.query])
        labels, counts = np.unique(episode.query_labels, return_counts=True)
        assert list(labels) == sorted(set(episode.support_labels))
        assert counts.max() <= 12
        assert (kicad.labels[episode.query] == episode.query_labels).all()


def test_fewer_objects_are_the_first_of_more(kicad: PointCloudDataset) -> None:
    for few, many in zip(SMALL.problems(kicad), replace(SMALL, objects=9).problems(kicad), strict=True):
        assert (few.support == many.support).all()
        assert set(few.query) < set(many.query)


def test_a_corruption_is_a_function_of_the_object_and_its_name(kicad: PointCloudDataset) -> None:
    rows = np.array([3, 500, 1200])
    clouds, paths = posed(kicad, rows, 256, rotate=True), kicad.paths[rows]
    for name, severities in CORRUPTIONS.items():
        for corruption in severities:
            whole = corrupted(clouds, paths, name, corruption, 16)
            assert np.array_equal(whole[::-1], corrupted(clouds[::-1], paths[::-1], name, corruption, 16))
            assert not np.array_equal(whole, corrupted(clouds, paths[::-1], name, corruption, 16))
            assert np.abs(whole.mean(1)).max() < 1e-5, "centred anew"
            assert np.linalg.norm(whole, axis=2).max(1) == pytest.approx(1, abs=1e-5)


def test_what_is_left_of_a_cloud_has_enough_points_for_the_patches(kicad: PointCloudDataset) -> None:
    clouds, paths = posed(kicad, np.array([3]), 64, rotate=True), kicad.paths[[3]]
    left = {name: len(corrupted(clouds, paths, name, hard, 48)[0]) for name, (_, hard) in CORRUPTIONS.items()}
    assert left == {"cut": 48, "noise": 64, "density": 48, "pose": 64, "view": 48}


def test_repeated_points_do_not_break_the_patches(
    kicad: PointCloudDataset, tiny_teacher: PointTransformer
) -> None:
    """A teacher of 16 points: whatever is taken away is filled up with the same points again."""
    tiny_teacher.config = replace(tiny_teacher.config, points=16)
    rows = SMALL.problems(kicad)[0].query
    for features in embed_corrupted(tiny_teacher, kicad, rows, Context()):
        assert np.isfinite(features).all()


def test_a_metric_is_the_mean_over_its_severities() -> None:
    assert columns("clean") == [0]
    assert [columns(name) for name in CORRUPTIONS] == [[i, i + 1] for i in range(1, 11, 2)]
    assert columns("mean") == list(range(1, 11))


def test_scores_are_over_clusters_and_repeatable(
    kicad: PointCloudDataset, tiny_teacher: PointTransformer
) -> None:
    asked = len(rows_of(e.query for e in SMALL.problems(kicad)))
    first, second = (SMALL.evaluate(tiny_teacher, kicad, Context(seed=seed)) for seed in (0, 1))
    by_name = {score.metric: score for score in first.values}
    assert list(by_name) == ["mean", "cut", "noise", "density", "pose", "view", "clean"]
    assert by_name["mean"].value == pytest.approx(np.mean([by_name[name].value for name in CORRUPTIONS]))
    for name, score in by_name.items():
        assert score.n == len(first.outcomes[name]) == asked
        assert first.outcomes[name].mean() == pytest.approx(score.value)
        assert score.ci_low < score.value < score.ci_high
        assert (first.outcomes[name] == second.outcomes[name]).all()


def test_only_the_support_is_clean(
    kicad: PointCloudDataset, tiny_teacher: PointTransformer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With corruptions that do nothing every score is the clean one."""
    nothing = dict.fromkeys(CORRUPTIONS, (lambda cloud, rng: cloud,) * 2)
    monkeypatch.setattr(robustness, "CORRUPTIONS", nothing)
    scores = SMALL.evaluate(tiny_teacher, kicad, Context())
    assert len({round(score.value, 12) for score in scores.values}) == 1
    assert scores.values[0].value > 0.3


def test_progress_counts_every_corrupted_cloud_once(
    kicad: PointCloudDataset, tiny_teacher: PointTransformer
) -> None:
    told: list[tuple[int, int]] = []
    ctx = Context(
        progress=lambda what, done, total: told.append((done, total)) if "corrupted" in what else None
    )
    rows = SMALL.problems(kicad)[0].query
    assert len(list(embed_corrupted(tiny_teacher, kicad, rows, ctx))) == 10
    assert [done for done, _ in told] == sorted({done for done, _ in told})
    assert told[-1] == (10 * len(rows), 10 * len(rows))


def test_an_encoder_that_diverged_is_said_in_one_line(
    kicad: PointCloudDataset, tiny_teacher: PointTransformer
) -> None:
    for weight in tiny_teacher.parameters():
        weight.data.fill_(float("nan"))
    with pytest.raises(UserError, match="tokens are not finite"):
        SMALL.evaluate(tiny_teacher, kicad, Context())


def test_too_few_classes_is_an_error(tiny_teacher: PointTransformer) -> None:
    furniture = load_furniture()
    with pytest.raises(UserError, match="too few classes"):
        SMALL.evaluate(tiny_teacher, replace(furniture, novel_classes=furniture.classes[:4]), Context())
