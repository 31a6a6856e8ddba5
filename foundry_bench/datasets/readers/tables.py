"""Points as columns of text, with or without a line that names them."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np

from foundry_bench.border import said
from foundry_bench.datasets.one_file import FileError, shown
from foundry_bench.datasets.readers.bounds import bounded_bytes
from foundry_bench.datasets.readers.columns import Columns, find_columns, one_unit
from foundry_bench.datasets.readers.rows import MISSING, parse_rows

_HEAD_LINES = 100
"""Lines within which a text file must have its first point."""
_HEAD_BYTES = 2**20
_COMMENTS = ("#", "//")
_COMMENT = re.compile(r"(?<!\S)(?:#|//)[^\r\n]*")
"""It begins a line or stands after a space; ``http://`` and ``part#7`` hold none."""
_COMMENT_BYTES = re.compile(_COMMENT.pattern.encode())
_COMMA_NUMBER = re.compile(r"[-+]?\d+(?P<comma>,\d+)?(?:[eE][-+]?\d+)?")
_ROWS_SEARCHED = 10**6
"""Rows that are looked at, one by one, for the one that is no point."""
_NAME_THEM = "name them in a first line, such as 'x y z intensity'"


@dataclass(frozen=True)
class Layout:
    """Where the points of a text begin and how they are written.

    Attributes:
        start: bytes before the first point.
        separator: what splits the columns; None for spaces.
        decimal: the decimal mark.
        columns: those of x, y and z.
        named: whether a line names them.
        names: the cells of that line, of all columns; empty where there is none.
        width: number of columns of the first point.
        declared: number of points that a line of its own announces, or None.
    """

    start: int
    separator: str | None
    decimal: str
    columns: Columns
    named: bool
    width: int
    declared: int | None
    names: tuple[str, ...] = ()


def read_table(path: Path) -> np.ndarray:
    """Points (n, 3) float64 of columns split by spaces, tabs, commas or semicolons; rows without numbers are NaN.

    Raises FileError where words stand before the first point and none of them name x, y and z, where there is no line of three
    numbers at the beginning, and where the number of points is not the one that the file declares.
    """
    content = bounded_bytes(path)
    layout = table_layout(content)
    rows = _bare_rows(content, layout)
    try:
        points = parse_rows(io.BytesIO(rows), layout.columns, layout.width, layout.separator, layout.decimal)
    except (ValueError, TypeError) as error:
        before = len(content[: layout.start].splitlines())
        raise FileError(_bad_row(rows, layout, before) or f"cannot be read ({said(error)})") from error
    _must_end_whole(rows, layout)
    _must_have_even_commas(rows, layout, len(points))
    if layout.declared not in (None, len(points)):
        raise FileError(
            f"declares {layout.declared:,} points and holds {len(points):,}: it is cut off or damaged"
        )
    if not layout.named and layout.width > 3 and _numbers_rows(points):
        raise FileError(
            f"has a first column that numbers the rows, so its columns cannot be told: {_NAME_THEM}"
        )
    return points


def _bare_rows(content: bytes, layout: Layout) -> bytes:
    """The rows of points without comments."""
    rows = content[layout.start :]
    if any(mark.encode() in rows for mark in _COMMENTS):
        rows = _COMMENT_BYTES.sub(b"", rows)
    return rows


def table_columns(path: Path) -> list[str]:
    """The names of the columns of a text; those of a text that names none are their numbers."""
    layout = table_layout(bounded_bytes(path))
    return list(layout.names) or [str(number) for number in range(layout.width)]


def table_column(path: Path, column: int) -> np.ndarray:
    """The numbers (n,) of one column, NaN where there is none; of each row that :func:`read_table` gives.

    Raises FileError where it holds anything else.
    """
    content = bounded_bytes(path)
    layout = table_layout(content)
    rows = io.BytesIO(_bare_rows(content, layout))
    try:
        return parse_rows(rows, [column], layout.width, layout.separator, layout.decimal)[:, 0]
    except (ValueError, TypeError) as error:
        raise FileError(f"holds something else than numbers in column {column} ({said(error)})") from error


def has_points(path: Path) -> bool:
    """Whether a text has, among its first lines, one of three numbers or names of columns; other texts are lists."""
    with path.open("rb") as stream:
        head = stream.read(_HEAD_BYTES)
    for raw in islice(head.splitlines(), _HEAD_LINES):
        line = raw.decode("utf-8", "replace")
        separator, decimal = _writing(line)
        cells = [cell.replace(decimal, ".") for cell in _split(line, separator)]
        if sum(_is_number(cell) for cell in cells) >= 3 or find_columns(cells):
            return True
    return False


def table_layout(content: bytes) -> Layout:
    """How the points of a text are written, see :func:`read_table`."""
    if content[:2] in (b"\xff\xfe", b"\xfe\xff"):
        raise FileError("is UTF-16: save it as UTF-8")
    start, declared = 0, None
    before: list[str] = []
    lines = content[:_HEAD_BYTES].splitlines(keepends=True)[: _HEAD_LINES + 1]
    texts = [_bare(line.decode("utf-8", "replace").lstrip("\ufeff").strip(" \r\n")) for line in lines]
    for number, text in enumerate(texts[:_HEAD_LINES]):
        separator, decimal = _writing(text)
        cells = _split(text, separator)
        if not text.startswith(_COMMENTS) and not _numbers_columns(texts[number : number + 2], separator):
            columns, names = _named_columns(before, separator, len(cells)) or (None, ())
            chosen = columns or (0, 1, 2)
            if _is_point(cells, chosen, separator, decimal, named=columns is not None):
                if columns is None:
                    _refuse_unknown(before, separator, len(cells))
                    _refuse_uneven(texts[number + 1 : number + 2], separator, len(cells))
                named = columns is not None
                return Layout(start, separator, decimal, chosen, named, len(cells), declared, names)
            if re.fullmatch("-[0-9]+", text):
                raise FileError(f"announces {shown(text[:30])} points: its first line is no count")
            if text.isascii() and text.isdigit():
                declared = int(text[:30])
                text = ""
        if text:
            before.append(text)
        start += len(lines[number])
    if any(not _is_comment(line) for line in before):
        _refuse_unknown(before, None, 0)
    raise FileError(f"has no line of three numbers among its first {_HEAD_LINES}")


def _is_comment(line: str) -> bool:
    return line.startswith(_COMMENTS)


def _is_point(
    cells: Sequence[str], columns: Columns, separator: str | None, decimal: str, *, named: bool
) -> bool:
    """Whether the chosen cells are numbers; one that is empty between separators is a number that is missing, all of them
    only under names."""
    if len(cells) <= max(columns):
        return False
    chosen = [cells[column].replace(decimal, ".") for column in columns]
    filled = [cell for cell in chosen if cell or separator is None]
    return bool(named or filled) and all(_is_number(cell) for cell in filled)


def _numbers_columns(texts: Sequence[str], separator: str | None) -> bool:
    """Whether a line holds 0, 1, 2 ... as the names that pandas gives to columns, and the next one does not count on."""
    names = _split(texts[0], separator)
    if names[0] == "":  # over the column of the rows' numbers
        names = names[1:]
    elif len(texts) < 2 or all(cell.isdigit() for cell in _split(texts[1], separator)):
        return False
    return len(names) >= 3 and names == [str(number) for number in range(len(names))]


def _named_columns(
    before: Sequence[str], separator: str | None, width: int
) -> tuple[Columns, tuple[str, ...]] | None:
    """The columns that the last line with names of x, y and z, and with as many cells as a point, gives them, and its cells."""
    for place, line in reversed(list(enumerate(before))):
        bare = line.lstrip("#/ ")
        numbered = _split(bare, separator)
        if _numbers_columns([bare, "."], separator) and len(numbered) == width:
            return ((1, 2, 3) if numbered[0] == "" else (0, 1, 2)), tuple(numbered)
        joined = re.sub(r"\s+(?=[\[(])", "", bare)  # "x [m] y [m]" has two names
        for mark in dict.fromkeys((separator, ",", ";", "\t", None)):
            cells = _split(bare if mark else joined, mark)
            if len(cells) == width + 1 and cells[0].endswith(":"):
                cells = cells[1:]  # "format: x y z"
            if len(cells) == width and (found := find_columns(cells)):
                for below in before[place + 1 :]:
                    one_unit(_split(below, mark), found)
                return found, tuple(cells)
    return None


def _refuse_unknown(before: Sequence[str], separator: str | None, width: int) -> None:
    """Raise FileError where a line before the points has words that must be names of columns, and no x, y and z among them."""
    for line in before:
        words = [cell for cell in _split(line.lstrip("#/ "), separator) if not _is_number(cell)]
        names = len(words) == width and line is before[-1]
        if words and (names or not _is_comment(line)):
            raise FileError(
                f"begins with {shown(line[:80])!r}, which does not say where x, y and z are: {_NAME_THEM}"
            )


def _refuse_uneven(after: Sequence[str], separator: str | None, width: int) -> None:
    """Raise FileError where the row after the first one has another number of cells: then the first is something else."""
    for text in after:
        cells = _split(text, separator)
        if len(cells) not in (width, 1) and all(map(_is_number, filter(None, cells))):
            raise FileError(f"has rows of {width} and of {len(cells)} cells: remove what is no point")


def _must_end_whole(rows: bytes, layout: Layout) -> None:
    """Raise FileError where the last row has neither an end nor all of its cells."""
    tail = rows[-_HEAD_BYTES:]
    if not tail or tail.endswith((b"\n", b"\r")):
        return
    cells = _split(tail.splitlines()[-1].decode("utf-8", "replace"), layout.separator)
    whole = len(cells) >= layout.width and all(cells[column] for column in layout.columns)
    if any(cells) and not whole:
        raise FileError(f"ends within a row, after {len(cells)} of {layout.width} cells: it is cut off")


def _bad_row(rows: bytes, layout: Layout, before: int) -> str | None:
    """What is wrong with the first of the rows that is no point, ``before`` lines of the file being above them."""
    for number, raw in enumerate(islice(io.BytesIO(rows), _ROWS_SEARCHED), before + 1):
        line = raw.decode("utf-8", "replace").strip(" \r\n")
        cells = ["nan" if cell in MISSING else cell for cell in _split(line, layout.separator)]
        if line and not _is_point(cells, layout.columns, layout.separator, layout.decimal, named=True):
            return f"has a line without numbers for x, y and z: {shown(line[:80])!r} (line {number:,})"
    return None


def _must_have_even_commas(rows: bytes, layout: Layout, count: int) -> None:
    """Raise FileError where some numbers between spaces have a comma and others have none: it may mark thousands."""
    if layout.decimal == "," and layout.separator is None:
        first = next(filter(None, rows[:_HEAD_BYTES].splitlines()))
        if rows.count(b",") != first.count(b",") * count:
            raise FileError("has numbers with and without a comma: write points as decimal marks")


def _writing(line: str) -> tuple[str | None, str]:
    """What splits the columns of a line, None for spaces, and its decimal mark."""
    if ";" in line:
        return ";", "," if "," in line else "."
    if "," in line:
        numbers = [_COMMA_NUMBER.fullmatch(cell) for cell in _split(line, None)]
        commas = sum(number is not None and number["comma"] is not None for number in numbers)
        return (None, ",") if commas >= 3 and all(numbers) else (",", ".")
    numbers_between_tabs = "\t" in line and all(map(_is_number, filter(None, line.split("\t"))))
    return ("\t" if numbers_between_tabs else None), "."


def _bare(line: str) -> str:
    """A line without the comment at its end; one that is a comment stays."""
    return line if _is_comment(line) else _COMMENT.sub("", line).rstrip(" ")


def _split(line: str, separator: str | None) -> list[str]:
    if separator is None:
        cells = re.split(r"[ \t]+", line.strip(" \t"))
    elif '"' in line:
        cells = next(csv.reader([line], delimiter=separator, skipinitialspace=True), [""])
    else:
        cells = line.split(separator)
    return [cell.strip(" \t\"'") for cell in cells] or [""]


def _numbers_rows(points: np.ndarray) -> bool:
    """Whether the first column is 0, 1, 2 ... or 1, 2, 3 ..., or holds different whole numbers beside fractions."""
    first = points[:, 0]
    if len(first) < 2:
        return False
    if any(np.array_equal(first, np.arange(len(first)) + start) for start in (0, 1)):
        return True
    first, *others = points[np.isfinite(points).all(axis=1)].T
    whole = bool((first == np.floor(first)).all() and (first >= 0).all() and (first != first[:1]).any())
    return whole and all((other != np.floor(other)).any() for other in others)


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return text.isascii() and "_" not in text
