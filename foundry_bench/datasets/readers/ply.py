"""The vertices of a PLY file: the header by plyfile, the numbers of one block at once.

plyfile reads texts, and whatever is no file on the disk, cell by cell in Python, some ten times slower than pandas and NumPy;
it reads whole files only where the vertices, or elements before them, hold lists.

Source: Turk, *The PLY Polygon File Format*, 1994.
"""

from __future__ import annotations

import io
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import islice
from pathlib import Path
from typing import IO, Any, Literal

import numpy as np

from foundry_bench.datasets.one_file import FileError, shown
from foundry_bench.datasets.readers.bounds import HEADER_BYTES, must_be_small, must_end, must_fit
from foundry_bench.datasets.readers.records import axes, read_records
from foundry_bench.datasets.readers.rows import parse_announced

_BEGIN = re.compile(rb"ply[ \t]*[\r\n]")
_END = re.compile(rb"(?<=[\r\n])[ \t]*end_header[ \t]*(?:\r\n|\r|\n|\Z)")
_ROWS_FOLLOWED = 2**8
_NOT_ITS_OWN = "holds more or fewer elements than it announces: its header is not its own"
_CORNERS = ("vertex_index", "vertex_indices")
"""Lists that are never empty: where one seems to be, the faces begin elsewhere."""
_LINE_END = 2
"""Bytes behind the last element that nobody minds."""


@dataclass(frozen=True)
class _Header:
    """Lines of the header with every element empty and without comments, how many rows each has, and where the data begins."""

    lines: tuple[str, ...]
    counts: tuple[int, ...]
    start: int


def read_ply(path: Path) -> np.ndarray:
    """x, y and z (n, 3) of the element ``vertex``, in the type of the file; float64 where it is text."""
    return _read(path, ("x", "y", "z"))


def ply_columns(path: Path) -> list[str]:
    """The names of the vertices' properties that are one number each."""
    with path.open("rb") as stream:
        parsed = _described(_header(stream).lines)
    vertex = [element for element in parsed.elements if element.name == "vertex"]
    return [each.name for element in vertex[:1] for each in element.properties if not _is_list(each)]


def ply_column(path: Path, name: str) -> np.ndarray:
    """The property ``name`` (n,) of the element ``vertex``."""
    return _read(path, (name,))[:, 0]


def _read(path: Path, wanted: Sequence[str]) -> np.ndarray:
    """The properties ``wanted`` of the vertices, (n, wanted)."""
    with path.open("rb") as stream:
        header = _header(stream)
        size = os.fstat(stream.fileno()).st_size
        must_be_small(size, "cut it into tiles")
        parsed = _described(header.lines)
        names = [element.name for element in parsed]
        if "vertex" not in names:
            raise FileError("has no element 'vertex'")
        _check(parsed, header.counts, size - header.start)
        last = names.index("vertex")
        place = [each.name for each in parsed.elements[last].properties if not _is_list(each)]
        if not {"x", "y", "z", *wanted} <= set(place):
            lacking = "x, y and z" if {"x", "y", "z"} - set(place) else ", ".join(map(shown, wanted))
            raise FileError(f"has the properties {shown(', '.join(place[:12]))} and not {lacking}")
        stream.seek(header.start)
        if any(_has_list(element) for element in parsed.elements[: last + 1]):
            rows = _parsed(header.lines, header.counts[: last + 1], stream.read()).elements[last].data
            return axes(rows, wanted)
        if parsed.text:
            return _text(stream, header.counts, last, [place.index(name) for name in wanted], len(place))
        return _binary(stream, parsed, header.counts, last, size, wanted)


def _text(
    stream: IO[bytes], counts: tuple[int, ...], last: int, columns: Sequence[int], width: int
) -> np.ndarray:
    if counts[last] == 0:
        return np.empty((0, len(columns)))
    content = stream.read()
    alone = last == len(counts) - 1
    if not alone and content.count(b"\n") != sum(counts):
        held = sum(bool(line.strip()) for line in content.splitlines())
        if held != sum(counts):
            raise FileError(f"announces {sum(counts):,} rows of elements and holds {held:,}")
    rows = io.BytesIO(content)
    for _ in islice(rows, sum(counts[:last])):
        pass
    return parse_announced(rows, columns, width, counts[last], alone=alone)


def _binary(
    stream: IO[bytes], parsed: Any, counts: tuple[int, ...], last: int, size: int, wanted: Sequence[str]
) -> np.ndarray:
    kinds = [np.dtype(element.dtype(parsed.byte_order)) for element in parsed.elements[: last + 1]]
    stream.seek(sum(kind.itemsize * count for kind, count in zip(kinds[:-1], counts, strict=False)), 1)
    rows = read_records(stream, kinds[-1], counts[last])
    if last == len(counts) - 1:
        must_end(stream, counts[last], kinds[-1].itemsize)
    else:
        _must_follow(stream, parsed, counts, last, size)
    return axes(rows, wanted)


def _must_follow(stream: IO[bytes], parsed: Any, counts: tuple[int, ...], last: int, size: int) -> None:
    """Raise FileError where the elements behind the vertices do not end with the file: then the vertices do not end where
    the header says either. Lists of many lengths are followed for so many rows only that it takes no time."""
    left = size - stream.tell()
    order: Literal["little", "big"] = "little" if parsed.byte_order in ("<", "=") else "big"
    for element, count in list(zip(parsed.elements, counts, strict=True))[last + 1 :]:
        parts = [_part(each) for each in element.properties]
        if any(length.kind == "f" for length, _, _ in parts if length is not None):
            return
        first = _row_bytes(stream, parts, order) if count else 0
        if not _has_list(element) or first * count == left:
            left -= first * count
            stream.seek(size - left)
            continue
        left -= first
        for _ in range(min(count - 1, _ROWS_FOLLOWED)):
            left -= _row_bytes(stream, parts, order)
            if left < 0:
                raise FileError(_NOT_ITS_OWN)
        if count > _ROWS_FOLLOWED:
            return
    if left < 0 or (left > _LINE_END and any(stream.read(left))):
        raise FileError(_NOT_ITS_OWN)


def _part(each: Any) -> tuple[np.dtype[Any] | None, int, bool]:
    """The type of a list's length or None, the bytes of a number, and whether it names the corners of a face."""
    if not _is_list(each):
        return None, np.dtype(each.dtype()).itemsize, False
    length, item = map(np.dtype, each.list_dtype())
    return length, item.itemsize, each.name in _CORNERS


def _row_bytes(
    stream: IO[bytes],
    parts: Sequence[tuple[np.dtype[Any] | None, int, bool]],
    order: Literal["little", "big"],
) -> int:
    """Bytes of the row at which the stream stands, and then does no more. Raises FileError for a face without corners."""
    taken = 0
    for kind, wide, corners in parts:
        if kind is not None:
            length = int.from_bytes(stream.read(kind.itemsize), order, signed=kind.kind == "i")
            if length < corners:
                raise FileError(_NOT_ITS_OWN)
            taken += kind.itemsize
            wide *= length
        stream.seek(wide, 1)
        taken += wide
    return taken


def _header(stream: IO[bytes]) -> _Header:
    head = stream.read(HEADER_BYTES)
    if not _BEGIN.match(head):
        raise FileError("does not begin with 'ply'")
    end = _END.search(head)
    if end is None:
        raise FileError(f"has no 'end_header' among its first {HEADER_BYTES:,} bytes")
    lines: list[str] = []
    counts: list[int] = []
    for line in head[: end.start()].decode("ascii", "replace").splitlines():
        words = line.split()
        if words[:1] == ["element"]:
            if len(words) != 3 or not words[2].isascii() or not words[2].isdigit():
                raise FileError(f"has the line {shown(line[:80])!r} and no number of rows in it")
            counts.append(int(words[2][:30]))
            line = f"element {words[1]} 0"
        if words and words[0] not in ("comment", "obj_info"):
            lines.append(line.strip())
    return _Header(tuple(lines), tuple(counts), end.end())


@lru_cache(maxsize=16)
def _described(lines: tuple[str, ...]) -> Any:
    """The elements of a header, as plyfile has them; files of one folder mostly have the same."""
    return _parsed(lines, [0] * sum(line.startswith("element") for line in lines))


def _parsed(lines: Sequence[str], counts: Sequence[int], data: bytes = b"") -> Any:
    """What plyfile makes of a header, with as many elements as there are ``counts`` and so many rows of each, and of data."""
    from plyfile import PlyData

    used: list[str] = []
    number = 0
    for line in lines:
        if line.startswith("element"):
            if number == len(counts):
                break
            line = f"{line.removesuffix(' 0')} {counts[number]}"
            number += 1
        used.append(line)
    text = "\n".join([*used, "end_header", ""])
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


def _has_list(element: Any) -> bool:
    return any(_is_list(each) for each in element.properties)


def _is_list(each: Any) -> bool:
    return hasattr(each, "list_dtype")
