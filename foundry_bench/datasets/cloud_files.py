"""Point-cloud files as scanners and tools write them: arrays, PLY, PCD, LAS, columns of text, and meshes.

This is the border of one file: what its reader raises, whatever it is, becomes one line.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import numpy as np

from foundry_bench.datasets.one_file import FileError, one_file
from foundry_bench.datasets.readers.arrays import read_npy, read_npz
from foundry_bench.datasets.readers.las import read_las
from foundry_bench.datasets.readers.meshes import read_mesh
from foundry_bench.datasets.readers.pcd import read_pcd
from foundry_bench.datasets.readers.ply import read_ply
from foundry_bench.datasets.readers.tables import read_table

MOST_MISSING = 0.5
"""Share of rows without coordinates above which a cloud is refused. Organised clouds of depth cameras lack up to 41 %."""

TEXTS = (".xyz", ".txt", ".csv", ".pts")
MESHES = (".off", ".obj", ".stl", ".glb")
EXTRAS = {**dict.fromkeys((".las", ".laz"), ("laspy", "las")), **dict.fromkeys(MESHES, ("trimesh", "meshes"))}
"""Ending to the library that it needs and the extra of foundry-bench that has it."""

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
    with one_file():
        cloud = READERS[path.suffix.lower()](path)
    if cloud.ndim != 2 or cloud.shape[1] < 3:
        raise FileError(f"holds an array {cloud.shape}, expected (points, 3 or more)")
    return cloud[:, :3]


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
