"""What ``report.html`` shows of one leaderboard: its columns, rows, tests and problems, as data that JSON can hold.

Nothing is computed again in the page: shares of the teacher, tests and ranks stand here.
"""

from __future__ import annotations

import base64
import math
from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pandas as pd

from foundry_bench.border import plain
from foundry_bench.descriptions.known import families
from foundry_bench.report.frame import COST, MISSING
from foundry_bench.report.leaderboard import KEYS, Board, Row
from foundry_bench.report.shares import lower_places, shares_of, worst_retained
from foundry_bench.report.tables import rank_texts, selector

Key = tuple[str, ...]
"""The values by which rows are told apart."""
LONGEST = 500
"""Problems of one table that are listed; a line says how many more there are."""
UNSHOWN = ("method", "variant", "params", "teacher", "rank")
"""Columns of the leaderboard that stand in a row's own fields."""
CHECK = "gmacs_flop_counter"
"""The second counter, which only checks the first."""


@dataclass(frozen=True)
class Column:
    """``form``: percent, number, whole, text or flag. ``better``: 1 where more is, -1 where less is, 0 where neither. ``axis``:
    x or y where it can be drawn. ``half``: its interval's half width is known. ``shown``: without being asked for."""

    key: str
    label: str
    about: str = ""
    form: str = "number"
    better: int = 0
    axis: str = ""
    half: bool = False
    shown: bool = False


def _cost(key: str, label: str, about: str, shown: bool = False) -> Column:
    return Column(key, label, about, better=-1, axis="x", shown=shown)


KNOWN = {
    column.key: column
    for column in (
        Column("mean_score", "mean", "Mean over all tasks, in percent", "percent", 1, "y", shown=True),
        Column(
            "retained", "retained", "Share of the teacher's mean, in percent", "percent", 1, "y", shown=True
        ),
        Column(
            "worst_retained",
            "worst task",
            "Least share of the teacher's score on any task",
            "percent",
            1,
            "y",
        ),
        Column("r2", "R2", "Share of the variance of the teacher's tokens", "number", 1, "y", shown=True),
        Column("r2_linear", "R2 linear", "R2 after a linear map", "number", 1, "y"),
        Column("r2_within", "R2 within", "R2 of differences from a cloud's mean", "number", 1, "y"),
        _cost("gmacs", "GMACs", "Multiply-adds of one cloud / 1e9", shown=True),
        _cost("gmacs_ratio", "GMACs of teacher", "Multiply-adds as a share of the teacher's", shown=True),
        _cost("gmacs_p95", "GMACs p95", "95th percentile of multiply-adds over clouds / 1e9"),
        _cost("gflops", "GFLOPs", "2 x GMACs"),
        _cost("latency_ms", "latency ms", "Median time of one cloud, eager, batch 1, without grouping"),
        _cost("latency_ratio", "latency ratio", "Student / teacher, eager, timed in pairs", shown=True),
        _cost("params_m", "params M", "Parameters / 1e6", shown=True),
        _cost("nonzero_m", "non-zero M", "Parameters that are not zero / 1e6"),
        _cost("disk_mb", "MB on disk", "Bytes of the weights / 1e6"),
        _cost(
            "peak_mem_mb",
            "peak MB",
            "Memory that the student takes at the peak, weights included / 1e6 bytes",
        ),
        _cost("train_s", "train s", "Seconds of training"),
        Column("seeds", "starts", "Starts of each task", "whole"),
        Column("tasks_done", "tasks done", "", "whole"),
        Column("tasks_total", "tasks", "", "whole"),
        Column("provisional", "provisional", "One start, and no row of its family has several", "flag"),
        Column("pareto", "front", "No row is as cheap in GMACs and as good on the mean", "flag"),
    )
}


def table_data(name: str, about: str, frame: pd.DataFrame, board: Board) -> dict[str, Any]:
    """One table of the page. ``frame``: the cells that ``board`` was made of."""
    table = board.table.assign(worst_retained=worst_retained(board), **_measured(frame, board))
    lower = {c for row in board.rows for place, c in row.metrics.items() if place in lower_places(frame)}
    columns = [column for column in _columns(table, lower) if table[column.key].notna().any()]
    values = {column.key: [_plain(value) for value in table[column.key]] for column in columns}
    halves = {c.key: [rounded(_plain(v)) for v in table[f"{c.key}_ci95"]] for c in columns if c.half}
    ids, ranks, shares, places = (
        _ids(board.rows),
        rank_texts(board.table),
        shares_of(board),
        _places(board.rows),
    )
    half = [column.key for column in columns if column.half]
    known = families({row.keys["method"] for row in board.rows})
    rows = [
        {
            "id": ids[number],
            **{key: plain(row.keys[key]) for key in ("method", "variant", "params", "teacher")},
            "family": known[row.keys["method"]],
            "rank": ranks[number],
            "untested": int(row.start is None),
            "values": [values[column.key][number] for column in columns],
            "halves": [halves[key][number] for key in half],
            "shares": [rounded(shares[number].get(place["key"]), 5) for place in places],
        }
        for number, row in enumerate(board.rows)
    ]
    return {
        "name": plain(name),
        "about": plain(about.strip()),
        "columns": [asdict(column) for column in columns],
        "places": places,
        "rows": rows,
        "separable": base64.b64encode(np.packbits(board.separable).tobytes()).decode(),
        "problems": problems(frame),
    }


def key_of(about: Mapping[Any, Any]) -> Key:
    """By what the row of a cell, or a row's own keys, is found."""
    return tuple(str(about[name]) for name in KEYS)


def rounded(value: float | None, digits: int = 4) -> float | None:
    """A number that is only looked at, with so many digits; null where there is none or it is not finite."""
    return float(f"{value:.{digits}g}") if value is not None and math.isfinite(value) else None


def _measured(frame: pd.DataFrame, board: Board) -> dict[str, list[float]]:
    """Costs that only the profile cells hold, averaged over starts, one list for the rows of ``board``."""
    profiled = frame[frame["kind"] == "profile"]
    names = [n for n in COST if n != CHECK and n not in board.table.columns and profiled[n].notna().any()]
    if not names:
        return {}
    keys = ["\0".join(key_of(cell)) for cell in profiled.to_dict("records")]
    means = profiled[names].astype(float).assign(key=keys).groupby("key").mean()
    means = means.reindex(["\0".join(key_of(row.keys)) for row in board.rows])
    return {name: means[name].tolist() for name in names}


def _columns(table: pd.DataFrame, lower: Collection[str]) -> Iterator[Column]:
    """Scores first, of ``lower`` less is better, then what is known by name, then whatever else the leaderboard holds."""
    halves = {name.removesuffix("_ci95") for name in table.columns if name.endswith("_ci95")}
    scores = [name for name in table.columns if f"{name}_unit" in table.columns]
    for name in scores:
        place, _, metric = name.rpartition(":")
        label, unit = place.replace(":", " "), " or ".join(sorted(set(table[f"{name}_unit"].dropna())))
        about = f"{metric}, in percent; 95 % interval over {unit}"
        yield Column(name, plain(label), plain(about), "percent", -1 if name in lower else 1, "y", True, True)
    rest = [n for n in table.columns if not n.endswith(("_ci95", "_unit")) and n not in (*scores, *UNSHOWN)]
    for name in sorted(rest, key=lambda name: list(KNOWN).index(name) if name in KNOWN else len(KNOWN)):
        column = KNOWN.get(name) or _guessed(name, table[name])
        yield Column(**{**asdict(column), "half": name in halves})


def _guessed(name: str, values: pd.Series) -> Column:
    """A column that another part of the program has added."""
    label = plain(name.replace("_", " ").replace("gmacs", "GMACs"))
    if pd.api.types.is_bool_dtype(values):
        return Column(name, label, form="flag", shown=bool(values.any()))
    if not pd.api.types.is_numeric_dtype(values):
        return Column(name, label, form="text")
    drawn = name.startswith("latency") and not name.endswith("_iqr")
    return Column(name, label, better=-1 if drawn else 0, axis="x" if drawn else "")


def _places(rows: list[Row]) -> list[dict[str, Any]]:
    """The tasks on data sets, with the columns of their scores."""
    columns = {place: column for row in rows for place, column in row.metrics.items()}
    return [
        {"key": place, "label": plain(place.replace(":", " ")), "column": columns[place]}
        for place in sorted(columns)
    ]


def _ids(rows: list[Row]) -> list[str]:
    """A text for each row by which an address names it: its selector, with the teacher where there are several."""
    several = len({(row.keys["teacher"], row.keys["teacher_sha256"]) for row in rows}) > 1
    teacher = [f"@{r.keys['teacher']}-{r.keys['teacher_sha256'][:6]}" if several else "" for r in rows]
    ids = [plain(f"{selector(r.keys)}{t}") for r, t in zip(rows, teacher, strict=True)]
    seen: Counter[str] = Counter()
    for number, text in enumerate(ids):
        seen[text] += 1
        if seen[text] > 1:
            ids[number] = f"{text}#{seen[text]}"
    return ids


def problems(frame: pd.DataFrame) -> dict[str, Any]:
    """Cells that failed or were skipped, with their reasons; how many of each row have no record yet."""
    told = frame[~frame["status"].isin(["ok", MISSING])].to_dict("records")
    waiting = Counter(selector(cell) for cell in frame[frame["status"] == MISSING].to_dict("records"))
    lines = [
        {
            "status": cell["status"],
            "row": plain(selector(cell)),
            "cell": plain(f"{cell['kind']} on {cell['task']}:{cell['dataset']}")
            if cell["kind"] == "evaluate"
            else cell["kind"],
            "reason": _reason(cell),
        }
        for cell in told
    ]
    lines += [
        {
            "status": MISSING,
            "row": plain(row),
            "cell": f"{count} cell{'s' if count > 1 else ''}",
            "reason": "no record yet",
        }
        for row, count in waiting.items()
    ]
    return {"lines": lines[:LONGEST], "more": max(len(lines) - LONGEST, 0)}


def _reason(cell: Mapping[Any, Any]) -> str:
    error = f"{cell['error_type']}: " if isinstance(cell["error_type"], str) else ""
    stage = f" ({cell['stage']})" if isinstance(cell["stage"], str) else ""
    message = cell["message"] if isinstance(cell["message"], str) else ""
    return plain(f"{error}{message}{stage}")


def _plain(value: Any) -> Any:
    """A value of a table as JSON has it, null where there is none or it is not finite."""
    if pd.isna(value):
        return None
    if isinstance(value, bool | np.bool_):
        return bool(value)
    if isinstance(value, str):
        return plain(value)
    number = value.item() if isinstance(value, np.generic) else value
    return number if isinstance(number, int) or math.isfinite(number) else None
