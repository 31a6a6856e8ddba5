"""The leaderboard while a sweep runs: written when the first row is complete, and again as rows arrive."""

from __future__ import annotations

import time
from collections import Counter
from contextlib import suppress

from foundry_bench.errors import UserError
from foundry_bench.report.writer import write_board
from foundry_bench.sweep import index
from foundry_bench.sweep.plan import EVALUATE, Cell, Plan
from foundry_bench.sweep.record import Record
from foundry_bench.sweep.store import FINISHED, Store, status_of

PAUSE, SHARE = 10.0, 20.0
"""Seconds from one table to the next at least; and of what the last one took, so many times."""


class LiveBoard:
    """Hears of a sweep and keeps ``leaderboard.csv``, ``leaderboard.md`` and ``report.html`` of its folder current. The pages
    say how many cells are missing, and the last one looks for news. Figures and the summary come at the end."""

    def __init__(self) -> None:
        self._due = 0.0
        self._written = False

    def open(self, plan: Plan, store: Store) -> None:
        """Take note of the sweep. What is recorded is read with its first evaluation, not where nothing is left to do."""
        self._plan, self._store = plan, store
        self._left: Counter[str | None] | None = None

    def cell(self, cell: Cell, record: Record) -> None:
        """Write the table if this record completes a row, the evaluations of one student, and the last one is a while ago."""
        if cell.kind != EVALUATE or status_of(record) not in FINISHED:
            return
        if self._left is None:
            self._left = self._missing()
        else:
            self._left[cell.parent] -= 1
        began = time.monotonic()
        if self._left[cell.parent] > 0 or began < self._due:
            return
        self._write(live=True)
        self._due = time.monotonic() + max(PAUSE, SHARE * (time.monotonic() - began))

    def stop(self) -> None:
        """Tell whoever looks at the page that nothing more comes; for a sweep that ends before its report is written."""
        if self._written:
            self._write(live=False)

    def _write(self, *, live: bool) -> None:
        with suppress(UserError):  # of results that make no table; the report at the end says so
            write_board(self._store.folder, live=live)
            self._written = True

    def _missing(self) -> Counter[str | None]:
        """How many evaluations of each student have no finished record."""
        entries = index.load(self._store)
        done = {id for id, entry in entries.items() if entry["identity"]["status"] in FINISHED}
        planned = (cell for cell in self._plan.cells if cell.kind == EVALUATE)
        return Counter(cell.parent for cell in planned if cell.id not in done)
