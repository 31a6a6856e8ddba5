"""What tests of the sweep share besides fixtures."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from foundry_bench.sweep.config import SweepConfig
from foundry_bench.sweep.estimate import Estimate
from foundry_bench.sweep.marks import Marks
from foundry_bench.sweep.plan import Cell
from foundry_bench.sweep.reporting import Outcome

DRIVER = """
from dataclasses import replace
from foundry_bench.sweep import runner
whole = runner.plan
def without_profiles(config, most, measured_on):
    planned = whole(config, most, measured_on)
    return replace(planned, cells=[cell for cell in planned.cells if cell.kind != "profile"])
runner.plan = without_profiles
from foundry_bench.cli import main
main()
"""
"""The real command, without profile cells, which measure times and take seconds."""


def config_of(methods: str, **values: Any) -> SweepConfig:
    """A sweep of fake methods on the fake teacher, task and data."""
    fakes = {"methods": methods, "tasks": "spread", "teacher": "tiny", "distill_on": "blobs"}
    return SweepConfig.from_sources(None, {**fakes, **values})


class Notes:
    """A reporter that remembers."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.records: list[dict[str, Any]] = []
        self.launched: list[str] = []

    def note(self, line: str) -> None:
        self.lines.append(line)

    def warn(self, line: str) -> None:
        self.lines.append(line)

    def step(self, what: str, done: int, total: int) -> None:
        pass

    def begin(self, todo: list[Cell], estimate: Estimate, jobs: int, marks: Marks) -> None:
        self.lines.append(f"{len(todo)} to run")

    def started(self, cell: Cell) -> None:
        self.launched.append(cell.title)

    def finished(self, cell: Cell, record: dict[str, Any]) -> None:
        self.records.append(record)

    @property
    def statuses(self) -> dict[str, str]:
        """Status by kind and method."""
        return {
            f"{r['identity']['kind']} {r['inputs']['method']['name']}": r["identity"]["status"]
            for r in self.records
        }


Sweep = Callable[..., tuple[Outcome, Notes]]
