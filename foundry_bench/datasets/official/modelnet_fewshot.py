"""The few-shot problems on ModelNet40 that Point-BERT fixed and others report: 5 or 10 ways, 10 or 20 shots, 10 folds each.

Sources: Sharma & Kaul, *Self-Supervised Few-Shot Learning on Point Clouds*, NeurIPS 2020 (the protocol); Yu et al.,
*Point-BERT*, CVPR 2022, whose ``generate_few_shot_data.py`` wrote the folds and whose ``ModelNetDatasetFewShot.py`` reads them,
as Point-JEPA does.

A fold is a pickle ``{"train": [...], "test": [...]}`` of triples (points (8192, 6), label in the fold, label in ModelNet40).
The points were chosen by farthest points from 10,000, in that order, so the first 2,048, which are kept here, are what the same
sampling would choose again. The official loader scales by all 8,192 and not by these.

A model that several folds use is one cloud of the data set, known by its content, and is embedded once. The support comes from
ModelNet40's training side, the queries (20 a class) from its test side. The folds (about 2 GB) are read once into the cache.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from foundry_bench.datasets.dataset import Episode, PointCloudDataset
from foundry_bench.datasets.lazy import Progress, unit_sphere, z_up
from foundry_bench.datasets.official.base import OFFICIAL, OfficialDataset, missing, unserialised
from foundry_bench.datasets.official.cache import kept, open_kept
from foundry_bench.datasets.unpickle import load_arrays
from foundry_bench.errors import UserError

POINTS = 2048
FOLDS = 10
CONFIGURATIONS = {f"{way}w{shot}s": (way, shot) for way in (5, 10) for shot in (10, 20)}
SIDES = ("train", "test")

CLASSES = (
    "airplane",
    "bathtub",
    "bed",
    "bench",
    "bookshelf",
    "bottle",
    "bowl",
    "car",
    "chair",
    "cone",
    "cup",
    "curtain",
    "desk",
    "door",
    "dresser",
    "flower_pot",
    "glass_box",
    "guitar",
    "keyboard",
    "lamp",
    "laptop",
    "mantel",
    "monitor",
    "night_stand",
    "person",
    "piano",
    "plant",
    "radio",
    "range_hood",
    "sink",
    "sofa",
    "stairs",
    "stool",
    "table",
    "tent",
    "toilet",
    "tv_stand",
    "vase",
    "wardrobe",
    "xbox",
)
"""ModelNet40's classes in the order of its labels; the folds do not name them."""


class ModelNetFewshot(OfficialDataset):
    """Up to four configurations of 10 folds; ``load`` gives those that are there, ``problems`` names the others."""

    name = "modelnet-fewshot"
    folder = "ModelNetFewshot"
    markers = ("5way_10shot", "5way_20shot", "10way_10shot", "10way_20shot", "5way10shot", "10way10shot")
    url = "https://github.com/Julie-tang00/Point-BERT/blob/master/DATASET.md"
    terms = (
        "for academic research; the models' authors hold the copyright, see https://modelnet.cs.princeton.edu"
    )
    licence = "LicenseRef-ModelNet"
    layout = """\
ModelNetFewshot/
  5way_10shot/0.pkl ... 9.pkl     {"train": [(points (8192, 6), label, label in ModelNet40), ...], "test": [...]}
  5way_20shot/0.pkl ... 9.pkl
  10way_10shot/0.pkl ... 9.pkl
  10way_20shot/0.pkl ... 9.pkl"""
    counts: ClassVar[dict[str, int]] = {}

    def _whole(self, root: Path) -> Path:
        place = self.place(root)
        return place if _configurations(place) else super()._whole(root)

    def _problems(self, place: Path) -> list[str]:
        found = []
        for way, shot in CONFIGURATIONS.values():
            folder = _folder(place, way, shot)
            if folder.is_dir():
                found += missing(place, [f"{folder.name}/{fold}.pkl" for fold in range(FOLDS)])
            else:
                found.append(f"{folder.name} is missing in {place}")
        return found

    def _files_of(self, place: Path) -> list[Path]:
        return [path for paths in _configurations(place).values() for path in paths]

    def _read(self, place: Path, progress: Progress) -> PointCloudDataset:
        sha256 = self._sha256(place, progress)
        folds = _configurations(place)
        folder = kept(sha256, lambda made: _convert(folds, made, progress))
        with np.load(folder / "index.npz", allow_pickle=False) as index:
            arrays = dict(index)
        return PointCloudDataset(
            name=self.name,
            version="1",
            sha256=sha256,
            classes=CLASSES,
            points=open_kept(folder / "points.npy"),
            labels=arrays["labels"],
            series=unserialised(len(arrays["labels"])),
            paths=arrays["paths"],
            splits={OFFICIAL: arrays["sides"]},
            parts=None,
            part_names={},
            novel_classes=(),
            licence=self.licence,
            episodes={name: tuple(_episode(arrays, name, fold) for fold in range(FOLDS)) for name in folds},
        )


def _folder(place: Path, way: int, shot: int) -> Path:
    """The folder of a configuration: ``5way_10shot`` as the code writes it, or ``5way10shot`` as the instructions do."""
    plain = place / f"{way}way{shot}shot"
    return plain if plain.is_dir() else place / f"{way}way_{shot}shot"


def _configurations(place: Path) -> dict[str, list[Path]]:
    """Name to folds, of the configurations of which every fold is there."""
    folds = {
        name: [_folder(place, *sizes) / f"{fold}.pkl" for fold in range(FOLDS)]
        for name, sizes in CONFIGURATIONS.items()
    }
    return {name: paths for name, paths in folds.items() if all(_filled(path) for path in paths)}


def _filled(path: Path) -> bool:
    return path.is_file() and path.stat().st_size > 0


def _episode(arrays: dict[str, np.ndarray], name: str, fold: int) -> Episode:
    key = f"{name}/{fold}"
    support, support_labels = arrays[f"{key}/train"]
    query, query_labels = arrays[f"{key}/test"]
    return Episode(fold, support, support_labels, query, query_labels)


@dataclass
class _Clouds:
    """The distinct clouds met so far; a cloud is known by its side and the bytes of its points."""

    row: dict[str, int] = field(default_factory=dict)
    points: list[np.ndarray] = field(default_factory=list)
    labels: list[int] = field(default_factory=list)

    def add(self, side: str, points: np.ndarray, label: int) -> int:
        """The row of a cloud (P, 3)."""
        path = f"{side}/{CLASSES[label]}/{hashlib.sha256(points.tobytes()).hexdigest()[:16]}"
        if path not in self.row:
            self.row[path] = len(self.points)
            self.points.append(z_up(unit_sphere(points)))
            self.labels.append(label)
        return self.row[path]


def _convert(folds: dict[str, list[Path]], made: Path, progress: Progress) -> None:
    """Reads every fold; writes the distinct clouds and, for each fold and side, their rows and labels (2, n) below ``made``."""
    total = sum(len(paths) for paths in folds.values())
    logging.getLogger("foundry_bench").info(
        "reading the %d folds of modelnet-fewshot, once: %s keeps them", total, made.parent
    )
    clouds = _Clouds()
    index: dict[str, np.ndarray] = {}
    for done, (name, fold, path) in enumerate(
        (name, fold, path) for name, paths in folds.items() for fold, path in enumerate(paths)
    ):
        content = load_arrays(path)
        for side in SIDES:
            index[f"{name}/{fold}/{side}"] = _rows(path, content, side, CONFIGURATIONS[name], clouds)
        progress("reading modelnet-fewshot", done + 1, total)
    paths = list(clouds.row)
    index["labels"] = np.array(clouds.labels, np.int64)
    index["paths"] = np.array(paths)
    index["sides"] = np.array([path.split("/")[0] for path in paths])
    np.save(made / "points.npy", np.stack(clouds.points))
    np.savez(made / "index.npz", **index)  # type: ignore[arg-type]


def _rows(path: Path, content: Any, side: str, sizes: tuple[int, int], clouds: _Clouds) -> np.ndarray:
    """Rows and labels in the fold, (2, n) int64, of one side of a fold."""
    way, shot = sizes
    try:
        pairs = [
            (clouds.add(side, _points(points), _label(original, len(CLASSES))), _label(label, way))
            for points, label, original in content[side]
        ]
        found = np.array(pairs, np.int64).reshape(-1, 2).T
        shots = np.bincount(found[1], minlength=way)
        if (shots == 0).any() or (side == "train" and (shots != shot).any()):
            raise ValueError(f"{side} has {shots.tolist()} clouds a class")
    except (KeyError, TypeError, ValueError, IndexError) as error:
        raise UserError(
            f"{path} is no {way}-way {shot}-shot fold ({' '.join(str(error).split())}): download it again"
        ) from error
    return found


def _points(points: Sequence[Any] | np.ndarray) -> np.ndarray:
    cloud = np.asarray(points)
    if cloud.ndim != 2 or cloud.shape[0] < POINTS or cloud.shape[1] < 3 or cloud.dtype.kind != "f":
        raise ValueError(f"a cloud is {cloud.shape} of {cloud.dtype}")
    return np.ascontiguousarray(cloud[:POINTS, :3], np.float32)


def _label(value: Any, count: int) -> int:
    label = int(value)
    if not 0 <= label < count:
        raise ValueError(f"label {label} of {count} classes")
    return label
