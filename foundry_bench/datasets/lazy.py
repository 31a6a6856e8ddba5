"""Clouds that stay on disk, or are not even made, until they are asked for, and what is done to a cloud on the way.

:class:`LazyClouds` is a :class:`~foundry_bench.datasets.dataset.CloudArray` over a source. Sources keep no file open and no
process running, so an array can be pickled, sent to another process or used after a fork.
"""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from foundry_bench.datasets.one_file import FileError, reading, shown
from foundry_bench.datasets.readers.arrays import read_npy
from foundry_bench.datasets.readers.hdf5 import open_hdf5, own_array
from foundry_bench.datasets.readers.scale import squarable
from foundry_bench.errors import UserError

Progress = Callable[[str, int, int], None]
"""Called as ``progress(what, done, total)``."""

BLOCK = 256
"""Clouds read at a time, so that a large request needs little memory beyond its result."""


def silent(what: str, done: int, total: int) -> None:
    """A progress sink that shows nothing."""


class CloudSource(Protocol):
    """``count`` clouds of ``points`` points in files, or made by a rule."""

    @property
    def count(self) -> int: ...

    @property
    def points(self) -> int: ...

    def read(self, rows: np.ndarray) -> np.ndarray:
        """Clouds (n, points, 3) of the increasing numbers ``rows`` (n,); raises UserError for a damaged file."""

    def where(self, row: int) -> str:
        """The file, and the place in it, of one cloud."""


class LazyArray(ABC):
    """An array (N, P, ...) of which only the rows asked for are made.

    ``array[rows]``, ``array[rows, points]`` and, with a further axis, ``array[rows, points, axes]`` are NumPy arrays.
    """

    dtype: np.dtype[Any]

    @property
    @abstractmethod
    def shape(self) -> tuple[int, ...]:
        """(N, P, ...)."""

    @abstractmethod
    def _made(self, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
        """The values (n, columns, ...) of the row numbers ``rows`` (n,), in any order and repeated or not."""

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, key: Any) -> np.ndarray:
        rows, *rest = key if isinstance(key, tuple) else (key,)
        if rows is None or rows is Ellipsis or len(rest) >= len(self.shape):
            names = ("rows", "points", "axes")[: len(self.shape)]
            keys = [f"clouds[{', '.join(names[: end + 1])}]" for end in range(len(names))]
            raise IndexError(f"index clouds as {', '.join(keys[:-1])} or {keys[-1]}")
        chosen = np.arange(len(self))[rows]
        if chosen.ndim > 1:
            raise IndexError("rows must be a number, a slice or a one-dimensional array")
        columns = np.arange(self.shape[1])[rest[0] if rest else slice(None)]
        made = self._made(np.atleast_1d(chosen), columns)
        made = made if chosen.ndim else made[0]
        return made[..., rest[1]] if len(rest) == 2 else made

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        if copy is False:
            raise ValueError("clouds that are read as asked for cannot become an array without a copy")
        return self[:].astype(self.dtype if dtype is None else dtype, copy=False)


class LazyClouds(LazyArray):
    """Clouds (N, P, 3) of float32, read as asked for, centred on their mean and scaled to the unit sphere.

    Args:
        source: the files, or the rule that makes clouds.
        names: N names that no two clouds share; they seed the shuffle.
        y_up: the files have y up: (x, y, z) becomes (x, -z, y), which has z up and is no mirror image.
        shuffle: bring the points into :func:`hashed_order`. Without it their order in the files stays.
        scale: the distance from the mean that becomes 1; None: that of the cloud's farthest point.

    Only the rows asked for are read, each once, in the order of the files. Raises UserError for a cloud that is not finite or
    has no extent.
    """

    dtype = np.dtype(np.float32)

    def __init__(
        self,
        source: CloudSource,
        names: Sequence[str],
        *,
        y_up: bool = False,
        shuffle: bool = False,
        scale: float | None = None,
    ) -> None:
        if len(names) != source.count:
            raise ValueError(f"{len(names)} names for {source.count} clouds")
        self.source = source
        self.names = names
        self.y_up = y_up
        self.shuffle = shuffle
        self.scale = scale

    @property
    def shape(self) -> tuple[int, int, int]:
        """(N, P, 3)."""
        return self.source.count, self.source.points, 3

    def _made(self, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
        wanted, place = np.unique(rows, return_inverse=True)
        made = np.empty((len(wanted), *columns.shape, 3), np.float32)
        for start in range(0, len(wanted), BLOCK):
            block = wanted[start : start + BLOCK]
            for offset, (row, raw) in enumerate(zip(block, self.source.read(block), strict=True)):
                made[start + offset] = self._placed(int(row), raw, columns)
        return made if np.array_equal(wanted, rows) else made[place]

    def _placed(self, row: int, raw: np.ndarray, columns: np.ndarray) -> np.ndarray:
        try:
            points = unit_sphere(raw)
            if self.scale is not None:
                points = (centred(raw)[0] / self.scale).astype(np.float32)
        except FileError as error:
            raise UserError(
                f"{self.source.where(row)} {error}; replace the file by an undamaged copy"
            ) from error
        if self.y_up:
            points = z_up(points)
        if not self.shuffle:
            return points[columns]
        last = int(columns.max(initial=-1)) + 1
        return points[hashed_order(self.names[row], len(points), last)[columns]]


def unit_sphere(points: np.ndarray) -> np.ndarray:
    """A cloud (P, 3) with its mean at the origin and its farthest point at distance 1, float32.

    The ``pc_normalize`` of the PointNet family. Raises FileError, to be read after the cloud's name, for coordinates that are
    not finite and for points that all coincide.
    """
    if not np.isfinite(points).all():
        raise FileError("has NaN or infinite coordinates")
    moved, radius = centred(squarable(points))
    if radius == 0.0:
        raise FileError("has no extent: all its points coincide")
    return (moved / radius).astype(np.float32)


def centred(points: np.ndarray) -> tuple[np.ndarray, float]:
    """A cloud (P, 3) with its mean at the origin, float64, and the distance of its farthest point."""
    moved = points - points.mean(axis=0, dtype=np.float64)
    return moved, float(np.sqrt(np.square(moved).sum(axis=1).max(initial=0.0)))


def z_up(points: np.ndarray) -> np.ndarray:
    """A cloud (P, 3) with y up turned by a quarter about x, so that z is up: (x, y, z) becomes (x, -z, y)."""
    return points[:, [0, 2, 1]] * np.array([1, -1, 1], points.dtype)


def hashed_order(name: str, count: int, keep: int | None = None) -> np.ndarray:
    """The first ``keep`` (default: all) of a pseudo-random order of ``count`` points, a pure function of ``name``.

    Free of any library's random generator, so it never changes. The keys are SplitMix64 of the point's number, started from
    the name's SHA-256; source: Steele, Lea & Flood, OOPSLA 2014.
    """
    start = np.frombuffer(hashlib.sha256(name.encode()).digest()[:8], dtype="<u8").astype(np.uint64)
    keys: np.ndarray = (start + np.arange(1, count + 1, dtype=np.uint64)) * np.uint64(0x9E3779B97F4A7C15)
    keys = (keys ^ (keys >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    keys = (keys ^ (keys >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    keys ^= keys >> np.uint64(31)
    keep = count if keep is None else min(keep, count)
    if 4 * keep >= count:
        return np.argsort(keys, kind="stable")[:keep]
    # Keys are distinct, so the smallest ones are the same whichever way they are found; sorting a million is slow.
    smallest = np.argpartition(keys, keep)[:keep]
    return smallest[np.argsort(keys[smallest], kind="stable")]


def draw(name: str, count: int, points: int) -> np.ndarray:
    """Numbers (points,) of the points drawn from a cloud of ``count``, by :func:`hashed_order`; repeated where it has fewer."""
    return hashed_order(name, count, points)[np.arange(points) % count]


@dataclass(frozen=True)
class NpyFiles:
    """One ``.npy`` file (points, at least 3) per cloud, memory-mapped when read."""

    paths: tuple[Path, ...]
    points: int

    @property
    def count(self) -> int:
        return len(self.paths)

    def read(self, rows: np.ndarray) -> np.ndarray:
        return np.stack([self._one(self.paths[row]) for row in rows])

    def where(self, row: int) -> str:
        return shown(self.paths[row])

    def _one(self, path: Path) -> np.ndarray:
        cloud = open_npy(path)
        if cloud.ndim != 2 or cloud.shape[0] != self.points or cloud.shape[1] < 3:
            raise UserError(
                f"{path} holds an array {cloud.shape}, expected ({self.points}, 3): download it again"
            )
        return np.asarray(cloud[:, :3], np.float32)


def open_npy(path: Path) -> np.ndarray:
    """The array of a ``.npy`` file, memory-mapped; raises UserError for a file that is missing or no array of numbers."""
    with reading(path, "replace it"):
        return read_npy(path)


@dataclass(frozen=True)
class Hdf5Files:
    """Clouds (n, points, at least 3) under ``key`` in each of several HDF5 files; ``counts`` are their n."""

    paths: tuple[Path, ...]
    counts: tuple[int, ...]
    points: int
    key: str = "data"

    @property
    def count(self) -> int:
        return sum(self.counts)

    def read(self, rows: np.ndarray) -> np.ndarray:
        clouds = np.empty((len(rows), self.points, 3), np.float32)
        ends = np.cumsum(self.counts)
        numbers = np.searchsorted(ends, rows, side="right")
        for number in np.unique(numbers):
            inside = numbers == number
            first = ends[number] - self.counts[number]
            clouds[inside] = self._from(self.paths[number], rows[inside] - first)
        return clouds

    def where(self, row: int) -> str:
        ends = np.cumsum(self.counts)
        number = int(np.searchsorted(ends, row, side="right"))
        return f"{shown(self.paths[number])} (cloud {row - int(ends[number]) + self.counts[number]})"

    def _from(self, path: Path, rows: np.ndarray) -> np.ndarray:
        adjacent = rows[-1] - rows[0] + 1 == len(rows)
        with open_hdf5(path) as file:
            return own_array(file, self.key)[slice(rows[0], rows[-1] + 1) if adjacent else rows, :, :3]
