"""What the command line does with an error that nothing else has turned into a line for a person."""

from __future__ import annotations

import os
import sys
import tempfile
import traceback
from contextlib import suppress
from typing import Any

from foundry_bench.border import one_line, said

SOFTWARE = 70
"""Exit code of an error of this package (EX_SOFTWARE)."""


def last_resort(error: BaseException) -> int:
    """Print one line that says what has happened and which file holds the traceback, and return the exit code: 2 where the
    error comes from a plugin's code or a place is closed to this user, 74 where the output cannot be written, else 70."""
    if isinstance(error, OSError) and not _writable():
        return told(f"the output cannot be written ({said(error)}); free some space or send it elsewhere", 74)
    plugin = _plugin(error)
    if isinstance(error, PermissionError) and error.filename is not None and plugin is None:
        place = error.filename if isinstance(error.filename, int) else os.fsdecode(error.filename)
        return told(f"{place}: permission denied; choose another place or give yourself the right to it", 2)
    where = _kept(error)
    if plugin is not None:
        return told(f"{plugin} failed ({said(error)}); tell its authors, {where}", 2)
    return told(f"foundry-bench met an error of its own ({said(error)}); please report it, {where}", SOFTWARE)


def no_interrupt(abort: BaseException, signalled: bool) -> BaseException | None:
    """What click took for an interruption and is none: an EOFError, or a KeyboardInterrupt that a plugin raises while no
    signal has come (``signalled``)."""
    cause = abort.__cause__
    raised = isinstance(cause, KeyboardInterrupt) and not signalled and _plugin(cause) is not None
    return cause if raised or isinstance(cause, EOFError) else None


def _writable() -> bool:
    """Whether standard output takes what was printed."""
    try:
        sys.stdout.flush()
    except (OSError, ValueError, AttributeError):
        return False
    return True


def _plugin(error: BaseException) -> str | None:
    """The plugin in whose code the error was raised."""
    from foundry_bench import registry

    try:
        return registry.placed(error)
    except Exception:  # what is installed cannot be read
        return None


def _kept(error: BaseException) -> str:
    """Write the traceback to a new file that only this user can read, and say where it is."""
    text = "".join(traceback.format_exception(error))
    try:
        number, path = tempfile.mkstemp(prefix="foundry-bench-", suffix=".traceback.txt")
        with os.fdopen(number, "w", encoding="utf-8", errors="backslashreplace") as file:
            file.write(text)
    except OSError as reason:
        return f"whose traceback cannot be written ({said(reason)})"
    return f"the traceback is in {path}"


def told(message: str, code: int) -> int:
    """Print the one line of an error, whatever a plugin has done to the streams, and return the exit code."""
    line = f"error: {one_line(message)}\n"
    try:
        sys.stderr.write(line)
        sys.stderr.flush()
    except (OSError, ValueError, AttributeError):  # replaced or closed
        with suppress(OSError):
            os.write(2, line.encode("ascii", "backslashreplace"))
    if not _writable():
        write_nowhere(sys.stdout)
    return code


def write_nowhere(*streams: Any) -> None:
    """Let the interpreter write what is still to be written to nobody, so that its end is quiet."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for stream in streams:
        with suppress(OSError, ValueError, AttributeError):  # replaced or closed
            os.dup2(nowhere, stream.fileno())
