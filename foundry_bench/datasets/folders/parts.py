"""Labels per point: a column of a cloud's file, or a file beside it, and ``parts.yaml`` with their names.

``scan.npy`` has its labels in ``scan.parts.npy``, ``.txt`` or ``.csv``, or in ``scan.seg``: one whole number a point, in the
order of the points. Parts of a class are numbered from 0 on; -1 stands for a point without a part.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from foundry_bench.beforehand.configuration import read_yaml
from foundry_bench.beforehand.configuration import shown as brief
from foundry_bench.datasets.cloud_files import column_names, read_column
from foundry_bench.datasets.folders.options import IGNORED
from foundry_bench.datasets.one_file import FileError, one_file, reading, shown
from foundry_bench.datasets.readers.arrays import read_npy
from foundry_bench.datasets.readers.bounds import bounded_bytes
from foundry_bench.errors import UserError

NAMES_FILES = ("parts.yaml", "parts.yml")
ENDINGS = (".parts.npy", ".parts.txt", ".parts.csv", ".seg")
"""What takes the place of a cloud's ending in the name of the file with its labels."""
COLUMNS = ("part", "parts", "part_label", "part_id")
"""Columns, in small letters, that are taken for labels per point without being asked for."""
NO_PART = -1
MOST_PARTS = 127
"""Parts that a class may have: labels are kept in eight bits."""
_EXAMPLE = "bolt: [head, shaft]"
_LEAVE = "or leave parts out with FOLDER?parts=none"


def label_files(clouds: Sequence[str], files: Iterable[str]) -> dict[str, str]:
    """Cloud to the file with its labels, paths below the folder, among all its ``files``.

    Raises UserError for labels that two clouds claim, and for two files of labels of one cloud.
    """
    by_stem: dict[str, list[str]] = {}
    for file in files:
        if ending := next((ending for ending in ENDINGS if file.lower().endswith(ending)), ""):
            by_stem.setdefault(file[: -len(ending)], []).append(file)
    found: dict[str, str] = {}
    owner: dict[str, str] = {}
    for cloud in clouds if by_stem else ():
        labels = by_stem.get(cloud.rpartition(".")[0], [])
        if not labels or cloud.lower().endswith(ENDINGS):
            continue
        if len(labels) > 1:
            raise UserError(
                f"{shown(cloud)} has two files of labels, {' and '.join(map(shown, labels))}: keep one"
            )
        if other := owner.get(labels[0]):
            raise UserError(
                f"{shown(other)} and {shown(cloud)} would share the labels {shown(labels[0])}: rename one of the clouds"
            )
        owner[labels[0]] = cloud
        found[cloud] = labels[0]
    return found


def column_of(path: Path, asked: str | None) -> str | None:
    """The column of a cloud's file with its labels, the one ``asked`` for or one that is called ``part``; None where it has
    none.

    Raises FileError for a file that has two such columns.
    """
    if asked == IGNORED:
        return None
    names = column_names(path)
    if asked is not None:
        return (
            asked
            if asked in names or (asked.isascii() and asked.isdigit() and int(asked) < len(names))
            else None
        )
    found = [name for name in names if name.strip().lower() in COLUMNS]
    if len(found) > 1:
        raise FileError(
            f"has the columns {' and '.join(map(shown, found))}: say which are the parts, as in FOLDER?parts={shown(found[0])}"
        )
    return found[0] if found else None


def read_labels(root: Path, cloud: str, source: str, *, beside: bool) -> np.ndarray:
    """The raw labels (n,) of a cloud: of the file ``source`` beside it, or of its own column ``source``.

    Raises FileError, to be read after the cloud's name.
    """
    if not beside:
        return read_column(root / cloud, source)
    try:
        with one_file():
            labels = _read_file(root / source)
    except FileError as error:
        raise FileError(f"has labels in {shown(source)}, which {error}") from error
    if labels.ndim == 2 and labels.shape[1] == 1:
        labels = labels[:, 0]
    if labels.ndim != 1:
        raise FileError(
            f"has labels in {shown(source)}, which holds an array {labels.shape}, expected one number a point"
        )
    return labels


def _read_file(path: Path) -> np.ndarray:
    if path.suffix.lower() == ".npy":
        return read_npy(path)
    if not path.is_file():
        raise FileError("is no file")
    content = bounded_bytes(path)
    if content[:2] in (b"\xff\xfe", b"\xfe\xff"):
        raise FileError("is UTF-16: save it as UTF-8")
    lines = content.decode("utf-8-sig", "replace").split("\n")
    cells = [line.strip().rstrip(",;") for line in lines]
    if cells and cells[0] and not _is_number(cells[0]):
        cells = cells[1:]  # the name of the column
    wrong = [(number, cell) for number, cell in enumerate(cells) if cell and not _is_number(cell)]
    if wrong:
        number, cell = wrong[0]
        raise FileError(
            f"has the line {shown(cell[:40])!r} (line {number + 1 + len(lines) - len(cells)}): write one whole number a point"
        )
    return np.array([float(cell) for cell in cells if cell])


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def checked_labels(labels: np.ndarray, points: int, use: np.ndarray | None = None) -> np.ndarray:
    """Labels (n,) int8 of a cloud of n ``points``, those of the rows ``use`` (n,) held to be whole numbers from -1 on.

    Raises FileError, to be read after the cloud's name.
    """
    if len(labels) != points:
        raise FileError(f"has {len(labels):,} labels for {points:,} points: write one a point, {_LEAVE}")
    seen = labels if use is None else labels[use]
    for what, bad in (
        ("NaN", ~np.isfinite(seen)),
        ("a fraction", seen != np.floor(seen)),
        ("a number below -1", seen < NO_PART),
        (f"a number above {MOST_PARTS - 1}", seen >= MOST_PARTS),
    ):
        if bad.any():
            row = int(np.flatnonzero(bad)[0])
            raise FileError(
                f"has {what} in its part labels ({brief(float(seen[row]))}, point {row + 1:,}): write whole numbers from 0 "
                f"on and -1 for no part, {_LEAVE}"
            )
    return np.where(np.isfinite(labels), labels, NO_PART).astype(np.int8)


def names_file(files: Iterable[str]) -> str | None:
    """The file with the names of parts among those of a folder. Raises UserError for two."""
    found = [file for file in files if file.lower() in NAMES_FILES]
    if len(found) > 1:
        raise UserError(f"there are {' and '.join(map(shown, sorted(found)))}: keep one")
    return found[0] if found else None


def read_names(path: Path) -> dict[str, tuple[str, ...]]:
    """Class to the names of its parts, as ``parts.yaml`` has them: a list, or numbers from 0 on with names.

    Raises UserError for anything else.
    """
    with reading(path, "write it as UTF-8"):
        values = read_yaml(path, _EXAMPLE)
    return {name: _names(path, name, value) for name, value in values.items()}


def _names(path: Path, name: str, value: Any) -> tuple[str, ...]:
    where = f"{shown(path)} gives {shown(name[:60])!r}"
    if isinstance(value, Mapping):
        if sorted(map(str, value)) != sorted(map(str, range(len(value)))):
            raise UserError(
                f"{where} parts numbered {brief(sorted(map(str, value)))}: number them 0, 1, 2 ..."
            )
        value = [value[key] for key in sorted(value, key=lambda key: int(str(key)))]
    if not isinstance(value, list) or not value:
        raise UserError(f"{where} {brief(value)} instead of the names of its parts: write '{_EXAMPLE}'")
    if len(value) > MOST_PARTS:
        raise UserError(f"{where} {len(value)} parts, at most {MOST_PARTS} are taken: join some")
    for part in value:
        if type(part) not in (str, int) or not str(part).strip():
            raise UserError(f"{where} a part called {brief(part)}: write a name, in quotes if it is no word")
    names = tuple(str(part).strip() for part in value)
    if len(set(names)) < len(names):
        twice = next(part for part in names if names.count(part) > 1)
        raise UserError(f"{where} two parts called {shown(twice[:60])!r}: give each its own name")
    return names


def names_of(
    where: Path, named: Mapping[str, tuple[str, ...]] | None, highest: Mapping[str, int]
) -> dict[str, tuple[str, ...]]:
    """Class to the names of its parts; ``highest`` is the highest label of each class that has labels.

    ``named`` is what ``where`` says; without it parts are called ``part 0``, ``part 1`` ... Raises UserError for a class that
    it leaves out.
    """
    if named is None:
        return {
            name: tuple(f"part {i}" for i in range(high + 1)) for name, high in highest.items() if high >= 0
        }
    for name, high in highest.items():
        if high >= 0 and name not in named:
            near = difflib.get_close_matches(name.casefold(), [other.casefold() for other in named], n=1)
            has = next((other for other in named if near and other.casefold() == near[0]), None)
            rename = f"rename {shown(has)!r} there, or " if has else ""
            raise UserError(
                f"{shown(where)} has no names for the parts of class {shown(name)!r}: {rename}add the line "
                f"'{shown(name)}: [{', '.join(f'name{i}' for i in range(min(high + 1, 4)))}]'"
            )
        if high >= len(named.get(name, ())) and high >= 0:
            raise UserError(
                f"{shown(where)} names {len(named[name])} parts of {shown(name)!r} (0 to {len(named[name]) - 1}), its clouds "
                f"have part {high}: name all of them, or number parts from 0 on"
            )
    return {name: named[name] for name, high in highest.items() if high >= 0}
