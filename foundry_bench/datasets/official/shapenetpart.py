"""ShapeNetPart: 16 categories of ShapeNet with 50 parts, as text files of points with normals.

Sources: Yi et al., *A Scalable Active Framework for Region Annotation in 3D Shape Collections*, SIGGRAPH Asia 2016; the layout
and the split are those of PointNet++'s ``part_dataset_all_normal.py``, read alike by Point-MAE, point2vec and Point-JEPA.

The official loaders draw 2,048 points of each shape anew at every visit, with replacement. Here the 2,048 are drawn once, by a
hash of the path, without replacement where a shape has enough (it has about 2,600), so that every model sees the same ones.
Shapes are parsed once into the cache (``cache.py``) and memory-mapped.
"""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import ClassVar

import numpy as np

from foundry_bench.datasets.dataset import PointCloudDataset
from foundry_bench.datasets.lazy import Progress, draw, unit_sphere, z_up
from foundry_bench.datasets.official.base import (
    OFFICIAL,
    OfficialDataset,
    missing,
    read_lines,
    unserialised,
)
from foundry_bench.datasets.official.cache import kept, open_kept, write_blocks
from foundry_bench.datasets.one_file import FileError, reading
from foundry_bench.datasets.readers.bounds import bounded_bytes
from foundry_bench.datasets.readers.rows import parse_rows
from foundry_bench.errors import UserError

POINTS = 2048
COLUMNS = 7
"""x, y, z, three of the normal, part."""

PARTS = {
    "Airplane": range(0, 4),
    "Bag": range(4, 6),
    "Cap": range(6, 8),
    "Car": range(8, 12),
    "Chair": range(12, 16),
    "Earphone": range(16, 19),
    "Guitar": range(19, 22),
    "Knife": range(22, 24),
    "Lamp": range(24, 28),
    "Laptop": range(28, 30),
    "Motorbike": range(30, 36),
    "Mug": range(36, 38),
    "Pistol": range(38, 41),
    "Rocket": range(41, 44),
    "Skateboard": range(44, 47),
    "Table": range(47, 50),
}
"""Category, in the order of the class labels, to the part numbers that its files use."""

_LISTS = {side: f"train_test_split/shuffled_{side}_file_list.json" for side in ("train", "val", "test")}
_CATEGORIES = "synsetoffset2category.txt"


class ShapeNetPart(OfficialDataset):
    """12,137 shapes to train on, 1,870 to validate and 2,874 to test; y is up in the files."""

    name = "shapenetpart"
    folder = "shapenetcore_partanno_segmentation_benchmark_v0_normal"
    markers = (_CATEGORIES, "train_test_split")
    url = (
        "https://github.com/Ayumu-J-S/Point-JEPA/blob/main/DATASETS.md "
        "(https://shapenet.cs.stanford.edu/media/shapenetcore_partanno_segmentation_benchmark_v0_normal.zip)"
    )
    terms = "ShapeNet's terms: non-commercial research and education, see https://shapenet.org/terms"
    licence = "LicenseRef-ShapeNet"
    layout = """\
shapenetcore_partanno_segmentation_benchmark_v0_normal/
  synsetoffset2category.txt                         16 lines: name, synset
  train_test_split/shuffled_train_file_list.json    shape_data/<synset>/<id>, ...
  train_test_split/shuffled_val_file_list.json
  train_test_split/shuffled_test_file_list.json
  02691156/<id>.txt                                 x y z nx ny nz part, one line a point
  ..."""
    counts: ClassVar[dict[str, int]] = {"train": 12137, "val": 1870, "test": 2874}

    def _problems(self, place: Path) -> list[str]:
        found = missing(place, [_CATEGORIES, *_LISTS.values()])
        if found:
            return found
        try:
            categories, sides = _categories(place), _sides(place)
        except UserError as error:
            return [str(error)]
        strange = sorted({path.split("/")[0] for path in sides} - set(categories))
        found = [f"the lists name the synset {synset}, {_CATEGORIES} does not" for synset in strange]
        return found + missing(place, list(sides))

    def _files_of(self, place: Path) -> list[Path]:
        return [place / name for name in (_CATEGORIES, *_LISTS.values(), *_sides(place))]

    def _read(self, place: Path, progress: Progress) -> PointCloudDataset:
        sha256 = self._sha256(place, progress)
        categories, sides = _categories(place), _sides(place)
        folder = kept(sha256, lambda made: _parse(place, list(sides), categories, made, progress))
        names = list(PARTS)
        classes = tuple(name.lower() for name in names)
        return PointCloudDataset(
            name=self.name,
            version="1",
            sha256=sha256,
            classes=classes,
            points=open_kept(folder / "points.npy"),
            labels=np.array([names.index(categories[path.split("/")[0]]) for path in sides], np.int64),
            series=unserialised(len(sides)),
            paths=np.array(list(sides)),
            splits={OFFICIAL: np.array(list(sides.values()))},
            parts=open_kept(folder / "parts.npy"),
            part_names={name.lower(): tuple(f"part {i}" for i in range(len(PARTS[name]))) for name in PARTS},
            novel_classes=(),
            licence=self.licence,
        )


def _categories(place: Path) -> dict[str, str]:
    """Synset to category; raises UserError for a category that is not one of the 16."""
    path = place / _CATEGORIES
    pairs = [line.split() for line in read_lines(path)]
    if any(len(pair) != 2 or pair[0] not in PARTS for pair in pairs):
        raise UserError(f"{path} must pair the 16 categories with their synsets: download it again")
    return {synset: name for name, synset in pairs}


def _sides(place: Path) -> dict[str, str]:
    """``<synset>/<id>.txt`` to its side, sorted by path; raises UserError for lists that cannot be read or that overlap."""
    sides: dict[str, str] = {}
    for side, name in _LISTS.items():
        with reading(place / name, "download the list of shapes again"):
            listed = json.loads(bounded_bytes(place / name))
            paths = ["/".join(str(entry).split("/")[1:]) + ".txt" for entry in listed]
        if any(path.count("/") != 1 or ".." in path for path in paths):
            raise UserError(f"{place / name} must list shape_data/<synset>/<id>: download it again")
        if len(set(paths) | set(sides)) != len(paths) + len(sides):
            raise UserError(f"{place / name} lists a shape twice, or one of another list: download it again")
        sides.update(dict.fromkeys(paths, side))
    return dict(sorted(sides.items()))


def _parse(
    place: Path, paths: list[str], categories: Mapping[str, str], made: Path, progress: Progress
) -> None:
    """Parses every shape into ``points.npy`` (N, 2048, 3) float32 and ``parts.npy`` (N, 2048) int8 below ``made``."""
    log = logging.getLogger("foundry_bench")
    log.info("reading the %d files of shapenetpart, once: %s keeps them", len(paths), made.parent)
    parts = np.empty((len(paths), POINTS), np.int8)

    def rows() -> Iterator[np.ndarray]:
        for row, path in enumerate(paths):
            points, parts[row] = _shape(place / path, path, PARTS[categories[path.split("/")[0]]])
            yield points
            progress("reading shapenetpart", row + 1, len(paths))

    write_blocks(made / "points.npy", (*parts.shape, 3), np.float32, rows())
    np.save(made / "parts.npy", parts)


def _shape(file: Path, path: str, own: range) -> tuple[np.ndarray, np.ndarray]:
    """Points (2048, 3), z up, in the unit sphere, and parts (2048,) from 0 on, of one text file."""
    with reading(file, "download the shape with its parts again"):
        content = io.BytesIO(bounded_bytes(file))
        columns = len(content.readline().split())
        if columns != COLUMNS:
            raise FileError(f"has {columns} columns, expected {COLUMNS}")
        content.seek(0)
        table = parse_rows(content, range(COLUMNS), COLUMNS).astype(np.float32)
        table = table[draw(path, len(table), POINTS)]
        parts = table[:, -1].astype(np.int64)
        if parts.min() < own[0] or parts.max() > own[-1]:
            raise FileError(f"has parts {parts.min()} to {parts.max()}, expected {own[0]} to {own[-1]}")
        return z_up(unit_sphere(table[:, :3])), (parts - own[0]).astype(np.int8)
