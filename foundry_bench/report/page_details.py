"""What ``report.html`` tells of one row: how it was made, what it takes, how its outcomes are spread, and where its records
are."""

from __future__ import annotations

import base64
import json
import shlex
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from foundry_bench.border import plain
from foundry_bench.errors import UserError
from foundry_bench.report.frame import MISSING
from foundry_bench.report.leaderboard import Board, Cells, Row
from foundry_bench.report.page_tables import rounded
from foundry_bench.report.pictures import pictures_of
from foundry_bench.report.provenance import VOLATILE
from foundry_bench.report.served import Served, from_json, parameters
from foundry_bench.report.tables import selector, split_lines
from foundry_bench.sweep.config import SweepConfig
from foundry_bench.sweep.record import Record
from foundry_bench.sweep.store import KINDS, Store

BINS = 12
"""Of a histogram of outcomes."""
ASKED = ("distill_on", "data_root", "device", "seeds")
"""Keys of a sweep, beside teacher and budget, that a row's own command repeats where they are not at their defaults."""
OUT = "results/one-row"
"""Where a row's own command puts its results."""


class Shared:
    """Values that many rows have in common, each of them kept once and named by its number."""

    def __init__(self) -> None:
        self._numbers: dict[str, int] = {}

    def number(self, value: object) -> int:
        return self._numbers.setdefault(json.dumps(value, sort_keys=True), len(self._numbers))

    @property
    def values(self) -> list[Any]:
        return [from_json(text) for text in self._numbers]


class Details:
    """Collects the details of the rows of ``board``, made of the cells ``frame``.

    ``edges``: place -> lowest and highest outcome of any row. ``settings`` are the distinct ways in which students were made,
    ``asked`` the distinct ends of commands, which rows name by their numbers.
    """

    def __init__(self, folder: Path, frame: pd.DataFrame, board: Board) -> None:
        self._store = Store(folder)
        self._sweep = _sweep(self._store)
        self._served = Served(frame)
        self.settings, self.asked = Shared(), Shared()
        evaluated = frame[frame["kind"] == "evaluate"]
        self.places = sorted(set(evaluated["task"] + ":" + evaluated["dataset"]))
        self.edges = _edges(board.rows)
        self._splits = " ".join(split_lines(frame)) or None

    def of(self, row: Row) -> dict[str, Any]:
        """Everything about one row that no table holds."""
        cells = self._served.cells(row)
        students = [cell for cell in cells if cell["kind"] == "student"]
        read = [(cell, self._store.read("student", cell["cell_id"])) for cell in students]
        records = [(cell, record) for cell, record in read if record is not None]
        return {
            "parameters": parameters(row.keys["parameters"]),
            **self._inference(row),
            "curves": [_curve(cell, record) for cell, record in records],
            "histograms": [self._histogram(place, row) for place in self.places],
            "records": [self._link(cell) for cell in cells if cell["status"] != MISSING],
            "made": next((self._made(record) for _, record in records), None),
            "command": self._command(row, cells),
            **pictures_of(self._store.folder, row, self._served),
        }

    def _inference(self, row: Row) -> dict[str, Any]:
        """The parameters that need no new training, and the number of the student that serves all their values."""
        found = self._served.of(row)
        return {} if found is None else {"student": self.asked.number(found[0]), "inference": found[1]}

    def _histogram(self, place: str, row: Row) -> list[int] | None:
        if place not in row.outcomes or place not in self.edges:
            return None
        counts, _ = np.histogram(row.outcomes[place], BINS, self.edges[place])
        return counts.tolist()

    def _link(self, cell: dict[str, Any]) -> list[Any]:
        """A record: its kind, place and start by their numbers, and its id in base 64, which is shorter."""
        place = self.places.index(_place(cell)) if cell["kind"] == "evaluate" else -1
        start = None if pd.isna(cell["seed"]) else int(cell["seed"])
        return [KINDS.index(cell["kind"]), place, start, _short(cell["cell_id"])]

    def _made(self, record: Record) -> dict[str, Any]:
        inputs, ran = record["inputs"], record["environment"]
        data, method = inputs["dataset"], inputs["method"]
        setting = {
            "teacher": f"{plain(inputs['teacher']['name'])} {inputs['teacher']['sha256'][:12]}",
            "data": data and f"{plain(data['name'])} {data['sha256'][:12]}",
            "splits": self._splits,
            "budget": inputs["budget"],
            "pipeline": inputs["pipeline"],
            "sweep": plain(str(ran.get("command", ""))),
            "environment": {name: value for name, value in ran.items() if name not in VOLATILE},
        }
        return {
            "setting": self.settings.number(setting),
            "start": ran.get("start"),
            "seconds": ran.get("seconds"),
            "method": plain(f"version {method['version']}, code {str(method['code_sha256'])[:12]}"),
        }

    def _command(self, row: Row, cells: Cells) -> list[Any]:
        """The command that makes the row alone, in two parts: what the row names, and what many have in common."""
        places = dict.fromkeys(_place(cell) for cell in cells if cell["kind"] == "evaluate")
        budget = next((cell["budget"] for cell in cells if isinstance(cell["budget"], str)), None)
        rest = options(places, row.keys["teacher"], self._sweep, budget)
        return [plain(shlex.quote(selector(row.keys))), self.asked.number(plain(rest))]


def options(places: Iterable[str], teacher: str, sweep: SweepConfig | None, budget: str | None) -> str:
    """What follows ``foundry-bench run --methods ROW`` in the command that makes one row as a sweep made it, in a folder of its
    own. ``budget``: of its cells, for a folder without a sweep's file."""
    asked: dict[str, Any] = {"tasks": ",".join(places) or "none", "teacher": teacher}
    asked["budget"] = sweep.budget if sweep else budget or SweepConfig.budget
    for name in ASKED:
        value = getattr(sweep, name, None)
        if value is not None and value != getattr(SweepConfig, name):
            asked[name] = value
    texts = [f"--{name.replace('_', '-')} {shlex.quote(str(value))}" for name, value in asked.items()]
    texts += [f"--plugin {shlex.quote(file)}" for file in (sweep.plugins if sweep else ())]
    return " ".join([*texts, f"--out {OUT}"])


def _sweep(store: Store) -> SweepConfig | None:
    """The sweep as it was asked for, where its file is there and can be read."""
    try:
        return SweepConfig.from_sources(store.sweep_file, {}) if store.sweep_file.is_file() else None
    except UserError:
        return None


def _place(cell: dict[str, Any]) -> str:
    return f"{cell['task']}:{cell['dataset']}"


def _short(cell_id: str) -> str:
    """A SHA-256 in 43 characters; another id, as tests have it, as it is."""
    try:
        return base64.b64encode(bytes.fromhex(cell_id)).decode().rstrip("=")
    except ValueError:
        return plain(cell_id)


def _curve(cell: dict[str, Any], record: Record) -> dict[str, Any]:
    """Step, loss and R2 along the training of one start."""
    fidelity = record["fidelity"]
    known = fidelity.get("curve", []) if fidelity is not None else []
    points = [[rounded(point.get(name)) for name in ("step", "loss", "r2")] for point in known]
    return {"seed": None if pd.isna(cell["seed"]) else int(cell["seed"]), "points": points}


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
