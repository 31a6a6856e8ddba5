"""What may start now. Engines ask for cells and tell what became of them; nothing is run here."""

from __future__ import annotations

import os
import platform
import shutil
from collections import defaultdict, deque
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from foundry_bench.beforehand import plugin_files
from foundry_bench.sweep.environment import utc_now
from foundry_bench.sweep.marks import SWEEP
from foundry_bench.sweep.plan import EVALUATE, PROFILE, REHEARSE, STUDENT, Cell
from foundry_bench.sweep.record import SCHEMA_VERSION, Environment, Record, Spec, blank_record, given
from foundry_bench.sweep.store import FINISHED, ORPHAN, SKIPPED, Store, status_of, write_json
from foundry_bench.training.budget import REHEARSAL

Told = Callable[[Cell, Record], None]
AT_ONCE = (REHEARSE, EVALUATE, STUDENT)
"""Kinds of cells that may run beside each other, in the order in which they start: an evaluation completes a row."""


def cores() -> int:
    """Processor cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@dataclass(frozen=True)
class Settings:
    """What every spec of a sweep holds besides its cell. ``memory``: bytes a cell may use, None for no limit.
    ``peak_memory``: whether profile cells measure it."""

    budget: str
    device: str
    data_root: str
    engine: str
    memory: int | None = None
    peak_memory: bool = True

    def small(self) -> Settings:
        """The same settings for a rehearsal."""
        return replace(self, budget=REHEARSAL)


class Schedule:
    """Cells still to run, in dependency order.

    A cell starts once its student is there; ``profile`` cells measure time, so they come last and alone. Another sweep may work
    in the same folder: its cells are waited for and not run twice. ``started`` and ``done`` hear of every cell.
    """

    def __init__(
        self,
        todo: list[Cell],
        store: Store,
        environment: Environment,
        settings: Settings,
        *,
        started: Callable[[Cell], None],
        done: Told,
        tried: dict[str, int] | None = None,
    ) -> None:
        """``tried``: attempts of cells before the sweep was planned; without it, what is unfinished on disk by now. Records of
        later attempts are another sweep's, and stay."""
        self.store = store
        self.settings = settings
        self._specs: dict[str, Spec] = {}
        self._environment = environment
        self._started, self._done = started, done
        self._tried = self._unfinished(todo) if tried is None else tried
        self._running: dict[str, Cell] = {}
        self._ready: dict[str, deque[Cell]] = {kind: deque() for kind in (*AT_ONCE, PROFILE)}
        self._children: dict[str, list[Cell]] = defaultdict(list)
        self._elsewhere: dict[str, Cell] = {}
        unborn = {cell.id for cell in todo if cell.kind == STUDENT}
        for cell in todo:
            if cell.parent in unborn:
                self._children[cell.parent].append(cell)
            else:
                self._ready[cell.kind].append(cell)

    @property
    def empty(self) -> bool:
        """Nothing is left to start."""
        return not (any(self._ready.values()) or any(self._children.values()) or self._elsewhere)

    def next(self) -> Cell | None:
        """The next cell that may start now, or None: what completes a row goes before what begins one."""
        self._look_elsewhere()
        while (cell := self._candidate()) is not None:
            if self.store.marks.alive(cell.id) is not None:
                self._elsewhere[cell.id] = cell
            elif self.recorded(cell) is not None:
                self.finish(cell)  # by another sweep since this one was planned
            elif cell.broken is not None:
                self._refuse(cell, str(cell.broken), "import")
            elif cell.parent is not None and (reason := self._skipped(cell.parent)) is not None:
                self._refuse(cell, reason, ORPHAN, SKIPPED)
            elif cell.parent is not None and not self.store.finished(STUDENT, cell.parent):
                self._refuse(cell, _orphaned(cell), ORPHAN)
            else:
                return cell
        return None

    def _candidate(self) -> Cell | None:
        """Take the first ready cell of the kind that is due."""
        if any(cell.kind == PROFILE for cell in self._running.values()):
            return None
        for kind in AT_ONCE:
            if self._ready[kind]:
                return self._ready[kind].popleft()
        idle = not (self._running or self._children or self._elsewhere or self._others())
        return self._ready[PROFILE].popleft() if self._ready[PROFILE] and idle else None

    def _others(self) -> bool:
        """Whether another sweep is running a cell on this machine, which would disturb a measurement of time."""
        notices = [self.store.marks.alive(name) for name in self.store.marks.names()]
        return any(n is not None and n.kind != SWEEP and n.host == platform.node() for n in notices)

    def _look_elsewhere(self) -> None:
        """Take note of what another sweep has finished, and take back what it has given up."""
        for cell in list(self._elsewhere.values()):
            if self.store.marks.alive(cell.id) is None:
                del self._elsewhere[cell.id]
                if self.recorded(cell) is None:
                    self._ready[cell.kind].appendleft(cell)
                else:
                    self.finish(cell)

    def start(self, cell: Cell, threads: int, device: str | None = None, deaths: int = 0) -> Path:
        """Write the spec of the cell's next attempt and return its path. ``deaths``: attempts that left no record."""
        path = self._write_spec(cell, self.attempts(cell) + deaths + 1, threads, device)
        self._running[cell.id] = cell
        self._started(cell)
        return path

    def _unfinished(self, cells: list[Cell]) -> dict[str, int]:
        return {c.id: self.attempts(c) for c in cells if not self.store.finished(c.kind, c.id)}

    def attempts(self, cell: Cell) -> int:
        """How often the cell was tried, as far as it is known here."""
        if cell.id in self._specs:
            return self._specs[cell.id]["attempt"]
        record = self.store.read(cell.kind, cell.id)
        return 0 if record is None else record["identity"]["attempt"]

    def _write_spec(self, cell: Cell, attempt: int, threads: int, device: str | None = None) -> Path:
        spec: Spec = {
            "schema_version": SCHEMA_VERSION,
            "cell_id": cell.id,
            "kind": cell.kind,
            "title": cell.title,
            "attempt": attempt,
            "tried": self._tried.get(cell.id, 0),
            "inputs": cell.inputs,
            "results": str(self.store.folder.resolve()),
            "cache": str(self.store.cache.resolve()),
            "threads": threads,
            "budget": self.settings.budget,
            "device": device or self.settings.device,
            "data_root": self.settings.data_root,
            "engine": self.settings.engine,
            "memory": self.settings.memory,
            "peak_memory": self.settings.peak_memory,
            "plugins": list(map(str, plugin_files.files())),
            "node": platform.node(),
            "environment": self._environment,
        }
        path = self.store.spec_path(cell.kind, cell.id)
        write_json(path, spec, durable=False)
        self._specs[cell.id] = spec
        return path

    def recorded(self, cell: Cell) -> Record | None:
        """What an attempt of this sweep or of another one has left since this one was planned."""
        return self.store.newer(cell.kind, cell.id, self._tried.get(cell.id, 0))

    def left_record(self, cell: Cell) -> bool:
        """Whether the attempt that was started, or another sweep's, has left its record."""
        return self.recorded(cell) is not None

    def finish(self, cell: Cell) -> None:
        """Take note of a cell's record; children of a student that is not there leave records of their own, failed or skipped
        as it is."""
        record = self.store.read(cell.kind, cell.id)
        if record is None:
            self.lost(cell, "failed", "the process ended without leaving a readable record")
        else:
            self._settle(cell, record)

    def _settle(self, cell: Cell, record: Record) -> None:
        self._running.pop(cell.id, None)
        self.store.marks.remove(cell.id)
        if status_of(record) in FINISHED:
            self.store.spec_path(cell.kind, cell.id).unlink(missing_ok=True)
        self._done(cell, record)
        children = self._children.pop(cell.id, [])
        if status_of(record) == "ok":
            for child in children:
                self._ready[child.kind].append(child)
            return
        if cell.kind == STUDENT:
            shutil.rmtree(self.store.student_folder(cell.id), ignore_errors=True)
        skipped = status_of(record) == SKIPPED
        for child in children:
            reason = str(record["identity"]["message"]) if skipped else _orphaned(child)
            self._refuse(child, reason, ORPHAN, SKIPPED if skipped else "failed")

    def _skipped(self, student: str) -> str | None:
        """Why a student was not made, None where it was not skipped."""
        record = self.store.read(STUDENT, student)
        return str(given(record)["identity"]["message"]) if status_of(record) == SKIPPED else None

    def lost(self, cell: Cell, status: str, message: str, stage: str = "process") -> None:
        """Write the record of a cell whose process could not."""
        if self.recorded(cell) is not None:  # by another sweep meanwhile
            self.finish(cell)
            return
        spec = self._specs[cell.id]
        record = blank_record(spec)
        log = self.store.beside(cell.kind, cell.id, ".log")
        said = log.exists() and log.stat().st_size > 0
        record["identity"] = {
            **record["identity"],
            "status": status,
            "error_type": status,
            "message": message,
            "traceback_file": log.name if said else None,
            "stage": stage,
        }
        record["environment"] = {
            **record["environment"],
            "threads": spec["threads"],
            "start": None,
            "end": utc_now(),
            "seconds": None,
        }
        self.store.write(record)
        self._settle(cell, record)

    def _refuse(self, cell: Cell, message: str, stage: str, status: str = "failed") -> None:
        """The record of a cell that cannot even start, unless another sweep has written it."""
        if self.recorded(cell) is not None:
            self.finish(cell)
            return
        self._write_spec(cell, self.attempts(cell) + 1, threads=1)
        self.lost(cell, status, message, stage)


def _orphaned(cell: Cell) -> str:
    """Why a cell without its student failed: the same words whether that happened now or in an earlier run."""
    return f"its student {str(cell.parent)[:12]} failed; run with --retry"
