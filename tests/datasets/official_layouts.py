"""Tiny data sets in the exact layouts of the official ones: file names, keys, types and lists, with clouds made up.

Every cloud is a box far from the origin that is four times as tall (y) as it is wide (x) and twice as tall as it is deep (z).
"""

from __future__ import annotations

import json
import pickle
from collections.abc import Callable, Sequence
from pathlib import Path

import h5py
import numpy as np

from foundry_bench.datasets.official.base import OfficialDataset
from foundry_bench.datasets.official.modelnet40 import ModelNet40
from foundry_bench.datasets.official.modelnet_fewshot import CLASSES, ModelNetFewshot
from foundry_bench.datasets.official.scanobjectnn import (
    ScanObjectNNBackground,
    ScanObjectNNHardest,
    ScanObjectNNOnly,
)
from foundry_bench.datasets.official.shapenet55 import ShapeNet55
from foundry_bench.datasets.official.shapenetpart import PARTS, ShapeNetPart

SIZE = (1.0, 4.0, 2.0)
CENTRE = (30.0, -50.0, 70.0)

SYNSETS = {
    "Airplane": "02691156",
    "Bag": "02773838",
    "Cap": "02954340",
    "Car": "02958343",
    "Chair": "03001627",
    "Earphone": "03261776",
    "Guitar": "03467517",
    "Knife": "03624134",
    "Lamp": "03636649",
    "Laptop": "03642806",
    "Motorbike": "03790512",
    "Mug": "03797390",
    "Pistol": "03948459",
    "Rocket": "04099429",
    "Skateboard": "04225987",
    "Table": "04379243",
}


def box_cloud(seed: int, points: int) -> np.ndarray:
    """Points (points, 3) float32 in a box, y up."""
    corners = np.random.default_rng(seed).uniform(-0.5, 0.5, (points, 3))
    return (corners * SIZE + CENTRE).astype(np.float32)


def write_hdf5(
    path: Path, labels: Sequence[int], seed: int, column: bool = False, points: int = 2048
) -> None:
    """An HDF5 file compressed in chunks as PointNet's are, with labels (n, 1) uint8 or (n,) int32."""
    path.parent.mkdir(parents=True, exist_ok=True)
    clouds = np.stack([box_cloud(seed + i, points) for i in range(len(labels))])
    label = np.array(labels, np.uint8)[:, None] if column else np.array(labels, np.int32)
    with h5py.File(path, "w") as file:
        file.create_dataset("data", data=clouds, compression="gzip", compression_opts=4)
        file.create_dataset("label", data=label, compression="gzip", compression_opts=1)
        if not column:
            file.create_dataset("mask", data=np.zeros(clouds.shape[:2], np.float32))


def write_modelnet40(
    root: Path, train: Sequence[int] = (3, 1, 2, 1, 1), test: Sequence[int] = (2, 2)
) -> Path:
    """``train`` and ``test`` are clouds a file; labels count up from 0 over the files, modulo 40."""
    folder = root / ModelNet40.folder
    folder.mkdir(parents=True)
    (folder / "shape_names.txt").write_text("\n".join(CLASSES) + "\n")
    label = 0
    for side, sizes in (("train", train), ("test", test)):
        names = [f"ply_data_{side}{i}.h5" for i in range(len(sizes))]
        (folder / f"{side}_files.txt").write_text(
            "".join(f"data/{ModelNet40.folder}/{name}\n" for name in names)
        )
        for name, size in zip(names, sizes, strict=True):
            write_hdf5(folder / name, [(label + i) % 40 for i in range(size)], label, column=True)
            label += size
    return folder


def write_scanobjectnn(root: Path) -> Path:
    """All six files that the three variants need."""
    folder = root / "ScanObjectNN"
    for split, seed in (("main_split", 0), ("main_split_nobg", 100)):
        write_hdf5(folder / split / "training_objectdataset.h5", [0, 14, 7], seed)
        write_hdf5(folder / split / "test_objectdataset.h5", [14, 2], seed + 50)
    hardest = "objectdataset_augmentedrot_scale75.h5"
    write_hdf5(folder / "main_split" / f"training_{hardest}", [1, 1, 1, 1, 1, 9], 200)
    write_hdf5(folder / "main_split" / f"test_{hardest}", [9, 9, 4], 250)
    return folder


def write_shapenetpart(root: Path, points: int = 300) -> Path:
    """One shape of ``points`` points in every category; the first of 2,600; tables and lamps are tested, bags validated."""
    folder = root / ShapeNetPart.folder
    (folder / "train_test_split").mkdir(parents=True)
    (folder / "synsetoffset2category.txt").write_text("".join(f"{n}\t{s}\n" for n, s in SYNSETS.items()))
    sides: dict[str, list[str]] = {"train": [], "val": [], "test": []}
    for number, (name, synset) in enumerate(SYNSETS.items()):
        side = {"Bag": "val", "Lamp": "test", "Table": "test"}.get(name, "train")
        shape = f"{number:031x}"
        sides[side].insert(0, f"shape_data/{synset}/{shape}")
        (folder / synset).mkdir()
        write_part_shape(folder / synset / f"{shape}.txt", name, number, 2600 if number == 0 else points)
    for side, shapes in sides.items():
        (folder / "train_test_split" / f"shuffled_{side}_file_list.json").write_text(json.dumps(shapes))
    return folder


def write_part_shape(path: Path, category: str, seed: int, points: int) -> None:
    """A text file of x y z nx ny nz part; the parts of the category slice the box by height."""
    cloud = box_cloud(seed, points)
    own = PARTS[category]
    height = (cloud[:, 1] - CENTRE[1]) / SIZE[1] + 0.5
    part = own[0] + np.clip((height * len(own)).astype(int), 0, len(own) - 1)
    lines = (
        f"{x:.6f} {y:.6f} {z:.6f} 0.000000 1.000000 0.000000 {p:.6f}\n"
        for (x, y, z), p in zip(cloud.tolist(), part.tolist(), strict=True)
    )
    path.write_text("".join(lines))


def write_shapenet55(root: Path, beside: bool = False) -> Path:
    """Six clouds of four synsets; ``beside`` puts the lists beside the clouds and calls the folder as Point-JEPA does."""
    folder = root / ("ShapeNet55" if beside else ShapeNet55.folder)
    lists = folder if beside else folder / "ShapeNet-55"
    (folder / "shapenet_pc").mkdir(parents=True)
    lists.mkdir(exist_ok=True)
    synsets = {"train": ["04554684", "02691156", "03001627", "02691156"], "test": ["03001627", "02747177"]}
    number = 0
    for side, each in synsets.items():
        names = []
        for synset in each:
            names.append(f"{synset}-{number:031x}.npy")
            np.save(folder / "shapenet_pc" / names[-1], box_cloud(number, 8192))
            number += 1
        (lists / f"{side}.txt").write_text("".join(f"{name}\n" for name in names))
    return folder


def write_fewshot(
    root: Path, configurations: Sequence[tuple[int, int]] = ((5, 10),), protocol: int | None = None
) -> Path:
    """Ten folds of each (way, shot), drawn from 12 classes with two training clouds and one test cloud each.

    The same array stands for several shots, so that the files stay small; a fold has two queries a class.
    """
    folder = root / ModelNetFewshot.folder
    pool = {key: [_with_normals(3 * key + i) for i in range(3)] for key in range(12)}
    for way, shot in configurations:
        (folder / f"{way}way_{shot}shot").mkdir(parents=True)
        for fold in range(10):
            rng = np.random.default_rng([way, shot, fold])
            keys = rng.permutation(12)[:way].astype(np.int32)
            train = [
                (pool[int(key)][i % 2], label, key) for label, key in enumerate(keys) for i in range(shot)
            ]
            test = [(pool[int(key)][2], label, key) for label, key in enumerate(keys) for _ in range(2)]
            content = {"train": train, "test": test}
            path = folder / f"{way}way_{shot}shot" / f"{fold}.pkl"
            path.write_bytes(pickle.dumps(content, protocol))
    return folder


def _with_normals(seed: int) -> np.ndarray:
    return np.concatenate([box_cloud(seed, 8192), np.ones((8192, 3), np.float32)], axis=1)


def every_fewshot(root: Path) -> Path:
    """All four configurations."""
    return write_fewshot(root, [(5, 10), (5, 20), (10, 10), (10, 20)])


WRITERS: dict[type[OfficialDataset], Callable[[Path], Path]] = {
    ModelNet40: write_modelnet40,
    ModelNetFewshot: every_fewshot,
    ScanObjectNNBackground: write_scanobjectnn,
    ScanObjectNNOnly: write_scanobjectnn,
    ScanObjectNNHardest: write_scanobjectnn,
    ShapeNetPart: write_shapenetpart,
    ShapeNet55: write_shapenet55,
}
"""Every official data set and what writes a whole tiny one below a data root."""
