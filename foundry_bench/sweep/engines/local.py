"""Isolated processes on this machine, from a fork server that has torch preloaded."""

from __future__ import annotations

import faulthandler
import gc
import multiprocessing
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from multiprocessing import forkserver
from multiprocessing.connection import wait as wait_for
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from typing import Any

import psutil

from foundry_bench.storage import disk_is_full
from foundry_bench.sweep.cell import run_cell
from foundry_bench.sweep.engines.base import GRACE, Ending, Engine
from foundry_bench.sweep.engines.descendants import adopt_orphans, end_descendants
from foundry_bench.sweep.plan import PROFILE, Cell
from foundry_bench.sweep.schedule import cores
from foundry_bench.sweep.store import Store

PRELOAD = "foundry_bench.sweep.engines.preload"
UNKNOWN = 255
"""What multiprocessing gives as exit code where the fork server died before it could tell one; the cell may still run."""
DISK_FULL = 74
"""Exit code of a cell that could not write (EX_IOERR)."""
_SERVER = forkserver.ForkServer()
_SERVER.set_forkserver_preload([PRELOAD])


@dataclass
class LocalEngine(Engine):
    """Isolated processes on this machine, each in a group of its own, from a fork server that has torch preloaded.

    With ``--device cuda`` cells are spread over the GPUs, one each unless --jobs asks for more.
    """

    def open(self, store: Store) -> None:
        self._gpus = _gpus() if self.device == "cuda" else 0
        self._server: int | None = None
        self._context = multiprocessing.get_context("forkserver")
        first = self._context.Process(target=_nothing)  # waits for the imports, which are no cell's time
        with _own_server(), _without_main():
            first.start()
        first.join()

    @property
    def slots(self) -> int:
        return self.jobs or getattr(self, "_gpus", 0) or min(2, cores())

    def device_for(self, cell: Cell, running: Sequence[Cell]) -> str:
        """The GPU with the fewest cells; a profile cell, which runs alone, gets the first."""
        if self._gpus < 1:
            return self.device
        if cell.kind == PROFILE:
            return "cuda:0"
        self._placed = {k: v for k, v in getattr(self, "_placed", {}).items() if k in {c.id for c in running}}
        used = list(self._placed.values())
        self._placed[cell.id] = min(range(self._gpus), key=used.count)
        return f"cuda:{self._placed[cell.id]}"

    def launch(self, spec: Path, cell: Cell, threads: int) -> ForkServerProcess:
        log = spec.with_name(f"{cell.id}.log")
        process = self._context.Process(target=_child, args=(str(spec), str(log)), daemon=False)
        with _own_server(), _without_main():
            process.start()
        with suppress(psutil.Error):  # a fork server that has died is started anew
            self._server = psutil.Process(process.pid).ppid()
        return process

    def wait(self, handles: Sequence[ForkServerProcess], seconds: float) -> None:
        wait_for([process.sentinel for process in handles], timeout=seconds)

    def ended(self, handle: ForkServerProcess) -> Ending | None:
        if handle.is_alive():
            return None
        handle.join()
        code = handle.exitcode or 0
        self._end_all_of(handle)  # what it started and left behind
        if code < 0:
            return Ending(died=True, detail=f"by {_signal_name(-code)}")
        if code == UNKNOWN:
            return Ending(died=True, detail="with the fork server, or with exit code 255")
        return Ending(detail=f"exit code {code}", full=code == DISK_FULL)

    def stop(self, handles: Sequence[ForkServerProcess]) -> None:
        for process in handles:
            _signal_group(process, signal.SIGTERM)
        limit = time.monotonic() + GRACE
        for process in handles:
            process.join(max(limit - time.monotonic(), 0.0))
        for process in handles:
            if process.is_alive() and process.pid is not None:
                end_descendants(process.pid)
            _signal_group(process, signal.SIGKILL)
            process.join()
            self._end_all_of(process)

    def _end_all_of(self, handle: ForkServerProcess) -> None:
        """Kill a cell whose end is known, should it be alive, and all that it has left behind: what is below its process, in
        its group, and among the orphans that the fork server has adopted."""
        if handle.pid is None:
            return
        if handle.exitcode == UNKNOWN and _is_cell(handle.pid):
            end_descendants(handle.pid)
            with suppress(ProcessLookupError):
                os.kill(handle.pid, signal.SIGKILL)
        _signal_group(handle, signal.SIGKILL)
        if self._server is not None and self._server != os.getpid():
            end_descendants(self._server, keep={other.pid for other in multiprocessing.active_children()})


@contextmanager
def _own_server() -> Iterator[None]:
    """Start processes from this engine's fork server. The one that multiprocessing shares may run already, of a program that
    has used it: without what cells need, and without adopting what they leave behind."""
    shared = forkserver.connect_to_new_process
    forkserver.connect_to_new_process = _SERVER.connect_to_new_process
    try:
        yield
    finally:
        forkserver.connect_to_new_process = shared


@contextmanager
def _without_main() -> Iterator[None]:
    """Keep multiprocessing from importing the main module into a new process: a cell needs nothing of it, and a script without
    ``if __name__ == "__main__"`` would begin its sweep once more."""
    names = vars(sys.modules["__main__"])
    hidden: dict[str, Any] = {key: names.pop(key) for key in ("__file__", "__spec__") if key in names}
    names["__spec__"] = None
    try:
        yield
    finally:
        names.update(hidden)


def _nothing() -> None:
    """Body of a process that only shows that the fork server is ready."""


def _child(spec: str, log: str) -> None:
    """Body of a cell's process; it dies with its parent, even one that was killed."""
    adopt_orphans()
    gc.freeze()  # what the fork server has loaded is not looked through again and again, and its memory stays shared
    os.setpgid(0, 0)  # whatever the cell starts can be stopped with it; Ctrl-C reaches the sweep only
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    threading.Thread(target=_die_with_parent, daemon=True).start()
    try:
        run_logged(Path(spec), Path(log))
    except OSError as error:
        if disk_is_full(error):
            sys.exit(DISK_FULL)
        raise


def run_logged(spec: Path, log: Path) -> None:
    """Run a cell in a process that has done nothing, its output to the file ``log``, which is there only if there was any."""
    descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    os.dup2(descriptor, 1)
    os.dup2(descriptor, 2)
    faulthandler.enable(file=descriptor)
    try:
        run_cell(spec, young=True)
    finally:
        end_descendants(os.getpid())
        for stream in (sys.stdout, sys.stderr):
            with suppress(OSError):  # a full disk must not hide the error that says so
                stream.flush()
        if os.fstat(descriptor).st_size == 0:
            log.unlink(missing_ok=True)


def _die_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        end_descendants(os.getpid())
        os.killpg(os.getpgid(0), signal.SIGKILL)


def _signal_group(process: ForkServerProcess, number: int) -> None:
    """Send a signal to a cell's process and to all that it started."""
    if process.pid is None:
        return
    for send in (os.killpg, os.kill) if process.is_alive() else (os.killpg,):
        with suppress(ProcessLookupError, PermissionError):
            send(process.pid, number)


def _is_cell(pid: int) -> bool:
    """Whether a process that had this number when it was a cell still is one: a group leader of this program."""
    try:
        return os.getpgid(pid) == pid and psutil.Process(pid).exe() == psutil.Process().exe()
    except (OSError, psutil.Error):
        return False


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def _gpus() -> int:
    """GPUs that torch may use."""
    import torch

    return torch.cuda.device_count()
