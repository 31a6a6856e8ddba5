"""``.npy`` and ``.npz`` files; nothing is unpickled, and nothing is unpacked that the header does not account for.

Source: NumPy's documentation of ``numpy.lib.format``.
"""

from __future__ import annotations

import math
import zipfile
from pathlib import Path
from typing import IO, Any

import numpy as np

from foundry_bench.datasets.one_file import FileError, shown
from foundry_bench.datasets.readers.bounds import must_be_small

_ENCRYPTED = 1
"""Bit of a zip entry's flags."""


def read_npy(path: Path) -> np.ndarray:
    """The array of a file, memory-mapped. Raises FileError for anything but numbers and for a size that is not the file's."""
    with path.open("rb") as stream:
        if stream.read(2) == b"PK":
            raise FileError("is an archive of arrays: call it .npz")
        stream.seek(0)
        shape, order, dtype = _header(stream)
        start = stream.tell()
        _match(shape, dtype, path.stat().st_size - start)
        if 0 in shape:
            return np.empty(shape, dtype)
        return np.memmap(stream, dtype, "r", start, shape, order)


def read_npz(path: Path) -> np.ndarray:
    """The array ``points``, or the only one, of an archive; the others are not unpacked."""
    names = npz_arrays(path)
    if "points" not in names and len(names) != 1:
        raise FileError(f"has the arrays {shown(', '.join(names[:8]))} and none called 'points'")
    return npz_array(path, "points" if "points" in names else names[0])


def npz_arrays(path: Path) -> list[str]:
    """The names of the arrays of an archive."""
    with zipfile.ZipFile(path) as archive:
        return [name.removesuffix(".npy") for name in archive.namelist()]


def npz_array(path: Path, name: str) -> np.ndarray:
    """The array ``name`` of an archive, which has it."""
    with zipfile.ZipFile(path) as archive:
        names = [name.removesuffix(".npy") for name in archive.namelist()]
        entry = archive.infolist()[names.index(name)]
        if entry.flag_bits & _ENCRYPTED:
            raise FileError("is encrypted: write it without a password")
        if entry.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise FileError("is packed as NumPy packs nothing: write it with numpy.savez_compressed")
        must_be_small(entry.file_size, "write its points as .npy, which is not unpacked")
        with archive.open(entry) as stream:
            shape, order, dtype = _header(stream)
            _match(shape, dtype, entry.file_size - stream.tell())
            return np.frombuffer(stream.read(), dtype).reshape(shape, order=order)


def _header(stream: IO[bytes]) -> tuple[tuple[int, ...], Any, np.dtype[Any]]:
    """Shape, order ("C" or "F") and type of numbers; the stream then stands at the first of them."""
    version = np.lib.format.read_magic(stream)
    if version == (1, 0):
        shape, fortran, dtype = np.lib.format.read_array_header_1_0(stream)
    elif version == (2, 0):
        shape, fortran, dtype = np.lib.format.read_array_header_2_0(stream)
    else:
        raise FileError("is no array of numbers")  # version 3 is for names of columns only
    if dtype.hasobject or dtype.names:
        raise FileError("is no array of numbers")
    if dtype.kind not in "fiu":
        raise FileError(f"holds {dtype} and not numbers")
    return shape, "F" if fortran else "C", dtype


def _match(shape: tuple[int, ...], dtype: np.dtype[Any], held: int) -> None:
    announced = math.prod(shape) * dtype.itemsize
    if announced != held or min(shape, default=0) < 0:
        raise FileError(f"announces an array {shape} of {announced:,} bytes and holds {held:,}")
