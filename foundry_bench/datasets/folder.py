"""A folder of the user's own point clouds as a data set."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from foundry_bench.datasets.cloud_files import finite_rows, read_cloud
from foundry_bench.datasets.dataset import PointCloudDataset
from foundry_bench.datasets.lazy import LazyClouds, Progress, draw, silent, unit_sphere
from foundry_bench.datasets.listing import list_clouds
from foundry_bench.datasets.official.base import identity, unserialised
from foundry_bench.datasets.official.cache import cache_root
from foundry_bench.datasets.one_file import FileError, one_file, reading, shown
from foundry_bench.errors import UserError
from foundry_bench.storage import read_sealed, sealed, write_atomic

POINTS = 2048
MIN_POINTS = 32
"""Points below which a file is taken for a mistake: fewer than one patch of the usual encoders."""
_SIDES = {"train", "training", "val", "valid", "validation", "test", "testing"}
_REPAIR = "repair or remove it"


@dataclass(frozen=True)
class CloudFiles:
    """Clouds of any size in files below ``root``, each brought to ``points`` points when it is read.

    The points are drawn by a hash of the file's relative path, in random order; a smaller cloud repeats its points. Where one
    of them is a row without coordinates, they are drawn again from the other rows.
    """

    root: Path
    paths: tuple[str, ...]
    points: int

    @property
    def count(self) -> int:
        return len(self.paths)

    def read(self, rows: np.ndarray) -> np.ndarray:
        return np.stack([self._one(self.paths[row]) for row in rows])

    def where(self, row: int) -> str:
        return shown(self.root / self.paths[row])

    def _one(self, path: str) -> np.ndarray:
        with reading(self.root / path, _REPAIR):
            cloud = read_cloud(self.root / path)
            if len(cloud) == 0:
                raise FileError("has no points")
            drawn = cloud[draw(path, len(cloud), self.points)]
            if not np.isfinite(drawn).all():
                cloud = finite_rows(cloud)
                drawn = cloud[draw(path, len(cloud), self.points)]
            # Not to float32 yet: coordinates in metres from far away lose their millimetres.
            return np.asarray(drawn, np.float64)


def load_folder(path: Path, points: int = POINTS, progress: Progress = silent) -> PointCloudDataset:
    """All clouds below a folder: point files, texts and meshes of the endings in ``cloud_files.READERS``.

    Sub-folders of the first level are classes when at least two of them hold clouds; without them, and for files beside
    them, objects are unlabelled. Coordinates keep their axes: z is taken as up. Clouds are centred, scaled to the unit sphere
    and brought to ``points`` points when they are indexed; memory does not grow with the folder.

    Every file is read once to be checked, with ``progress("checking clouds", done, total)``; the result is remembered in the
    cache until a file changes. One line of the log says what the folder was understood as and what of it is not used.

    Raises:
        UserError: no clouds; or files that are unreadable, mostly not finite, without extent or of fewer than 32 points (the
            first one is named, and how many there are).
    """
    listing = list_clouds(path)
    files = listing.clouds
    classes = _classes(path, files)
    number = {name: label for label, name in enumerate(classes)}
    sha256 = identity(f"folder {points} points", path, [path / file for file in files], progress)
    gaps = _check_once(path, files, sha256, progress)
    _tell(path, len(files), len(classes), [listing.described(), gaps.described()])
    return PointCloudDataset(
        name=path.resolve().name,
        version="1",
        sha256=sha256,
        classes=classes,
        points=LazyClouds(CloudFiles(path, files, points), files),
        labels=np.array([number.get(file.split("/")[0], -1) for file in files], np.int64),
        series=unserialised(len(files)),
        paths=np.array(files),
        splits={},
        parts=None,
        part_names={},
        novel_classes=(),
        licence="LicenseRef-own",
    )


def _classes(root: Path, files: Sequence[str]) -> tuple[str, ...]:
    folders = sorted({file.split("/")[0] for file in files if "/" in file})
    if len(folders) > 1 and {name.lower() for name in folders} <= _SIDES:
        raise UserError(
            f"{shown(root)} has the folders {', '.join(folders)}, which would be taken for classes: name one of them"
        )
    return tuple(folders) if len(folders) > 1 else ()


@dataclass(frozen=True)
class _Gaps:
    """Files with rows that have no coordinates, and those rows."""

    files: int
    rows: int

    def described(self) -> str:
        return f"{self.rows:,} rows without coordinates in {self.files:,} clouds" if self.files else ""


def _tell(root: Path, clouds: int, classes: int, left_out: Sequence[str]) -> None:
    inside = f" in {classes} classes" if classes else ""
    unused = ", ".join(filter(None, left_out))
    logging.getLogger("foundry_bench").info(
        "%s: %s clouds%s%s", shown(root), f"{clouds:,}", inside, f"; left out: {unused}" if unused else ""
    )


def _check_once(root: Path, files: Sequence[str], sha256: str, progress: Progress) -> _Gaps:
    mark = cache_root() / f"checked-{sha256}.json"
    if known := _remembered(mark):
        return known
    bad: list[str] = []
    missing: list[int] = []
    for done, file in enumerate(files, 1):
        try:
            missing.append(_missing_rows(root / file))
        except FileError as error:
            bad.append(f"{shown(root / file)} {error}")
        progress("checking clouds", done, len(files))
    if bad:
        raise UserError(f"{bad[0]}; {len(bad)} of {len(files)} files cannot be used: repair or remove them")
    gaps = _Gaps(int(np.count_nonzero(missing)), sum(missing))
    with contextlib.suppress(OSError):  # without a cache the files are checked again next time
        write_atomic(mark, sealed([gaps.files, gaps.rows]), durable=False)
    return gaps


def _remembered(mark: Path) -> _Gaps | None:
    try:
        return _Gaps(*read_sealed(mark))
    except (OSError, ValueError):
        return None


def _missing_rows(path: Path) -> int:
    """How many rows of a file have no coordinates; raises FileError for a file that cannot be used."""
    with one_file():
        if not _is_text(str(path)):
            raise FileError("has a name that is not UTF-8: rename it")
        cloud = read_cloud(path)
        if len(cloud) < MIN_POINTS:
            raise FileError(f"has {len(cloud)} points, at least {MIN_POINTS} are needed")
        whole = finite_rows(cloud)
        if len(whole) < MIN_POINTS:
            raise FileError(f"has {len(whole)} points with coordinates, at least {MIN_POINTS} are needed")
        unit_sphere(whole)
        return len(cloud) - len(whole)


def _is_text(name: str) -> bool:
    """Whether a path can be written as UTF-8; what the system could not decode is kept as half a character."""
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True
