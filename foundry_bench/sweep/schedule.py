"""What may start now. Engines ask for cells and tell what became of them; nothing is run here."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from foundry_bench.sweep.cell import blank_record
from foundry_bench.sweep.environment import utc_now
from foundry_bench.sweep.plan import PROFILE, STUDENT, Cell
from foundry_bench.sweep.store import ORPHAN, SCHEMA_VERSION, Store, status_of, write_json

Done = Callable[[Cell, dict[str, Any]], None]


def cores() -> int:
    """Processor cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class Schedule:
    """Cells still to run, in dependency order.

    A cell starts once its student is there; ``profile`` cells measure time, so they come last and alone.
    """

    def __init__(
        self,
        todo: list[Cell],
        store: Store,
        environment: dict[str, Any],
        *,
        budget: str,
        device: str,
        data_root: str,
        done: Done,
    ) -> None:
        self.store = store
        self._waiting = list(todo)
        self._unborn = {cell.id for cell in todo if cell.kind == STUDENT}
        self._environment = environment
        self._settings = {"budget": budget, "device": device, "data_root": data_root}
        self._done = done
        self._specs: dict[str, dict[str, Any]] = {}
        for cell in [cell for cell in todo if cell.broken is not None]:
            self._waiting.remove(cell)
            self.start(cell, threads=1)
            self.lost(cell, "failed", str(cell.broken), stage="import")

    @property
    def empty(self) -> bool:
        """Nothing is left to start."""
        return not self._waiting

    def next(self, running: list[Cell]) -> Cell | None:
        """The next cell that may start beside those ``running``, or None. Students go first: others wait for
        them.
        """
        if any(cell.kind == PROFILE for cell in running):
            return None
        for cell in self._waiting:
            if cell.parent in self._unborn:
                continue
            if cell.kind == PROFILE and (running or any(c.kind != PROFILE for c in self._waiting)):
                continue
            self._waiting.remove(cell)
            return cell
        return None

    def start(self, cell: Cell, threads: int) -> Path:
        """Write the spec of the cell's next attempt and return its path."""
        before = self._specs.get(cell.id) or (self.store.read(cell.kind, cell.id) or {}).get("identity")
        spec = {
            "schema_version": SCHEMA_VERSION,
            "cell_id": cell.id,
            "kind": cell.kind,
            "attempt": 1 + (before["attempt"] if before else 0),
            "inputs": cell.inputs,
            "results": str(self.store.folder.resolve()),
            "cache": str(self.store.cache.resolve()),
            "threads": threads,
            **self._settings,
            "environment": self._environment,
        }
        path = self.store.spec_path(cell.kind, cell.id)
        write_json(path, spec)
        self._specs[cell.id] = spec
        return path

    def left_record(self, cell: Cell) -> bool:
        """Whether the attempt that was started has left its record."""
        record = self.store.read(cell.kind, cell.id)
        return record is not None and record["identity"]["attempt"] == self._specs[cell.id]["attempt"]

    def finish(self, cell: Cell) -> None:
        """Take note of a cell's record; children of a student that is not there leave failed records of their
        own.
        """
        record = self.store.read(cell.kind, cell.id)
        if record is None:
            self.lost(cell, "failed", "the process ended without leaving a readable record")
            return
        self._unborn.discard(cell.id)
        self._done(cell, record)
        if cell.kind == STUDENT and status_of(record) != "ok":
            self._orphan(cell)

    def lost(self, cell: Cell, status: str, message: str, stage: str = "process") -> None:
        """Write the record of a cell whose process could not."""
        record = blank_record(self._specs[cell.id])
        record["identity"].update(status=status, error_type=status, message=message, stage=stage)
        log = self.store.beside(cell.kind, cell.id, ".log")
        record["identity"]["traceback_file"] = log.name if log.exists() else None
        record["environment"].update(
            threads=self._specs[cell.id]["threads"], start=None, end=utc_now(), seconds=None
        )
        self.store.write(record)
        self.finish(cell)

    def _orphan(self, student: Cell) -> None:
        shutil.rmtree(self.store.student_folder(student.id), ignore_errors=True)
        for child in [cell for cell in self._waiting if cell.parent == student.id]:
            self._waiting.remove(child)
            self.start(child, threads=1)
            self.lost(
                child, "failed", f"its student {student.id[:12]} ({student.title}) failed", stage=ORPHAN
            )
