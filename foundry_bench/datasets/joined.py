"""Several data sets as one, without copying any: what is asked for is read from the set that holds it."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np

from foundry_bench.datasets.dataset import CloudArray, PointCloudDataset
from foundry_bench.datasets.lazy import LazyArray


class JoinedArray(LazyArray):
    """Arrays (N, P, ...) behind each other; of longer clouds the first P points, P being the shortest's."""

    def __init__(self, arrays: Sequence[np.ndarray | CloudArray], dtype: type) -> None:
        self.arrays = arrays
        self.dtype = np.dtype(dtype)
        self.ends = np.cumsum([len(array) for array in arrays])

    @property
    def shape(self) -> tuple[int, ...]:
        """(N, P, ...)."""
        first, *others = (array.shape for array in self.arrays)
        return int(self.ends[-1]), min(shape[1] for shape in (first, *others)), *first[2:]

    def _made(self, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
        made = np.empty((len(rows), *columns.shape, *self.shape[2:]), self.dtype)
        numbers = np.searchsorted(self.ends, rows, side="right")
        for number in np.unique(numbers):
            inside = numbers == number
            array = self.arrays[number]
            made[inside] = array[rows[inside] - (self.ends[number] - len(array))][:, columns]
        return made


def joined(sets: Sequence[PointCloudDataset]) -> PointCloudDataset:
    """The unlabelled union of ``sets``: one alone as it is, several under names, paths and series that tell which is whose.

    Labels, splits and parts are left out: they mean something within one set only.
    """
    if len(sets) == 1:
        return sets[0]
    count = sum(len(data.labels) for data in sets)
    paths, series = (
        np.array([f"{data.name}:{text}" for data in sets for text in getattr(data, field).tolist()])
        for field in ("paths", "series")
    )
    return PointCloudDataset(
        name=" + ".join(data.name for data in sets),
        version="+".join(data.version for data in sets),
        sha256=hashlib.sha256("\n".join(data.sha256 for data in sets).encode()).hexdigest(),
        classes=(),
        points=JoinedArray([data.points for data in sets], np.float32),
        labels=np.full(count, -1, np.int64),
        paths=paths,
        series=series,
        splits={},
        parts=None,
        part_names={},
        novel_classes=(),
        licence=" AND ".join(dict.fromkeys(data.licence for data in sets)),
    )
