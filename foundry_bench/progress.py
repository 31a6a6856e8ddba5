"""The progress display of long work outside a sweep, and the console that prints all output."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from rich.console import Console

from foundry_bench.beforehand.checks import check_device, check_path, check_seed
from foundry_bench.variants import FMD

if TYPE_CHECKING:
    import torch
    from rich.progress import TaskID

    from foundry_bench.context import Context
    from foundry_bench.context import Progress as ProgressSink

SHARED = "teacher's tokens"
"""What the names of phases begin with whose work is done once and serves all cells of a folder."""
EVERY = 10.0
"""Seconds between two lines about progress where there is no terminal."""
WIDE = 160
"""Columns assumed where no terminal says how many there are, so that tables in files are not folded."""


class _Console(Console):
    """A console that leaves a reader who has gone, such as ``head``, to the command line; rich would end with code 1."""

    def on_broken_pipe(self) -> None:
        raise BrokenPipeError


def console(*, stderr: bool = False) -> Console:
    """A rich console that does not fold tables into 80 columns when its output goes to a file, nor paints ``task:car:oa``."""
    found = _Console(stderr=stderr, highlight=False, soft_wrap=False, emoji=False)
    return found if found.is_terminal else _Console(stderr=stderr, highlight=False, width=WIDE, emoji=False)


def counted(done: int, total: int) -> str:
    """``3/10``; nothing where the total is not known."""
    return f"{done:,}/{total:,}" if total else ""


class _Lines:
    """Progress without a terminal: a line now and then, with the time left."""

    def __init__(self, screen: Console) -> None:
        self._screen, self._what = screen, ""
        self._start = self._said = time.monotonic()

    def tell(self, what: str, done: int, total: int) -> None:
        """Print a line if the last one was printed :data:`EVERY` seconds ago."""
        now = time.monotonic()
        if what != self._what:
            self._what, self._start = what, now
        if now - self._said >= EVERY:
            self._said = now
            left = f", {(now - self._start) * (total - done) / done:.0f} s left" if done and total else ""
            line = f"{what} {counted(done, total)}{left}"
            self._screen.print(line, markup=False, soft_wrap=True)


@contextmanager
def long_work() -> Iterator[tuple[ProgressSink, logging.Logger]]:
    """A receiver of progress and a logger for work outside a sweep: a bar with the time left on a terminal, lines elsewhere."""
    from rich.logging import RichHandler
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    screen = console(stderr=True)
    log = logging.getLogger("foundry_bench")
    handler = RichHandler(console=screen, show_path=False)
    log.addHandler(handler)
    log.setLevel(logging.INFO)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    tasks: dict[str, TaskID] = {}
    lines = _Lines(screen)
    with Progress(*columns, console=screen, disable=not screen.is_terminal) as bar:

        def progress(what: str, done: int, total: int) -> None:
            if bar.disable:
                lines.tell(what, done, total)
                return
            if what not in tasks:
                tasks[what] = bar.add_task(what, total=total or None)
            bar.update(tasks[what], completed=done, total=total or None)

        try:
            yield progress, log
        finally:
            log.removeHandler(handler)


@contextmanager
def working_context(
    seed: int = 0,
    budget: str = "quick",
    data_root: Path | str = "data",
    variant: str = FMD,
    device: str | torch.device = "cpu",
) -> Iterator[Context]:
    """A context for work outside a sweep: it shows its progress, and its scratch folder is removed at the end.

    Raises UserError for a seed or a device that cannot be used here.
    """
    checked = check_device(device), check_seed(seed)
    root = check_path(data_root, "data_root")
    import torch

    from foundry_bench.context import Context

    with TemporaryDirectory(prefix="foundry-bench-") as scratch, long_work() as (progress, log):
        yield Context(
            device=torch.device(checked[0]),
            seed=checked[1],
            variant=variant,
            budget=budget,
            data_root=root,
            scratch=Path(scratch),
            log=log,
            progress=progress,
        )
