"""Numbers of rows of text, by pandas: as exact as Python's own ``float`` and several times faster than ``numpy.loadtxt``.

A call of pandas costs as much as some hundred rows of NumPy, which therefore reads short texts without oddities.
"""

from __future__ import annotations

import contextlib
import io
import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np

from foundry_bench.datasets.one_file import FileError

MISSING = (
    *("nan", "NaN", "NAN", "-nan", "-NaN", "nan(ind)", "-nan(ind)", "1.#QNAN", "-1.#IND", "1.#IND"),
    *("NA", "N/A", "n/a", "<NA>", "null", "NULL", "None", "-"),
)
"""How programs write a number that is not there."""
_SHORT = 2**14
"""Bytes of a text that NumPy reads as fast as pandas."""
_LONGEST_ROW = 2**16
"""Bytes of a row whose cells are counted."""


def parse_rows(
    stream: io.BytesIO,
    columns: Sequence[int],
    width: int,
    separator: str | None = None,
    decimal: str = ".",
    count: int | None = None,
) -> np.ndarray:
    """``columns`` of the rows of ``width`` cells, or of the first ``count``, that follow in a stream: (n, columns) float64.

    Numbers that are missing are NaN. Raises FileError where cells of a separated row are missing, and whatever pandas raises
    for cells that are no numbers and for more than ``width`` cells where all of them are read.
    """
    start = stream.tell()
    used = None if width == len(columns) else sorted(columns)
    rows = None
    if decimal == "." and stream.getbuffer().nbytes - start < _SHORT:
        with contextlib.suppress(ValueError):  # pandas reads it, or says why not
            rows = _parse_short(stream, used, separator, count)
    if rows is None or rows.shape[1] != len(columns):
        stream.seek(start)
        rows = _parse_long(stream, used, width, separator, decimal, count)
    if list(columns) == sorted(columns):
        return rows
    return rows[:, np.argsort(np.argsort(columns))]  # they come as they stand in the file


def parse_announced(
    stream: io.BytesIO, columns: Sequence[int], width: int, count: int, *, alone: bool
) -> np.ndarray:
    """``columns`` of ``count`` rows of ``width`` cells between spaces, as a header announces them: (count, columns) float64.

    Raises FileError for fewer rows, for more of them where they are ``alone``, and for a first or last row of another width.
    """
    start = stream.tell()
    first = stream.read(_LONGEST_ROW).lstrip().splitlines()[:1]
    stream.seek(start)
    rows = parse_rows(stream, columns, width, count=None if alone else count)
    if len(rows) < count:
        raise FileError(f"ends after {len(rows):,} of {count:,} points")
    if len(rows) > count:
        raise FileError(f"announces {count:,} points and holds {len(rows):,}")
    last = stream.getvalue()[-_LONGEST_ROW:].rstrip().splitlines()[-1:] if alone else []
    for line in (*first, *last):
        if len(line.split()) != width and len(line) < _LONGEST_ROW // 2:
            raise FileError(f"announces {width} numbers a point and has a row of {len(line.split())}")
    return rows


def _parse_short(
    stream: io.BytesIO, used: list[int] | None, separator: str | None, count: int | None
) -> np.ndarray:
    """Raises ValueError for anything but numbers in every row."""
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)  # for no rows at all
        try:
            return np.loadtxt(
                stream, delimiter=separator, usecols=used, max_rows=count, ndmin=2, comments=None
            )
        except UserWarning as error:
            raise ValueError(str(error)) from error


def _parse_long(
    stream: io.BytesIO,
    used: list[int] | None,
    width: int,
    separator: str | None,
    decimal: str,
    count: int | None,
) -> np.ndarray:
    start = stream.tell()
    try:
        return _parse(stream, used, separator, decimal, count, {"na_filter": False})
    except ValueError:
        # Telling missing numbers takes time, so it is done where there are some.
        stream.seek(start)
        missing = [*MISSING, *([""] if separator else [])]
        options = {"na_filter": True, "keep_default_na": False, "na_values": missing}
        rows = _parse(stream, used, separator, decimal, count, options)
    if separator and np.isnan(rows).any():
        stream.seek(start)
        _whole_rows(stream, separator, width)
    return rows


def _parse(
    stream: io.BytesIO,
    used: list[int] | None,
    separator: str | None,
    decimal: str,
    count: int | None,
    options: dict[str, Any],
) -> np.ndarray:
    import pandas

    if int(pandas.__version__.split(".")[0]) < 3:
        options = {**options, "float_precision": "round_trip"}  # later versions are exact without it
    frame = pandas.read_csv(
        stream,
        sep=separator or r"\s+",
        header=None,
        usecols=used,
        nrows=count,
        engine="c",
        dtype=np.float64,
        decimal=decimal,
        skipinitialspace=True,
        encoding_errors="replace",
        **options,
    )
    return frame.to_numpy()


def _whole_rows(stream: io.BytesIO, separator: str, width: int) -> None:
    """Raise FileError for a row that ends early, which pandas fills up as if its numbers were missing."""
    mark = separator.encode()
    for number, line in enumerate(stream, 1):
        if line.strip() and b'"' not in line and line.count(mark) < width - 1:
            raise FileError(f"has a row of {line.count(mark) + 1} instead of {width} cells (row {number})")
