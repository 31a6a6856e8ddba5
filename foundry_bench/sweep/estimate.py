"""How long cells will take: from earlier records of the same kind and method, else from the budget."""

from __future__ import annotations

from collections import defaultdict
from statistics import mean

from foundry_bench.sweep.index import Entries
from foundry_bench.sweep.plan import EVALUATE, PROFILE, STUDENT, Cell
from foundry_bench.variants import BASELINE

GUESS = {STUDENT: 10.0, EVALUATE: 20.0, PROFILE: 20.0}
"""Seconds of a cell without training on two cores."""
STEP = 0.05
"""Seconds of one optimisation step on two cores."""


class Estimate:
    """Seconds per cell. ``measured`` tells whether any of it comes from records."""

    def __init__(self, recorded: Entries) -> None:
        self.measured = False
        times: dict[tuple[str, ...], list[float]] = defaultdict(list)
        for entry in recorded.values():
            seconds = entry["environment"]["seconds"]
            if entry["identity"]["status"] == "ok" and seconds is not None:
                key = (
                    entry["identity"]["kind"],
                    entry["method"],
                    entry["variant"] or "",
                    entry["task"] or "",
                )
                times[key].append(seconds)
        self._seconds = {key: mean(values) for key, values in times.items()}

    def seconds(self, cell: Cell) -> float:
        """The expected time of one cell, alone on its threads."""
        task = cell.inputs["task"]["name"] if cell.inputs["task"] else ""
        key = (cell.kind, cell.inputs["method"]["name"], cell.inputs["variant"] or "", task)
        known = self._seconds.get(key)
        if known is not None:
            self.measured = True
            return known
        budget = cell.inputs["budget"]
        steps = budget["steps"] if budget else 0
        return GUESS[cell.kind] + steps * STEP

    def cheap_first(self, cells: list[Cell]) -> list[Cell]:
        """The same cells, those that are done soonest first, equal ones in the order given; before them all the teacher's,
        which the others are measured against."""
        return sorted(cells, key=lambda c: (c.inputs["method"]["name"] != BASELINE, self.seconds(c)))

    def share(self, cell: Cell, jobs: int) -> float:
        """Wall-clock seconds that a cell adds to its sweep; profile cells run one at a time."""
        return self.seconds(cell) / (1 if cell.kind == PROFILE else jobs)

    def total(self, cells: list[Cell], jobs: int) -> float:
        """Wall-clock seconds of all cells."""
        return sum(self.share(cell, jobs) for cell in cells)

    @property
    def basis(self) -> str:
        """Where the numbers come from, for a reader."""
        return "from earlier records in this folder" if self.measured else "a guess from the budget"


def human_time(seconds: float) -> str:
    """``42 s``, ``7 min``, ``2.5 h``."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"
