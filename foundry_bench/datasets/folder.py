"""A folder of the user's own point clouds as a data set, labelled or not."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from foundry_bench.datasets.cloud_files import finite_rows, read_cloud
from foundry_bench.datasets.content import file_hashes
from foundry_bench.datasets.dataset import PointCloudDataset
from foundry_bench.datasets.folders.facts import Facts, check_once, too_large
from foundry_bench.datasets.folders.layout import TEST, UNLABELLED, Described, describe
from foundry_bench.datasets.folders.options import IGNORED, MIN_POINTS, POINTS, FolderOptions, Y
from foundry_bench.datasets.folders.parts import NO_PART, checked_labels, names_of, read_labels, read_names
from foundry_bench.datasets.folders.splits import DRAWN, GIVEN, draw_split, groups_of_copies
from foundry_bench.datasets.folders.understood import Understood
from foundry_bench.datasets.lazy import LazyArray, LazyClouds, Progress, draw, silent
from foundry_bench.datasets.listing import Listing, list_clouds
from foundry_bench.datasets.official.base import identity
from foundry_bench.datasets.one_file import FileError, reading, shown
from foundry_bench.parameters.query import query_text

__all__ = ["MIN_POINTS", "POINTS", "CloudFiles", "load_folder", "understand_folder"]

_REPAIR = "repair or remove it"
_FORM = 2
"""Part of every hash: increase it when a folder is understood otherwise."""


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
            # Not to float32 yet: coordinates in metres from far away lose their millimetres.
            return np.asarray(cloud[self.drawn(path, cloud)], np.float64)

    def drawn(self, path: str, cloud: np.ndarray) -> np.ndarray:
        """Numbers (points,) of the rows of a ``cloud`` (n, 3) that stand for it. Raises FileError where there are none."""
        if len(cloud) == 0:
            raise FileError("has no points")
        numbers = draw(path, len(cloud), self.points)
        if np.isfinite(cloud[numbers]).all():
            return numbers
        whole = np.flatnonzero(np.isfinite(cloud).all(axis=1))
        return whole[draw(path, len(finite_rows(cloud)), self.points)]


class PartFiles(LazyArray):
    """Parts (N, P) int8 of the points that :class:`CloudFiles` draws, -1 for none; read as asked for.

    ``columns`` and ``beside`` say for each cloud which column of it, or which other file, has them; neither: it has none. What
    was read is kept, a byte a point: tasks ask again and again which objects have parts.
    """

    dtype = np.dtype(np.int8)

    def __init__(self, clouds: CloudFiles, columns: Sequence[str], beside: Sequence[str]) -> None:
        self.clouds = clouds
        self.columns = columns
        self.beside = beside
        self._kept: dict[int, np.ndarray] = {}

    @property
    def shape(self) -> tuple[int, int]:
        """(N, P)."""
        return self.clouds.count, self.clouds.points

    def _made(self, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
        wanted, place = np.unique(rows, return_inverse=True)
        made = np.empty((len(wanted), *columns.shape), np.int8)
        for number, row in enumerate(wanted.tolist()):
            if row not in self._kept:
                self._kept[row] = self._read(row)
            made[number] = self._kept[row][columns]
        return made[place]

    def _read(self, row: int) -> np.ndarray:
        path, root = self.clouds.paths[row], self.clouds.root
        source = self.beside[row] or self.columns[row]
        if not source:
            return np.full(self.clouds.points, NO_PART, np.int8)
        with reading(root / path, _REPAIR):
            cloud = read_cloud(root / path)
            raw = read_labels(root, path, source, beside=bool(self.beside[row]))
            use = np.isfinite(cloud).all(axis=1)
            return checked_labels(raw, len(cloud), use)[self.clouds.drawn(path, cloud)]


def load_folder(
    path: Path,
    points: int | None = None,
    progress: Progress = silent,
    options: FolderOptions | None = None,
) -> PointCloudDataset:
    """All clouds below a folder: point files, texts and meshes of the endings in ``cloud_files.READERS``; ``points`` is short
    for the option of that name.

    Classes, sides of a split and series are what sub-folders or ``labels.csv`` say (``folders/layout.py``); parts are columns
    or files of labels per point (``folders/parts.py``). Where nothing says which clouds are tested, a split called ``drawn`` is
    drawn from hashes of the paths (``folders/splits.py``). Without series each object is its own. Clouds are centred, scaled
    to the unit sphere, turned where ``options`` say that y is up, and brought to a number of points when they are indexed;
    memory does not grow with the folder.

    Every file is read once to be checked, with ``progress("checking clouds", done, total)``; the result is remembered in the
    cache until a file changes. One line of the log says what the folder was understood as and what of it is not used.

    Raises:
        UserError: no clouds; a layout that contradicts itself; files that are unreadable, mostly not finite, without extent
            or of fewer than 32 points, or labels that do not fit (the first one is named, and how many there are).
    """
    data, understood = understand_folder(path, points, progress, options)
    logging.getLogger("foundry_bench").info("%s", understood.line())
    return data


def understand_folder(
    path: Path,
    points: int | None = None,
    progress: Progress = silent,
    options: FolderOptions | None = None,
) -> tuple[PointCloudDataset, Understood]:
    """The data set of :func:`load_folder` and what the folder was understood as; nothing is logged."""
    chosen = options or FolderOptions(points=POINTS if points is None else points)
    listing = list_clouds(path)
    if chosen.parts == IGNORED:
        listing = replace(listing, labels={}, part_names=None)
    described = describe(path, listing.clouds, listing.table)
    read = [path / file for file in listing.used]
    content = identity(f"folder {_FORM} parts={chosen.parts}", path, read, progress)
    facts = check_once(path, listing, chosen.parts, content, progress)
    if chosen.scale is not None and (error := too_large(path, listing.clouds, facts, chosen.scale)):
        raise error
    if not described.classes and any(each.highest >= 0 for each in facts):
        described = _one_class(path, described, listing.clouds)
    number = {name: label for label, name in enumerate(described.classes)}
    labels = np.array([number.get(name, -1) for name in described.names], np.int64)
    contents = file_hashes(path, [path / file for file in listing.clouds])
    splits = _splits(listing, described, labels, contents)
    files = CloudFiles(path, listing.clouds, chosen.points)
    part_names = _part_names(path, listing, described, facts)
    beside = [listing.labels.get(file, "") for file in listing.clouds]
    data = PointCloudDataset(
        name=path.resolve().name,
        version="1",
        sha256=hashlib.sha256(f"{content} {query_text(chosen)}".encode()).hexdigest(),
        classes=described.classes,
        points=LazyClouds(files, listing.clouds, y_up=chosen.up == Y, scale=chosen.scale),
        labels=labels,
        series=np.array(described.series, dtype=str),
        paths=np.array(listing.clouds),
        splits=splits,
        parts=PartFiles(files, [each.column for each in facts], beside) if part_names else None,
        part_names=part_names,
        novel_classes=(),
        licence="LicenseRef-own",
        advice=_advice(path, described),
    )
    return data, Understood(path, listing, described, facts, chosen, data, contents)


def _one_class(root: Path, described: Described, files: Sequence[str]) -> Described:
    """Clouds with parts and without classes, as objects of one class: parts are parts of something."""
    tops = {file.split("/")[0] if "/" in file else "" for file in files}
    name = tops.pop() if len(tops) == 1 and tops != {""} else root.resolve().name
    notes = (*described.notes, f"no classes: all clouds are taken for one, {name!r}")
    return Described(UNLABELLED, (name,), (name,) * len(files), described.sides, described.series, notes)


def _splits(
    listing: Listing, described: Described, labels: np.ndarray, contents: Sequence[str]
) -> dict[str, np.ndarray]:
    """The split that is given, or else one that is drawn; none where there is nothing to test."""
    sides = np.array(described.sides, dtype="<U5")
    if (sides[labels >= 0] == TEST).any() and (sides[labels >= 0] != TEST).any():
        return {GIVEN: sides}
    drawn = draw_split(listing.clouds, labels, groups_of_copies(described.series, contents))
    return {} if drawn is None else {DRAWN: drawn}


def _part_names(
    root: Path, listing: Listing, described: Described, facts: Sequence[Facts]
) -> dict[str, tuple[str, ...]]:
    named = read_names(root / listing.part_names) if listing.part_names else None
    highest: dict[str, int] = dict.fromkeys(described.classes, -1)
    for name, each in zip(described.names, facts, strict=True):
        if name:
            highest[name] = max(highest[name], each.highest)
    return names_of(root / (listing.part_names or "parts.yaml"), named, highest)


def _advice(root: Path, described: Described) -> dict[str, str]:
    """What to add for what the data set lacks, by the need that a task has of it."""
    where = shown(root)
    several = "give its classes two clouds or more, no copies, and of two series where there are series"
    unlabelled = f"it has no classes: make {where}/CLASS/, from which a split is drawn"
    beside = "label points in files beside their clouds (SCAN.parts.npy) or in a column 'part'"
    return {
        "labels": f"put its clouds into a sub-folder for each class ({where}/CLASS/), or list them in {where}/labels.csv",
        "splits": several if described.classes else unlabelled,
        "parts": f"{beside}, and name them in {where}/parts.yaml",
    }
