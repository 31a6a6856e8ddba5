"""What is paired with what: the rows of two results folders, and their cells."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from foundry_bench.report.frame import MISSING, load_results
from foundry_bench.report.leaderboard import KEYS, Row, rows_of
from foundry_bench.report.tables import selector
from foundry_bench.sweep.record import Record
from foundry_bench.sweep.store import ORPHAN, Store

Key = tuple[str, ...]
"""The values by which two rows are told apart."""
STATUSES = ("cell", "a", "b", "message")


@dataclass(frozen=True)
class Side:
    """One folder: its cells, their records by id, its rows, the evaluate records of each row and place, and the
    interquartile range of each row's latency ratio."""

    folder: Path
    frame: pd.DataFrame
    records: dict[str, Record]
    rows: list[Row]
    evaluated: dict[tuple[Key, str], list[Record]]
    spreads: dict[Key, float]

    @property
    def about(self) -> str:
        times = sorted(filter(None, (r["environment"].get("start") for r in self.records.values())))
        when = f", {_minute(times[0])} to {_minute(times[-1])} UTC" if times else ""
        return f"{self.folder}: {len(self.rows)} rows, {len(self.records)} of {len(self.frame)} cells{when}"

    def evaluations(self, row: Row, place: str) -> list[Record]:
        """The evaluate records of a row at a place, one per seed."""
        return self.evaluated[_key(row.keys), place]

    def spread(self, row: Row) -> float:
        """The interquartile range of a row's latency ratio; nan where it was not measured."""
        return self.spreads.get(_key(row.keys), float("nan"))


@dataclass(frozen=True)
class Pair:
    """A row of A and the row of B that belongs to it."""

    a: Row
    b: Row

    @property
    def name(self) -> str:
        """The selector of the row, as B writes it."""
        return selector(self.b.keys)


def load_side(folder: Path) -> Side:
    """Read a results folder. Raises UserError where there are no results."""
    frame = load_results(folder)
    records = dict(_records(folder, frame))
    frame.loc[~frame["cell_id"].isin(records), "status"] = MISSING  # replaced or removed a moment ago
    cells = frame[frame["status"] == "ok"].to_dict("records")
    return Side(
        folder=folder,
        frame=frame,
        records=records,
        rows=rows_of(frame),
        evaluated=_evaluated(cells, records),
        spreads=_spreads(cells),
    )


def _records(folder: Path, frame: pd.DataFrame) -> Iterator[tuple[str, Record]]:
    """Id and record of every cell that has one."""
    store = Store(folder)
    for kind, cell in zip(frame["kind"], frame["cell_id"], strict=True):
        record = store.read(kind, cell)
        if record is not None:
            yield cell, record


def _evaluated(
    cells: list[dict[Any, Any]], records: dict[str, Record]
) -> dict[tuple[Key, str], list[Record]]:
    found = defaultdict(list)
    for cell in cells:
        if cell["kind"] == "evaluate":
            found[_key(cell), f"{cell['task']}:{cell['dataset']}"].append(records[cell["cell_id"]])
    return dict(found)


def _spreads(cells: list[dict[Any, Any]]) -> dict[Key, float]:
    """The interquartile range of each row's latency ratio, averaged over seeds."""
    found = defaultdict(list)
    for cell in cells:
        if cell["kind"] == "profile" and pd.notna(cell["latency_ratio_iqr"]):
            found[_key(cell)].append(cell["latency_ratio_iqr"])
    return {key: float(np.mean(values)) for key, values in found.items()}


def _key(about: dict[Any, Any]) -> Key:
    return tuple(str(about[name]) for name in KEYS)


def pairs_of(a: Side, b: Side) -> list[Pair]:
    """Rows of the same method, variant and parameters; of the same teacher too where a folder has several.

    A parameter that only one side knows was added between two versions. Where what is shown of the parameters agrees, it
    is at its default, and the rows belong together.
    """
    several = any(side.frame["teacher_sha256"].nunique() > 1 for side in (a, b))
    names = ("method", "variant", *(("teacher", "teacher_sha256") if several else ()))

    def keyed(rows: Iterable[Row], by: str) -> dict[Key, Row]:
        return {tuple(row.keys[name] for name in (*names, by)): row for row in rows}

    first, second = keyed(a.rows, "parameters"), keyed(b.rows, "parameters")
    pairs = [Pair(a=row, b=second[key]) for key, row in first.items() if key in second]
    shown = keyed((row for key, row in second.items() if key not in first), "params")
    for key, row in keyed((row for key, row in first.items() if key not in second), "params").items():
        if key in shown and agree(*(json.loads(r.keys["parameters"]) for r in (row, shown[key]))):
            pairs.append(Pair(a=row, b=shown[key]))
    return pairs


def agree(a: dict[str, Any] | None, b: dict[str, Any] | None) -> bool:
    """Whether two sets of fields have the same values in the fields that both have."""
    a, b = a or {}, b or {}
    return all(a[name] == b[name] for name in a.keys() & b.keys())


def unpaired(side: Side, pairs: list[Pair]) -> list[str]:
    """The selectors of the rows of one side that are in no pair."""
    common = {id(row) for pair in pairs for row in (pair.a, pair.b)}
    return sorted(selector(row.keys) for row in side.rows if id(row) not in common)


def statuses_of(a: Side, b: Side) -> pd.DataFrame:
    """Cells that both folders ran and that ended in different ways, without those whose student had failed already."""
    first, second = _ends(a), _ends(b)
    found = [
        _ending(name, first[name], second[name])
        for name in sorted(first.keys() & second.keys())
        if first[name]["status"] != second[name]["status"]
    ]
    return pd.DataFrame(found, columns=list(STATUSES))


def _ends(side: Side) -> dict[str, dict[Any, Any]]:
    """The cells that ran, by what they are called."""
    cells = side.frame[(side.frame["stage"] != ORPHAN) & (side.frame["status"] != MISSING)]
    return {_cell(cell): cell for cell in cells.to_dict("records")}


def _ending(name: str, a: dict[Any, Any], b: dict[Any, Any]) -> dict[str, str]:
    """How one cell ended on both sides, and with what messages."""
    said = "; ".join(cell["message"] for cell in (a, b) if isinstance(cell["message"], str))
    return {"cell": name, "a": a["status"], "b": b["status"], "message": said}


def _cell(cell: dict[Any, Any]) -> str:
    place = f" on {cell['task']}:{cell['dataset']}" if cell["kind"] == "evaluate" else ""
    seed = f" seed {int(cell['seed'])}" if pd.notna(cell["seed"]) and cell["seed"] else ""
    return f"{cell['kind']} {selector(cell)}{seed}{place}"


def _minute(time: str) -> str:
    return time[:16].replace("T", " ")
