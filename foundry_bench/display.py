"""How a running sweep is shown: a progress bar with the time left on a terminal, plain lines elsewhere."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from types import TracebackType

from rich.console import Console, RenderableType
from rich.markup import escape
from rich.progress import BarColumn, Progress, Task, TaskID, TextColumn, TimeElapsedColumn
from rich.text import Text

from foundry_bench.border import one_line, plain
from foundry_bench.progress import console, counted
from foundry_bench.sweep.estimate import AtWork, Estimate, human_time
from foundry_bench.sweep.marks import Marks, Notice
from foundry_bench.sweep.plan import EVALUATE, PROFILE, STUDENT, Cell
from foundry_bench.sweep.record import Record, ScoreValue
from foundry_bench.sweep.store import FINISHED

LOOK = 1.0
"""Seconds between two looks at what running cells say of themselves."""
QUIET = 60.0
"""Seconds without a line after which, where there is no terminal, one tells what is running."""


class _Bars(Progress):
    """Progress bars that bring themselves up to date before they are drawn."""

    before: Callable[[], None] = staticmethod(lambda: None)

    def get_renderables(self) -> Iterable[RenderableType]:
        self.before()
        return super().get_renderables()


class _Count(TextColumn):
    """``3/10``; nothing where the total is not known."""

    def __init__(self) -> None:
        super().__init__("")

    def render(self, task: Task) -> Text:
        return Text(counted(int(task.completed), int(task.total or 0)))


@dataclass
class _Row:
    """A running cell, when it was started, its line on the screen, and the last that was read in its mark."""

    cell: Cell
    task: TaskID | None
    notice: Notice | None = None
    start: float = field(default_factory=time.monotonic)

    def at_work(self) -> AtWork:
        """How far it is."""
        return AtWork.of(self.cell, time.monotonic() - self.start, self.notice)

    def phase(self, *, count: bool = False) -> str:
        """What it does, and how long that will take; with ``count`` how far it is."""
        if self.notice is None or not self.notice.phase:
            return ""
        left, far = self.at_work().left, counted(self.notice.done, self.notice.total) if count else ""
        told = f"{one_line(self.notice.phase)} {far}".rstrip()
        return told + (f", {human_time(left)} left" if left >= 1 else "")


class SweepDisplay(AbstractContextManager["SweepDisplay"]):
    """The reporter of a sweep: one line per finished cell.

    On a terminal there is a bar with the time left, and the running cells with their phases; elsewhere a line about these when
    nothing was said for a minute. ``stderr``: leave standard output to others.
    """

    def __init__(self, *, stderr: bool = False) -> None:
        self.console: Console = console(stderr=stderr)
        self._bar = _Bars(
            TextColumn("{task.description}"),
            BarColumn(bar_width=20),
            _Count(),
            TimeElapsedColumn(),
            TextColumn("{task.fields[left]}"),
            console=self.console,
            disable=not self.console.is_terminal,
        )
        self._bar.before = self._look
        self._task = self._bar.add_task("cells", total=0, left="", visible=False, start=False)
        self._steps: dict[str, tuple[TaskID, float]] = {}
        self._running: dict[str, _Row] = {}
        self._todo: dict[str, Cell] = {}
        self._total = self._failed = 0
        self._estimate: Estimate | None = None
        self._marks: Marks | None = None
        self._jobs = 1
        self._looked = self._said = time.monotonic()
        self._over = threading.Event()

    def __enter__(self) -> SweepDisplay:
        if self._bar.disable:
            threading.Thread(target=self._break_silence, daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def stop(self) -> None:
        """Take the bars away, so that what is written next stays on the screen."""
        self._over.set()
        self._bar.before = lambda: None
        for row in self._running.values():
            if row.task is not None:
                self._bar.remove_task(row.task)
        self._running.clear()
        self._bar.stop()

    def note(self, line: str) -> None:
        """Print a line."""
        self._say(escape(plain(line)))

    def warn(self, line: str) -> None:
        """Print a line that should be noticed."""
        self._say(f"[yellow]warning:[/yellow] {escape(plain(line))}")

    def _say(self, text: str) -> None:
        self._said = time.monotonic()
        self.console.print(text, soft_wrap=True)

    def step(self, what: str, done: int, total: int) -> None:
        """Show how far work is that comes before the cells."""
        if self._bar.disable:
            return
        if what not in self._steps:
            self._steps[what] = (self._bar.add_task(what, total=total, left=""), time.monotonic())
            self._bar.start()
        task, start = self._steps[what]
        left = (time.monotonic() - start) * (total - done) / done if done else 0.0
        self._bar.update(task, completed=done, total=total, left=f"{human_time(left)} left" if left else "")
        if done >= total:
            self._bar.remove_task(self._steps.pop(what)[0])

    def begin(self, todo: list[Cell], estimate: Estimate, jobs: int, marks: Marks) -> None:
        """Show how much there is to do; ``marks`` are where running cells say what they do."""
        self._todo = {cell.id: cell for cell in todo}
        self._total, self._estimate, self._jobs, self._marks = len(todo), estimate, jobs, marks
        left = human_time(estimate.total(todo, jobs))
        self.note(f"{len(todo)} cells to run, {jobs} at a time, about {left} ({estimate.basis})")
        self._bar.update(self._task, total=len(todo), completed=0, left=f"{left} left", visible=True)
        self._bar.start_task(self._task)
        self._bar.start()

    def started(self, cell: Cell) -> None:
        """Show a running cell below the bar."""
        if cell.id in self._running:
            return
        title = f"  {escape(plain(cell.title))}"
        task = None if self._bar.disable else self._bar.add_task(title, total=None, left="")
        self._running[cell.id] = _Row(cell, task)

    def finished(self, cell: Cell, record: Record) -> None:
        """One line for a finished cell."""
        row = self._running.pop(cell.id, None)
        if row is not None and row.task is not None:
            self._bar.remove_task(row.task)
        self._todo.pop(cell.id, None)
        status, seconds = record["identity"]["status"], record["environment"].get("seconds")
        if self._estimate is not None and status == "ok" and seconds is not None:
            shared = row.notice.shared if row is not None and row.notice is not None else 0
            self._estimate.learn(cell, max(seconds - shared, 0.0))
        done = self._total - len(self._todo)
        self._failed += status not in FINISHED
        colour = "green" if status in FINISHED else "red"
        took = "" if seconds is None else f"{seconds:7.1f} s  "
        line = f"[{colour}]{status:8}[/{colour}]{took}{escape(plain(f'{cell.title}  {key_result(record)}'))}"
        self._say(f"{escape(f'[{done:3}/{self._total}]')} {line}")
        self._bar.update(self._task, completed=done, left=self._left())

    def _left(self) -> str:
        """The time left, and how much has gone wrong."""
        failed = f", [red]{self._failed} failed[/red]" if self._failed else ""
        if self._estimate is None:
            return failed
        waiting = [cell for id, cell in self._todo.items() if id not in self._running]
        running = [row.at_work() for row in list(self._running.values())]
        return f"{human_time(self._estimate.left(waiting, running, self._jobs))} left{failed}"

    def _look(self) -> None:
        """Read what running cells say of themselves, not more often than every :data:`LOOK` seconds."""
        if self._marks is None or time.monotonic() - self._looked < LOOK:
            return
        self._looked = time.monotonic()
        for row in list(self._running.values()):
            notice = self._marks.alive(row.cell.id)
            if notice is None or not notice.phase_start:
                continue
            row.notice = notice
            if row.task in self._bar.task_ids:
                total = notice.total or None
                self._bar.update(row.task, completed=notice.done, total=total, left=escape(row.phase()))
        self._bar.update(self._task, left=self._left())

    def _break_silence(self) -> None:
        """Without a terminal, tell what is running when nothing was told for a while."""
        while not self._over.wait(LOOK):
            if time.monotonic() - self._said < QUIET or not self._running:
                continue
            self._look()
            rows = [f"{row.cell.title}: {row.phase(count=True)}" for row in list(self._running.values())]
            self._say(f"{escape(plain('running ' + '; '.join(rows)))}; {self._left()}")


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
