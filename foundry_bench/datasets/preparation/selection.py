"""Which source files go into which data set, with which class, series and split.

The tables in ``spec/`` were fixed once: ``kicad_files.csv.gz`` and ``furniture_models.csv.gz`` list every
model of the two packages with its licence, exact duplicate and side in three series-wise splits;
``rules.json`` names the classes. Only licence-clean files are ever selected: no GPL file of KiCad, and not
SweetHome3D's default furniture.
"""

from __future__ import annotations

import csv
import gzip
import io
import json
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

from foundry_bench.datasets.preparation.parts import PartRules

SPLITS = ("seed0", "seed1", "seed2")
KICAD_LICENCE = "CC-BY-SA-4.0"
FURNITURE_LICENCES = ("CC0-1.0", "CC-BY-3.0", "CC-BY-3.0-US")
#: plug_switch models are near-copies of one another: pretraining takes this many.
PLUG_SWITCH_CAP = 10

_NO_SPLIT = ("", "", "")


@dataclass(frozen=True)
class Source:
    """One model to sample.

    Attributes:
        path: identity inside its package; the sampling seed is the CRC-32 of it.
        label: class, empty if the model fits none.
        series: models that differ in a dimension only; a split never divides a series.
        splits: side (``train``, ``test`` or empty) in each split of the data set.
        licence: SPDX identifier.
        creator: author where the table knows one.
        title: human name where the table knows one.
        link: web page of the original where one is known.
        part_category: category whose part rules apply, empty for none.
    """

    path: str
    label: str
    series: str
    splits: tuple[str, ...] = _NO_SPLIT
    licence: str = KICAD_LICENCE
    creator: str = ""
    title: str = ""
    link: str = ""
    part_category: str = ""


@dataclass(frozen=True)
class Rules:
    """The class lists, part rules and material palette of ``spec/rules.json``."""

    kicad_classes: tuple[str, ...]
    kicad_novel_classes: tuple[str, ...]
    kicad_part_categories: tuple[str, ...]
    furniture_classes: tuple[str, ...]
    brick_merged: dict[str, str]
    brick_dropped: tuple[str, ...]
    brick_part_categories: tuple[str, ...]
    part_rules: dict[str, PartRules]
    palette: dict[str, tuple[float, float, float]]


@cache
def rules() -> Rules:
    """Reads ``spec/rules.json`` once per process."""
    raw = json.loads(spec_text("rules.json"))
    part_rules = {
        name: PartRules(
            tuple(entry["parts"]), entry["materials"], entry.get("merge", {}), tuple(entry.get("needs", ()))
        )
        for name, entry in raw["part_rules"].items()
    }
    return Rules(
        kicad_classes=tuple(raw["kicad_classes"]),
        kicad_novel_classes=tuple(raw["kicad_novel_classes"]),
        kicad_part_categories=tuple(raw["kicad_part_categories"]),
        furniture_classes=tuple(raw["furniture_classes"]),
        brick_merged=raw["brick_merged"],
        brick_dropped=tuple(raw["brick_dropped"]),
        brick_part_categories=tuple(raw["brick_part_categories"]),
        part_rules=part_rules,
        palette={name: tuple(colour) for name, colour in raw["palette"].items()},
    )


def kicad_sources() -> list[Source]:
    """The classification set: at most 60 files a class and split seed, sorted by path."""
    known = rules()
    chosen = [row for row in _kicad_rows() if any(_sides(row)) and row["class"] in known.kicad_classes]
    return [_kicad_source(row, with_splits=True) for row in chosen]


def kicad_pretrain_sources() -> list[Source]:
    """Unlabelled pretraining files: all clean ones that are not :func:`held_out_paths`, no duplicates."""
    rows = _kicad_rows()
    held_out = held_out_paths(rows)
    return [
        _kicad_source(row, with_splits=False)
        for row in rows
        if not row["duplicate_of"] and row["path"] not in held_out
    ]


def held_out_paths(rows: Iterable[dict[str, str]]) -> set[str]:
    """Files that pretraining must not see, among the table's rows.

    A file is held out if its class is novel, if its series is a test series of its class in any of the
    splits, or if it is the exact duplicate of such a file under another name.
    """
    rows = list(rows)
    novel = set(rules().kicad_novel_classes)
    test_series = {(row["class"], row["series"]) for row in rows if "test" in _sides(row)}
    held_out = [row for row in rows if row["class"] in novel or (row["class"], row["series"]) in test_series]
    paths = {row["path"] for row in held_out}
    return paths | {row["duplicate_of"] for row in held_out if row["duplicate_of"]}


def furniture_sources() -> list[Source]:
    """All clean objects of the seven few-shot classes, sorted by path."""
    chosen = set(rules().furniture_classes)
    return [_furniture_source(row) for row in _furniture_rows() if row["coarse_class"] in chosen]


def furniture_pretrain_sources() -> list[Source]:
    """Clean furniture outside the few-shot classes; plug_switch capped, the first by path."""
    few_shot = set(rules().furniture_classes)
    sources, plugs = [], 0
    for row in _furniture_rows():
        if row["coarse_class"] in few_shot:
            continue
        plugs += row["coarse_class"] == "plug_switch"
        if row["coarse_class"] != "plug_switch" or plugs <= PLUG_SWITCH_CAP:
            sources.append(_furniture_source(row))
    return sources


def _kicad_source(row: dict[str, str], with_splits: bool) -> Source:
    category = row["class"] if with_splits and row["class"] in rules().kicad_part_categories else ""
    return Source(
        path=row["path"],
        label=row["class"],
        series=row["series"],
        splits=_sides(row) if with_splits else _NO_SPLIT,
        part_category=category,
    )


def _furniture_source(row: dict[str, str]) -> Source:
    # Every furniture model is its own design: the path is its series.
    return Source(
        path=row["path"],
        label=row["coarse_class"],
        series=row["path"].rsplit(".", 1)[0],
        licence=row["licence"],
        creator=row["creator"],
        title=row["name"],
        link=row["link"],
    )


def _sides(row: dict[str, str]) -> tuple[str, str, str]:
    first, second, third = (row[f"split_{name}"] for name in SPLITS)
    return first, second, third


def _kicad_rows() -> list[dict[str, str]]:
    clean = [row for row in table("kicad_files.csv.gz") if row["licence"] == KICAD_LICENCE]
    return sorted(clean, key=lambda row: row["path"])


def _furniture_rows() -> list[dict[str, str]]:
    clean = [row for row in table("furniture_models.csv.gz") if row["licence"] in FURNITURE_LICENCES]
    return sorted(clean, key=lambda row: row["path"])


def table(name: str) -> list[dict[str, str]]:
    """Rows of a compressed table in ``spec/``."""
    return list(csv.DictReader(io.StringIO(gzip.decompress(_spec_bytes(name)).decode("utf-8"))))


def spec_text(name: str) -> str:
    """A file of ``spec/``."""
    return _spec_bytes(name).decode("utf-8")


def _spec_bytes(name: str) -> bytes:
    return files("foundry_bench.datasets.preparation").joinpath("spec", name).read_bytes()
