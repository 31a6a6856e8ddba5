"""Between the sweep and its trackers: whatever a tracker does, the sweep goes on.

Each tracker runs in a thread of its own behind a bounded queue. Its first error, a call that takes too long or a full
queue switches it off with one warning. Nothing is lost by that: records are on disk, and the next run with the same
tracker tells it what it has missed.
"""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections.abc import Callable
from types import TracebackType
from typing import TYPE_CHECKING, Any

from foundry_bench import registry, selectors
from foundry_bench.border import said
from foundry_bench.sweep.plan import Cell, Plan
from foundry_bench.sweep.record import Record
from foundry_bench.sweep.store import Store
from foundry_bench.trackers.base import Session, Sweep, Tracker
from foundry_bench.trackers.memory import Memory, Page
from foundry_bench.trackers.rows import Row, public, rows_of

if TYPE_CHECKING:
    import pandas as pd

PATIENCE = 30.0
"""Seconds that one call of a tracker may take."""
HURRY = 5.0
"""The same once the sweep was interrupted and somebody waits for the prompt."""
QUEUE = 10_000
"""Cells that a tracker may be behind."""
Warn = Callable[[str], None]


def select(texts: tuple[str, ...]) -> dict[str, Tracker]:
    """The trackers that selectors such as ``mlflow`` or ``wandb[project=foo]`` stand for, by selector.

    Raises UserError for an unknown name or parameter and for a tracker whose package is missing.
    """
    chosen: dict[str, Tracker] = {}
    for text in texts:
        chosen[text] = selectors.instance("trackers", text, Tracker)
        with registry.guard("trackers", _name(text), "cannot be checked"):
            chosen[text].check(_name(text))
    return chosen


def _name(text: str) -> str:
    return text.partition("[")[0].strip()


class Trackers:
    """The trackers of one sweep. No method raises because of a tracker; ``warn`` is called in the caller's thread.

    Leaving the context before :meth:`close` was called means that the sweep was interrupted.
    """

    def __init__(self, trackers: dict[str, Tracker], warn: Warn, patience: float = PATIENCE) -> None:
        self._trackers = trackers
        self._warn = warn
        self._patience = patience
        self._sinks: list[Sink] = []

    def __enter__(self) -> Trackers:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close(interrupted=True)

    def open(self, plan: Plan, store: Store) -> None:
        """Start to log a sweep, beginning with the records that are there and were not logged yet."""
        if not self._trackers:
            return
        memory = Memory(store.cache / "trackers.json")
        sweep = Sweep(memory.sweep, plan.config, store.folder, tuple(rows_of(plan.cells)))
        for text, tracker in self._trackers.items():
            sink = Sink(_name(text), tracker, sweep, memory, plan.cells)
            sink.thread.start()
            self._sinks.append(sink)

    def cell(self, cell: Cell, record: Record) -> None:
        """A cell has left its record. Returns at once."""
        for sink in self._sinks:
            sink.put(record)
        self._report(self._patience)

    def close(self, board: pd.DataFrame | None = None, *, interrupted: bool = False) -> None:
        """End the logging with the leaderboard; waits for trackers as long as they get on.

        When the sweep was ``interrupted``, what is still to be logged is left to the next run.
        """
        patience = min(HURRY, self._patience) if interrupted else self._patience
        for sink in self._sinks:
            sink.end(board, leave=interrupted)
        while any(sink.busy for sink in self._sinks):
            self._report(patience)
            time.sleep(0.02)
        self._report(patience)
        self._sinks = []

    def _report(self, patience: float) -> None:
        for sink in self._sinks:
            sink.watch(patience)
            if sink.problem is not None:
                self._warn(f"tracker {sink.name} is switched off: {sink.problem}; the sweep is not affected")
                sink.problem = None


class Sink:
    """One tracker and its thread. ``problem`` is why it was switched off, until somebody has said so."""

    def __init__(self, name: str, tracker: Tracker, sweep: Sweep, memory: Memory, cells: list[Cell]) -> None:
        self.name = name
        self.problem: str | None = None
        self.thread = threading.Thread(target=self._work, name=f"tracker-{name}", daemon=True)
        self._tracker = tracker
        self._sweep = sweep
        self._memory = memory
        self._cells = cells
        self._kinds = {cell.id: cell.kind for cell in cells}
        self._rows: dict[str, list[Row]] = {}
        for row in sweep.rows:
            for cell_id in row.cells:
                self._rows.setdefault(cell_id, []).append(row)
        self._queue: queue.Queue[Record | None] = queue.Queue(QUEUE)
        self._board: pd.DataFrame | None = None
        self._off = threading.Event()
        self._leave = threading.Event()
        self._called: float | None = None

    @property
    def busy(self) -> bool:
        """Whether there is something to wait for."""
        return self.thread.is_alive() and not self._off.is_set()

    def put(self, record: Record | None) -> None:
        """Queue a record, or None for the end; never waits."""
        if self._off.is_set():
            return
        try:
            self._queue.put_nowait(record)
        except queue.Full:
            self._switch_off(f"it is {QUEUE} cells behind")

    def end(self, board: pd.DataFrame | None, *, leave: bool) -> None:
        """Let the thread end; ``leave``: without what is still in the queue."""
        self._board = board
        if leave:
            self._leave.set()
        self.put(None)

    def watch(self, patience: float) -> None:
        """Switch the tracker off when its present call takes longer than ``patience`` seconds."""
        called = self._called
        if self.busy and called is not None and time.monotonic() - called > patience:
            self._switch_off(f"it did not answer within {patience:g} s")

    def _switch_off(self, reason: str) -> None:
        if not self._off.is_set():
            self._off.set()
            self.problem = reason

    def _work(self) -> None:
        try:
            self._log()
        except BaseException as error:
            # As broad as at the cell boundary and for the same reason: a tracker is a stranger's code.
            logging.getLogger(__name__).debug("tracker %s failed", self.name, exc_info=True)
            self._switch_off(public(said(error)))

    def _log(self) -> None:
        """Body of the thread: open, what is on disk already, this run's cells as they come, close."""
        store = Store(self._sweep.folder)  # its own: the sweep's store collects warnings for the main thread
        page = self._memory.page(self.name, self._tracker.destination(self._sweep.folder))
        session = self._call(self._tracker.open, self._sweep, page.state)
        page.save()
        self._catch_up(session, page, store)
        while (record := self._queue.get()) is not None and not self._off.is_set():
            if not self._leave.is_set():
                self._tell(session, page, store, record)
        self._catch_up(session, page, store)  # with cells that another process has run in this folder
        if not self._off.is_set():
            self._call(session.close, self._board)
            page.save()

    def _catch_up(self, session: Session, page: Page, store: Store) -> None:
        """Tell what is on disk and was not told."""
        for cell in self._cells:
            if self._leave.is_set() or self._off.is_set():
                return
            record = None if page.finished(cell.id) else store.read(cell.kind, cell.id)
            if record is not None:
                self._tell(session, page, store, record)

    def _tell(self, session: Session, page: Page, store: Store, record: Record) -> None:
        """One record to all its rows; it is remembered last, so that a crash repeats it and never loses it."""
        if page.has(record):
            return
        cell_id = record["identity"]["cell_id"]
        for row in self._rows.get(cell_id, ()):
            self._call(session.cell, row, record)
            if all(page.knows(other) for other in row.cells if other != cell_id):
                found = [record if c == cell_id else store.read(self._kinds[c], c) for c in row.cells]
                self._call(session.row, row, [r for r in found if r is not None])
        if not self._off.is_set():
            page.add(record)

    def _call(self, function: Callable[..., Any], *arguments: Any) -> Any:
        if self._off.is_set():
            return None
        self._called = time.monotonic()
        try:
            return function(*arguments)
        finally:
            self._called = None
