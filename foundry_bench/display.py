"""How a running sweep is shown: a progress bar with the time left on a terminal, plain lines elsewhere."""

from __future__ import annotations

from contextlib import AbstractContextManager
from types import TracebackType

from rich.markup import escape
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
)

from foundry_bench.border import plain
from foundry_bench.progress import console
from foundry_bench.sweep.estimate import Estimate, human_time
from foundry_bench.sweep.plan import EVALUATE, PROFILE, STUDENT, Cell
from foundry_bench.sweep.record import Record, ScoreValue
from foundry_bench.sweep.store import FINISHED


class SweepDisplay(AbstractContextManager["SweepDisplay"]):
    """The reporter of a sweep: one line per finished cell; on a terminal a bar with the time left and the running cells."""

    def __init__(self) -> None:
        self.console = console()
        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("{task.fields[left]}"),
            console=self.console,
            disable=not self.console.is_terminal,
        )
        self._task = self._bar.add_task("cells", total=0, left="", visible=False, start=False)
        self._running: dict[str, TaskID] = {}
        self._todo: set[str] = set()
        self._total = self._failed = 0
        self._estimate: Estimate | None = None
        self._jobs = 1
        self._left = self._expected = self._spent = 0.0

    def __enter__(self) -> SweepDisplay:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for task in self._running.values():
            self._bar.remove_task(task)
        self._bar.stop()

    def note(self, line: str) -> None:
        """Print a line."""
        self.console.print(escape(plain(line)), soft_wrap=True)

    def warn(self, line: str) -> None:
        """Print a line that should be noticed."""
        self.console.print(f"[yellow]warning:[/yellow] {escape(plain(line))}", soft_wrap=True)

    def begin(self, todo: list[Cell], estimate: Estimate, jobs: int) -> None:
        """Show how much there is to do."""
        self._todo = {cell.id for cell in todo}
        self._total, self._estimate, self._jobs = len(todo), estimate, jobs
        self._left = estimate.total(todo, jobs)
        left = human_time(self._left)
        self.note(f"{len(todo)} cells to run, {jobs} at a time, about {left} ({estimate.basis})")
        self._bar.update(self._task, total=len(todo), left=f"{left} left", visible=True)
        self._bar.start_task(self._task)
        self._bar.start()

    def started(self, cell: Cell) -> None:
        """Show a running cell below the bar."""
        if not self._bar.disable and cell.id not in self._running:
            self._running[cell.id] = self._bar.add_task(f"  {escape(plain(cell.title))}", total=None, left="")

    def finished(self, cell: Cell, record: Record) -> None:
        """One line for a finished cell."""
        if cell.id in self._running:
            self._bar.remove_task(self._running.pop(cell.id))
        if self._estimate is not None and cell.id in self._todo:
            self._left -= self._estimate.share(cell, self._jobs)
        self._todo.discard(cell.id)
        done = self._total - len(self._todo)
        status, seconds = record["identity"]["status"], record["environment"].get("seconds")
        self._failed += status not in FINISHED
        colour = "green" if status in FINISHED else "red"
        took = "" if seconds is None else f"{seconds:7.1f} s  "
        line = f"[{colour}]{status:8}[/{colour}]{took}{escape(plain(f'{cell.title}  {key_result(record)}'))}"
        self.console.print(f"{escape(f'[{done:3}/{self._total}]')} {line}", soft_wrap=True)
        left = f"{self._time_left(cell, seconds if status == 'ok' else None)} left"
        failed = f", [red]{self._failed} failed[/red]" if self._failed else ""
        self._bar.update(self._task, completed=done, left=left + failed)

    def _time_left(self, cell: Cell, seconds: float | None) -> str:
        """Estimated time of what is left, corrected by how the estimate did so far."""
        if self._estimate is None:
            return "?"
        if seconds is not None:
            self._expected += self._estimate.seconds(cell)
            self._spent += seconds
        pace = self._spent / self._expected if self._expected else 1.0
        return human_time(pace * max(self._left, 0.0))


def key_result(record: Record) -> str:
    """The one result of a record that a reader wants to see pass by, or its error."""
    about, kind = record["identity"], record["identity"]["kind"]
    if about["status"] != "ok":
        error = f"{about['error_type']}: " if about["error_type"] not in (None, about["status"]) else ""
        return f"{error}{about['message']}"
    if kind == STUDENT and (fidelity := record["fidelity"]) and fidelity["r2"] is not None:
        return f"R2 {fidelity['r2']:.3f}"
    if kind == EVALUATE and (scores := record["scores"]):
        return " ".join(_score(score) for score in scores["values"] if score["primary"])
    if kind == PROFILE and (cost := record["cost"]):
        noisy = ", noisy" if cost.get("noisy") else ""
        return f"{cost['gmacs']:.4f} GMACs, latency ratio {cost['latency_ratio']:.2f}{noisy}"
    return ""


def _score(score: ScoreValue) -> str:
    value = score["value"]
    return f"{score['metric']} {'is not finite' if value is None else f'{100 * value:.1f} %'}"
