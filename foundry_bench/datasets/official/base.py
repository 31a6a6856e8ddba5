"""What every official data set says of itself, and how its files are found, checked and told apart."""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np

from foundry_bench.datasets.dataset import PointCloudDataset
from foundry_bench.datasets.lazy import Progress, silent
from foundry_bench.errors import UserError

READER = 1
"""Part of every hash: increase it when a reader gives other points, labels or splits for the same files."""

OFFICIAL = "official"
"""Name of the split that the data set comes with."""

WHOLE_BYTES = 64 * 2**20
"""Data files are hashed whole when they have no more bytes than this together."""
END_BYTES = 64 * 2**10
"""Bytes at the beginning and at the end of a larger data file that are hashed."""
SPREAD = 64
"""Files of a set of many that are opened for its hash; of the others the name and the size count."""


@dataclass(frozen=True)
class Identity:
    """What tells two copies of a data set apart without reading all of it.

    ``whole`` are files hashed byte by byte (lists, names); ``data`` are large files, of which sizes and ends count;
    ``arrays`` are values inside them that are small and decide everything (labels).
    """

    whole: Sequence[Path]
    data: Sequence[Path]
    arrays: Mapping[str, np.ndarray]

    def sha256(self, name: str, folder: Path) -> str:
        """SHA-256 over names relative to ``folder``, contents and arrays, independent of where the folder lies.

        Data files of up to ``WHOLE_BYTES`` together count whole. Of larger ones count all names and sizes, and of up to
        ``SPREAD`` files, evenly spread over the sorted names, the first and last ``END_BYTES``.
        """
        digest = hashlib.sha256(f"{name} reader {READER}\n".encode())
        for path in sorted(self.whole):
            content = hashlib.sha256(path.read_bytes()).hexdigest()
            digest.update(f"{path.relative_to(folder).as_posix()} {content}\n".encode())
        for key, array in sorted(self.arrays.items()):
            digest.update(f"{key} {array.shape} {array.dtype}\n".encode())
            digest.update(np.ascontiguousarray(array).tobytes())
        data = sorted(self.data)
        sizes = [path.stat().st_size for path in data]
        for path, size in zip(data, sizes, strict=True):
            digest.update(f"{path.relative_to(folder).as_posix()} {size}\n".encode())
        small = sum(sizes) <= WHOLE_BYTES
        spread = range(len(data)) if small else np.unique(np.linspace(0, len(data) - 1, SPREAD).astype(int))
        for number in spread:
            digest.update(data[number].read_bytes() if small else _ends(data[number]))
        return digest.hexdigest()


def _ends(path: Path) -> bytes:
    with path.open("rb") as stream:
        first = stream.read(END_BYTES)
        stream.seek(max(path.stat().st_size - END_BYTES, 0))
        return first + stream.read(END_BYTES)


class OfficialDataset(ABC):
    """A data set that the user fetches under its own terms.

    ``root`` is the folder that holds all official sets, or the set's own folder.

    Attributes:
        name: as registered.
        folder: the set's folder as its own instructions call it; ``aliases`` are other names in use.
        markers: paths inside it, any of which tells the folder.
        url: public page that says how to get it.
        terms: what may be done with it, for people.
        licence: the same as an SPDX expression.
        layout: the tree that is expected, a few lines.
        counts: clouds on each side of the official split in the whole set.
    """

    name: ClassVar[str]
    folder: ClassVar[str]
    aliases: ClassVar[tuple[str, ...]] = ()
    markers: ClassVar[tuple[str, ...]]
    url: ClassVar[str]
    terms: ClassVar[str]
    licence: ClassVar[str]
    layout: ClassVar[str]
    counts: ClassVar[dict[str, int]]

    def load(self, root: Path, progress: Progress = silent) -> PointCloudDataset:
        """The data set; its points are read when they are indexed, or parsed once into the cache (see ``cache.py``).

        Raises UserError, in one line that says how to see the rest, when a file is missing or damaged.
        """
        return self._read(self._whole(root), progress)

    def problems(self, root: Path) -> list[str]:
        """What is missing or wrong, one line each; empty when the data set is whole. No cloud is read."""
        place = self.place(root)
        return self._problems(place) if place.is_dir() else [f"{place} does not exist"]

    def sha256(self, root: Path) -> str:
        """Hash of the data set, see :class:`Identity`. Raises UserError as :meth:`load` does."""
        place = self._whole(root)
        return self._identity(place).sha256(self.name, place)

    def place(self, root: Path) -> Path:
        """The set's own folder: ``root`` itself or one inside it; where it would be, if it is not there."""
        candidates = [root / name for name in (self.folder, *self.aliases)]
        for candidate in (*candidates, root):
            if any((candidate / marker).exists() for marker in self.markers):
                return candidate
        return next(
            (path for path in candidates if path.is_dir()), root if self._named(root) else candidates[0]
        )

    def present(self, root: Path) -> bool:
        """Whether anything of the data set is below ``root``."""
        return any((self.place(root) / marker).exists() for marker in self.markers)

    def _named(self, root: Path) -> bool:
        return root.name in (self.folder, *self.aliases)

    def _whole(self, root: Path) -> Path:
        found = self.problems(root)
        if found:
            more = f" (and {len(found) - 1} more)" if len(found) > 1 else ""
            raise UserError(
                f"the data set {self.name} is not whole: {found[0]}{more}; `foundry-bench data verify {self.name} "
                f"--root {root}` says what is missing and where to get it"
            )
        return self.place(root)

    @abstractmethod
    def _problems(self, place: Path) -> list[str]:
        """As :meth:`problems`, for the set's own folder, which exists."""

    @abstractmethod
    def _identity(self, place: Path) -> Identity:
        """The files and arrays that tell this copy apart."""

    @abstractmethod
    def _read(self, place: Path, progress: Progress) -> PointCloudDataset:
        """The data set of a folder without problems."""


def read_lines(path: Path) -> list[str]:
    """The lines of a list file that are not empty, without spaces around; an empty list where there is no such file."""
    if not path.is_file():
        return []
    return [
        line.strip()
        for line in path.read_text(encoding="utf-8", errors="replace").splitlines()
        if line.strip()
    ]


def missing(place: Path, names: Sequence[str], shown: int = 10) -> list[str]:
    """A line for each of the files ``names`` that ``place`` lacks or that is empty, the last one counting the rest."""
    sizes = {name: _size(place / name) for name in names}
    bad = [name for name, size in sizes.items() if not size]
    lines = [f"{name} is {'missing' if sizes[name] is None else 'empty'} in {place}" for name in bad[:shown]]
    if len(bad) > shown:
        lines.append(f"{len(bad) - shown} more of {len(names)} files are missing or empty in {place}")
    return lines


def _size(path: Path) -> int | None:
    try:
        return path.stat().st_size
    except OSError:
        return None


def unserialised(count: int) -> np.ndarray:
    """Series (count,) of a data set that knows of none: empty texts."""
    return np.full(count, "", dtype="<U1")
