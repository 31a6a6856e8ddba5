"""Which files of a folder are point clouds, and what else lies there."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from foundry_bench.datasets.cloud_files import MESHES, READERS, missing_library
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
    """

    clouds: tuple[str, ...]
    left_out: dict[str, int]

    def described(self) -> str:
        """``80 .las, 3 lists``, the most frequent first; empty where nothing is left out."""
        counted = sorted(self.left_out.items(), key=lambda item: (-item[1], item[0]))
        parts = [f"{count:,} {_named(what, count)}" for what, count in counted[:_KINDS_SHOWN]]
        rest = sum(count for _, count in counted[_KINDS_SHOWN:])
        return ", ".join([*parts, *([f"{rest:,} others"] if rest else [])])


def list_clouds(root: Path) -> Listing:
    """The point clouds below ``root``; hidden files and folders are passed over, links are followed, each folder once.

    Left out and counted are files of other endings; endings whose library is not installed; meshes, where there are point
    files; and texts that hold no points (lists of names) beside folders of clouds or clouds of another ending.

    Raises UserError where there is no cloud.
    """
    if not root.is_dir():
        raise UserError(f"{shown(root)} is no folder: name one that holds point clouds")
    left_out: Counter[str] = Counter()
    clouds: list[str] = []
    for file in _walk(root, left_out):
        ending = os.path.splitext(file)[1].lower()
        lacking = missing_library(ending)
        if ending in READERS and lacking is None:
            clouds.append(file)
        else:
            left_out[f"{ending or 'without ending'}{f' ({lacking})' if lacking else ''}"] += 1
    clouds = _without(clouds, _meshes(clouds), left_out, None)
    clouds = _without(clouds, _lists(root, clouds), left_out, _LISTS)
    listing = Listing(tuple(sorted(clouds)), dict(left_out))
    if not clouds:
        there = f"; it has {listing.described()}" if left_out else ""
        raise UserError(
            f"{shown(root)} holds no point clouds: expected files ending in {', '.join(READERS)}{there}"
        )
    return listing


def _walk(root: Path, left_out: Counter[str]) -> Iterator[str]:
    """Paths below ``root`` of all files that are not hidden. Folders come before links to folders, so that they keep their
    own names, and no folder is read twice, however links are laid; one that holds ``root`` would be read twice."""
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
