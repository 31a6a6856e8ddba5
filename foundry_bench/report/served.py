"""The cells behind each row, and which rows one trained student serves with other inference-time parameters."""

from __future__ import annotations

import json
from typing import Any

import pandas as pd

from foundry_bench.border import plain
from foundry_bench.report.leaderboard import KEYS, Cells, Row, cells_by_row


class Served:
    """Looks up the cells of rows in the table of cells ``frame``."""

    def __init__(self, frame: pd.DataFrame) -> None:
        cells: Cells = frame.to_dict("records")  # type: ignore[assignment]
        self._cells = dict(cells_by_row(cells))
        self._training = {c["cell_id"]: parameters(c["parameters"]) for c in cells if c["kind"] == "student"}

    def cells(self, row: Row) -> Cells:
        """All cells of a row, its students' among them."""
        return self._cells.get(tuple(str(row.keys[name]) for name in KEYS), [])

    def of(self, row: Row) -> tuple[str, dict[str, Any]] | None:
        """The first student's cell id and the row's parameters that need no new training; None where it has none."""
        cells = self.cells(row)
        student = next((c["cell_id"] for c in cells if c["kind"] == "student"), None)
        whole = next((parameters(c["parameters"]) for c in cells if c["kind"] != "student"), None)
        if student is None or whole is None:
            return None
        free = {name: value for name, value in whole.items() if name not in self._training[student]}
        return (student, free) if free else None

    def series(self, rows: list[Row]) -> list[tuple[str, list[tuple[Any, Row]]]]:
        """Rows that one trained student serves and that differ in one inference-time parameter: its name, and its values with
        their rows in order."""
        found: dict[tuple[str, str, str], list[tuple[Any, Row]]] = {}
        for row in rows:
            student, free = self.of(row) or ("", {})
            for name, value in free.items():
                others = {key: other for key, other in free.items() if key != name}
                key = (student, name, json.dumps(others, sort_keys=True))
                found.setdefault(key, []).append((value, row))
        made = []
        for (_, name, _), pairs in found.items():
            if len(pairs) > 1:
                pairs.sort(key=lambda pair: _order(pair[0]))
                made.append((name, pairs))
        return made


def _order(value: Any) -> tuple[int, float, str]:
    """Numbers by size, then everything else by how it is written."""
    number = isinstance(value, int | float)
    return (0, value, "") if number else (1, 0.0, json.dumps(value))


def parameters(text: str) -> dict[str, Any]:
    """A cell's parameters by name; nothing where a plugin that could not be imported has none."""
    try:
        found = from_json(text)
    except ValueError:
        return {}
    return {plain(name): value for name, value in found.items()} if isinstance(found, dict) else {}


def from_json(text: str) -> Any:
    """What JSON says, with infinities, of which Python's JSON knows and a browser's does not, as texts."""
    return json.loads(text, parse_constant=str)
