"""Engines run the cells of a schedule. ``local`` isolates each in a process, ``serial`` stays in this one."""

from __future__ import annotations

import faulthandler
import multiprocessing
import os
import signal
import sys
import threading
import time
from abc import ABC, abstractmethod
from dataclasses import dataclass
from multiprocessing.connection import wait
from multiprocessing.context import ForkServerContext, ForkServerProcess
from pathlib import Path

from foundry_bench.sweep.cell import run_cell
from foundry_bench.sweep.plan import PROFILE, Cell
from foundry_bench.sweep.schedule import Schedule, cores

PRELOAD = [
    "torch",
    "scipy.stats",
    "sklearn.svm",
    "foundry_bench.cost",
    "foundry_bench.sweep.cell",
    "foundry_bench.distillation",
    "foundry_bench.students",
]
"""Imported once by the fork server, so that a cell's process starts in milliseconds."""
GRACE = 5.0
"""Seconds between asking a process to stop and killing it."""


class Engine(ABC):
    """Base of every engine. ``jobs``: cells at a time (None: the engine decides); ``timeout``: seconds per
    cell.
    """

    def __init__(self, jobs: int | None = None, timeout: float | None = None) -> None:
        self.jobs = jobs or min(2, cores())
        self.timeout = timeout

    @abstractmethod
    def run(self, schedule: Schedule) -> None:
        """Run until the schedule is empty. KeyboardInterrupt must leave no process behind."""


class SerialEngine(Engine):
    """In this process, one after the other, without isolation or time-out: for debugging."""

    def run(self, schedule: Schedule) -> None:
        while (cell := schedule.next([])) is not None:
            run_cell(schedule.start(cell, threads=cores()))
            schedule.finish(cell)


@dataclass
class Running:
    """A process and the cell it runs. ``deadline`` is on the monotonic clock."""

    cell: Cell
    process: ForkServerProcess
    deadline: float
    tries: int


class LocalEngine(Engine):
    """Isolated processes from a fork server that has torch preloaded.

    A process that dies by a signal is tried once more; a Python error is not, because it would happen again.
    """

    def run(self, schedule: Schedule) -> None:
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload(PRELOAD)
        running: list[Running] = []
        try:
            while running or not schedule.empty:
                self._fill(schedule, running, context)
                patience = max(min(job.deadline for job in running) - time.monotonic(), 0.0)
                wait([job.process.sentinel for job in running], timeout=min(patience, 3600.0))
                self._collect(schedule, running, context)
        finally:
            _stop([job.process for job in running])

    def _fill(self, schedule: Schedule, running: list[Running], context: ForkServerContext) -> None:
        while len(running) < self.jobs:
            cell = schedule.next([job.cell for job in running])
            if cell is None:
                return
            running.append(self._launch(schedule, cell, context, tries=1))

    def _launch(self, schedule: Schedule, cell: Cell, context: ForkServerContext, tries: int) -> Running:
        threads = cores() if cell.kind == PROFILE else max(cores() // self.jobs, 1)
        spec = schedule.start(cell, threads)
        log = schedule.store.beside(cell.kind, cell.id, ".log")
        process = context.Process(target=_child, args=(str(spec), str(log)), daemon=False)
        process.start()
        deadline = float("inf") if self.timeout is None else time.monotonic() + self.timeout
        return Running(cell, process, deadline, tries)

    def _collect(self, schedule: Schedule, running: list[Running], context: ForkServerContext) -> None:
        for job in list(running):
            if job.process.is_alive():
                if time.monotonic() < job.deadline:
                    continue
                _stop([job.process])
                running.remove(job)
                schedule.lost(job.cell, "timeout", f"stopped after {self.timeout:g} s; see --timeout")
                continue
            job.process.join()
            running.remove(job)
            code = job.process.exitcode or 0
            if schedule.left_record(job.cell):
                schedule.finish(job.cell)
            elif code >= 0:
                schedule.lost(job.cell, "failed", f"the process ended with exit code {code} and no record")
            elif job.tries == 1:
                running.append(self._launch(schedule, job.cell, context, tries=2))
            else:
                schedule.lost(
                    job.cell, "killed", f"the process died twice by {_signal_name(-code)}{_hint(-code)}"
                )


def _child(spec: str, log: str) -> None:
    """Body of a cell's process. Output goes to the log; it dies with its parent, even one that was killed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the parent decides.
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
        os.dup2(descriptor, stream.fileno())
    faulthandler.enable()
    threading.Thread(target=_die_with_parent, daemon=True).start()
    run_cell(Path(spec))
    sys.stdout.flush()
    sys.stderr.flush()
    if os.path.getsize(log) == 0:
        os.unlink(log)


def _die_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _stop(processes: list[ForkServerProcess]) -> None:
    """Ask processes to end, then kill those that did not."""
    for process in processes:
        process.terminate()
    limit = time.monotonic() + GRACE
    for process in processes:
        process.join(max(limit - time.monotonic(), 0.0))
        if process.is_alive():
            process.kill()
            process.join()


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def _hint(number: int) -> str:
    return " (the system does that when memory runs out; try --jobs 1)" if number == signal.SIGKILL else ""
