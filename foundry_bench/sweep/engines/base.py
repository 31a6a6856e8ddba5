"""The Engine contract, and the one loop that launches cells, stops late ones and tries again what died."""

from __future__ import annotations

import errno
import os
import time
from abc import ABC, abstractmethod
from collections.abc import Sequence
from contextlib import nullcontext, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from foundry_bench.border import PassingError
from foundry_bench.sweep.interrupts import deferred_interrupts
from foundry_bench.sweep.plan import PROFILE, Cell
from foundry_bench.sweep.schedule import Schedule, cores
from foundry_bench.sweep.store import Store

GRACE = 5.0
"""Seconds between asking a process to stop and killing it."""
IDLE = 0.5
"""Seconds between two looks at cells that another sweep is running."""
LOOK = 3600.0
"""Seconds after which an engine is looked at again in any case."""


@dataclass(frozen=True)
class Ending:
    """How a cell's process ended: by itself, or it ``died`` by a signal or with its machine. ``full``: the disk is full."""

    died: bool = False
    detail: str = ""
    full: bool = False


class FullDiskError(PassingError, OSError):
    """A cell had to stop because the disk is full. It leaves no record: it is nobody's fault but the disk's."""


@dataclass
class Running:
    """A cell at work. ``deadline`` is on the monotonic clock."""

    cell: Cell
    handle: Any
    tries: int
    deadline: float = field(default=float("inf"))


@dataclass
class Engine(ABC):
    """Base of every engine; the fields of a subclass are its parameters, as in ``--engine ray[address=auto]``.

    A subclass launches processes that call ``run_cell(spec_path)``, tells when they have ended, and stops them. When to launch
    which cell, time-outs and second tries are the same for all of them. A cell is tried once more when its process died; a
    Python error is not, because it would happen again.

    jobs: cells at a time, None for what the engine finds right. timeout: seconds per cell. threads: of a cell.
    device: what cells compute on. memory: bytes per cell, None without a limit.
    """

    jobs: int | None = None
    timeout: float | None = None
    threads: int | None = None
    device: str = "cpu"
    memory: int | None = None

    queues = False
    """Whether a cell may wait after it was launched; then its time counts from its mark on disk, not from the launch."""

    elsewhere = False
    """Whether cells may run on other machines, so that a device need not be on this one."""

    in_process = False
    """Whether a cell runs within ``launch``, which then may be interrupted."""

    @property
    def slots(self) -> int:
        """Cells at a time; known once the engine is open."""
        return self.jobs or min(2, cores())

    def open(self, store: Store) -> None:
        """Start what is needed to run cells of ``store``. Raises UserError with the fix where that is impossible."""
        return

    def close(self) -> None:
        """Leave nothing behind."""
        return

    @abstractmethod
    def launch(self, spec: Path, cell: Cell, threads: int) -> Any:
        """Start ``run_cell(spec)`` and return a handle."""

    @abstractmethod
    def wait(self, handles: Sequence[Any], seconds: float) -> None:
        """Return when one of them may have ended, at the latest after ``seconds``."""

    @abstractmethod
    def ended(self, handle: Any) -> Ending | None:
        """How a cell ended, None while it runs."""

    @abstractmethod
    def stop(self, handles: Sequence[Any]) -> None:
        """Ask cells to end, kill those that have not after ``GRACE`` seconds, with all that they started."""

    @property
    def share(self) -> int:
        """Threads of a cell that may run beside others: the same for all engines, so that all compute the same numbers."""
        return self.threads or max(cores() // (self.jobs or min(2, cores())), 1)

    def threads_for(self, cell: Cell) -> int:
        """Threads of one cell; a profile cell runs alone and gets all cores."""
        return cores() if cell.kind == PROFILE else self.share

    def device_for(self, cell: Cell, running: Sequence[Cell]) -> str:
        """What one cell computes on, beside those that are ``running``."""
        return self.device

    def deaths_of(self, cell: Cell, schedule: Schedule) -> int:
        """How often the process of this cell died in earlier runs, where that took the whole sweep along."""
        return 0

    def run(self, schedule: Schedule, timeout: float | None = None) -> None:
        """Run until the schedule is empty; ``timeout`` in place of the engine's own. The engine must be open.

        KeyboardInterrupt and FullDiskError leave no process behind.
        """
        running: list[Running] = []
        own, self.timeout = self.timeout, timeout or self.timeout
        try:
            while True:
                self._fill(schedule, running)
                if running:
                    self.wait([job.handle for job in running], self._patience(running))
                    self._collect(schedule, running)
                elif schedule.empty:
                    return
                else:
                    time.sleep(IDLE)
        finally:
            with deferred_interrupts():
                self.stop([job.handle for job in running])
            self.timeout = own

    def _fill(self, schedule: Schedule, running: list[Running]) -> None:
        while len(running) < self.slots and (cell := schedule.next()) is not None:
            deaths = self.deaths_of(cell, schedule)
            if deaths < 2:
                self._launch(schedule, cell, running, tries=1 + deaths, deaths=deaths)
            else:
                schedule.start(cell, self.threads_for(cell), deaths=1)
                self._killed(schedule, cell, "with the sweep that ran it")

    def _launch(
        self, schedule: Schedule, cell: Cell, running: list[Running], tries: int, deaths: int = 0
    ) -> None:
        threads = self.threads_for(cell)
        device = self.device_for(cell, [job.cell for job in running])
        spec = schedule.start(cell, threads, device, deaths)
        limit = float("inf") if self.timeout is None or self.queues else time.monotonic() + self.timeout
        with nullcontext() if self.in_process else deferred_interrupts():
            running.append(Running(cell, self.launch(spec, cell, threads), tries, limit))

    def _patience(self, running: list[Running]) -> float:
        """Seconds until the first deadline."""
        if self.queues and self.timeout is not None and any(job.deadline == float("inf") for job in running):
            return IDLE
        return min(max(min(job.deadline for job in running) - time.monotonic(), 0.0), LOOK)

    def _collect(self, schedule: Schedule, running: list[Running]) -> None:
        for job in list(running):
            ending = self.ended(job.handle)
            if ending is None:
                self._check_time(schedule, running, job)
                continue
            running.remove(job)
            if ending.full:
                raise FullDiskError(errno.ENOSPC, os.strerror(errno.ENOSPC), ending.detail)
            if schedule.left_record(job.cell):
                schedule.finish(job.cell)
            elif not ending.died:
                schedule.lost(job.cell, "failed", f"the process ended with {ending.detail} and no record")
            elif job.tries == 1:
                self._launch(schedule, job.cell, running, tries=2)
            else:
                self._killed(schedule, job.cell, ending.detail)

    def _check_time(self, schedule: Schedule, running: list[Running], job: Running) -> None:
        """Stop a cell that is over its time."""
        if self.timeout is None:
            return
        if job.deadline == float("inf") and schedule.store.marks.alive(job.cell.id) is not None:
            job.deadline = time.monotonic() + self.timeout
        if time.monotonic() >= job.deadline:
            self.stop([job.handle])
            running.remove(job)
            if schedule.left_record(job.cell):  # at the last moment
                schedule.finish(job.cell)
            else:
                schedule.lost(job.cell, "timeout", f"stopped after {self.timeout:g} s; see --timeout")

    def _killed(self, schedule: Schedule, cell: Cell, detail: str) -> None:
        """Record a cell whose process died twice; how it died goes to its log, which no two engines can tell alike."""
        with suppress(OSError), schedule.store.beside(cell.kind, cell.id, ".log").open("a") as log:
            log.write(f"the process died twice, the second time {detail}\n")
        hint = "the system kills processes when memory runs out: try --jobs 1, or a limit by --memory"
        schedule.lost(cell, "killed", f"the process died twice without a Python error; {hint}")
