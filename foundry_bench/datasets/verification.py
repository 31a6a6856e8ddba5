"""Checks a data-set folder: every file's SHA-256, and the counts against the index."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from foundry_bench.datasets.embedded_reader import (
    embedded_folder,
    load_prepared,
    read_checked,
    read_description,
)
from foundry_bench.datasets.one_file import reading, shown
from foundry_bench.errors import UserError


@dataclass(frozen=True)
class Verified:
    """What was checked.

    Attributes:
        files: names of the files whose SHA-256 is right.
        objects: number of objects.
        points: points an object.
        sha256: hash of the data files together.
    """

    files: tuple[str, ...]
    objects: int
    points: int
    sha256: str


def verify_folder(name: str, root: Path | None = None) -> Verified:
    """Verifies the embedded data set ``name``, or the one in ``root`` (or in ``root/name``).

    Raises:
        UserError: a file is missing or damaged, the folder holds another data set, or a count is wrong.
    """
    folder, fix = _folder(name, root)
    about = read_description(folder, fix)
    if about.get("name") != name:
        raise UserError(
            f"{shown(folder)} holds the data set {about.get('name')!r}, not {name!r}: give its folder with --root"
        )
    with reading(folder / "dataset.json", fix):
        for file, entry in about["files"].items():
            read_checked(folder, file, entry["sha256"], fix)
        stated = (about["sha256"], about["objects"], about["points"])
    dataset = load_prepared(folder)
    found = (dataset.sha256, len(dataset.points), dataset.points.shape[1])
    if found != stated:
        raise UserError(f"{folder}: dataset.json states {stated}, the files hold {found}: {fix}")
    return Verified(tuple(about["files"]), len(dataset.points), dataset.points.shape[1], dataset.sha256)


def _folder(name: str, root: Path | None) -> tuple[Path, str]:
    if root is None:
        return embedded_folder(name), "reinstall foundry-bench"
    folder = root if (root / "dataset.json").exists() else root / name
    return folder, f"run `foundry-bench data prepare {name} --source DIR --out {folder}`"
