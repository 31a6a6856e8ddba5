"""Halves of a data set: what is chosen by the scores of one is confirmed by those of the other."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from foundry_bench import selectors
from foundry_bench.datasets import PointCloudDataset
from foundry_bench.datasets.catalog import dataset_sha256, load_dataset, resolved
from foundry_bench.datasets.dataset import Episode
from foundry_bench.datasets.halves import Half, halves, read_half
from foundry_bench.errors import UserError
from foundry_bench.heads.probing import groups_of, split_sides

TASKS = ["onepatch:kicad", "densefewshot:kicad", "fewshot:kicad", "robustness:kicad", "onepatch:bricks"]


@pytest.fixture(scope="module")
def kicad() -> PointCloudDataset:
    return load_dataset("kicad")


def of(data: PointCloudDataset, form: str) -> tuple[PointCloudDataset, PointCloudDataset]:
    return tuple(Half(data.name, form, name).of(data) for name in ("search", "confirm"))  # type: ignore[arg-type, return-value]


@pytest.mark.parametrize("text", TASKS)
def test_no_cluster_is_scored_in_both_halves_and_every_object_in_one(text: str) -> None:
    task, name = selectors.expand_task(text)[0]
    data = load_dataset(str(name))
    both = of(data, "tested" if "splits" in task.needs else "labelled")
    first, second = (np.unique(groups_of(data)[task.scored(half)]) for half in both)
    assert len(first) > 50
    assert len(second) > 50
    assert not set(first) & set(second)
    if "splits" in task.needs:
        assert {*first, *second} == set(groups_of(data)[task.scored(data)])


def test_both_halves_have_the_classes_alike(kicad: PointCloudDataset) -> None:
    rows = np.unique(groups_of(kicad), return_index=True)[1]
    first = halves(kicad)[rows] == "search"
    for label in np.unique(kicad.labels):
        mine = first[kicad.labels[rows] == label]
        assert abs(2 * mine.sum() - len(mine)) <= 1
    assert 0.4 < first.mean() < 0.6


def test_training_sides_are_shared_and_test_sides_are_parted(kicad: PointCloudDataset) -> None:
    first, second = of(kicad, "tested")
    for name in kicad.splits:
        (train, test), (train_1, test_1), (train_2, test_2) = (
            split_sides(data, name) for data in (kicad, first, second)
        )
        assert train.tolist() == train_1.tolist() == train_2.tolist()
        assert sorted([*test_1, *test_2]) == test.tolist()


def test_labels_of_the_other_half_are_gone_where_tasks_go_by_labels(kicad: PointCloudDataset) -> None:
    first, second = of(kicad, "labelled")
    assert not np.any((first.labels >= 0) & (second.labels >= 0))
    assert np.array_equal(np.maximum(first.labels, second.labels), kicad.labels)
    assert not any(np.any(side[first.labels < 0] != "") for side in first.splits.values())


def test_a_half_is_asked_for_by_name_and_is_data_of_its_own(kicad: PointCloudDataset, tmp_path: Path) -> None:
    name = "kicad[tested=search]"
    found = load_dataset(name)
    assert (found.name, resolved(name)) == (name, name)
    assert found.sha256 == dataset_sha256(name)
    assert len({kicad.sha256, found.sha256, dataset_sha256("kicad[tested=confirm]")}) == 3
    assert read_half("procedural[clouds=10]") is None
    assert read_half("kicad[tested=sometimes]") is None


def test_what_cannot_be_halved_is_told(kicad: PointCloudDataset) -> None:
    with pytest.raises(UserError, match=r"'furniture' has no splits; write furniture\[labelled=search\]"):
        load_dataset("furniture[tested=search]")
    nobody = np.arange(0)
    prescribed = replace(kicad, episodes={"5w10s": (Episode(0, nobody, nobody, nobody, nobody),)})
    with pytest.raises(UserError, match="prescribes its episodes"):
        Half("kicad", "labelled", "search").of(prescribed)
    with pytest.raises(UserError, match="did you mean 'kicad'"):
        load_dataset("kikad[tested=search]")
