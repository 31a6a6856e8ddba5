"""The novel classes of all embedded data sets, as one data set without bytes of its own."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from foundry_bench.datasets import domains, load_embedded
from foundry_bench.datasets.catalog import dataset_sha256, load_dataset
from foundry_bench.datasets.domains import MEMBERS, composed
from foundry_bench.tasks.fewshot import FewShot


def test_it_holds_the_novel_classes_of_its_members() -> None:
    data = load_dataset("domains")
    assert data.novel_classes == data.classes
    for name in MEMBERS:
        member = load_embedded(name)
        assert {c for c in data.classes if c.startswith(f"{name}/")} == {
            f"{name}/{c}" for c in member.novel_classes or member.classes
        }
    assert len(data.points) == len(data.labels) == len(data.series) == len(data.paths)
    assert set(data.labels) == set(range(len(data.classes)))


def test_objects_are_those_of_the_members() -> None:
    data = load_dataset("domains")
    for name in MEMBERS:
        member = load_embedded(name)
        where = {path: row for row, path in enumerate(member.paths)}
        mine = np.flatnonzero([data.classes[label].startswith(f"{name}/") for label in data.labels])
        theirs = [where[data.paths[row]] for row in mine]
        points = data.points.shape[1]
        assert np.array_equal(data.points[mine], member.points[theirs, :points])
        assert list(data.series[mine]) == list(member.series[theirs])
        expected = [f"{name}/{member.classes[label]}" for label in member.labels[theirs]]
        assert [data.classes[label] for label in data.labels[mine]] == expected


def test_its_hash_and_licence_are_those_of_its_members() -> None:
    pair = composed("domains", ("kicad", "furniture"))
    assert pair.licence == "CC-BY-SA-4.0 AND CC-BY-3.0 AND CC-BY-3.0-US AND CC0-1.0"
    assert pair.sha256 != composed("domains", ("furniture",)).sha256
    assert dataset_sha256("domains") == load_dataset("domains").sha256


def test_another_member_is_another_hash(monkeypatch: pytest.MonkeyPatch) -> None:
    before = composed("domains", ("kicad", "furniture")).sha256
    composed.cache_clear()
    monkeypatch.setattr(domains, "load_embedded", lambda name: replace(load_embedded(name), sha256="other"))
    assert composed("domains", ("kicad", "furniture")).sha256 != before
    composed.cache_clear()


def test_episodes_draw_across_domains() -> None:
    data, task = load_dataset("domains"), FewShot(episodes_per_way=20)
    names = [metric.name for metric in task.metrics_for(data)]
    assert {"acc_5w10s", "acc_10w10s", "acc_5w20s"} <= set(names)
    for episode in task.episodes(data, 10):
        assert len({data.classes[label].partition("/")[0] for label in episode.support_labels}) > 1
