"""Where official data that is slow to parse is kept in a form that can be memory-mapped."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterable
from pathlib import Path
from tempfile import mkdtemp

import numpy as np
from filelock import FileLock

from foundry_bench.errors import UserError
from foundry_bench.storage import CACHE_VARIABLE


def cache_root() -> Path:
    """The folder that ``FOUNDRY_BENCH_CACHE`` names, or ``~/.cache/foundry-bench/datasets``."""
    named = os.environ.get(CACHE_VARIABLE)
    return Path(named) if named else Path.home() / ".cache" / "foundry-bench" / "datasets"


def kept(key: str, make: Callable[[Path], None]) -> Path:
    """The cache's folder ``key``, filled by ``make(folder)`` the first time.

    It appears whole or not at all: it is made under a temporary name and renamed. One process makes it, others wait.

    Raises:
        UserError: the cache cannot be written.
    """
    root = cache_root()
    folder = root / key
    if folder.is_dir():
        return folder
    try:
        root.mkdir(parents=True, exist_ok=True)
        with FileLock(root / f"{key}.lock"):
            if not folder.is_dir():
                _fill(folder, make)
    except OSError as error:
        raise UserError(
            f"the cache {root} cannot be written ({error.strerror or error}); "
            f"name a folder with enough space in the environment variable {CACHE_VARIABLE}"
        ) from error
    return folder


def open_kept(path: Path) -> np.ndarray:
    """A ``.npy`` file of the cache, memory-mapped, copied where it is written to: as writable as an array in memory."""
    array: np.ndarray = np.load(path, mmap_mode="c")
    return array


def write_blocks(
    path: Path, shape: tuple[int, ...], dtype: type[np.generic], blocks: Iterable[np.ndarray]
) -> None:
    """A ``.npy`` file of ``shape`` from its rows, some at a time; ``OSError`` when the disk is full.

    Writing through a memory map instead would end the process with a bus error there.
    """
    header = {"descr": np.lib.format.dtype_to_descr(np.dtype(dtype)), "fortran_order": False, "shape": shape}
    with path.open("wb") as stream:
        np.lib.format.write_array_header_1_0(stream, header)
        for block in blocks:
            stream.write(np.ascontiguousarray(block, dtype).tobytes())


def _fill(folder: Path, make: Callable[[Path], None]) -> None:
    made = Path(mkdtemp(prefix=f".{folder.name[:12]}-", dir=folder.parent))
    try:
        make(made)
        made.chmod(0o755)
        made.rename(folder)
    finally:
        shutil.rmtree(made, ignore_errors=True)
