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
from time import monotonic
from typing import IO

from foundry_bench import registry
from foundry_bench.descriptions.description import Description, from_json

FIRST = registry.FIRST
"""What the child imports before any plugin."""
START = 120.0
"""Seconds that it may take, on a busy machine."""
EACH = 60.0
"""Seconds in which a built-in one has to be imported: a machine whose cores are all taken needs half of it for the first."""
OTHERS = 16.0
"""Seconds that all plugins of other distributions may take together, each of them half of what is left."""
CODE = (
    "import json, sys; path, *what = map(json.loads, sys.argv[1:]); sys.path[:] = path; "
    "from foundry_bench.descriptions.child import main; main(*what)"
)


def ask(entries: Sequence[EntryPoint]) -> list[Description | None]:
    """A description of each entry, in their order; None where the child could not even start.

    One child does all, the built-in ones first. A plugin that ends it or does not return in time has that as its error, and a
    new child goes on behind it.
    """
    order = sorted(range(len(entries)), key=lambda number: not _built_in(entries[number]))
    answers: list[Description] = []
    left = OTHERS
    while len(answers) < len(entries):
        before = len(answers)
        for answer, seconds in _child([entries[number] for number in order[before:]], left):
            left -= seconds
            answers.append(answer)
        if len(answers) == before:
            break
    found = dict(zip(order, answers, strict=False))
    return [found.get(number) for number in range(len(entries))]


def _built_in(entry: EntryPoint) -> bool:
    return registry.distribution(entry) == registry.OWN


def _child(entries: Sequence[EntryPoint], left: float) -> Iterator[tuple[Description, float]]:
    """Descriptions until all are known or one plugin has ended the child; the last one then says so. With each come the
    seconds that it has used up of the ``left`` ones."""
    with _process(entries) as process:
        lines: Queue[str] = Queue()
        Thread(target=_read, args=(process.stdout, lines), daemon=True).start()
        if _next(lines, START) != "\n":
            return
        for entry in entries:
            limit = EACH if _built_in(entry) else left / 2
            start = monotonic()
            line = _next(lines, limit)
            used = 0.0 if _built_in(entry) else monotonic() - start
            left -= used
            if line is None:
                yield (
                    Description(error=f"{registry.ITS_IMPORT} does not end within {limit:.0f} seconds"),
                    used,
                )
                return
            if not line:
                yield (
                    Description(error=f"{registry.ITS_IMPORT} ends the process with code {process.wait()}"),
                    used,
                )
                return
            yield from_json(json.loads(line)), used


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
