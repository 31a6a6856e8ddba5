"""Data sets that are HDF5 files with ``data`` (n, 2048, 3) and ``label`` (n,) or (n, 1): ModelNet40 and ScanObjectNN."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from foundry_bench.datasets.lazy import BLOCK, Hdf5Files, LazyClouds, Progress
from foundry_bench.datasets.official.cache import kept, open_kept, write_blocks
from foundry_bench.datasets.one_file import FileError
from foundry_bench.datasets.readers.hdf5 import open_hdf5, own_array
from foundry_bench.errors import UserError

POINTS = 2048


def hdf5_problem(path: Path, classes: int) -> str | None:
    """What is wrong with one file, or None. Its labels are read, its clouds are not."""
    try:
        with open_hdf5(path) as file:
            data = own_array(file, "data")
            if data.ndim != 3 or data.shape[1:] != (POINTS, 3) or data.dtype.kind != "f":
                raise FileError(
                    f"has data {data.shape} of {data.dtype}, expected (n, {POINTS}, 3) of float32"
                )
            label = _labels(file)
            if label.size and (label.min() < 0 or label.max() >= classes):
                raise FileError(f"has labels {label.min()} to {label.max()}, expected 0 to {classes - 1}")
    except UserError as error:
        return str(error)
    return None


def read_labels(path: Path) -> np.ndarray:
    """The labels (n,) int64 of one file, one a cloud; raises UserError for one that is damaged."""
    with open_hdf5(path) as file:
        return _labels(file)


def _labels(file: Any) -> np.ndarray:
    clouds, stored = len(own_array(file, "data")), own_array(file, "label")
    if stored.size != clouds:
        raise FileError(f"has {clouds} clouds but {stored.size} labels")
    return np.asarray(stored).reshape(-1).astype(np.int64)


def hdf5_files(paths: Sequence[Path], labels: Sequence[np.ndarray]) -> Hdf5Files:
    """The clouds of files whose labels were read."""
    return Hdf5Files(tuple(paths), tuple(len(each) for each in labels), POINTS)


def unpacked(clouds: LazyClouds, name: str, key: str, progress: Progress) -> np.ndarray:
    """``clouds`` (N, P, 3) float32, memory-mapped from the cache, where they are written under ``key`` the first time.

    The files are compressed in chunks of some 128 clouds, so that a random batch would unpack most of the data set.
    """
    what = f"unpacking {name}"

    def blocks() -> Iterator[np.ndarray]:
        for start in range(0, len(clouds), BLOCK):
            yield clouds[start : start + BLOCK]
            progress(what, min(start + BLOCK, len(clouds)), len(clouds))

    def make(folder: Path) -> None:
        logging.getLogger("foundry_bench").info("%s, once: %s keeps it", what, folder.parent)
        write_blocks(folder / "points.npy", clouds.shape, np.float32, blocks())

    return open_kept(kept(key, make) / "points.npy")
