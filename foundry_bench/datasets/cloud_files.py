"""Point-cloud files as scanners and tools write them: ``.npy``, ``.npz``, ``.ply``, ``.pcd`` and columns of text.

Sources: Turk, *The PLY Polygon File Format*, 1994; the PCD format 0.7 of the Point Cloud Library's documentation.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable
from itertools import islice
from pathlib import Path
from typing import IO
from zipfile import BadZipFile

import numpy as np

_HEADER_LINES = 100
"""Lines within which a text file must have its first point."""

_PLY_TYPES = {
    **{"char": "i1", "uchar": "u1", "short": "i2", "ushort": "u2", "int": "i4", "uint": "u4"},
    **{"float": "f4", "double": "f8", "int8": "i1", "uint8": "u1", "int16": "i2", "uint16": "u2"},
    **{"int32": "i4", "uint32": "u4", "float32": "f4", "float64": "f8"},
}
_PLY_ORDERS = {"binary_little_endian": "<", "binary_big_endian": ">", "ascii": "="}


def read_cloud(path: Path) -> np.ndarray:
    """The points (n, 3) of one file, in its own units and type of numbers; further columns are dropped.

    A ``.npy`` file is memory-mapped. Raises ValueError, to be read after the file's name, for a file that cannot be read.
    """
    try:
        cloud = READERS[path.suffix.lower()](path)
    except (OSError, EOFError, BadZipFile, zlib.error) as error:
        raise ValueError(f"cannot be read ({' '.join(str(error).split())})") from error
    if not isinstance(cloud, np.ndarray):
        raise ValueError("is an archive of arrays: call it .npz")
    if cloud.ndim != 2 or cloud.shape[1] < 3:
        raise ValueError(f"holds an array {cloud.shape}, expected (points, 3 or more)")
    if cloud.dtype.kind not in "fiu":
        raise ValueError(f"holds {cloud.dtype} and not numbers")
    return cloud[:, :3]


def _npy(path: Path) -> np.ndarray:
    try:
        return np.load(path, mmap_mode="r", allow_pickle=False)
    except ValueError as error:
        raise ValueError(f"is no array of numbers ({error})") from error


def _npz(path: Path) -> np.ndarray:
    with np.load(path, allow_pickle=False) as arrays:
        names = list(arrays)
        if "points" not in names and len(names) != 1:
            raise ValueError(f"has the arrays {', '.join(names)} and none called 'points'")
        return arrays["points" if "points" in names else names[0]]


def _text(path: Path) -> np.ndarray:
    """Columns split by spaces, commas or semicolons; named x, y and z in a header, or else the first three."""
    skipped, separator, columns = _text_layout(path)
    return np.loadtxt(
        path, delimiter=separator, skiprows=skipped, usecols=columns, comments=("#", "//"), ndmin=2
    )


def _text_layout(path: Path) -> tuple[int, str | None, tuple[int, ...]]:
    """Lines before the first point, what splits the columns, and the columns of x, y and z."""
    columns: tuple[int, ...] = (0, 1, 2)
    with path.open(encoding="utf-8", errors="replace") as stream:
        for number, line in enumerate(islice(stream, _HEADER_LINES)):
            separator = next((mark for mark in ",;" if mark in line), None)
            cells = [cell.strip().strip("\"'").lower() for cell in line.lstrip("#/ ").split(separator)]
            if len(cells) > max(columns) and all(_is_number(cells[column]) for column in columns):
                return number, separator, columns
            if {"x", "y", "z"} <= set(cells):
                columns = tuple(cells.index(axis) for axis in "xyz")
    raise ValueError(f"has no line of three numbers among its first {_HEADER_LINES}")


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _ply(path: Path) -> np.ndarray:
    with path.open("rb") as stream:
        style, elements = _ply_header(stream)
        for name, count, fields in elements:
            if name == "vertex":
                return _records(stream, fields, count, style == "ascii", _PLY_ORDERS[style])
            if style == "ascii":
                for _ in range(count):
                    stream.readline()
            else:
                stream.seek(count * sum(int(kind[1]) for _, kind in fields), 1)
    raise ValueError("has no element 'vertex'")


def _ply_header(stream: IO[bytes]) -> tuple[str, list[tuple[str, int, list[tuple[str, str]]]]]:
    """The style, and name, number and (field, type) pairs of each element up to the vertices."""
    style = ""
    elements: list[tuple[str, int, list[tuple[str, str]]]] = []
    if stream.readline().strip() != b"ply":
        raise ValueError("does not begin with 'ply'")
    for raw in stream:
        words = raw.decode("ascii", "replace").split()
        match words:
            case ["end_header"]:
                if style not in _PLY_ORDERS:
                    raise ValueError(f"has the unknown format {style!r}")
                return style, elements
            case ["format", style, *_]:
                pass
            case ["element", name, count]:
                elements.append((name, int(count), []))
            case ["property", "list", *_] if any(name == "vertex" for name, _, _ in elements[:-1]):
                pass  # faces after the vertices are not read
            case ["property", kind, field] if elements and kind in _PLY_TYPES:
                elements[-1][2].append((field, _PLY_TYPES[kind]))
            case ["property", *_]:
                raise ValueError(
                    f"has the property {' '.join(words[1:])!r}, which cannot be read, before or in its vertices"
                )
    raise ValueError("has no 'end_header'")


def _pcd(path: Path) -> np.ndarray:
    header: dict[str, list[str]] = {}
    with path.open("rb") as stream:
        for raw in stream:
            key, *values = raw.decode("ascii", "replace").split() or ["#"]
            header[key] = values
            if key == "DATA":
                break
        try:
            (style,), names = header["DATA"], header["FIELDS"]
            kinds = [t.lower() + s for t, s in zip(header["TYPE"], header["SIZE"], strict=True)]
            repeats = [int(n) for n in header.get("COUNT", ["1"] * len(names))]
            count = int(header["POINTS"][0])
        except (KeyError, IndexError, ValueError) as error:
            raise ValueError(f"has no whole PCD header ({error})") from error
        if style not in ("ascii", "binary"):
            raise ValueError(f"is {style}: write it again as binary (pcl_convert_pcd_ascii_binary IN OUT 1)")
        fields = [
            (name if repeat == 1 else f"{name} {i}", kind)
            for name, kind, repeat in zip(names, kinds, repeats, strict=True)
            for i in range(repeat)
        ]
        return _records(stream, fields, count, style == "ascii", "<")


def _records(
    stream: IO[bytes], fields: list[tuple[str, str]], count: int, text: bool, order: str
) -> np.ndarray:
    """x, y and z (count, 3) of records that begin where the stream stands."""
    names = [name for name, _ in fields]
    if not {"x", "y", "z"} <= set(names):
        raise ValueError(f"has the fields {', '.join(names)} and not x, y and z")
    places = [names.index(axis) for axis in "xyz"]
    if count == 0:
        return np.empty((0, 3))
    if text:
        lines = (line.decode("ascii", "replace") for line in islice(stream, count))
        points = np.loadtxt(lines, usecols=places, ndmin=2)
    else:
        # Fields of padding share the name "_", so numbers serve as names.
        kind = np.dtype([(str(i), order + code) for i, (_, code) in enumerate(fields)])
        records = np.fromfile(stream, kind, count)
        points = np.stack([records[str(place)] for place in places], axis=1)
    if len(points) != count:
        raise ValueError(f"ends after {len(points)} of {count} points")
    return points


READERS: dict[str, Callable[[Path], np.ndarray]] = {
    ".npy": _npy,
    ".npz": _npz,
    ".ply": _ply,
    ".pcd": _pcd,
    ".xyz": _text,
    ".txt": _text,
    ".csv": _text,
    ".pts": _text,
}
"""Ending of a file name, in lower case, to its reader."""
