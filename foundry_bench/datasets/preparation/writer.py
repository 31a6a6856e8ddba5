"""Writes a data-set folder: ``*.npz``, ``index.csv``, ``dataset.json``, ``LICENSE`` and ``CREDITS.md``.

The bytes are a function of the clouds alone: archives carry a fixed date, rows keep the order of the clouds.
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
import os
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from zipfile import ZIP_LZMA, ZipFile, ZipInfo

import numpy as np

from foundry_bench.datasets import codec
from foundry_bench.datasets.format import SCHEMA_VERSION, SPLIT_PREFIX, data_hash, index_columns
from foundry_bench.datasets.preparation.parts import NO_PART
from foundry_bench.datasets.preparation.pipeline import Cloud, Skipped
from foundry_bench.datasets.preparation.selection import SPLITS

_EPOCH = (1980, 1, 1, 0, 0, 0)


@dataclass(frozen=True)
class PointFile:
    """The clouds of one ``.npz`` file; a file never mixes licences that must not mix.

    Attributes:
        name: file name.
        clouds: its objects, in the order of the rows.
        licence: SPDX expression of the file.
        package: Debian package that the models are from, with its version.
    """

    name: str
    clouds: Sequence[Cloud]
    licence: str
    package: str


@dataclass(frozen=True)
class Description:
    """What ``dataset.json`` says beside what follows from the clouds.

    Attributes:
        name: of the data set.
        version: of the data set; raised when the bytes change.
        classes: class names; a label is an index into them. Empty for an unlabelled set.
        novel_classes: classes kept out of pretraining.
        part_names: part names of every part category.
        command: command line that made the folder.
        splits: names of the splits, in the order of the sides of every source.
    """

    name: str
    version: str
    classes: tuple[str, ...]
    novel_classes: tuple[str, ...]
    part_names: Mapping[str, tuple[str, ...]]
    command: str
    splits: tuple[str, ...] = SPLITS


def write_dataset(
    out: Path,
    description: Description,
    point_files: Sequence[PointFile],
    skipped: Sequence[Skipped],
    texts: Mapping[str, str],
) -> Path:
    """Writes the folder beside ``out`` and moves it there when complete, so ``out`` is never half written.

    Args:
        out: folder to make; an earlier one is replaced.
        description: names and versions.
        point_files: the clouds.
        skipped: models that were left out, for the record.
        texts: further files, name to content (``LICENSE``, ``CREDITS.md``).
    """
    out.parent.mkdir(parents=True, exist_ok=True)
    scratch = Path(tempfile.mkdtemp(prefix=f".{out.name}-", dir=out.parent))
    try:
        for point_file in point_files:
            (scratch / point_file.name).write_bytes(_npz(point_file.clouds))
        _write_text(scratch / "index.csv", _index(point_files, description.splits))
        for name, text in texts.items():
            _write_text(scratch / name, text)
        _write_text(scratch / "dataset.json", _dataset_json(scratch, description, point_files, skipped))
        scratch.chmod(0o755)
        if out.exists():
            shutil.rmtree(out)
        os.replace(scratch, out)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    return out


def _npz(clouds: Sequence[Cloud]) -> bytes:
    planes, order = codec.encode_clouds(np.stack([cloud.points for cloud in clouds]))
    arrays = {"planes": planes}
    if any(cloud.parts is not None for cloud in clouds):
        none = np.full(order.shape[1], NO_PART, dtype=np.int8)
        parts = np.stack([none if cloud.parts is None else cloud.parts for cloud in clouds])
        arrays["parts"] = np.take_along_axis(parts, order, axis=1)
    stream = io.BytesIO()
    with ZipFile(stream, "w") as archive:
        for name, array in arrays.items():
            content = io.BytesIO()
            np.lib.format.write_array(content, np.ascontiguousarray(array), allow_pickle=False)
            entry = ZipInfo(f"{name}.npy", _EPOCH)
            entry.compress_type, entry.create_system, entry.external_attr = ZIP_LZMA, 3, 0o644 << 16
            archive.writestr(entry, content.getvalue())
    return stream.getvalue()


def _index(point_files: Sequence[PointFile], splits: Sequence[str]) -> str:
    stream = io.StringIO()
    table = csv.DictWriter(stream, index_columns(splits), lineterminator="\n")
    table.writeheader()
    for point_file in point_files:
        for cloud in point_file.clouds:
            table.writerow(_row(point_file.name, cloud, splits))
    return stream.getvalue()


def _row(file_name: str, cloud: Cloud, splits: Sequence[str]) -> dict[str, str]:
    source = cloud.source
    sides = {SPLIT_PREFIX + name: side for name, side in zip(splits, source.splits, strict=True)}
    return sides | {
        "path": source.path,
        "file": file_name,
        "class": source.label,
        "series": source.series,
        "part_category": source.part_category,
        "radius_mm": f"{cloud.radius_mm:.4f}",
        "visible_fraction": f"{cloud.visible_fraction:.4f}",
        "licence": source.licence,
        "creator": source.creator,
        "title": source.title,
        "link": source.link,
    }


def _dataset_json(
    folder: Path, description: Description, point_files: Sequence[PointFile], skipped: Sequence[Skipped]
) -> str:
    files: dict[str, dict[str, str | int]] = {
        path.name: {"sha256": hashlib.sha256(path.read_bytes()).hexdigest(), "bytes": path.stat().st_size}
        for path in sorted(folder.iterdir())
    }
    for point_file in point_files:
        files[point_file.name] |= {
            "objects": len(point_file.clouds),
            "licence": point_file.licence,
            "package": point_file.package,
        }
    data_files = [*(point_file.name for point_file in point_files), "index.csv"]
    content = {
        "schema_version": SCHEMA_VERSION,
        "name": description.name,
        "version": description.version,
        "sha256": data_hash({name: str(files[name]["sha256"]) for name in data_files}),
        "data_files": data_files,
        "objects": sum(len(point_file.clouds) for point_file in point_files),
        "points": int(point_files[0].clouds[0].points.shape[0]),
        "frame": "z up, centred on the mean of the points, unit sphere; radius_mm in index.csv is its radius",
        "quantisation": {"bits": codec.BITS, "step": codec.STEP, "reader": "foundry_bench.datasets.codec"},
        "classes": list(description.classes),
        "novel_classes": list(description.novel_classes),
        "part_names": {name: list(parts) for name, parts in description.part_names.items()},
        "licence": " AND ".join(dict.fromkeys(point_file.licence for point_file in point_files)),
        "files": files,
        "command": description.command,
        "skipped": [{"path": item.source.path, "reason": item.reason} for item in skipped],
    }
    return json.dumps(content, indent=1, ensure_ascii=False) + "\n"


def _write_text(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8", newline="\n")
