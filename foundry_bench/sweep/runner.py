"""``todo = plan - finished``, then run it. Disk is the scheduler's memory: running again is always right."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any, Protocol

from filelock import FileLock, Timeout

from foundry_bench import registry
from foundry_bench.errors import UserError
from foundry_bench.sweep import environment, harness, snapshot
from foundry_bench.sweep.config import SweepConfig
from foundry_bench.sweep.estimate import Estimate
from foundry_bench.sweep.plan import Cell, Plan, plan
from foundry_bench.sweep.store import FINISHED, Store, status_of


class Reporter(Protocol):
    """Where a sweep says what it is doing; the command line shows it."""

    def note(self, line: str) -> None:
        """Something worth knowing."""

    def warn(self, line: str) -> None:
        """Something that should not be, and does not stop the sweep."""

    def begin(self, todo: list[Cell], estimate: Estimate, jobs: int) -> None:
        """Cells are about to run."""

    def finished(self, cell: Cell, record: dict[str, Any]) -> None:
        """One cell has left its record."""


class InterruptedSweepError(Exception):
    """Ctrl-C or SIGTERM; the message is the line for the person."""


@dataclass
class Outcome:
    """What a sweep came to. ``failed`` are the records of the plan that are not finished."""

    plan: Plan
    todo: list[Cell]
    failed: list[dict[str, Any]] = field(default_factory=list)

    @property
    def exit_code(self) -> int:
        """1 with failed cells, else 0."""
        return 1 if self.failed else 0


def prepare(config: SweepConfig, store: Store, reporter: Reporter) -> Outcome:
    """Plan and compare with what is on disk; nothing runs and nothing is written."""
    harness.check_engine(config.engine)
    store.check(config)
    planned = snapshot.load(store, config) or plan(config)
    for line in planned.warnings:
        reporter.warn(line)
    todo = unfinished(planned.cells, store)
    for line in store.warnings:
        reporter.warn(line)
    return Outcome(planned, todo)


def unfinished(cells: list[Cell], store: Store) -> list[Cell]:
    """Cells without a finished record, and students whose weights a missing child needs."""
    todo = {c.id for c in cells if status_of(store.read(c.kind, c.id)) not in FINISHED}
    wanted = {c.parent for c in cells if c.id in todo}
    for cell in reversed(cells):  # children come after their parents, so one pass reaches a parent's parent
        if cell.id in wanted and cell.id not in todo and not store.student_folder(cell.id).is_dir():
            todo.add(cell.id)
            wanted.add(cell.parent)
    return [cell for cell in cells if cell.id in todo]


def run_sweep(config: SweepConfig, folder: Path, reporter: Reporter) -> Outcome:
    """Run what is missing. Raises UserError before anything runs, InterruptedSweepError when it was
    stopped.
    """
    store = Store(folder)
    outcome = prepare(config, store, reporter)
    with _alone(store):
        outcome.todo = unfinished(outcome.plan.cells, store)  # again: another run may have held the folder
        store.claim(outcome.plan.config)
        snapshot.save(store, config, outcome.plan)
        if outcome.todo:
            _run_cells(outcome, store, reporter)
        records = [store.read(cell.kind, cell.id) for cell in outcome.plan.cells]
        outcome.failed = [r for r in records if r is not None and status_of(r) not in FINISHED]
    return outcome


def _run_cells(outcome: Outcome, store: Store, reporter: Reporter) -> None:
    from foundry_bench.sweep.schedule import Schedule

    config = outcome.plan.config
    engine = registry.load("engines", config.engine)(jobs=config.jobs, timeout=config.timeout)
    reporter.begin(outcome.todo, Estimate(store), engine.jobs)
    try:
        with _termination_interrupts():
            schedule = Schedule(
                outcome.todo,
                store,
                environment.describe(),
                budget=config.budget,
                device=config.device,
                data_root=config.data_root,
                done=reporter.finished,
            )
            engine.run(schedule)
    except KeyboardInterrupt:
        kept = len(outcome.todo) - len(unfinished(outcome.todo, store))
        raise InterruptedSweepError(
            f"interrupted; {kept} cells finished are kept, run the same command again to complete"
        ) from None


@contextmanager
def _alone(store: Store) -> Iterator[None]:
    """Hold the folder's lock, which the system releases however this process ends."""
    store.cache.mkdir(parents=True, exist_ok=True)
    lock = FileLock(store.cache / "lock")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise UserError(
            f"another sweep is running in {store.folder}; wait for it or choose another --out"
        ) from None
    try:
        yield
    finally:
        lock.release()


@contextmanager
def _termination_interrupts() -> Iterator[None]:
    """Let SIGTERM end a sweep the way Ctrl-C does."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def interrupt(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
