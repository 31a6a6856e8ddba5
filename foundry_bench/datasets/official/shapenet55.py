"""ShapeNet55: 52,470 clouds of 8,192 points in 55 classes, on which the SSL models of the field are pre-trained.

Sources: Chang et al., *ShapeNet*, arXiv 1512.03012; Yu et al., *PoinTr*, ICCV 2021 (the clouds and the lists); layout of
Point-BERT's ``DATASET.md`` (lists in ``ShapeNet-55``) or of Point-JEPA's ``DATASETS.md`` (lists beside the clouds). Labels are
the synsets in sorted order, as in point2vec's ``ShapeNet55.py``.

The official loaders take a random subset of a cloud's points at every visit. Here the points come in a fixed pseudo-random
order, so that the first k are such a subset. Each file is read when its cloud is asked for; nothing is kept in memory.
"""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

import numpy as np

from foundry_bench.datasets.dataset import PointCloudDataset
from foundry_bench.datasets.lazy import LazyClouds, NpyFiles, Progress
from foundry_bench.datasets.official.base import (
    OFFICIAL,
    OfficialDataset,
    missing,
    read_lines,
    unserialised,
)

POINTS = 8192
SIDES = ("train", "test")
CLOUDS = "shapenet_pc"

TAXONOMY = {
    "02691156": "airplane",
    "02747177": "trash bin",
    "02773838": "bag",
    "02801938": "basket",
    "02808440": "bathtub",
    "02818832": "bed",
    "02828884": "bench",
    "02843684": "birdhouse",
    "02871439": "bookshelf",
    "02876657": "bottle",
    "02880940": "bowl",
    "02924116": "bus",
    "02933112": "cabinet",
    "02942699": "camera",
    "02946921": "can",
    "02954340": "cap",
    "02958343": "car",
    "02992529": "cellphone",
    "03001627": "chair",
    "03046257": "clock",
    "03085013": "keyboard",
    "03207941": "dishwasher",
    "03211117": "display",
    "03261776": "earphone",
    "03325088": "faucet",
    "03337140": "file cabinet",
    "03467517": "guitar",
    "03513137": "helmet",
    "03593526": "jar",
    "03624134": "knife",
    "03636649": "lamp",
    "03642806": "laptop",
    "03691459": "loudspeaker",
    "03710193": "mailbox",
    "03759954": "microphone",
    "03761084": "microwaves",
    "03790512": "motorbike",
    "03797390": "mug",
    "03928116": "piano",
    "03938244": "pillow",
    "03948459": "pistol",
    "03991062": "flowerpot",
    "04004475": "printer",
    "04074963": "remote",
    "04090263": "rifle",
    "04099429": "rocket",
    "04225987": "skateboard",
    "04256520": "sofa",
    "04330267": "stove",
    "04379243": "table",
    "04401088": "telephone",
    "04460130": "tower",
    "04468005": "train",
    "04530566": "watercraft",
    "04554684": "washer",
}
"""Synset to name, in the order of the class labels."""


class ShapeNet55(OfficialDataset):
    """41,952 clouds to train on and 10,518 to test; y is up in the files."""

    name = "shapenet55"
    folder = "ShapeNet55-34"
    aliases = ("ShapeNet55",)
    markers = (CLOUDS, "ShapeNet-55")
    url = "https://github.com/Julie-tang00/Point-BERT/blob/master/DATASET.md"
    terms = "ShapeNet's terms: non-commercial research and education, see https://shapenet.org/terms"
    licence = "LicenseRef-ShapeNet"
    layout = """\
ShapeNet55-34/                  (or ShapeNet55/)
  shapenet_pc/
    02691156-<id>.npy           (8192, 3) float32
    ...
  ShapeNet-55/                  (or the two lists beside shapenet_pc/)
    train.txt  test.txt         02691156-<id>.npy, one a line"""
    counts: ClassVar[dict[str, int]] = {"train": 41952, "test": 10518}

    def _problems(self, place: Path) -> list[str]:
        found = missing(place, [path.relative_to(place).as_posix() for path in self._lists(place).values()])
        if found:
            return found
        sides = self._sides(place)
        strange = [name for name in sides if name.split("-")[0] not in TAXONOMY or "/" in name]
        if strange:
            return [f"{strange[0]} ({len(strange)} in all) is no <synset>-<id>.npy of the 55 synsets"]
        twice = sum(len(read_lines(path)) for path in self._lists(place).values()) - len(sides)
        if twice:
            return [
                f"{twice} clouds are listed twice in {self._lists(place)['train'].parent}: download the lists again"
            ]
        return missing(place, [f"{CLOUDS}/{name}" for name in sides])

    def _files_of(self, place: Path) -> list[Path]:
        return [*self._lists(place).values(), *self._files(place)]

    def _read(self, place: Path, progress: Progress) -> PointCloudDataset:
        sides = self._sides(place)
        names = [f"{CLOUDS}/{name}" for name in sides]
        number = {synset: label for label, synset in enumerate(TAXONOMY)}
        return PointCloudDataset(
            name=self.name,
            version="1",
            sha256=self._sha256(place, progress),
            classes=tuple(TAXONOMY.values()),
            points=LazyClouds(NpyFiles(tuple(self._files(place)), POINTS), names, y_up=True, shuffle=True),
            labels=np.array([number[name.split("-")[0]] for name in sides], np.int64),
            series=unserialised(len(sides)),
            paths=np.array(names),
            splits={OFFICIAL: np.array(list(sides.values()))},
            parts=None,
            part_names={},
            novel_classes=(),
            licence=self.licence,
        )

    @staticmethod
    def _lists(place: Path) -> dict[str, Path]:
        """Side to its list, in the folder that has lists."""
        beside = (place / "train.txt").is_file() and not (place / "ShapeNet-55").is_dir()
        return {side: (place if beside else place / "ShapeNet-55") / f"{side}.txt" for side in SIDES}

    def _sides(self, place: Path) -> dict[str, str]:
        """File name to side, sorted by name."""
        lists = self._lists(place)
        return dict(sorted((name, side) for side in SIDES for name in read_lines(lists[side])))

    def _files(self, place: Path) -> list[Path]:
        return [place / CLOUDS / name for name in self._sides(place)]
