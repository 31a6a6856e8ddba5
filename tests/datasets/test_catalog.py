"""Data sets by name, by folder, and what an unknown one is answered with."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from foundry_bench.datasets import catalog, load_furniture
from foundry_bench.errors import UserError


def test_names_folders_and_official_sets_are_told_apart(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert catalog.load_dataset("furniture") is load_furniture()
    assert catalog.dataset_sha256("furniture") == load_furniture().sha256
    for i in range(3):
        np.save(tmp_path / f"{i}.npy", np.random.default_rng(i).normal(size=(300, 3)).astype(np.float32))
    scans = catalog.load_dataset(str(tmp_path))
    assert len(scans.points) == 3
    assert catalog.dataset_sha256(str(tmp_path)) == scans.sha256
    (tmp_path / "furniture").mkdir()
    monkeypatch.chdir(tmp_path)
    assert not catalog.is_folder("furniture")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("furnitur", "did you mean 'furniture'"),
        ("no/such/folder", "data folder 'no/such/folder' does not exist"),
        ("modelnet40", "modelnet40"),
    ],
)
def test_what_is_not_there_is_one_clear_line(name: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=message) as raised:
        catalog.load_dataset(name, tmp_path)
    assert "\n" not in str(raised.value)


def test_a_name_that_is_neither_a_data_set_nor_a_folder_says_both() -> None:
    with pytest.raises(UserError, match=r"unknown dataset 'nowhere'.*no folder of that name either"):
        catalog.load_dataset("nowhere")
