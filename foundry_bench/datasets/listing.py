"""Which files of a folder are point clouds, and what else lies there."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from foundry_bench.datasets.cloud_files import MESHES, READERS, missing_library
from foundry_bench.datasets.folders.parts import label_files, names_file
from foundry_bench.datasets.folders.table import NAME as TABLE
from foundry_bench.datasets.folders.table import names_columns
from foundry_bench.datasets.one_file import reading, shown
from foundry_bench.datasets.readers.tables import has_points
from foundry_bench.errors import UserError

_LISTS = "lists"
_LIST_ENDINGS = (".txt", ".csv")
_LINKS = "links that lead nowhere or to a folder that is read already"
_KINDS_SHOWN = 6
_REPAIR = "repair or remove it"


@dataclass(frozen=True)
class Listing:
    """Files of a folder.

    Attributes:
        clouds: paths below the folder, with slashes, sorted.
        left_out: what is not used to how many there are of it.
        table: the ``labels.csv``, or None.
        part_names: the ``parts.yaml``, or None.
        labels: cloud to the file beside it that has its labels per point.
        empty: sub-folders of the first two levels without a cloud.
    """

    clouds: tuple[str, ...]
    left_out: dict[str, int]
    table: str | None = None
    part_names: str | None = None
    labels: dict[str, str] = field(default_factory=dict)
    empty: tuple[str, ...] = ()

    @property
    def used(self) -> tuple[str, ...]:
        """All files that are read, the clouds first."""
        beside = (self.table, self.part_names, *self.labels.values())
        return (*self.clouds, *sorted(file for file in beside if file is not None))

    def described(self) -> str:
        """``80 .las, 3 lists``, the most frequent first; empty where nothing is left out."""
        counted = sorted(self.left_out.items(), key=lambda item: (-item[1], item[0]))
        parts = [f"{count:,} {_named(what, count)}" for what, count in counted[:_KINDS_SHOWN]]
        rest = sum(count for _, count in counted[_KINDS_SHOWN:])
        return ", ".join([*parts, *([f"{rest:,} others"] if rest else [])])


def list_clouds(root: Path) -> Listing:
    """The point clouds below ``root``; hidden files and folders are passed over, links are followed, each folder once.

    Left out and counted are files of other endings; endings whose library is not installed; meshes, where there are point
    files; and texts that hold no points (lists of names) beside folders of clouds or clouds of another ending. ``labels.csv``,
    ``parts.yaml`` and files of labels beside clouds are told apart from these.

    Raises UserError where there is no cloud.
    """
    if not root.is_dir():
        raise UserError(f"{shown(root)} is no folder: name one that holds point clouds")
    left_out: Counter[str] = Counter()
    folders: list[str] = []
    files = list(_walk(root, left_out, folders))
    clouds = [file for file in files if _readable(file)]
    table = _table(root, files)
    part_names = names_file(file for file in files if "/" not in file)
    labels = label_files(clouds, files)
    beside = {table, part_names, *labels.values()}
    clouds = [file for file in clouds if file not in beside]
    for file in files:
        if not _readable(file) and file not in beside:
            ending = os.path.splitext(file)[1].lower()
            lacking = missing_library(ending)
            left_out[f"{ending or 'without ending'}{f' ({lacking})' if lacking else ''}"] += 1
    clouds = _without(clouds, _meshes(clouds), left_out, None)
    clouds = _without(clouds, _lists(root, clouds), left_out, _LISTS)
    kept = set(clouds)
    labels = {cloud: file for cloud, file in labels.items() if cloud in kept}
    empty = _empty(folders, clouds)
    listing = Listing(tuple(sorted(clouds)), dict(left_out), table, part_names, labels, empty)
    if not clouds:
        there = f"; it has {listing.described()}" if left_out else ""
        raise UserError(
            f"{shown(root)} holds no point clouds: expected files ending in {', '.join(READERS)}{there}"
        )
    return listing


def _readable(file: str) -> bool:
    ending = os.path.splitext(file)[1].lower()
    return ending in READERS and missing_library(ending) is None


def _table(root: Path, files: Sequence[str]) -> str | None:
    """The table of labels of a folder. Raises UserError for two, and for one that names neither a path nor axes."""
    found = [file for file in files if file.lower() == TABLE]
    if len(found) > 1:
        raise UserError(f"{shown(root)} has {' and '.join(map(shown, sorted(found)))}: keep one")
    if not found:
        return None
    with reading(root / found[0], _REPAIR):
        cloud = not names_columns(root / found[0]) and has_points(root / found[0])
    return None if cloud else found[0]


def _empty(folders: Sequence[str], clouds: Sequence[str]) -> tuple[str, ...]:
    """Sub-folders of the first two levels below which no cloud lies, the outermost of them."""
    full = {folder for cloud in clouds for folder in _above(os.path.dirname(cloud))}
    full |= {os.path.dirname(cloud) for cloud in clouds}
    bare = [folder for folder in folders if folder not in full and folder.count("/") < 2]
    return tuple(sorted(folder for folder in bare if not set(_above(folder)) - {""} & set(bare)))


def _walk(root: Path, left_out: Counter[str], folders: list[str]) -> Iterator[str]:
    """Paths below ``root`` of all files that are not hidden; those of folders are added to ``folders``. Folders come before
    links to folders, so that they keep their own names, and no folder is read twice, however links are laid; one that holds
    ``root`` would be read twice."""
    seen = {(status.st_dev, status.st_ino) for status in map(os.stat, root.resolve().parents)}
    links: list[str] = []
    waiting = [""]
    while waiting or links:
        folder = waiting.pop() if waiting else links.pop(0)
        with reading(root / folder, _REPAIR):
            status = (root / folder).stat()
            if (status.st_dev, status.st_ino) in seen:
                left_out[_LINKS] += 1
                continue
            seen.add((status.st_dev, status.st_ino))
            folders += [folder] if folder else []
            entries = sorted(os.scandir(root / folder), key=lambda entry: entry.name)
        for entry in entries:
            path = f"{folder}/{entry.name}".removeprefix("/")
            if entry.name.startswith("."):
                continue
            kind = _kind(entry)
            if kind == "folder":
                (links if entry.is_symlink() else waiting).append(path)
            elif kind == "file":
                yield path
            else:
                left_out[_LINKS if entry.is_symlink() else "no files"] += 1


def _kind(entry: os.DirEntry[str]) -> str | None:
    try:
        return "folder" if entry.is_dir() else "file" if entry.is_file() else None
    except OSError:  # a circle of links
        return None


def _without(clouds: list[str], unused: set[str], left_out: Counter[str], what: str | None) -> list[str]:
    """``clouds`` without ``unused``, which are counted as ``what``, or else by their ending."""
    for file in unused:
        left_out[what or os.path.splitext(file)[1].lower()] += 1
    return [file for file in clouds if file not in unused]


def _meshes(clouds: Sequence[str]) -> set[str]:
    """Meshes beside point files, which are usually what the points were drawn from."""
    meshes = {file for file in clouds if file.lower().endswith(MESHES)}
    return meshes if len(meshes) < len(clouds) else set()


def _lists(root: Path, clouds: Sequence[str]) -> set[str]:
    """Texts without points that lie beside folders of clouds or beside clouds of another ending."""
    texts = [file for file in clouds if file.lower().endswith(_LIST_ENDINGS)]
    apart = {folder for file in clouds for folder in _above(os.path.dirname(file))}
    apart |= {os.path.dirname(file) for file in set(clouds).difference(texts)}
    found = set()
    for file in texts:
        if os.path.dirname(file) in apart:
            with reading(root / file, _REPAIR):
                if not has_points(root / file):
                    found.add(file)
    return found


def _above(folder: str) -> Iterator[str]:
    """The folders that hold a folder, up to the empty name of the root."""
    while folder:
        folder = os.path.dirname(folder)
        yield folder


def _named(what: str, count: int) -> str:
    return what[:-1] if count == 1 and what == _LISTS else shown(what[:80])
