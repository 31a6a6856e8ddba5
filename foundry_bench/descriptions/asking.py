"""Ask a child process to import and describe plugins, with a limit on its time."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from importlib.metadata import EntryPoint
from queue import Empty, Queue
from threading import Thread
from typing import IO

from foundry_bench.descriptions.description import Description, from_json

FIRST = "torch"
"""What the child imports before any plugin, for most need it."""
START = 120.0
"""Seconds that it may take, on a busy machine."""
EACH = 60.0
"""Seconds in which one plugin has to be imported: a machine whose cores are all taken needs half of it for the first one."""
CODE = (
    "import json, sys; path, *what = map(json.loads, sys.argv[1:]); sys.path[:] = path; "
    "from foundry_bench.descriptions.child import main; main(*what)"
)


def ask(entries: Sequence[EntryPoint]) -> list[Description | None]:
    """A description of each entry, in their order; None where the child could not even start.

    One child does all. A plugin that ends it or does not return in time has that as its error, and a new child goes on
    behind it.
    """
    answers: list[Description | None] = []
    while len(answers) < len(entries):
        got = list(_child(entries[len(answers) :]))
        if not got:
            break
        answers += got
    return answers + [None] * (len(entries) - len(answers))


def _child(entries: Sequence[EntryPoint]) -> Iterator[Description]:
    """Descriptions until all are known or one plugin has ended the child; the last one then says so."""
    with _process(entries) as process:
        lines: Queue[str] = Queue()
        Thread(target=_read, args=(process.stdout, lines), daemon=True).start()
        if _next(lines, START) != "\n":
            return
        for _ in entries:
            line = _next(lines, EACH)
            if line is None:
                yield Description(error=f"its import does not end within {EACH:.0f} seconds")
                return
            if not line:
                yield Description(error=f"its import ends the process with code {process.wait()}")
                return
            yield from_json(json.loads(line))


def _next(lines: Queue[str], seconds: float) -> str | None:
    """The next line of the child, "" at its end, None when there is none in time."""
    try:
        return lines.get(timeout=seconds)
    except Empty:
        return None


def _read(stream: IO[str] | None, lines: Queue[str]) -> None:
    """Hand on line by line, and "" at the end."""
    if stream is not None:
        for line in stream:
            lines.put(line)
    lines.put("")


@contextmanager
def _process(entries: Sequence[EntryPoint]) -> Iterator[subprocess.Popen[str]]:
    """The child, in a session of its own, gone with all that it started when the context ends."""
    wanted = [(entry.group, entry.value) for entry in entries]
    command = [sys.executable, "-c", CODE, *map(json.dumps, (sys.path, FIRST, wanted))]
    process = subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        start_new_session=True,
    )
    try:
        yield process
    finally:
        with suppress(OSError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
