"""The contract of a tracker. One that is registered under ``foundry_bench.trackers`` can be named after ``--track``."""

from __future__ import annotations

import contextlib
import importlib
from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from foundry_bench.border import guarded
from foundry_bench.sweep.config import SweepConfig
from foundry_bench.sweep.record import Record
from foundry_bench.trackers.rows import Row

if TYPE_CHECKING:
    import pandas as pd

FOLDER = "trackers"
"""Folder below the results for trackers that keep files; it keeps itself out of version control."""


@dataclass(frozen=True)
class Sweep:
    """What a tracker is told about a sweep when it is opened.

    ``id`` is random and stays when the sweep is resumed. ``config`` has ``all`` replaced by names.
    """

    id: str
    config: SweepConfig
    folder: Path
    rows: tuple[Row, ...]


class Tracker(ABC):
    """Where a sweep is shown besides its results folder; a frozen dataclass whose fields are its parameters.

    ``needs`` are the modules it imports and ``extra`` what installs them. A subclass imports them inside functions.
    Everything but :meth:`check` runs in a thread of its own and may raise: the first error switches the tracker off.
    """

    needs: ClassVar[tuple[str, ...]] = ()
    extra: ClassVar[str] = ""

    def check(self, name: str) -> None:
        """Raise UserError where a module is missing or broken, before the sweep starts."""
        for module in self.needs:
            fix = f"pip install 'foundry-bench[{self.extra}]'" if self.extra else f"install {module}"
            with guarded(f"tracker {name!r} cannot import {module}", fix):
                importlib.import_module(module)

    def destination(self, folder: Path) -> str:
        """Where it logs to. What was logged to one destination is logged again when it changes; never shown."""
        return repr(self)

    @abstractmethod
    def open(self, sweep: Sweep, state: dict[str, Any]) -> Session:
        """Begin or continue a sweep. ``state`` holds JSON values, is kept beside the results and given back on resuming."""


class Session(ABC):
    """An open tracker. A call may be repeated after a crash with the same arguments and must not show anything twice."""

    def cell(self, row: Row, record: Record) -> None:  # noqa: B027
        """A cell of ``row`` has left its record; a student is told to each row that uses it."""

    def row(self, row: Row, records: list[Record]) -> None:  # noqa: B027
        """All cells of ``row`` have left their records, the student first; again when one of them was mended."""

    @abstractmethod
    def close(self, board: pd.DataFrame | None) -> None:
        """The sweep has ended with this leaderboard, or (None) was interrupted."""


def local_folder(sweep: Sweep, name: str) -> Path:
    """The folder in which a tracker may keep files of this sweep; it exists."""
    folder = sweep.folder.resolve() / FOLDER / name
    folder.mkdir(parents=True, exist_ok=True)
    with (
        contextlib.suppress(FileExistsError),
        (folder.parent / ".gitignore").open("x", encoding="utf-8") as file,
    ):
        file.write("*\n")
    return folder
