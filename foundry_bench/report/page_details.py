"""What ``report.html`` tells of one row: how it was made, what it takes, how its outcomes are spread, and where its records
are."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from foundry_bench.border import plain
from foundry_bench.errors import UserError
from foundry_bench.report.leaderboard import Board, Row, cells_by_row
from foundry_bench.report.page_tables import Key, key_of
from foundry_bench.report.provenance import VOLATILE
from foundry_bench.report.tables import selector
from foundry_bench.sweep.config import SweepConfig
from foundry_bench.sweep.record import Record
from foundry_bench.sweep.store import Store

BINS = 12
"""Of a histogram of outcomes."""
PARTS = ("tokenizer", "encoder", "decoder")
ASKED = ("distill_on", "data_root", "device", "seeds")
"""Keys of a sweep, beside teacher and budget, that a row's own command repeats where they are not at their defaults."""
Cells = list[dict[str, Any]]


class Details:
    """Collects the details of rows. ``environments`` are the distinct ones in which their cells ran."""

    def __init__(self, folder: Path, frame: pd.DataFrame, board: Board) -> None:
        self._store = Store(folder)
        self._sweep = _sweep(self._store)
        cells: Cells = frame.to_dict("records")  # type: ignore[assignment]
        self._cells: dict[Key, Cells] = dict(cells_by_row(cells))
        self._training = {c["cell_id"]: _params(c) for c in cells if c["kind"] == "student"}
        self._environments: dict[str, int] = {}
        self.edges = _edges(board.rows)

    @property
    def environments(self) -> list[Any]:
        return [json.loads(text) for text in self._environments]

    def of(self, row: Row) -> dict[str, Any]:
        """Everything about one row that no table holds."""
        cells = self._cells.get(key_of(row.keys), [])
        students = [cell for cell in cells if cell["kind"] == "student"]
        read = [(cell, self._store.read("student", cell["cell_id"])) for cell in students]
        records = [(cell, record) for cell, record in read if record is not None]
        return {
            "parameters": _params({"parameters": row.keys["parameters"]}),
            **self._inference(cells, students),
            "curves": [_curve(cell, record) for cell, record in records],
            "split": _split(cells),
            "histograms": {place: self._histogram(place, row) for place in row.outcomes},
            "records": [_link(cell) for cell in cells if cell["status"] != "missing"],
            "made": [self._made(record) for _, record in records[:1]],
            "command": self._command(row, cells),
        }

    def _inference(self, cells: Cells, students: Cells) -> dict[str, Any]:
        """The parameters that need no new training, and a name for the student that serves all their values."""
        trained = [self._training.get(cell["cell_id"]) for cell in students]
        whole = next((_params(cell) for cell in cells if cell["kind"] != "student"), None)
        if not trained or trained[0] is None or whole is None:
            return {"student": "", "inference": {}}
        free = {name: value for name, value in whole.items() if name not in trained[0]}
        return {"student": students[0]["cell_id"] if free else "", "inference": free}

    def _histogram(self, place: str, row: Row) -> list[int]:
        low, high = self.edges[place]
        counts, _ = np.histogram(row.outcomes[place], BINS, (low, high))
        return counts.tolist()

    def _made(self, record: Record) -> dict[str, Any]:
        inputs, ran = record["inputs"], record["environment"]
        about = {name: value for name, value in ran.items() if name not in VOLATILE}
        number = self._environments.setdefault(
            json.dumps(about, sort_keys=True), len(self._environments)
        )
        return {
            "environment": number,
            "start": ran.get("start"),
            "seconds": ran.get("seconds"),
            "pipeline": inputs["pipeline"],
            "teacher": f"{plain(inputs['teacher']['name'])} {inputs['teacher']['sha256'][:12]}",
            "method": f"version {inputs['method']['version']}, code {str(inputs['method']['code_sha256'])[:12]}",
            "data": inputs["dataset"] and f"{plain(inputs['dataset']['name'])} {inputs['dataset']['sha256'][:12]}",
            "budget": inputs["budget"],
            "sweep": plain(str(ran.get("command", ""))),
        }

    def _command(self, row: Row, cells: Cells) -> str:
        places = {f"{c['task']}:{c['dataset']}": None for c in cells if c["kind"] == "evaluate"}
        return command(selector(row.keys), list(places), row.keys["teacher"], self._sweep, cells)


def command(
    row: str, places: Iterable[str], teacher: str, sweep: SweepConfig | None, cells: Cells
) -> str:
    """The command that makes one row alone, in a folder of its own."""
    budgets = [cell["budget"] for cell in cells if isinstance(cell["budget"], str)]
    asked: dict[str, Any] = {"methods": row, "tasks": ",".join(places) or "none", "teacher": teacher}
    asked["budget"] = sweep.budget if sweep else next(iter(budgets), SweepConfig.budget)
    for name in ASKED:
        value = getattr(sweep, name, None)
        if value is not None and value != getattr(SweepConfig, name):
            asked[name] = value
    options = [f"--{name.replace('_', '-')} {shlex.quote(str(value))}" for name, value in asked.items()]
    return plain(" ".join(["foundry-bench run", *options, "--out results/one-row"]))


def _sweep(store: Store) -> SweepConfig | None:
    """The sweep as it was asked for, where its file is there."""
    try:
        return SweepConfig.from_sources(store.sweep_file, {}) if store.sweep_file.is_file() else None
    except UserError:
        return None


def _params(cell: dict[str, Any]) -> dict[str, Any]:
    """A cell's parameters by name."""
    try:
        found = json.loads(cell["parameters"])
    except ValueError:
        return {}
    return {plain(name): value for name, value in found.items()} if isinstance(found, dict) else {}


def _curve(cell: dict[str, Any], record: Record) -> dict[str, Any]:
    fidelity = record["fidelity"] or {}
    points = [[p.get("step"), p.get("loss"), p.get("r2")] for p in fidelity.get("curve") or []]  # type: ignore[attr-defined]
    return {"seed": cell["seed"], "points": points}


def _split(cells: Cells) -> dict[str, float]:
    """GMACs of each part, averaged over starts."""
    profiled = [cell for cell in cells if cell["kind"] == "profile"]
    found = {part: [c[f"gmacs_{part}"] for c in profiled if pd.notna(c[f"gmacs_{part}"])] for part in PARTS}
    return {part: float(np.mean(values)) for part, values in found.items() if values}


def _link(cell: dict[str, Any]) -> dict[str, Any]:
    """One record, by what it is of and where it lies beside the page."""
    place = f" {cell['task']}:{cell['dataset']}" if cell["kind"] == "evaluate" else ""
    start = "" if pd.isna(cell["seed"]) else f", start {int(cell['seed'])}"
    return {"text": plain(f"{cell['kind']}{place}{start}"), "kind": cell["kind"], "id": cell["cell_id"]}


def _edges(rows: list[Row]) -> dict[str, tuple[float, float]]:
    """Lowest and highest outcome of any row at each place, so that histograms of one place can be compared."""
    found: dict[str, tuple[float, float]] = {}
    for row in rows:
        for place, values in row.outcomes.items():
            known = values[np.isfinite(values)]
            if known.size:
                low, high = found.get(place, (np.inf, -np.inf))
                found[place] = (min(low, float(known.min())), max(high, float(known.max())))
    return {place: (low, high if high > low else low + 1.0) for place, (low, high) in found.items()}
