"""How long cells will take: from earlier records of the same kind and method, else from the budget and from what the sweep has
shown so far."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from statistics import mean

from foundry_bench.progress import SHARED
from foundry_bench.sweep.index import Entries
from foundry_bench.sweep.marks import Notice
from foundry_bench.sweep.plan import EVALUATE, PROFILE, STUDENT, Cell
from foundry_bench.variants import BASELINE

GUESS = {STUDENT: 10.0, EVALUATE: 20.0, PROFILE: 20.0}
"""Seconds of a cell without training on two cores."""
STEP = 0.05
"""Seconds of one optimisation step on two cores."""
Key = tuple[str, str, str, str]


@dataclass(frozen=True)
class AtWork:
    """A running cell: ``seconds`` since it began, without what its ``shared`` phases took, and what is ``left`` of its present
    phase where that is known."""

    cell: Cell
    seconds: float
    left: float = 0.0

    @classmethod
    def of(cls, cell: Cell, elapsed: float, notice: Notice | None, now: datetime | None = None) -> AtWork:
        """By the notice in the cell's mark, if there is one."""
        if notice is None or not notice.phase_start:
            return cls(cell, elapsed)
        spent = (
            (now or datetime.now(timezone.utc)) - datetime.fromisoformat(notice.phase_start)
        ).total_seconds()
        shared = notice.shared + (spent if notice.phase.startswith(SHARED) else 0.0)
        known = 0 < notice.done <= notice.total
        left = spent * (notice.total - notice.done) / notice.done if known else 0.0
        return cls(cell, max(elapsed - shared, 0.0), max(left, 0.0))


class Estimate:
    """Seconds per cell. ``measured`` tells whether any of it comes from records."""

    def __init__(self, recorded: Entries) -> None:
        self.measured = False
        self._times: dict[Key, list[float]] = defaultdict(list)
        self._guessed: dict[str, list[tuple[float, float]]] = defaultdict(list)
        for entry in recorded.values():
            seconds = entry["environment"]["seconds"]
            if entry["identity"]["status"] == "ok" and seconds is not None:
                key = (
                    entry["identity"]["kind"],
                    entry["method"],
                    entry["variant"] or "",
                    entry["task"] or "",
                )
                self._times[key].append(seconds)

    def learn(self, cell: Cell, seconds: float) -> None:
        """Take note of what a cell has taken."""
        self._times[_key(cell)].append(seconds)
        self._guessed[cell.kind].append((_guess(cell), seconds))

    def seconds(self, cell: Cell, running: Iterable[AtWork] = ()) -> float:
        """The expected time of one cell, alone on its threads.

        Where no such cell is recorded, a guess that is off as much as it was for the others of its kind: those that are done,
        and those ``running`` that have taken longer already.
        """
        known = self._times.get(_key(cell))
        if known:
            self.measured = True
            return mean(known)
        pairs = [*self._guessed[cell.kind]]
        late = ((_guess(other.cell), other.seconds) for other in running if other.cell.kind == cell.kind)
        pairs += [(guess, seconds) for guess, seconds in late if seconds > guess]
        factor = sum(seconds for _, seconds in pairs) / sum(guess for guess, _ in pairs) if pairs else 1.0
        return factor * _guess(cell)

    def left(self, waiting: Sequence[Cell], running: Sequence[AtWork], jobs: int) -> float:
        """Wall-clock seconds until all is done."""
        beside = [self._rest(one) for one in running if one.cell.kind != PROFILE]
        alone = [self._rest(one) for one in running if one.cell.kind == PROFILE]
        to_come = [(cell.kind, self.seconds(cell, running)) for cell in waiting]
        parallel = sum(beside) + sum(seconds for kind, seconds in to_come if kind != PROFILE)
        alone += [seconds for kind, seconds in to_come if kind == PROFILE]
        return max([parallel / jobs, *beside]) + sum(alone)

    def _rest(self, one: AtWork) -> float:
        """Seconds that a running cell has left. One that is late, and does not show how far it is, is expected to take as long
        again."""
        expected = self.seconds(one.cell) - one.seconds
        return max(expected, one.left) if expected > 0 or one.left else one.seconds

    def cheap_first(self, cells: list[Cell]) -> list[Cell]:
        """The same cells, those that are done soonest first, equal ones in the order given; before them all the teacher's,
        which the others are measured against."""
        return sorted(cells, key=lambda c: (c.inputs["method"]["name"] != BASELINE, self.seconds(c)))

    def total(self, cells: list[Cell], jobs: int) -> float:
        """Wall-clock seconds of all cells; profile cells run one at a time."""
        return self.left(cells, (), jobs)

    @property
    def basis(self) -> str:
        """Where the numbers come from, for a reader."""
        return "from earlier records in this folder" if self.measured else "a guess from the budget"


def _key(cell: Cell) -> Key:
    task = cell.inputs["task"]["name"] if cell.inputs["task"] else ""
    return (cell.kind, cell.inputs["method"]["name"], cell.inputs["variant"] or "", task)


def _guess(cell: Cell) -> float:
    """Seconds of a cell by its budget alone."""
    budget = cell.inputs["budget"]
    return GUESS[cell.kind] + (budget["steps"] if budget else 0) * STEP


def human_time(seconds: float) -> str:
    """``42 s``, ``7 min``, ``2.5 h``."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"
