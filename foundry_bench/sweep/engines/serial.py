"""Cells in this process, one after the other: for debugging."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

from foundry_bench.border import PassingError
from foundry_bench.storage import disk_is_full
from foundry_bench.sweep.cell import run_cell
from foundry_bench.sweep.engines.base import Ending, Engine
from foundry_bench.sweep.plan import Cell
from foundry_bench.sweep.schedule import Schedule


class OverTimeError(PassingError):
    """A cell is over its time. No Exception, so that a method's own ``except`` does not swallow it."""


@dataclass
class SerialEngine(Engine):
    """In this process, one cell after the other, so that a debugger reaches it.

    Without isolation: a cell that kills its process takes the sweep along. The next run remembers it, tries the cell once
    more, and records it as killed when that ends in the same way. Only Python code can be stopped when its time is over.
    """

    in_process = True

    @property
    def slots(self) -> int:
        return 1

    def launch(self, spec: Path, cell: Cell, threads: int) -> Ending | None:
        """Run the whole cell; the handle is its ending, None where its time was over."""
        try:
            with _alarm(self.timeout):
                run_cell(spec)
        except OverTimeError:
            return None
        except OSError as error:
            if disk_is_full(error):
                return Ending(detail=str(error), full=True)
            raise
        return Ending(detail="no error")

    def wait(self, handles: Sequence[Ending | None], seconds: float) -> None:
        return

    def ended(self, handle: Ending | None) -> Ending | None:
        return handle

    def stop(self, handles: Sequence[Ending | None]) -> None:
        return

    def deaths_of(self, cell: Cell, schedule: Schedule) -> int:
        notice = schedule.store.marks.left(cell.id)
        if notice is None or not notice.in_the_sweep:
            return 0
        return notice.attempt - schedule.attempts(cell)


@contextmanager
def _alarm(seconds: float | None) -> Iterator[None]:
    """Raise OverTimeError in the main thread after ``seconds``."""
    if seconds is None or threading.current_thread() is not threading.main_thread():
        yield
        return

    def ring(number: int, frame: FrameType | None) -> None:
        raise OverTimeError

    before = signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
