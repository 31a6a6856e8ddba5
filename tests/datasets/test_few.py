"""The piece of a data set that a rehearsal runs on is one that the whole data set's splits allow."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from foundry_bench.datasets import PointCloudDataset, load_furniture
from foundry_bench.datasets.few import few_of_each_side


@pytest.fixture(scope="module")
def data() -> PointCloudDataset:
    """Furniture, every other object of a class tested."""
    whole = load_furniture()
    return replace(whole, splits={"half": np.where(np.arange(len(whole.labels)) % 2, "train", "test")})


def piece(data: PointCloudDataset, sides: np.ndarray) -> PointCloudDataset:
    return few_of_each_side(replace(data, splits={"half": sides}), data.labels >= 0)


@pytest.mark.parametrize("side", ["train", "test", ""])
def test_classes_on_one_side_only_are_left_out(data: PointCloudDataset, side: str) -> None:
    largest = np.bincount(data.labels).argmax()
    few = piece(data, np.where(data.labels == largest, side, data.splits["half"]))
    assert largest not in few.labels
    assert len(set(few.labels)) == 5


def test_objects_to_validate_on_are_learnt_from(data: PointCloudDataset) -> None:
    sides = np.where(data.splits["half"] == "train", "val", "test")
    assert (piece(data, sides).paths == piece(data, data.splits["half"]).paths).all()


def test_without_any_class_on_both_sides_nothing_is_left_out(data: PointCloudDataset) -> None:
    assert len(piece(data, np.full(len(data.labels), "train")).labels) == len(data.labels)
