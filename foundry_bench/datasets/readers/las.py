"""LAS and LAZ files of laser scanners, by laspy; needs the extra ``las``.

Source: ASPRS, *LAS Specification 1.4*, R15, for the places in the header.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Any

import numpy as np

from foundry_bench.datasets.one_file import FileError
from foundry_bench.datasets.readers.bounds import must_be_small, must_fit

_HEADER = 375
"""Bytes of the longest header."""
_SHORTEST = 227
_RECORD = 54
"""Bytes of the header of a variable length record, and 60 of an extended one."""
_EXTENDED = 60
_PACKED = 0xC0
"""Bits of the point format that mark compressed points."""
_CHUNK = 2**20
"""Points unpacked at a time."""
_TILES = "cut it into tiles"


def read_las(path: Path) -> np.ndarray:
    """Points (n, 3) float64 in the units of the file."""
    return _read(path, ("x", "y", "z"))


def las_columns(path: Path) -> list[str]:
    """The names of what a file holds of each point, such as ``classification``."""
    with _opened(path) as reader:
        return list(reader.header.point_format.dimension_names)


def las_column(path: Path, name: str) -> np.ndarray:
    """What a file holds as ``name`` of each point, (n,) float64."""
    return _read(path, (name,))[:, 0]


def _read(path: Path, wanted: Sequence[str]) -> np.ndarray:
    with _opened(path) as reader:
        parts = [
            np.stack([np.asarray(part[name], np.float64) for name in wanted], axis=1)
            for part in reader.chunk_iterator(_CHUNK)
        ]
    return np.concatenate([np.empty((0, len(wanted))), *parts])


def _opened(path: Path) -> Any:
    _check(path)
    try:
        import laspy
    except ImportError as error:
        raise FileError("needs laspy: pip install 'foundry-bench[las]'") from error
    # The parallel backend makes room for as many bytes as the table says that a chunk has, and ends the program without it.
    return laspy.open(path, laz_backend=laspy.LazBackend.Lazrs)


def _check(path: Path) -> None:
    """Hold the counts of the header against the file."""
    size = path.stat().st_size
    with path.open("rb") as stream:
        head = stream.read(_HEADER)
    if head[:4] != b"LASF" or len(head) < _SHORTEST:
        raise FileError("does not begin with a LAS header")
    (header_size,) = struct.unpack_from("<H", head, 94)
    start, records = struct.unpack_from("<II", head, 96)
    kind, width, points = struct.unpack_from("<BHI", head, 104)
    must_fit(records * _RECORD, max(start - header_size, 0), "records")
    if tuple(head[24:26]) >= (1, 4) and len(head) == _HEADER and header_size >= _HEADER:
        place, extended = struct.unpack_from("<QI", head, 235)
        must_fit(extended * _EXTENDED, max(size - place, 0), "extended records")
        points = max(points, *struct.unpack_from("<Q", head, 247))
    numbers = struct.unpack_from("<6d", head, 131)
    if not np.isfinite(numbers).all() or 0 in numbers[:3]:
        raise FileError("has a scale that is no number")
    must_be_small(points * 24, _TILES)  # x, y and z as float64
    if kind & _PACKED:
        _check_chunks(path, start, size)
    else:
        must_fit(points * width, size - start, "points")
        must_be_small(points * width, _TILES)


def _check_chunks(path: Path, start: int, size: int) -> None:
    """Hold the number of chunks of compressed points, which begin at ``start``, against the ``size`` of the file: the library
    makes room for as many as are announced, and ends the program where there is not enough.

    The points begin with the place of the table of chunks, or with -1 where that stands at the end of the file; the table with
    its version and how many there are. A chunk takes a byte or more.
    """
    with path.open("rb") as stream:
        place = _number(stream, start, size, "<q")
        if place == -1:
            place = _number(stream, size - 8, size, "<q")
        must_fit(_number(stream, place + 4, size, "<I"), size, "chunks")


def _number(stream: IO[bytes], place: int, size: int, form: str) -> int:
    """The number in ``form`` that stands at ``place``."""
    length = struct.calcsize(form)
    if not 0 <= place <= size - length:
        raise FileError("has its table of chunks outside of the file: it is cut off or damaged")
    stream.seek(place)
    return int(struct.unpack(form, stream.read(length))[0])
