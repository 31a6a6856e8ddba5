"""The vertices of a PLY file: the header by plyfile, the numbers of one block at once.

plyfile reads texts, and whatever is no file on the disk, cell by cell in Python, some ten times slower than pandas and NumPy;
it reads whole files only where the vertices, or elements before them, hold lists.

Source: Turk, *The PLY Polygon File Format*, 1994.
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import IO, Any

import numpy as np

from foundry_bench.datasets.one_file import FileError, shown
from foundry_bench.datasets.readers.bounds import HEADER_BYTES, must_be_small, must_fit
from foundry_bench.datasets.readers.rows import parse_rows

_LONG_HEADER = f"has no 'end_header' among its first {HEADER_BYTES:,} bytes"


@dataclass(frozen=True)
class _Header:
    """Lines of the header without comments, the number of rows of each element, and the byte at which the data begins."""

    lines: tuple[str, ...]
    counts: tuple[int, ...]
    start: int


def read_ply(path: Path) -> np.ndarray:
    """x, y and z (n, 3) of the element ``vertex``, in the type of the file; float64 where it is text."""
    with path.open("rb") as stream:
        header = _header(stream)
        size = path.stat().st_size
        must_be_small(size, "cut it into tiles")
        parsed = _parsed(header, [0] * len(header.counts))
        names = [element.name for element in parsed]
        if "vertex" not in names:
            raise FileError("has no element 'vertex'")
        _check(parsed, header.counts, size - header.start)
        last = names.index("vertex")
        place = [name for name, _ in _scalars(parsed.elements[last])]
        if not {"x", "y", "z"} <= set(place):
            raise FileError(f"has the properties {shown(', '.join(place[:12]))} and not x, y and z")
        stream.seek(header.start)
        if any(_has_list(element) for element in parsed.elements[: last + 1]):
            rows = _parsed(header, header.counts[: last + 1], stream.read()).elements[last].data
            return np.stack([rows[axis] for axis in "xyz"], axis=1)
        if parsed.text:
            return _text(stream, header.counts, last, place)
        return _binary(stream, parsed, header.counts, last)


def _text(stream: IO[bytes], counts: tuple[int, ...], last: int, place: list[str]) -> np.ndarray:
    content = io.BytesIO(stream.read())
    for _ in islice(content, sum(counts[:last])):
        pass
    alone = last == len(counts) - 1
    columns = [place.index(axis) for axis in "xyz"]
    if counts[last] == 0:
        return np.empty((0, 3))
    points = parse_rows(content, columns, count=None if alone else counts[last])
    if len(points) < counts[last]:
        raise FileError(f"ends after {len(points):,} of {counts[last]:,} points")
    if len(points) > counts[last]:
        raise FileError(f"announces {counts[last]:,} points and holds {len(points):,}")
    return points


def _binary(stream: IO[bytes], parsed: Any, counts: tuple[int, ...], last: int) -> np.ndarray:
    kinds = [np.dtype(element.dtype(parsed.byte_order)) for element in parsed.elements[: last + 1]]
    stream.seek(sum(kind.itemsize * count for kind, count in zip(kinds[:-1], counts, strict=False)), 1)
    rows = np.fromfile(stream, kinds[-1], counts[last])
    return np.stack([rows[axis] for axis in "xyz"], axis=1)


def _header(stream: IO[bytes]) -> _Header:
    head = stream.read(HEADER_BYTES)
    lines: list[str] = []
    counts: list[int] = []
    start = 0
    for raw in head.splitlines(keepends=True):
        start += len(raw)
        line = raw.decode("ascii", "replace").strip()
        words = line.split()
        if not lines and line != "ply":
            raise FileError("does not begin with 'ply'")
        if words and words[0] not in ("comment", "obj_info"):
            lines.append(line)
        if words[:1] == ["element"]:
            if len(words) != 3 or not words[2].isascii() or not words[2].isdigit():
                raise FileError(f"has the line {shown(line[:80])!r} and no number of rows in it")
            counts.append(int(words[2][:30]))
        if line == "end_header":
            return _Header(tuple(lines), tuple(counts), start)
    raise FileError(_LONG_HEADER)


def _parsed(header: _Header, counts: Any, data: bytes = b"") -> Any:
    """What plyfile makes of the header, with as many elements as there are ``counts`` and so many rows of each, and of data."""
    from plyfile import PlyData

    lines: list[str] = []
    number = 0
    for line in header.lines[:-1]:
        if line.startswith("element"):
            if number == len(counts):
                break
            line = " ".join([*line.split()[:2], str(counts[number])])
            number += 1
        lines.append(line)
    text = "\n".join([*lines, "end_header", ""])
    return PlyData.read(io.BytesIO(text.encode("ascii", "replace") + data), mmap=False)


def _check(parsed: Any, counts: tuple[int, ...], held: int) -> None:
    """Hold the sizes of all elements, lists taken for empty, against the bytes after the header."""
    announced = 0
    for element, count in zip(parsed.elements, counts, strict=True):
        if parsed.text:
            smallest = 2 * len(element.properties) or 1
        else:
            smallest = sum(_smallest(each) for each in element.properties)
        if count and not smallest:
            raise FileError(f"has the element {shown(element.name[:80])!r} without properties")
        announced += count * smallest
    must_fit(announced - (1 if parsed.text else 0), held, "elements")


def _smallest(each: Any) -> int:
    """The fewest bytes that a property takes in a binary row."""
    kind = each.list_dtype()[0] if _is_list(each) else each.dtype()
    return np.dtype(kind).itemsize


def _scalars(element: Any) -> list[tuple[str, Any]]:
    return [(each.name, each) for each in element.properties if not _is_list(each)]


def _has_list(element: Any) -> bool:
    return any(_is_list(each) for each in element.properties)


def _is_list(each: Any) -> bool:
    return hasattr(each, "list_dtype")
