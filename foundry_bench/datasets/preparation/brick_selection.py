"""Which parts of the LDraw library go into ``bricks`` and ``bricks-unlabelled``, with which class, series and fold.

``spec/ldraw_files.csv.gz`` lists the parts, whole or assembled, without prints, stickers, aliases and sub-files; its columns
``series``, ``set`` and ``fold`` are made by ``benchmarks/brick_series.py`` with the functions of this module.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from zlib import crc32

import numpy as np

from foundry_bench.datasets.preparation import selection
from foundry_bench.datasets.preparation.selection import Source

FOLDS = ("fold0", "fold1", "fold2")
LICENCE = "CC-BY-4.0"
TABLE = "ldraw_files.csv.gz"
#: Objects of a series: variants of one mould are near-twins.
SERIES_CAP = 3
#: Objects of a class: four classes would otherwise make up half of the set.
CLASS_CAP = 90

Row = Mapping[str, str]


@cache
def brick_classes() -> tuple[str, ...]:
    """Names of the classes of ``bricks``, sorted."""
    return tuple(sorted({merged_class(row) for row in selection.table(TABLE)} - {""}))


def brick_sources() -> list[Source]:
    """The labelled objects, sorted by path; each is tested in one fold and learnt from in the others."""
    return [_source(row, merged_class(row), _sides(row["fold"])) for row in _rows("bricks")]


def unlabelled_brick_sources() -> list[Source]:
    """The unlabelled objects, sorted by path."""
    return [_source(row, row["class"], ()) for row in _rows("bricks-unlabelled")]


def merged_class(row: Row) -> str:
    """Class of a part in ``bricks``: some are made of two or more of the table's; empty for those that are left out."""
    known = selection.rules()
    name = row["class"]
    return "" if not name or name in known.brick_dropped else known.brick_merged.get(name, name)


def capped(rows: Sequence[Row], groups: Sequence[str], series: Sequence[str]) -> list[int]:
    """At most ``SERIES_CAP`` numbers of rows a series and ``CLASS_CAP`` a group, from as many series as there are.

    Of a series the shortest file names come first (the mould itself, then its variants); series come in the order of the
    CRC-32 of their names.
    """
    order = sorted(range(len(rows)), key=lambda i: (len(rows[i]["file"]), rows[i]["file"]))
    of_series: dict[tuple[str, str], int] = {}
    ranked = []
    for i in order:
        rank = of_series.setdefault((groups[i], series[i]), 0)
        of_series[groups[i], series[i]] += 1
        if rank < SERIES_CAP:
            ranked.append((rank, crc32(series[i].encode("utf-8")), rows[i]["file"], i))
    of_group: dict[str, int] = {}
    chosen = []
    for _, _, _, i in sorted(ranked):
        of_group[groups[i]] = of_group.get(groups[i], 0) + 1
        if not groups[i] or of_group[groups[i]] <= CLASS_CAP:
            chosen.append(i)
    return sorted(chosen)


def folds(labels: Sequence[str], series: Sequence[str]) -> np.ndarray:
    """Number of the fold that tests each object ``(N,)``: whole series, every class spread over all folds."""
    from sklearn.model_selection import StratifiedGroupKFold

    fold = np.zeros(len(labels), dtype=np.int64)
    cut = StratifiedGroupKFold(len(FOLDS), shuffle=True, random_state=0)
    for number, (_, test) in enumerate(cut.split(np.zeros(len(labels)), labels, series)):
        fold[test] = number
    return fold


def _source(row: Row, label: str, splits: tuple[str, ...]) -> Source:
    parts = label if splits and label in selection.rules().brick_part_categories else ""
    return Source(
        path=row["file"],
        label=label,
        series=row["series"],
        splits=splits,
        licence=LICENCE,
        creator=row["author"],
        title=row["title"],
        part_category=parts,
    )


def _sides(fold: str) -> tuple[str, ...]:
    return tuple("test" if fold == str(number) else "train" for number in range(len(FOLDS)))


def _rows(name: str) -> list[dict[str, str]]:
    chosen = [row for row in selection.table(TABLE) if row["set"] == name]
    return sorted(chosen, key=lambda row: row["file"])
