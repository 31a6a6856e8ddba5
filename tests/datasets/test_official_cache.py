"""What tells two copies of a data set apart, and the cache of what is slow to parse."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from time import sleep

import h5py
import numpy as np
import pytest
from official_layouts import write_modelnet40

from foundry_bench.datasets.official import base
from foundry_bench.datasets.official.base import Identity
from foundry_bench.datasets.official.cache import kept, open_kept, write_blocks
from foundry_bench.datasets.official.modelnet40 import ModelNet40
from foundry_bench.errors import UserError


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "cache"
    monkeypatch.setenv("FOUNDRY_BENCH_CACHE", str(folder))
    return folder


@pytest.fixture
def large(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A data set that counts as large: of its data only names, sizes and the ends of four files are hashed."""
    folder = write_modelnet40(tmp_path / "root")
    monkeypatch.setattr(base, "WHOLE_BYTES", 0)
    monkeypatch.setattr(base, "END_BYTES", 100)
    monkeypatch.setattr(base, "SPREAD", 4)
    return folder


def change(path: Path, place: int) -> None:
    content = bytearray(path.read_bytes())
    content[place] ^= 255
    path.write_bytes(content)


def sha256(folder: Path) -> str:
    return ModelNet40()._identity(folder).sha256("modelnet40", folder)


def test_of_large_files_the_ends_of_some_and_the_size_of_all_are_hashed(large: Path) -> None:
    files = [large / f"{number}.bin" for number in range(7)]
    for path in files:
        path.write_bytes(bytes(1000))
    of_files = Identity([], files, {})
    seen = [of_files.sha256("a", large)]
    # Four files spread over seven are 0, 2, 4 and 6.
    for number, place, counts in (
        (2, 0, True),
        (2, 500, False),
        (2, -1, True),
        (3, 0, False),
        (3, -1, False),
    ):
        change(files[number], place)
        seen.append(of_files.sha256("a", large))
        assert (seen[-1] not in seen[:-1]) == counts
    files[3].write_bytes(bytes(1001))
    assert of_files.sha256("a", large) not in seen


def test_labels_and_lists_of_a_large_set_are_hashed_whole(large: Path) -> None:
    before = sha256(large)
    with h5py.File(large / "ply_data_train1.h5", "r+") as file:
        assert file["label"][0, 0] == 3
        file["label"][0, 0] = 4
    after = sha256(large)
    assert after != before
    lists = large / "train_files.txt"
    lists.write_text(lists.read_text().replace("data/", "DATA/"))
    assert sha256(large) != after


def test_the_hash_names_the_reader(large: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = sha256(large)
    monkeypatch.setattr(base, "READER", base.READER + 1)
    assert sha256(large) != before


def test_several_that_want_the_same_make_it_once(cache: Path) -> None:
    made = []

    def make(folder: Path) -> None:
        made.append(folder)
        sleep(0.1)
        (folder / "content").write_text("whole")

    with ThreadPoolExecutor(4) as pool:
        folders = list(pool.map(lambda _: kept("key", make), range(4)))
    assert len(made) == 1
    assert made[0] != folders[0]
    assert {(folder / "content").read_text() for folder in folders} == {"whole"}
    assert [path.name for path in cache.iterdir() if path.is_dir()] == ["key"]


def test_what_fails_half_way_leaves_nothing_and_is_made_again(cache: Path) -> None:
    def fail(folder: Path) -> None:
        (folder / "half").touch()
        raise UserError("damaged")

    with pytest.raises(UserError, match="damaged"):
        kept("key", fail)
    assert not [path for path in cache.iterdir() if path.is_dir()]
    assert kept("key", lambda folder: (folder / "content").touch()).is_dir()


def test_a_cache_that_cannot_be_written_says_what_to_do(cache: Path) -> None:
    cache.write_text("a file, no folder")
    with pytest.raises(UserError, match="FOUNDRY_BENCH_CACHE") as error:
        kept("key", lambda folder: None)
    assert "\n" not in str(error.value)


def test_without_a_variable_the_cache_is_in_the_home_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("FOUNDRY_BENCH_CACHE")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    folder = kept("key", lambda folder: None)
    assert folder == tmp_path / "home" / ".cache" / "foundry-bench" / "datasets" / "key"


def test_blocks_make_an_npy_file(tmp_path: Path) -> None:
    rows = np.arange(24).reshape(4, 3, 2)
    write_blocks(tmp_path / "a.npy", rows.shape, np.float32, (rows[:3], rows[3:]))
    read = open_kept(tmp_path / "a.npy")
    assert read.dtype == np.float32
    np.testing.assert_array_equal(read, rows)
