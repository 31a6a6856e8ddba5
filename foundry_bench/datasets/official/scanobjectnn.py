"""ScanObjectNN: scanned objects of 15 classes, in the three variants that are reported.

Sources: Uy et al., *Revisiting Point Cloud Classification*, ICCV 2019 and github.com/hkust-vgd/scanobjectnn (files, main split,
y as the axis of gravity: issue 33); the class order is that of the repository's list, as in point2vec's ``ScanObjectNN.py``.
Point-BERT, Point-MAE and Point-JEPA read the same files.

The official code shuffles the points before it takes the first k, so their order in the files need not be fair; here they
come in a fixed pseudo-random order. They are unpacked once into the cache (``cache.py``) and memory-mapped.

The files of PB_T50_RS hold five perturbed copies of each object without saying which belong together: its test clouds are
not independent of one another, and no series can be given.
"""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

import numpy as np

from foundry_bench.datasets.dataset import PointCloudDataset
from foundry_bench.datasets.lazy import LazyClouds, Progress
from foundry_bench.datasets.official.base import OFFICIAL, OfficialDataset, missing, unserialised
from foundry_bench.datasets.official.hdf5 import hdf5_files, hdf5_problem, read_labels, unpacked

SIDES = {"train": "training", "test": "test"}
CLASSES = (
    "bag",
    "bin",
    "box",
    "cabinet",
    "chair",
    "desk",
    "display",
    "door",
    "shelf",
    "table",
    "bed",
    "pillow",
    "sink",
    "sofa",
    "toilet",
)


class _ScanObjectNN(OfficialDataset):
    folder = "ScanObjectNN"
    aliases = ("h5_files",)
    url = "https://hkust-vgd.github.io/scanobjectnn"
    terms = "for research; the download link follows an agreement to the terms of use on that page"
    licence = "LicenseRef-ScanObjectNN"
    layout = """\
ScanObjectNN/
  main_split/
    training_objectdataset.h5                          test_objectdataset.h5
    training_objectdataset_augmentedrot_scale75.h5     test_objectdataset_augmentedrot_scale75.h5
  main_split_nobg/
    training_objectdataset.h5                          test_objectdataset.h5
each file: data (n, 2048, 3) float32, label (n,)"""
    variant: ClassVar[str]
    """File of one side below the folder, with the side left open."""

    def _problems(self, place: Path) -> list[str]:
        found = missing(place, list(self._names()))
        wrong = (
            hdf5_problem(place / name, len(CLASSES)) for name in self._names() if (place / name).is_file()
        )
        return found or [line for line in wrong if line]

    def _files_of(self, place: Path) -> list[Path]:
        return [place / name for name in self._names()]

    def _read(self, place: Path, progress: Progress) -> PointCloudDataset:
        labels = [read_labels(place / name) for name in self._names()]
        names = [
            f"{name}/{i}" for name, each in zip(self._names(), labels, strict=True) for i in range(len(each))
        ]
        source = hdf5_files([place / name for name in self._names()], labels)
        clouds = LazyClouds(source, names, y_up=True, shuffle=True)
        sha256 = self._sha256(place, progress)
        return PointCloudDataset(
            name=self.name,
            version="1",
            sha256=sha256,
            classes=CLASSES,
            points=unpacked(clouds, self.name, sha256, progress),
            labels=np.concatenate(labels),
            series=unserialised(len(names)),
            paths=np.array(names),
            splits={OFFICIAL: np.repeat(list(SIDES), [len(each) for each in labels])},
            parts=None,
            part_names={},
            novel_classes=(),
            licence=self.licence,
        )

    def _names(self) -> tuple[str, ...]:
        return tuple(self.variant.format(side) for side in SIDES.values())


class ScanObjectNNBackground(_ScanObjectNN):
    """OBJ_BG: the objects with the background points of their bounding box."""

    name = "scanobjectnn-bg"
    variant = "main_split/{}_objectdataset.h5"
    markers = ("main_split",)
    counts: ClassVar[dict[str, int]] = {"train": 2309, "test": 581}


class ScanObjectNNOnly(_ScanObjectNN):
    """OBJ_ONLY: the objects without background."""

    name = "scanobjectnn-only"
    variant = "main_split_nobg/{}_objectdataset.h5"
    markers = ("main_split_nobg",)
    counts: ClassVar[dict[str, int]] = {"train": 2309, "test": 581}


class ScanObjectNNHardest(_ScanObjectNN):
    """PB_T50_RS: boxes moved by up to 50 %, rotated and scaled, five copies of each object."""

    name = "scanobjectnn-pb"
    variant = "main_split/{}_objectdataset_augmentedrot_scale75.h5"
    markers = ("main_split",)
    counts: ClassVar[dict[str, int]] = {"train": 11416, "test": 2882}
