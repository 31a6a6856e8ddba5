"""Records of exported folders that were timed on other machines, taken into a table of cells as further columns.

A record is whatever file somebody hands in: it is held to its shape and to sensible numbers, and decides nothing but
these columns.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypedDict, cast

import numpy as np
import pandas as pd

from foundry_bench.border import one_line
from foundry_bench.errors import UserError
from foundry_bench.report.frame import with_runtimes
from foundry_bench.runtimes.bench import FORMAT, LABEL
from foundry_bench.runtimes.columns import NAME, NOISY, SHOWN
from foundry_bench.selectors import selector_text
from foundry_bench.storage import read_json
from foundry_bench.sweep.shapes import shape
from foundry_bench.variants import BASELINE

LARGEST = 2**20
"""Bytes of a record."""
FIX = "make it again with foundry-bench bench"
MOST = 1e9
"""No time in milliseconds and no ratio is larger."""


class Student(TypedDict):
    """Which row of a table it is, beside its teacher."""

    method: str
    params: dict[str, Any]
    variant: str


class Teacher(TypedDict):
    """``sha256`` of its weights; null where nobody recorded it."""

    sha256: str | None


class Reference(TypedDict):
    """What the ratio is over."""

    student: Student | None
    teacher: Teacher


class Runtime(TypedDict):
    """``name`` of the runtime."""

    name: str


class Figures(TypedDict):
    """Those of :class:`~foundry_bench.runtimes.figures.LatencyFigures` that tables keep; ratios are null without a
    reference."""

    latency_ms: float
    latency_ratio: float | None
    latency_ratio_iqr: float | None
    latency_total_ratio: float | None
    latency_cpu_ratio: float | None
    noisy: bool


class Bench(TypedDict):
    """A record of ``foundry-bench bench``, as far as it is read."""

    format: str
    student: Student
    teacher: Teacher
    int8: bool
    reference: Reference | None
    label: str
    runtime: Runtime
    figures: Figures


def read_record(file: Path) -> Bench:
    """One record. Raises UserError, in one line, for a file that is none."""
    try:
        content = read_json(file) if file.stat().st_size <= LARGEST else None
    except OSError as error:
        raise UserError(f"{file} cannot be read ({error.strerror})") from error
    except ValueError as error:
        raise UserError(f"{file} is damaged ({one_line(str(error))[:80]}); {FIX}") from error
    if not isinstance(content, dict) or content.get("format") != FORMAT or not shape(Bench)(content):
        raise UserError(f"{file} is no record of foundry-bench bench that this version reads; {FIX}")
    record = cast(Bench, content)
    figures = cast(dict[str, Any], record["figures"])
    numbers = [figures[key] for key in SHOWN if key != NOISY]
    if not all(value is None or 0 <= value < MOST for value in numbers) or figures["latency_ms"] == 0:
        raise UserError(f"{file} holds times that cannot be; {FIX}")
    if not LABEL.fullmatch(record["label"]) or not NAME.fullmatch(_column(record)):
        raise UserError(f"{file} calls its machine by more than letters, digits, dots and dashes; {FIX}")
    if record["figures"]["latency_ratio"] is not None and not _beside_its_teacher(record):
        raise UserError(f"{file} was timed beside something else than its teacher; give that as --reference")
    return record


def _column(record: Bench) -> str:
    """What the columns of a record end in, such as ``onnxruntime-int8@jetson``."""
    return f"{record['runtime']['name']}{'-int8' if record['int8'] else ''}@{record['label']}"


def _beside_its_teacher(record: Bench) -> bool:
    reference = record["reference"]
    if reference is None or reference["teacher"]["sha256"] != record["teacher"]["sha256"]:
        return False
    return reference["student"] is None or reference["student"]["method"] == BASELINE


def merge(frame: pd.DataFrame, files: Sequence[Path]) -> tuple[pd.DataFrame, list[str]]:
    """A table of cells with the columns of records, and a line for each record that belongs to no row of it.

    Several records of a row, as of several starts, are averaged. Raises UserError for a file that is no record.
    """
    found: dict[tuple[int, str], list[dict[str, Any]]] = {}
    unmatched, names = [], []
    profiled = frame[(frame["kind"] == "profile") & (frame["status"] == "ok")]
    for file in files:
        record = read_record(file)
        rows = profiled.index[_same(profiled, record)]
        names.append(_column(record))
        if not len(rows):
            unmatched.append(f"{file} belongs to no row: {_described(record)} is not among these results")
        for row in rows:
            found.setdefault((row, names[-1]), []).append(cast(dict[str, Any], record["figures"]))
    merged = with_runtimes(frame, names)
    for (row, name), records in found.items():
        for key in SHOWN:
            values = [record[key] for record in records if record[key] is not None]
            if values:
                merged.loc[row, f"{key}_{name}"] = any(values) if key == NOISY else float(np.mean(values))
    return merged, unmatched


def _same(profiled: pd.DataFrame, record: Bench) -> pd.Series:
    """Which cells measured the student of a record."""
    about = {
        "method": record["student"]["method"],
        "variant": record["student"]["variant"],
        "parameters": json.dumps(record["student"]["params"], sort_keys=True),
        "teacher_sha256": record["teacher"]["sha256"],
    }
    same = pd.Series(True, index=profiled.index)
    for column, value in about.items():
        same &= profiled[column] == value
    return same


def _described(record: Bench) -> str:
    student, sha256 = record["student"], record["teacher"]["sha256"]
    text = selector_text(student["method"], student["params"], student["variant"])
    return one_line(f"{text} of teacher {sha256[:12] if sha256 else 'unknown'}")[:200]
