"""Marks: which cells are being run at this moment, by whom, in a folder that several sweeps may share.

A process that works on something holds a locked file with a notice of what it does. The system releases the lock however the
process ends, so a mark without its lock is that of a process that died, on this machine or another one.
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
import platform
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, fields, replace
from datetime import datetime
from pathlib import Path

from foundry_bench.progress import SHARED
from foundry_bench.storage import entries_in
from foundry_bench.sweep.environment import utc_now

POLL = 0.1
"""Seconds between two looks at a lock that somebody else holds."""
TELL = 0.5
"""Seconds between two notices of one phase."""
SWEEP = "sweep"
"""Kind of the mark of a process that drives a sweep."""
SERIAL = "serial"
"""Name of the engine that runs cells in the process of the sweep."""
LARGEST = 1 << 16
"""Bytes of a notice."""
UNSUPPORTED = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP)
"""What file systems without locks answer."""


@dataclass(frozen=True)
class Notice:
    """What a mark says. ``kind`` is that of the cell, or ``SWEEP`` for the process that drives one.

    ``phase``: what is being done, ``done`` of ``total`` since the time ``phase_start``; ``total`` is 0 where that is not known.
    ``shared``: seconds that went into earlier phases whose work serves other cells, too.
    """

    kind: str
    title: str
    attempt: int = 1
    engine: str = ""
    host: str = ""
    pid: int = 0
    start: str = ""
    phase: str = ""
    done: int = 0
    total: int = 0
    phase_start: str = ""
    shared: int = 0

    @property
    def in_the_sweep(self) -> bool:
        """Whether the cell ran in the process of the sweep itself, which it takes along when it dies."""
        return self.engine.partition("[")[0] == SERIAL

    @classmethod
    def parsed(cls, text: bytes) -> Notice:
        """The notice in ``text``. Raises ValueError, TypeError or RecursionError where there is none."""
        notice = cls(**json.loads(text))
        if any(type(getattr(notice, f.name)) is not (int if f.type == "int" else str) for f in fields(cls)):
            raise TypeError("a value of another type")
        for time_of in (notice.start, notice.phase_start):
            if time_of and datetime.fromisoformat(time_of).tzinfo is None:
                raise ValueError("a time of no zone")
        return notice

    def here(self) -> Notice:
        """The same notice, signed by this process."""
        signed = {"host": platform.node(), "pid": os.getpid(), "start": utc_now()}
        return Notice(**{**asdict(self), **signed})


class Marks:
    """The marks of one results folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @contextmanager
    def held(self, name: str, notice: Notice) -> Iterator[Callable[[str, int, int], None]]:
        """Hold the mark ``name``; waits while another process holds it. Gives a function that is told ``(phase, done, total)``
        and lets the notice say so, at once for a new phase and else every :data:`TELL` seconds.

        Where the file system has no locks the mark is a notice only. Raises OSError where nothing can be written.
        """
        path = self._path(name)
        self.folder.mkdir(parents=True, exist_ok=True)
        descriptor = self._acquire(path)
        try:
            os.ftruncate(descriptor, 0)
            teller = _Teller(descriptor, notice.here())
            yield teller.tell
        finally:
            with suppress(FileNotFoundError):
                path.unlink()  # while it is locked: who waits for it sees that it is gone and makes a new one
            os.close(descriptor)

    def _acquire(self, path: Path) -> int:
        while True:
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
            try:
                if _lock(descriptor) and _same_file(descriptor, path):
                    return descriptor
            except BaseException:
                os.close(descriptor)
                raise
            os.close(descriptor)
            time.sleep(POLL)

    def names(self) -> list[str]:
        """Names of all marks, alive or dead."""
        return [entry.name for entry in entries_in(self.folder)]

    def alive(self, name: str) -> Notice | None:
        """What the process says that holds ``name`` now, None where nobody does."""
        return self._read(name, alive=True)

    def left(self, name: str) -> Notice | None:
        """What a process that died has left under ``name``, None where there is nothing or it is alive."""
        return self._read(name, alive=False)

    def remove(self, name: str) -> None:
        """Remove a mark that nobody holds, and none that somebody takes at this moment."""
        path = self._path(name)
        try:
            descriptor = os.open(path, os.O_RDWR)
        except OSError:
            return
        try:
            if _lock(descriptor) and _same_file(descriptor, path):
                path.unlink()
        finally:
            os.close(descriptor)

    def _read(self, name: str, alive: bool) -> Notice | None:
        try:
            descriptor = os.open(self._path(name), os.O_RDWR)
        except OSError:
            return None
        try:
            if _lock(descriptor, fcntl.LOCK_SH) == alive:
                return None
            return Notice.parsed(os.pread(descriptor, LARGEST, 0))
        except (ValueError, TypeError, RecursionError, OSError):
            # its process has not yet written it, or died before it could; or it is a pipe, or no notice at all
            return Notice("unknown", name)
        finally:
            os.close(descriptor)

    def _path(self, name: str) -> Path:
        return self.folder / name


class _Teller:
    """Writes what a process is doing into its mark; a notice that is read meanwhile is the old or the new one."""

    def __init__(self, descriptor: int, notice: Notice) -> None:
        self._descriptor, self._notice = descriptor, notice
        self._told = self._began = time.monotonic()
        self._shared = 0.0
        self._length = 0
        self._write()

    def tell(self, phase: str, done: int, total: int) -> None:
        """See :meth:`Marks.held`. A mark that cannot be written says what it said before."""
        now, before = time.monotonic(), self._notice
        if phase != before.phase:
            self._shared += now - self._began if before.phase.startswith(SHARED) else 0.0
            self._began = now
            before = replace(before, phase_start=utc_now(), shared=round(self._shared))
        elif now - self._told < TELL and done < total:
            return
        self._notice, self._told = replace(before, phase=phase, done=int(done), total=int(total)), now
        with suppress(OSError):
            self._write()

    def _write(self) -> None:
        """The notice, with spaces over the rest of a longer one."""
        text = json.dumps(asdict(self._notice)).encode()
        self._length = max(self._length, len(text))
        os.pwrite(self._descriptor, text.ljust(self._length), 0)


def _lock(descriptor: int, how: int = fcntl.LOCK_EX) -> bool:
    """Whether the lock was free; a file system without locks counts as free."""
    try:
        fcntl.flock(descriptor, how | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:
        return error.errno in UNSUPPORTED
    return True


def _same_file(descriptor: int, path: Path) -> bool:
    """Whether ``path`` still is the file that was opened: its last holder may have removed it."""
    try:
        ours, theirs = os.fstat(descriptor), path.stat()
    except FileNotFoundError:
        return False
    return (ours.st_dev, ours.st_ino) == (theirs.st_dev, theirs.st_ino)
