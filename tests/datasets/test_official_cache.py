"""What tells two copies of a data set apart, and the cache of what is slow to parse."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from time import sleep

import h5py
import numpy as np
import pytest
from official_layouts import write_modelnet40

from foundry_bench.datasets import content
from foundry_bench.datasets.official import base
from foundry_bench.datasets.official.cache import kept, open_kept, write_blocks
from foundry_bench.datasets.official.modelnet40 import ModelNet40
from foundry_bench.errors import UserError


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "cache"
    monkeypatch.setenv("FOUNDRY_BENCH_CACHE", str(folder))
    return folder


@pytest.fixture
def settled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A data set whose files count as left alone for long."""
    monkeypatch.setattr(content, "SETTLED", -1.0)
    return write_modelnet40(tmp_path / "root")


def sha256(folder: Path) -> str:
    return ModelNet40().sha256(folder)


def test_every_file_of_a_set_counts(settled: Path) -> None:
    seen = [sha256(settled)]
    with h5py.File(settled / "ply_data_train1.h5", "r+") as file:
        assert file["label"][0, 0] == 3
        file["label"][0, 0] = 4
    seen.append(sha256(settled))
    lists = settled / "train_files.txt"
    lists.write_text(lists.read_text().replace("data/", "DATA/"))
    seen.append(sha256(settled))
    assert len(set(seen)) == 3


def test_the_hash_names_the_reader(settled: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = sha256(settled)
    monkeypatch.setattr(base, "READER", base.READER + 1)
    assert sha256(settled) != before


def _files(folder: Path) -> list[Path]:
    folder.mkdir(exist_ok=True)
    files = [folder / f"{number:03}.bin" for number in range(200)]
    for number, path in enumerate(files):
        path.write_bytes(number.to_bytes(2, "big") * 500)
    return files


def _read(folder: Path, files: list[Path]) -> tuple[str, list[int]]:
    """The identity of files and the numbers, from 1 on, of those that were read for it."""
    read: list[int] = []
    return base.identity("a", folder, files, lambda _, done, total: read.append(done)), read


def test_files_replaced_by_others_of_equal_size_and_ends_are_another_data_set(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(content, "SETTLED", -1.0)
    files = _files(tmp_path / "set")
    before, read = _read(tmp_path / "set", files)
    assert len(read) == 200
    for path in files[32:168]:
        inside = bytearray(path.read_bytes())
        inside[500] ^= 255
        path.write_bytes(inside)
    after, read = _read(tmp_path / "set", files)
    assert after != before
    assert read == list(range(33, 169))


@pytest.mark.parametrize("way", ["in place, with the old time", "renamed over it", "linked to another"])
def test_a_file_that_is_exchanged_is_noticed_however_it_is_done(
    way: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(content, "SETTLED", -1.0)
    files = _files(tmp_path / "set")
    before, _ = _read(tmp_path / "set", files)
    status, other = files[7].stat(), bytes(reversed(files[7].read_bytes()))
    sleep(0.01)  # the clock of some file systems ticks that slowly
    if way == "in place, with the old time":
        files[7].write_bytes(other)
    else:
        (tmp_path / "other").write_bytes(other)
        if way == "renamed over it":
            (tmp_path / "other").rename(files[7])
        else:
            files[7].unlink()
            files[7].symlink_to(tmp_path / "other")
    os.utime(files[7], ns=(status.st_atime_ns, status.st_mtime_ns))
    after, read = _read(tmp_path / "set", files)
    assert after != before
    assert read == [8]


def test_the_same_files_elsewhere_and_in_another_order_have_the_same_hash(tmp_path: Path) -> None:
    one, two = _files(tmp_path / "one"), _files(tmp_path / "two")
    assert _read(tmp_path / "one", one)[0] == _read(tmp_path / "two", two[::-1])[0]


def test_what_was_just_written_is_read_again(tmp_path: Path) -> None:
    files = _files(tmp_path / "set")
    assert [len(_read(tmp_path / "set", files)[1]) for _ in range(2)] == [200, 200]


@pytest.mark.parametrize(
    "kept", [b"", b"null", b'{"000.bin": 5}', b"[" * 100_000, b'{"000.bin": [1, 2, 3, 4, null]}']
)
def test_hashes_that_were_damaged_are_made_again(
    kept: bytes, tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(content, "SETTLED", -1.0)
    files = _files(tmp_path / "set")
    before, _ = _read(tmp_path / "set", files)
    (remembered,) = cache.glob("hashes-*.json")
    remembered.write_bytes(kept)
    after, read = _read(tmp_path / "set", files)
    assert (after, len(read)) == (before, 200)


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
