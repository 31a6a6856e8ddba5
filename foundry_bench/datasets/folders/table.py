"""``labels.csv``: a row for each cloud, with its class and, where they are known, its side of a split and its series."""

from __future__ import annotations

import csv
import difflib
import io
import posixpath
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from foundry_bench.datasets.one_file import FileError, reading, shown
from foundry_bench.datasets.readers.bounds import bounded_bytes
from foundry_bench.errors import UserError
from foundry_bench.parameters.query import exists

NAME = "labels.csv"
PATH, CLASS, SPLIT, SERIES = "path", "class", "split", "series"
KNOWN = (PATH, CLASS, SPLIT, SERIES)
_EXAMPLE = "begin it with the line path,class,split,series (the last two may be left out)"
_SEPARATORS = ",;\t"
_OFFERED = 5000
"""Clouds that are compared with a path that is not there, which is no longer than ``_COMPARED`` characters."""
_COMPARED = 200


@dataclass(frozen=True)
class Row:
    """What a row says of its cloud: class, side and series, empty texts where it says nothing."""

    name: str
    side: str
    series: str


def names_columns(path: Path) -> bool:
    """Whether the first line of a text names the column ``path``: a table of labels, and no cloud."""
    if not path.is_file():
        return False
    with path.open("rb") as stream:
        head = stream.readline(2**16)
    cells, _ = _header(head.decode("utf-8-sig", "replace"))
    return PATH in cells


def read_table_of(root: Path, table: str, files: Sequence[str], sides: Mapping[str, str]) -> dict[str, Row]:
    """The row of each cloud that has one, by its path below ``root``; ``sides`` are names of sides, in small letters.

    Raises UserError for a table that is not UTF-8 or lacks the columns path and class, and for rows whose cloud does not
    exist, that stand twice or name an unknown side.
    """
    with reading(root / table, "save it as UTF-8"):
        text = _text(root / table)
    rows: dict[str, Row] = {}
    lines: dict[str, int] = {}
    absent: list[tuple[int, str]] = []
    known = set(files)
    for line, cells in _rows(root / table, text):
        path = _normal(cells[PATH], known)
        if path is None:
            absent.append((line, cells[PATH]))
            continue
        if path in rows:
            raise _refused(root, table, line, f"is of {shown(path)}, as line {lines[path]} is: keep one")
        side = cells[SPLIT].lower()
        if side and side not in sides:
            raise _refused(
                root,
                table,
                line,
                f"has the split {shown(cells[SPLIT][:40])!r}: write train, val or test, or nothing",
            )
        rows[path] = Row(cells[CLASS], sides.get(side, ""), cells[SERIES])
        lines[path] = line
    if absent:
        raise _absent(root, table, absent, files)
    return rows


def _text(path: Path) -> str:
    if not path.is_file():
        raise FileError("is no file")
    content = bounded_bytes(path)
    if content[:2] in (b"\xff\xfe", b"\xfe\xff"):
        raise FileError("is UTF-16")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise FileError(f"is not UTF-8 (line {line})") from error


def _rows(path: Path, text: str) -> list[tuple[int, dict[str, str]]]:
    """The number of its line and the four cells of each row that is not empty."""
    try:
        names, separator = _header(text.split("\n", 1)[0])
    except csv.Error as error:
        raise UserError(f"line 1 of {shown(path)} cannot be read ({error}): mend it") from error
    for wanted in (PATH, CLASS):
        if wanted not in names:
            near = difflib.get_close_matches(wanted, names, n=1) or [""]
            rename = f"rename its column {shown(near[0])!r}, or " if near[0] else ""
            raise UserError(f"{shown(path)} has no column {wanted!r}: {rename}{_EXAMPLE}")
    for name in KNOWN:
        if names.count(name) > 1:
            raise UserError(f"{shown(path)} has two columns {name!r}: keep one")
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=True)
    found: list[tuple[int, dict[str, str]]] = []
    try:
        next(reader)
        for cells in reader:
            if not any(cell.strip() for cell in cells):
                continue
            if len(cells) != len(names):
                raise UserError(
                    f"line {reader.line_num} of {shown(path)} has {len(cells)} cells, expected {len(names)}: put quotes "
                    'around names with a comma, as in "a,b.npy"'
                )
            row = dict(zip(names, (cell.strip() for cell in cells), strict=True))
            found.append((reader.line_num, {name: row.get(name, "") for name in KNOWN}))
    except csv.Error as error:
        raise UserError(
            f"line {reader.line_num} of {shown(path)} cannot be read ({error}): mend it"
        ) from error
    if not found:
        raise UserError(f"{shown(path)} has no rows: write one for each cloud, or remove it")
    return found


def _header(line: str) -> tuple[list[str], str]:
    """The names of columns in small letters, and what separates them."""
    line = line.strip("\r\n")
    separator = max(_SEPARATORS, key=line.count)
    cells = next(csv.reader([line], delimiter=separator), [])
    return [cell.strip().lower() for cell in cells], separator


def _normal(path: str, known: set[str]) -> str | None:
    """The path as clouds are named here, or None where there is no such cloud."""
    for text in (path, path.replace("\\", "/")):
        if text in known:
            return text
        normal = posixpath.normpath(text)
        if normal in known:
            return normal
    return None


def _absent(root: Path, table: str, absent: list[tuple[int, str]], files: Sequence[str]) -> UserError:
    """The error for rows without a cloud: the first of them, what it may have meant, and how many there are."""
    line, path = absent[0]
    folded = {file.casefold(): file for file in files}
    stems = {posixpath.splitext(file)[0]: file for file in files}
    near = folded.get(path.casefold()) or stems.get(path)
    if near is None and len(path) <= _COMPARED:
        near = next(iter(difflib.get_close_matches(path, list(files)[:_OFFERED], n=1, cutoff=0.8)), None)
    if near is not None:
        what = f"is of {shown(path[:200])!r}, which is not there; did you mean {shown(near)!r}?"
    elif path and not Path(path).is_absolute() and exists(root / path):
        what = f"is of {shown(path[:200])!r}, which is read as no cloud: remove the row, or save the file in another format"
    else:
        what = (
            f"is of {shown(path[:200])!r}, which is not below {shown(root)}: add the file or remove the row"
        )
    more = f" ({len(absent):,} rows have no cloud)" if len(absent) > 1 else ""
    return _refused(root, table, line, what + more)


def _refused(root: Path, table: str, line: int, what: str) -> UserError:
    return UserError(f"line {line} of {shown(root / table)} {what}")
