"""What every official data set says of itself, and how its files are found, checked and told apart."""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

import numpy as np

from foundry_bench.datasets.content import file_hashes
from foundry_bench.datasets.dataset import PointCloudDataset
from foundry_bench.datasets.lazy import Progress, silent
from foundry_bench.errors import UserError

READER = 2
"""Part of every hash: increase it when a reader gives other points, labels or splits for the same files."""

OFFICIAL = "official"
"""Name of the split that the data set comes with."""


def identity(
    name: str, folder: Path, paths: Sequence[Path], progress: Progress = silent, what: str = "reading files"
) -> str:
    """SHA-256 over names relative to ``folder`` and contents of the files ``paths``, independent of where the folder lies.

    Every byte counts. Files that have not changed since the last call are not read again, see ``content.py``; ``progress(what,
    done, total)`` hears of the others.
    """
    ordered = sorted(paths)
    digest = hashlib.sha256(f"{name} reader {READER}\n".encode())
    for path, sha256 in zip(ordered, file_hashes(folder, ordered, progress, what), strict=True):
        relative = path.relative_to(folder).as_posix()
        digest.update(f"{relative} {sha256}\n".encode("utf-8", "surrogateescape"))
    return digest.hexdigest()


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
        """Hash of the data set, see :func:`identity`. Raises UserError as :meth:`load` does."""
        return self._sha256(self._whole(root), silent)

    def _sha256(self, place: Path, progress: Progress) -> str:
        return identity(self.name, place, self._files_of(place), progress, f"hashing {self.name}")

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
    def _files_of(self, place: Path) -> list[Path]:
        """The files that are read, lists included: what they hold tells this copy apart."""

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
