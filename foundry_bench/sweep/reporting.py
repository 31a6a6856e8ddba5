"""Who hears of a sweep, and what it came to."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol

from foundry_bench.sweep.estimate import Estimate
from foundry_bench.sweep.marks import Marks
from foundry_bench.sweep.plan import Cell, Plan
from foundry_bench.sweep.record import Record
from foundry_bench.sweep.store import Store


class Reporter(Protocol):
    """Where a sweep says what it is doing; the command line shows it."""

    def note(self, line: str) -> None:
        """Something worth knowing."""

    def warn(self, line: str) -> None:
        """Something that should not be, and does not stop the sweep."""

    def step(self, what: str, done: int, total: int) -> None:
        """Work before the cells has come so far."""

    def begin(self, todo: list[Cell], estimate: Estimate, jobs: int, marks: Marks) -> None:
        """Cells are about to run; their marks say what they do."""

    def started(self, cell: Cell) -> None:
        """One cell has been launched."""

    def finished(self, cell: Cell, record: Record) -> None:
        """One cell has left its record."""


class Listener(Protocol):
    """Who hears of a sweep besides the reporter, such as :class:`foundry_bench.trackers.Trackers`."""

    def open(self, plan: Plan, store: Store) -> None:
        """The sweep begins."""

    def cell(self, cell: Cell, record: Record) -> None:
        """One cell has left its record; the next ones wait until this returns."""


class InterruptedSweepError(Exception):
    """Ctrl-C or SIGTERM; the message is the line for the person."""


@dataclass
class Outcome:
    """What a sweep came to. ``failed`` are the records of the plan that are not finished; ``tried`` are the attempts that
    cells of ``todo`` had behind them when it was planned."""

    plan: Plan
    todo: list[Cell]
    tried: dict[str, int] = field(default_factory=dict)
    failed: list[Record] = field(default_factory=list)

    @property
    def exit_code(self) -> int:
        """1 with failed cells, else 0."""
        return 1 if self.failed else 0
