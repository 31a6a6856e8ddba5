"""The end of a process whose main thread a stranger's code keeps for ever: no exception, no signal's handler reaches it."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar

from foundry_bench.border import one_line

CODE = 2
"""Exit code of a process that is ended so."""
LATER = 2.0
"""Seconds after which another process ends one that no thread of its own has ended."""
TICK = 0.1
_SHOW_CURSOR = b"\r\x1b[K\x1b[?25h"
"""Begins a line of its own on a terminal on which a progress bar has hidden the cursor."""
_OURS: ContextVar[bool] = ContextVar("_OURS", default=False)
_OTHER = """
import os, select, signal, sys
signal.signal(signal.SIGINT, signal.SIG_IGN)
process, ticks, tick, line = sys.argv[1:]
if not any(select.select([0], [], [], float(tick))[0] for _ in range(int(ticks))):
    os.write(2, os.fsencode(line))
    os.kill(int(process), signal.SIGKILL)
"""
"""What the other process runs: it ends when its input does, and counts ticks, of which none pass while both are stopped."""


@contextmanager
def process_of_ours() -> Iterator[None]:
    """Inside, the process holds nothing but a command of this package: it may be ended where nothing else helps."""
    token = _OURS.set(True)
    try:
        yield
    finally:
        _OURS.reset(token)


@contextmanager
def watchdog(seconds: float, line: str) -> Iterator[None]:
    """End the process with ``error: LINE`` on standard error where the block has not ended after ``seconds``.

    A thread ends it with exit code 2; where code in C lets no thread run, another process ends it by SIGKILL. Nothing is done
    outside :func:`process_of_ours`: a notebook may hold a day's work.
    """
    if not _OURS.get():
        yield
        return
    text = (_SHOW_CURSOR if os.isatty(2) else b"") + f"error: {one_line(line)}\n".encode()
    with _other_process(seconds + LATER, text) as other:

        def end() -> None:
            if other is not None:
                other.kill()
            with suppress(OSError):
                os.write(2, text)
            os._exit(CODE)

        timer = threading.Timer(seconds, end)
        timer.daemon = True
        timer.start()
        try:
            yield
        finally:
            timer.cancel()


@contextmanager
def _other_process(seconds: float, text: bytes) -> Iterator[subprocess.Popen[bytes] | None]:
    """A process that ends this one after ``seconds``, unless it is ended before; None where there can be none."""
    arguments = [str(os.getpid()), str(round(seconds / TICK)), str(TICK), os.fsdecode(text)]
    if not sys.executable or os.name != "posix":
        yield None
        return
    command = [sys.executable, "-I", "-S", "-c", _OTHER, *arguments]
    try:
        other = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL)
    except OSError:  # no process can be had
        yield None
        return
    try:
        yield other
    finally:
        other.kill()
        other.wait()
        if other.stdin is not None:
            other.stdin.close()
