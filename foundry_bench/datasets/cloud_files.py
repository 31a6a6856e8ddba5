"""Point-cloud files as scanners and tools write them: arrays, PLY, PCD, LAS, columns of text, and meshes.

This is the border of one file: what its reader raises, whatever it is, becomes one line.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import numpy as np

from foundry_bench.datasets.one_file import FileError, one_file, shown
from foundry_bench.datasets.readers.arrays import npz_array, npz_arrays, read_npy, read_npz
from foundry_bench.datasets.readers.las import las_column, las_columns, read_las
from foundry_bench.datasets.readers.meshes import read_mesh
from foundry_bench.datasets.readers.pcd import pcd_column, pcd_columns, read_pcd
from foundry_bench.datasets.readers.ply import ply_column, ply_columns, read_ply
from foundry_bench.datasets.readers.tables import read_table, table_column, table_columns

MOST_MISSING = 0.5
"""Share of rows without coordinates above which a cloud is refused. Organised clouds of depth cameras lack up to 41 %."""

TEXTS = (".xyz", ".txt", ".csv", ".pts")
MESHES = (".off", ".obj", ".stl", ".glb")
EXTRAS = {**dict.fromkeys((".las", ".laz"), ("laspy", "las")), **dict.fromkeys(MESHES, ("trimesh", "meshes"))}
"""Ending to the library that it needs and the extra of foundry-bench that has it."""

_HEAD_BYTES = 64
_FOREIGN = {
    **{
        begin: f"is packed by {name}: unpack it first"
        for begin, name in (
            (b"\x1f\x8b", "gzip"),
            (b"\xfd7zxz", "xz"),
            (b"bzh", "bzip2"),
            (b"pk\x03\x04", "zip"),
            (b"\x28\xb5\x2f\xfd", "zstd"),
            (b"7z\xbc\xaf", "7-Zip"),
            (b"rar!", "RAR"),
        )
    },
    b"version https://git-lfs": "is a pointer of Git LFS: fetch the files with `git lfs pull`",
    b"<!doctype html": "is a page of the web: download the file itself",
    b"<html": "is a page of the web: download the file itself",
}
"""How files begin, in small letters, that got the name of a point file."""

READERS: dict[str, Callable[[Path], np.ndarray]] = {
    ".npy": read_npy,
    ".npz": read_npz,
    ".ply": read_ply,
    ".pcd": read_pcd,
    **dict.fromkeys(TEXTS, read_table),
    **dict.fromkeys((".las", ".laz"), read_las),
    **dict.fromkeys(MESHES, read_mesh),
}
"""Ending of a file name, in lower case, to its reader."""


def read_cloud(path: Path) -> np.ndarray:
    """The points (n, 3) of one file, in its own units and type of numbers; further columns are dropped.

    Rows without coordinates are kept, see :func:`finite_rows`. A ``.npy`` file is memory-mapped. Raises FileError, to be read
    after the file's name, for a file that cannot be read.
    """
    try:
        with one_file(), np.errstate(all="ignore"):
            cloud = READERS[path.suffix.lower()](path)
    except FileError as error:
        raise (_foreign(path) or error) from error
    if cloud.ndim != 2 or cloud.shape[1] < 3:
        raise FileError(f"holds an array {cloud.shape}, expected (points, 3 or more)")
    return cloud[:, :3]


def column_names(path: Path) -> list[str]:
    """What a file calls the numbers that it holds of each point; columns without names are called by their numbers.

    Empty for a mesh. Raises FileError as :func:`read_cloud` does.
    """
    ending = path.suffix.lower()
    with one_file():
        if ending in TEXTS:
            return table_columns(path)
        if ending == ".npz":
            return npz_arrays(path)
        if ending == ".npy":
            shape = read_npy(path).shape
            return [str(number) for number in range(shape[1] if len(shape) == 2 else 0)]
        return _NAMES[ending](path) if ending in _NAMES else []


def read_column(path: Path, name: str) -> np.ndarray:
    """One of :func:`column_names` for each of the rows of :func:`read_cloud`, (n,) numbers.

    Raises FileError for a column that the file does not have, or that holds anything else than one number a point.
    """
    names = column_names(path)
    ending = path.suffix.lower()
    place = names.index(name) if name in names else int(name) if name.isascii() and name.isdigit() else -1
    if not 0 <= place < len(names):
        has = f"it has {shown(', '.join(names[:12]))}" if names else "no point of a mesh has one"
        raise FileError(f"has no column {shown(name[:40])!r}; {has}")
    with one_file(), np.errstate(all="ignore"):
        if ending in TEXTS:
            column = table_column(path, place)
        elif ending == ".npy":
            column = read_npy(path)[:, place]
        elif ending == ".npz":
            column = npz_array(path, names[place])
        else:
            column = _COLUMNS[ending](path, names[place])
    if column.ndim == 2 and column.shape[1] == 1:
        column = column[:, 0]
    if column.ndim != 1:
        raise FileError(f"holds {shown(name[:40])!r} as an array {column.shape}, expected one number a point")
    return column


_NAMES: dict[str, Callable[[Path], list[str]]] = {
    ".ply": ply_columns,
    ".pcd": pcd_columns,
    **dict.fromkeys((".las", ".laz"), las_columns),
}
_COLUMNS: dict[str, Callable[[Path, str], np.ndarray]] = {
    ".ply": ply_column,
    ".pcd": pcd_column,
    **dict.fromkeys((".las", ".laz"), las_column),
}


def _foreign(path: Path) -> FileError | None:
    """What a file that cannot be read is instead of what its name says, where its first bytes tell."""
    with contextlib.suppress(OSError), path.open("rb") as stream:
        head = stream.read(_HEAD_BYTES)
        if path.suffix.lower() == ".npz" and head.startswith(b"PK"):
            return None
        for begin, what in _FOREIGN.items():
            if head.lstrip().lower().startswith(begin):
                return FileError(what)
    return None


def finite_rows(cloud: np.ndarray) -> np.ndarray:
    """The rows of a cloud (n, 3) whose coordinates are numbers; the cloud itself where all are.

    Organised clouds have a row for every pixel and NaN where the sensor saw nothing. Raises FileError above ``MOST_MISSING``.
    """
    whole = np.isfinite(cloud).all(axis=1)
    missing = len(cloud) - int(whole.sum())
    if missing == 0:
        return cloud
    if missing > MOST_MISSING * len(cloud):
        raise FileError(
            f"has NaN or infinite coordinates in {missing:,} of {len(cloud):,} rows, more than half"
        )
    return cloud[whole]


def missing_library(ending: str) -> str | None:
    """How to install what files of this ending need, or None where it is there."""
    if ending not in EXTRAS or find_spec(EXTRAS[ending][0]):
        return None
    return f"pip install 'foundry-bench[{EXTRAS[ending][1]}]' reads them"
