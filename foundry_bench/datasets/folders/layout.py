"""Which cloud of a folder is of which class, side and series, as its sub-folders or its ``labels.csv`` say."""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from foundry_bench.datasets.folders.table import Row, read_table_of
from foundry_bench.datasets.one_file import shown
from foundry_bench.errors import UserError

TRAIN, VAL, TEST = "train", "val", "test"
SIDES = {
    **dict.fromkeys(("train", "training"), TRAIN),
    **dict.fromkeys(("val", "valid", "validation"), VAL),
    **dict.fromkeys(("test", "testing"), TEST),
}
"""How sides of a split are called, in small letters."""
BY_TABLE, BY_SIDES, BY_CLASS_SIDES, BY_CLASS = "labels.csv", "train/CLASS", "CLASS/train", "CLASS/"
UNLABELLED = "no classes"
_SHOWN = 6


@dataclass(frozen=True)
class Described:
    """What is said of the clouds of a folder, one entry for each.

    ``how`` is the layout; ``classes`` are sorted names; ``names`` hold the class, ``sides`` ``train``, ``val`` or ``test``,
    ``series`` the series of each cloud, empty texts where nothing is said. ``notes`` are lines for the user.
    """

    how: str
    classes: tuple[str, ...]
    names: tuple[str, ...]
    sides: tuple[str, ...]
    series: tuple[str, ...]
    notes: tuple[str, ...] = ()


def describe(root: Path, files: Sequence[str], table: str | None) -> Described:
    """What a folder says of the clouds ``files``, paths below ``root``; ``table`` is its ``labels.csv``, where it has one.

    Raises UserError, one line that names the fix, for layouts that contradict themselves.
    """
    found = _by_table(root, files, table) if table is not None else _by_folders(root, files)
    _differ_in_more_than_case(root, found.classes)
    return found


def _described(how: str, entries: Iterable[tuple[str, str, str]], notes: Sequence[str] = ()) -> Described:
    names, sides, series = zip(*entries, strict=True)
    return Described(how, tuple(sorted(set(names) - {""})), names, sides, series, tuple(notes))


def _by_table(root: Path, files: Sequence[str], table: str) -> Described:
    rows = read_table_of(root, table, files, SIDES)
    empty = Row("", "", "")
    entries = [rows.get(file, empty) for file in files]
    if not any(row.side for row in entries):
        entries = [replace(row, side=_side_of(file)) for file, row in zip(files, entries, strict=True)]
    missing = sum(file not in rows for file in files)
    notes = [f"{missing:,} clouds have no row in {table}: unlabelled"] if missing else []
    return _described(BY_TABLE, ((row.name, row.side, row.series) for row in entries), notes)


def _side_of(file: str) -> str:
    """The side that the folder of the first level says, for a table that says none."""
    top, *inner = file.split("/")
    return SIDES.get(top.lower(), "") if inner else ""


def _by_folders(root: Path, files: Sequence[str]) -> Described:
    tops = {file.split("/")[0] for file in files if "/" in file}
    named = {top for top in tops if top.lower() in SIDES}
    kinds = {SIDES[top.lower()] for top in named}
    if named and named == tops:
        return _by_sides(root, files)
    if {TRAIN, TEST} <= kinds:
        raise UserError(
            f"{shown(root)} has {_listed(named)} beside {_listed(tops - named)}: move the clouds of the latter into "
            "train/CLASS and test/CLASS, or list all in a labels.csv"
        )
    if len(tops) < 2:
        notes = _alone(root, files, tops)
        return _described(UNLABELLED, [("", "", "")] * len(files), notes)
    return _by_classes(root, files)


def _alone(root: Path, files: Sequence[str], tops: set[str]) -> list[str]:
    """What may have been meant by one sub-folder that holds several."""
    inner = {file.split("/")[1] for file in files if file.count("/") > 1}
    if len(tops) == 1 and len(inner) > 1:
        (top,) = tops
        return [f"if the sub-folders of {shown(top)} are classes, name {shown(root / top)}"]
    return []


def _by_sides(root: Path, files: Sequence[str]) -> Described:
    """``train/CLASS/...`` and ``test/CLASS/...``."""

    def entry(file: str) -> tuple[str, str, str]:
        side, *inner = file.split("/")
        return (inner[0] if len(inner) > 1 else "", SIDES[side.lower()] if inner else "", "")

    found = _described(BY_SIDES, map(entry, files))
    loose = sum(not name for name in found.names)
    if loose and not found.classes:
        return replace(found, how=UNLABELLED, notes=("train and test hold no sub-folders: no classes",))
    return replace(found, notes=(f"{loose:,} clouds lie in no class: unlabelled",)) if loose else found


def _by_classes(root: Path, files: Sequence[str]) -> Described:
    """``CLASS/...``, or ``CLASS/train/...`` and ``CLASS/test/...``."""
    inner = [file.split("/")[1].lower() if file.count("/") > 1 else "" for file in files]
    sided = {TRAIN, TEST} <= {SIDES[name] for name in inner if name in SIDES}
    labelled = ["/" in file for file in files]
    if sided:
        odd = [
            file
            for file, name, inside in zip(files, inner, labelled, strict=True)
            if inside and name not in SIDES
        ]
        if odd:
            raise UserError(
                f"{shown(root)} has CLASS/train and CLASS/test, and {shown(odd[0])} on neither side ({len(odd):,} such "
                "clouds): move them into train or test"
            )
    entries = [
        (file.split("/")[0] if inside else "", SIDES[name] if sided and name in SIDES else "", "")
        for file, name, inside in zip(files, inner, labelled, strict=True)
    ]
    loose = len(files) - sum(labelled)
    notes = [f"{loose:,} clouds lie in no class: unlabelled"] if loose else []
    return _described(BY_CLASS_SIDES if sided else BY_CLASS, entries, notes)


def _differ_in_more_than_case(root: Path, classes: Sequence[str]) -> None:
    """Raise UserError for classes that a reader takes for one: 'Bolt' and 'bolt', or one accent written in two ways."""
    alike = Counter(_folded(name) for name in classes)
    for folded, count in alike.items():
        if count > 1:
            same = [shown(name) for name in classes if _folded(name) == folded]
            raise UserError(
                f"{shown(root)} has the classes {' and '.join(map(repr, same))}, which differ in case, accents or spaces "
                "only: give them one name"
            )


def _folded(name: str) -> str:
    return " ".join(unicodedata.normalize("NFKC", name).casefold().split())


def _listed(names: Iterable[str]) -> str:
    ordered = sorted(map(shown, names))
    more = len(ordered) - _SHOWN
    return ", ".join(ordered[:_SHOWN]) + (f" and {more} more" if more > 0 else "")
