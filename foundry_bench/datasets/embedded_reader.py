"""Reads data-set folders: the ones that ship with the package, and the ones that ``data prepare`` wrote."""

from __future__ import annotations

import csv
import hashlib
import io
import json
from collections.abc import Mapping, Sequence
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np

from foundry_bench.datasets import codec
from foundry_bench.datasets.dataset import PointCloudDataset
from foundry_bench.datasets.format import SCHEMA_VERSION, SPLIT_PREFIX, data_hash
from foundry_bench.datasets.one_file import FileError, reading, shown
from foundry_bench.datasets.readers.bounds import bounded_bytes
from foundry_bench.errors import UserError

EMBEDDED = ("kicad", "furniture", "pretrain", "bricks", "bricks-unlabelled")

_REINSTALL = "reinstall foundry-bench"


def load_kicad() -> PointCloudDataset:
    """The embedded KiCad set: 26 classes in three series-wise splits, parts in 17 categories."""
    return load_embedded("kicad")


def load_furniture() -> PointCloudDataset:
    """The embedded furniture set: seven few-shot classes."""
    return load_embedded("furniture")


def load_pretrain() -> PointCloudDataset:
    """The embedded unlabelled set for pretraining and distillation."""
    return load_embedded("pretrain")


def load_bricks() -> PointCloudDataset:
    """The embedded LDraw set: 31 classes in three series-wise folds, functional parts in eight categories."""
    return load_embedded("bricks")


def load_bricks_unlabelled() -> PointCloudDataset:
    """The embedded unlabelled LDraw set: no object of ``bricks``, none of its classes and no near-twin."""
    return load_embedded("bricks-unlabelled")


@cache
def load_embedded(name: str) -> PointCloudDataset:
    """One of ``EMBEDDED``, read and checked once per process; treat its arrays as read-only.

    Raises:
        UserError: unknown name, or a file that is missing or differs from its SHA-256.
    """
    return _load(embedded_folder(name), _REINSTALL)


def embedded_folder(name: str) -> Path:
    """Folder of an embedded data set.

    Raises:
        UserError: there is none of that name.
    """
    if name not in EMBEDDED:
        raise UserError(f"no embedded data set {name!r}: choose one of {', '.join(EMBEDDED)}")
    return Path(str(files("foundry_bench.datasets") / "embedded" / name))


def load_prepared(folder: Path) -> PointCloudDataset:
    """A data-set folder that ``foundry-bench data prepare`` wrote.

    Raises:
        UserError: a file is missing, differs from its SHA-256, or has another layout than this version reads.
    """
    fix = f"run `foundry-bench data prepare` again for {shown(folder)}"
    with reading(folder / "dataset.json", fix):
        return _load(folder, fix)


def read_description(folder: Path, fix: str) -> dict[str, Any]:
    """The content of ``dataset.json``; ``fix`` is what the error message advises.

    Raises:
        UserError: no such file, not JSON, or another schema version.
    """
    path = folder / "dataset.json"
    if not path.exists():
        raise UserError(f"{shown(path)} is missing: {fix}")
    with reading(path, fix):
        content = json.loads(_bytes(path))
    if not isinstance(content, dict):
        raise UserError(f"{shown(path)} does not describe a data set: {fix}")
    if content.get("schema_version") != SCHEMA_VERSION:
        raise UserError(
            f"{path} has schema {content.get('schema_version')}, expected {SCHEMA_VERSION}: {fix}"
        )
    return content


def _bytes(path: Path) -> bytes:
    """A whole file that is no device and not too large."""
    if not path.is_file():
        raise FileError("is no file")
    return bounded_bytes(path)


def read_checked(folder: Path, name: str, expected: str, fix: str) -> bytes:
    """Bytes of one file, checked against its SHA-256 before use.

    Raises:
        UserError: missing or different; the message names the file and both sums.
    """
    path = folder / name
    if Path(name).name != name:
        raise UserError(f"{shown(path)} lies elsewhere than its dataset.json: {fix}")
    if not path.exists():
        raise UserError(f"{shown(path)} is missing (expected SHA-256 {expected}): {fix}")
    with reading(path, fix):
        content = _bytes(path)
    found = hashlib.sha256(content).hexdigest()
    if found != expected:
        raise UserError(f"{path} is damaged: expected SHA-256 {expected}, found {found}: {fix}")
    return content


def _load(folder: Path, fix: str) -> PointCloudDataset:
    description = read_description(folder, fix)
    sums = {name: description["files"][name]["sha256"] for name in description["data_files"]}
    contents = {name: read_checked(folder, name, expected, fix) for name, expected in sums.items()}
    rows = list(csv.DictReader(io.StringIO(contents.pop("index.csv").decode("utf-8"))))
    points: list[np.ndarray] = []
    parts: list[np.ndarray] = []
    for name, content in contents.items():
        file_points, file_parts = _read_points(content, folder / name, fix)
        points.append(file_points)
        if file_parts is not None:
            parts.append(file_parts)
    classes = tuple(description["classes"])
    number = {name: index for index, name in enumerate(classes)}
    dataset = PointCloudDataset(
        name=description["name"],
        version=description["version"],
        sha256=data_hash(sums),
        classes=classes,
        points=np.concatenate(points),
        labels=np.array([number.get(row["class"], -1) for row in rows], dtype=np.int64),
        series=np.array([row["series"] for row in rows]),
        paths=np.array([row["path"] for row in rows]),
        splits=_splits(rows),
        parts=np.concatenate(parts) if len(parts) == len(points) else None,
        part_names={name: tuple(names) for name, names in description["part_names"].items()},
        novel_classes=tuple(description["novel_classes"]),
        licence=description["licence"],
    )
    if len(rows) != len(dataset.points):
        raise UserError(f"{folder} lists {len(rows)} objects but holds {len(dataset.points)}: {fix}")
    return dataset


def _read_points(content: bytes, path: Path, fix: str) -> tuple[np.ndarray, np.ndarray | None]:
    """Points ``(N, P, 3)`` and part labels ``(N, P)`` of one ``.npz`` file, in reading order."""
    try:
        with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
            planes, stored_parts = arrays["planes"], arrays.get("parts")
    except (BadZipFile, ValueError, KeyError) as error:
        raise UserError(f"{path} is no point file ({error}): {fix}") from error
    points = codec.decode_clouds(planes)
    if stored_parts is None:
        return points, None
    return points, np.take_along_axis(stored_parts, codec.reading_order(*stored_parts.shape), axis=1)


def _splits(rows: Sequence[Mapping[str, str]]) -> dict[str, np.ndarray]:
    """Split name to side per object; splits in which no object has a side are left out."""
    names = [column for column in rows[0] if column.startswith(SPLIT_PREFIX)] if rows else []
    splits = {name.removeprefix(SPLIT_PREFIX): np.array([row[name] for row in rows]) for name in names}
    return {name: sides for name, sides in splits.items() if (sides != "").any()}
