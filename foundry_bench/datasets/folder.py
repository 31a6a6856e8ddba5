"""A folder of the user's own point clouds as a data set."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from foundry_bench.datasets.cloud_files import READERS, read_cloud
from foundry_bench.datasets.dataset import PointCloudDataset
from foundry_bench.datasets.lazy import LazyClouds, Progress, draw, one_line, silent, unit_sphere
from foundry_bench.datasets.official.base import Identity, unserialised
from foundry_bench.datasets.official.cache import cache_root
from foundry_bench.errors import UserError

POINTS = 2048
MIN_POINTS = 32
"""Points below which a file is taken for a mistake: fewer than one patch of the usual encoders."""
_SIDES = {"train", "training", "val", "valid", "validation", "test", "testing"}


@dataclass(frozen=True)
class CloudFiles:
    """Clouds of any size in files below ``root``, each brought to ``points`` points when it is read.

    The points are drawn by a hash of the file's relative path, in random order; a smaller cloud repeats its points.
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
        return str(self.root / self.paths[row])

    def _one(self, path: str) -> np.ndarray:
        try:
            cloud = read_cloud(self.root / path)
        except ValueError as error:
            raise UserError(f"{self.root / path} {one_line(error)}: repair or remove it") from error
        if len(cloud) == 0:
            raise UserError(f"{self.root / path} has no points: repair or remove it")
        # Not to float32 yet: coordinates in metres from far away lose their millimetres.
        return np.asarray(cloud[draw(path, len(cloud), self.points)], np.float64)


def load_folder(path: Path, points: int = POINTS, progress: Progress = silent) -> PointCloudDataset:
    """All clouds below a folder: ``.npy`` (n, 3 or more), ``.npz``, ``.ply``, ``.pcd``, ``.xyz``, ``.txt``, ``.csv``, ``.pts``.

    Sub-folders of the first level are classes when at least two of them hold clouds; without them, and for files beside
    them, objects are unlabelled. Coordinates keep their axes: z is taken as up. Clouds are centred, scaled to the unit sphere
    and brought to ``points`` points when they are indexed; memory does not grow with the folder.

    Every file is read once to be checked, with ``progress("checking clouds", done, total)``; the result is remembered in the
    cache until a file changes.

    Raises:
        UserError: no clouds; or files that are unreadable, not finite, without extent or of fewer than 32 points (the first
            one is named, and how many there are).
    """
    files = _files(path)
    classes = _classes(path, files)
    number = {name: label for label, name in enumerate(classes)}
    identity = Identity([], [path / file for file in files], {}).sha256(f"folder {points} points", path)
    _check_once(path, files, identity, progress)
    return PointCloudDataset(
        name=path.resolve().name,
        version="1",
        sha256=identity,
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


def _files(root: Path) -> tuple[str, ...]:
    """Paths below ``root``, with slashes, sorted; hidden files and folders are left out."""
    if not root.is_dir():
        raise UserError(f"{root} is no folder: name one that holds point clouds")
    relative = (path.relative_to(root) for path in root.rglob("*") if path.suffix.lower() in READERS)
    shown = (path for path in relative if not any(part.startswith(".") for part in path.parts))
    files = tuple(sorted(path.as_posix() for path in shown if (root / path).is_file()))
    if not files:
        raise UserError(f"{root} holds no point clouds: expected files ending in {', '.join(READERS)}")
    return files


def _classes(root: Path, files: Sequence[str]) -> tuple[str, ...]:
    folders = sorted({file.split("/")[0] for file in files if "/" in file})
    if len(folders) > 1 and {name.lower() for name in folders} <= _SIDES:
        raise UserError(
            f"{root} has the folders {', '.join(folders)}, which would be taken for classes: name one of them"
        )
    return tuple(folders) if len(folders) > 1 else ()


def _check_once(root: Path, files: Sequence[str], identity: str, progress: Progress) -> None:
    mark = cache_root() / f"checked-{identity}"
    if mark.exists():
        return
    bad = []
    for done, file in enumerate(files, 1):
        wrong = _problem(root / file)
        if wrong:
            bad.append(f"{root / file} {wrong}")
        progress("checking clouds", done, len(files))
    if bad:
        raise UserError(f"{bad[0]}; {len(bad)} of {len(files)} files cannot be used: repair or remove them")
    with contextlib.suppress(OSError):  # without a cache the files are checked again next time
        mark.parent.mkdir(parents=True, exist_ok=True)
        mark.touch()


def _problem(path: Path) -> str | None:
    """Why a file cannot be used, to be read after its name, or None."""
    try:
        cloud = read_cloud(path)
        if len(cloud) < MIN_POINTS:
            return f"has {len(cloud)} points, at least {MIN_POINTS} are needed"
        unit_sphere(cloud)
    except ValueError as error:
        return one_line(error)
    return None
