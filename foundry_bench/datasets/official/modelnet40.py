"""ModelNet40 as 2,048 points a model, in the HDF5 files of PointNet.

Sources: Wu et al., *3D ShapeNets*, CVPR 2015 (the models); Qi et al., *PointNet*, CVPR 2017 and github.com/charlesq34/pointnet
(the files); Point-JEPA's ``DATASETS.md`` and point2vec's ``ModelNet40Ply2048.py`` (the same files and labels).

The files hold their points in the order of farthest point sampling, says PointNet's author (charlesq34/pointnet, issue 42):
the first k are the k that the sampling would choose. PointNet evaluates the first 1,024, Point-JEPA samples its 1,024 by
farthest points from all 2,048. The order is therefore kept: the first k points are what both evaluate. The clouds are
unpacked once into the cache (``cache.py``) and memory-mapped.
"""

from __future__ import annotations

from pathlib import Path, PurePosixPath
from typing import ClassVar

import numpy as np

from foundry_bench.datasets.dataset import PointCloudDataset
from foundry_bench.datasets.lazy import LazyClouds, Progress
from foundry_bench.datasets.official.base import (
    OFFICIAL,
    OfficialDataset,
    missing,
    read_lines,
    unserialised,
)
from foundry_bench.datasets.official.hdf5 import hdf5_files, hdf5_problem, read_labels, unpacked

SIDES = ("train", "test")
CLASSES = 40
_FILES = {"train": 5, "test": 2}


class ModelNet40(OfficialDataset):
    """40 classes, 9,840 models to train on and 2,468 to test (PointNet's files lack 3 of the 9,843 of the official list)."""

    name = "modelnet40"
    folder = "modelnet40_ply_hdf5_2048"
    markers = ("train_files.txt", "test_files.txt", "ply_data_train0.h5")
    url = (
        "https://github.com/Ayumu-J-S/Point-JEPA/blob/main/DATASETS.md "
        "(https://shapenet.cs.stanford.edu/media/modelnet40_ply_hdf5_2048.zip)"
    )
    terms = (
        "for academic research; the models' authors hold the copyright, see https://modelnet.cs.princeton.edu"
    )
    licence = "LicenseRef-ModelNet"
    layout = """\
modelnet40_ply_hdf5_2048/
  shape_names.txt                     40 class names
  train_files.txt  test_files.txt     names of the files below
  ply_data_train0.h5 ... train4.h5    data (n, 2048, 3) float32, label (n, 1) uint8
  ply_data_test0.h5  test1.h5"""
    counts: ClassVar[dict[str, int]] = {"train": 9840, "test": 2468}

    def _problems(self, place: Path) -> list[str]:
        lists = [f"{side}_files.txt" for side in SIDES]
        found = missing(place, ["shape_names.txt", *lists])
        if (place / "shape_names.txt").is_file() and len(self._classes(place)) != CLASSES:
            found.append(
                f"{place / 'shape_names.txt'} has {len(self._classes(place))} names, expected {CLASSES}"
            )
        for side in SIDES:
            for path in self._files(place, side):
                absent = missing(place, [path.name])
                wrong = None if absent else hdf5_problem(path, CLASSES)
                found += absent or ([wrong] if wrong else [])
        return found

    def _files_of(self, place: Path) -> list[Path]:
        files = [path for side in SIDES for path in self._files(place, side)]
        return [place / name for name in ("shape_names.txt", "train_files.txt", "test_files.txt")] + files

    def _read(self, place: Path, progress: Progress) -> PointCloudDataset:
        files = [(path, side) for side in SIDES for path in self._files(place, side)]
        labels = [read_labels(path) for path, _ in files]
        sides = np.concatenate(
            [np.full(len(each), side) for (_, side), each in zip(files, labels, strict=True)]
        )
        names = [
            f"{path.name}/{i}"
            for (path, _), each in zip(files, labels, strict=True)
            for i in range(len(each))
        ]
        clouds = LazyClouds(hdf5_files([path for path, _ in files], labels), names, y_up=True)
        sha256 = self._sha256(place, progress)
        return PointCloudDataset(
            name=self.name,
            version="1",
            sha256=sha256,
            classes=self._classes(place),
            points=unpacked(clouds, self.name, sha256, progress),
            labels=np.concatenate(labels),
            series=unserialised(len(names)),
            paths=np.array(names),
            splits={OFFICIAL: sides},
            parts=None,
            part_names={},
            novel_classes=(),
            licence=self.licence,
        )

    @staticmethod
    def _classes(place: Path) -> tuple[str, ...]:
        return tuple(read_lines(place / "shape_names.txt"))

    @staticmethod
    def _files(place: Path, side: str) -> list[Path]:
        """The files of one side: those that the list names (with a path that we ignore), or the official ones."""
        listed = dict.fromkeys(PurePosixPath(line).name for line in read_lines(place / f"{side}_files.txt"))
        return [
            place / name for name in list(listed) or [f"ply_data_{side}{i}.h5" for i in range(_FILES[side])]
        ]
