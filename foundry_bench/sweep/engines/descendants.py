"""All that a cell has started, whatever sessions and groups it went to: found through the parents of processes, and ended.

A process whose parent has died is given to the nearest ancestor that adopts orphans. On Linux the cell's process does, so that
none gets away from below it; where it cannot be had, those that hide in this way are not found.
"""

from __future__ import annotations

import ctypes
import os
import signal
from collections.abc import Container, Iterable
from contextlib import suppress

import psutil

ADOPT = 36
"""PR_SET_CHILD_SUBREAPER, see prctl(2)."""
ROUNDS = 100
"""Looks at what is left: a process that is being killed may just have started another one."""


def adopt_orphans() -> None:
    """Let what this process's descendants leave behind become its own children, where the system can do that."""
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(ADOPT, 1, 0, 0, 0)


def end_descendants(pid: int, keep: Container[int | None] = ()) -> None:
    """Kill what ``pid`` has started, and what that has, without ``pid`` itself; children in ``keep`` and below are left."""
    for _ in range(ROUNDS):
        found = _below(pid, keep)
        if not found:
            return
        for process in found:
            with suppress(psutil.Error):
                process.send_signal(signal.SIGKILL)
        psutil.wait_procs(found, timeout=0.2)
        if pid == os.getpid():
            _reap(found)


def _below(pid: int, keep: Container[int | None]) -> list[psutil.Process]:
    """Living descendants, ancestors first."""
    with suppress(psutil.Error):
        first = [child for child in psutil.Process(pid).children() if child.pid not in keep]
        return [process for child in first for process in (child, *_children(child)) if _alive(process)]
    return []


def _children(process: psutil.Process) -> Iterable[psutil.Process]:
    try:
        return process.children(recursive=True)
    except psutil.Error:  # it has ended meanwhile
        return ()


def _alive(process: psutil.Process) -> bool:
    try:
        return bool(process.status() != psutil.STATUS_ZOMBIE)
    except psutil.Error:
        return False


def _reap(dead: Iterable[psutil.Process]) -> None:
    """Take the exit status of own children that nobody waits for."""
    for process in dead:
        with suppress(OSError):
            os.waitpid(process.pid, os.WNOHANG)
