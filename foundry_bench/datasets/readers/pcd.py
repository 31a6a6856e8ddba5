"""PCD files: the header is checked here, compressed ones are read by pypcd4, texts by pandas, others by NumPy.

pypcd4 takes one version of the header, so it is given the header in that form; it takes texts with single spaces only, and is
several times slower than NumPy on points that are not compressed.

Source: the PCD format 0.7 of the Point Cloud Library's documentation.
"""

from __future__ import annotations

import io
import os
import re
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import numpy as np

from foundry_bench.datasets.one_file import FileError, shown
from foundry_bench.datasets.readers.bounds import HEADER_BYTES, must_be_small, must_end, must_fit
from foundry_bench.datasets.readers.records import axes, read_records
from foundry_bench.datasets.readers.rows import parse_announced

_END = re.compile(rb"(?:\A|(?<=[\r\n]))[ \t]*DATA\b[^\r\n]*(?:\r\n|\r|\n|\Z)")
_STYLES = ("ascii", "binary", "binary_compressed")


@dataclass(frozen=True)
class _Header:
    """What a PCD header says; ``start`` is the byte at which the points begin."""

    fields: tuple[str, ...]
    sizes: tuple[int, ...]
    types: tuple[str, ...]
    repeats: tuple[int, ...]
    points: int
    style: str
    start: int

    @property
    def width(self) -> int:
        """Bytes of a point."""
        return sum(size * repeat for size, repeat in zip(self.sizes, self.repeats, strict=True))

    def row(self) -> np.dtype:
        """The type of a binary point, with numbers for names: fields of padding share a name."""
        kinds = zip(self.types, self.sizes, self.repeats, strict=True)
        return np.dtype(
            [
                (str(i), f"<{kind.lower()}{size}", (n,) if n > 1 else ())
                for i, (kind, size, n) in enumerate(kinds)
            ]
        )

    def columns(self, names: Sequence[str]) -> list[int]:
        """Those of the fields ``names`` where every number has a column."""
        return [sum(self.repeats[: self.fields.index(name)]) for name in names]


def read_pcd(path: Path) -> np.ndarray:
    """x, y and z (n, 3), in the type of the file; float64 where it is text."""
    return _read(path, ("x", "y", "z"))


def pcd_columns(path: Path) -> list[str]:
    """The names of the fields that are one number each."""
    with path.open("rb") as stream:
        header = _header(stream)
    alone = zip(header.fields, header.repeats, strict=True)
    return [name for name, repeat in alone if repeat == 1 and header.fields.count(name) == 1]


def pcd_column(path: Path, name: str) -> np.ndarray:
    """The field ``name`` (n,) of the points."""
    return _read(path, (name,))[:, 0]


def _read(path: Path, wanted: Sequence[str]) -> np.ndarray:
    """The fields ``wanted`` of the points, (n, wanted)."""
    with path.open("rb") as stream:
        header = _header(stream)
        if header.points == 0:
            return np.empty((0, len(wanted)))
        held = os.fstat(stream.fileno()).st_size - header.start
        stream.seek(header.start)
        must_be_small(held, "cut it into tiles")
        if header.style == "ascii":
            return _text(stream, header, held, wanted)
        if header.style == "binary":
            must_fit(header.points * header.width, held, "points")
            rows = read_records(stream, header.row(), header.points)
            must_end(stream, header.points, header.width)
            return axes(rows, [str(header.fields.index(name)) for name in wanted])
        return _unpacked(_checked_packed(stream.read(), header), header, wanted)


def _text(stream: IO[bytes], header: _Header, held: int, wanted: Sequence[str]) -> np.ndarray:
    must_fit(2 * header.points * sum(header.repeats) - 1, held, "points")
    content = io.BytesIO(stream.read())
    return parse_announced(content, header.columns(wanted), sum(header.repeats), header.points, alone=True)


def _checked_packed(content: bytes, header: _Header) -> bytes:
    """Compressed points whose two sizes agree with the file and the header."""
    packed, unpacked = struct.unpack("<II", content[:8])
    must_fit(packed, len(content) - 8, "compressed points")
    if unpacked != header.points * header.width:
        raise FileError(
            f"unpacks to {unpacked:,} bytes, {header.points:,} points take {header.points * header.width:,}"
        )
    must_be_small(unpacked, "cut it into tiles")
    return content


def _unpacked(content: bytes, header: _Header, wanted: Sequence[str]) -> np.ndarray:
    from pypcd4 import PointCloud

    names = [name if name in "xyz" else f"field{i}" for i, name in enumerate(header.fields)]
    lines = (
        ("VERSION", ["0.7"]),
        ("FIELDS", names),
        ("SIZE", header.sizes),
        ("TYPE", header.types),
        ("COUNT", header.repeats),
        ("WIDTH", [header.points]),
        ("HEIGHT", [1]),
        ("POINTS", [header.points]),
        ("DATA", [header.style]),
    )
    text = "".join(f"{key} {' '.join(map(str, values))}\n" for key, values in lines)
    rows = PointCloud.from_fileobj(io.BufferedReader(io.BytesIO(text.encode() + content))).pc_data
    return axes(rows, [names[header.fields.index(name)] for name in wanted])


def _header(stream: IO[bytes]) -> _Header:
    head = stream.read(HEADER_BYTES)
    end = _END.search(head)
    if end is None:
        raise FileError(f"has no line DATA among its first {HEADER_BYTES:,} bytes")
    entries: dict[str, list[str]] = {}
    for line in head[: end.end()].decode("ascii", "replace").splitlines():
        key, *values = line.split() or ["#"]
        entries[key] = values
    try:
        fields = tuple(entries.get("FIELDS") or entries["COLUMNS"])  # until version 0.6
        count = entries.get("POINTS")
        header = _Header(
            fields=fields,
            sizes=tuple(int(size[:9]) for size in entries["SIZE"]),
            types=tuple(entries["TYPE"]),
            repeats=tuple(int(number[:30]) for number in entries.get("COUNT", ["1"] * len(fields))),
            points=int(count[0][:30]) if count else int(entries["WIDTH"][0]) * int(entries["HEIGHT"][0]),
            style=entries["DATA"][0],
            start=end.end(),
        )
    except (KeyError, IndexError, ValueError) as error:
        raise FileError(f"has no whole PCD header ({shown(error)})") from error
    _check(header)
    return header


def _check(header: _Header) -> None:
    lengths = {len(each) for each in (header.fields, header.sizes, header.types, header.repeats)}
    if len(lengths) != 1 or min(header.repeats, default=0) < 1 or header.points < 0:
        raise FileError("has no whole PCD header (FIELDS, SIZE, TYPE and COUNT do not fit together)")
    if not {"x", "y", "z"} <= set(header.fields):
        raise FileError(f"has the fields {shown(', '.join(header.fields[:12]))} and not x, y and z")
    if any(header.fields.count(axis) > 1 or header.repeats[header.fields.index(axis)] > 1 for axis in "xyz"):
        raise FileError("has more than one number for x, y or z")
    if header.style not in _STYLES:
        raise FileError(f"has its points as {shown(header.style[:40])!r}, not as {', '.join(_STYLES)}")
