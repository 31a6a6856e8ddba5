"""Data sets that are HDF5 files with ``data`` (n, 2048, 3) and ``label`` (n,) or (n, 1): ModelNet40 and ScanObjectNN."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from foundry_bench.datasets.lazy import BLOCK, Hdf5Files, LazyClouds, Progress, one_line, open_hdf5
from foundry_bench.datasets.official.cache import kept, open_kept, write_blocks
from foundry_bench.errors import UserError

POINTS = 2048
_AGAIN = "download it again"


def hdf5_problem(path: Path, classes: int) -> str | None:
    """What is wrong with one file, or None. Its labels are read, its clouds are not."""
    try:
        with open_hdf5(path) as file:
            for key in ("data", "label"):
                if key not in file:
                    return f"{path} has no {key!r}, only {', '.join(file) or 'nothing'}: {_AGAIN}"
            data, label = file["data"], np.asarray(file["label"])
            if data.ndim != 3 or data.shape[1:] != (POINTS, 3) or data.dtype.kind != "f":
                return f"{path} has data {data.shape} of {data.dtype}, expected (n, {POINTS}, 3) of float32: {_AGAIN}"
            if label.size != len(data):
                return f"{path} has {len(data)} clouds but {label.size} labels: {_AGAIN}"
            if label.size and (label.min() < 0 or label.max() >= classes):
                return (
                    f"{path} has labels {label.min()} to {label.max()}, expected 0 to {classes - 1}: {_AGAIN}"
                )
    except UserError as error:
        return str(error)
    except (OSError, AttributeError, TypeError) as error:
        return f"{path} is damaged ({one_line(error)}): {_AGAIN}"
    return None


def read_labels(path: Path) -> np.ndarray:
    """The labels (n,) int64 of one file; raises UserError for one that is damaged."""
    with open_hdf5(path) as file:
        try:
            return np.asarray(file["label"]).reshape(-1).astype(np.int64)
        except (OSError, KeyError, ValueError, TypeError) as error:
            raise UserError(f"{path} is damaged ({one_line(error)}): {_AGAIN}") from error


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
