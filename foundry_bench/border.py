"""The border to a stranger's code: whatever a plugin raises, gives back or says arrives as an error, a type or a line that
the package knows."""

from __future__ import annotations

import os
import signal
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

from foundry_bench.errors import UserError

LONG = 500
"""Characters of a stranger's message that are shown."""
STOPPING = (signal.SIGINT, signal.SIGTERM)
AGAIN = 1.0
"""Seconds after which code that has swallowed the end of its time meets it again."""


class StrangerError(UserError):
    """A plugin's code failed; the message names the distribution and the object, and what was raised is the cause."""


class PassingError(BaseException):
    """Base of what the harness itself raises through a plugin's code, such as the end of its time; no border stops it."""


class LateError(BaseException):
    """A plugin's code has not ended in time; no ``except Exception`` of its own stops it."""


def plain(text: str) -> str:
    """``text`` without characters that move a cursor, change colours or cannot be encoded: they are written as escapes."""
    return "".join(
        char if char.isprintable() else char.encode("unicode_escape").decode("ascii") for char in text
    )


def one_line(text: str) -> str:
    """``text`` on one line, as :func:`plain` writes it."""
    return plain(" ".join(text.split()))


def message_of(error: BaseException) -> str:
    """``str(error)``, or a word in its place where that itself raises."""
    try:
        return str(error)
    except BaseException:  # whatever a stranger's class does
        return "(a message that cannot be read)"


def said(error: BaseException) -> str:
    """The type and message of an error on one line, shortened."""
    name = type.__getattribute__(type(error), "__name__")
    text = one_line(message_of(error))
    return f"{name}: {text if len(text) <= LONG else text[:LONG] + ' ...'}" if text else name


def place_of(error: BaseException, package: str) -> str:
    """``Odd.compress, odd.py:12``: the innermost place of an error in the code of ``package``, the outermost name of a module;
    "" where it has passed none. For what Python cannot read, the place in that text."""
    found = ""
    for frame, line in traceback.walk_tb(error.__traceback__):
        if str(frame.f_globals.get("__name__", "")).partition(".")[0] == package:
            name = getattr(frame.f_code, "co_qualname", frame.f_code.co_name)  # from Python 3.11 on
            where = f"{file_shown(frame.f_code.co_filename)}:{line}"
            found = where if name == "<module>" else f"{name}, {where}"
    if isinstance(error, SyntaxError) and error.filename and error.lineno:
        return f"{file_shown(str(error.filename))}:{error.lineno}"
    return one_line(found)


def file_shown(file: str) -> str:
    """A file from the folder where the command runs, if it lies below, else the whole path."""
    try:
        near = os.path.relpath(file)
    except (ValueError, OSError):
        return file
    return file if near.startswith(os.pardir) else near


@contextmanager
def guarded(what: str, fix: str, package: str | None = None) -> Iterator[None]:
    """Turn whatever a plugin raises inside into a StrangerError ``WHAT (ERROR, PLACE); FIX``, ``sys.exit`` and a
    KeyboardInterrupt of its own among it. ``package``, the outermost name of the plugin's module, is where PLACE lies.

    A UserError is a plugin's own line for the user and passes, as do a real Ctrl-C or SIGTERM and a PassingError.
    """
    with interruptions() as came:
        try:
            yield
        except UserError:
            raise
        except BaseException as error:
            if is_ours(error, came()):
                raise
            reason = str(error) if type(error) is LateError else said(error)
            place = "" if package is None else place_of(error, package)
            raise StrangerError(f"{what} ({reason}{', in ' if place else ''}{place}); {fix}") from error


@contextmanager
def in_time(seconds: float, what: str) -> Iterator[None]:
    """Raise LateError ``WHAT does not end within SECONDS seconds`` inside when the time is over, and again until it ends.

    The system's one timer and its handler are left as they were found. In another thread than the main one, which no signal
    interrupts, and on systems without such a timer there is no limit.
    """
    if threading.current_thread() is not threading.main_thread() or not hasattr(signal, "setitimer"):
        yield
        return

    def late(number: int, frame: FrameType | None) -> None:
        raise LateError(f"{what} does not end within {seconds:.0f} seconds")

    start = time.monotonic()
    before = signal.signal(signal.SIGALRM, late)
    left, interval = signal.setitimer(signal.ITIMER_REAL, seconds, AGAIN)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        if signal.getsignal(signal.SIGALRM) is late:  # else a plugin has its own now
            signal.signal(signal.SIGALRM, signal.SIG_DFL if before is None else before)
        if left:
            signal.setitimer(signal.ITIMER_REAL, max(left - (time.monotonic() - start), 1e-3), interval)


def is_ours(error: BaseException, interrupted: bool) -> bool:
    """Whether an error that comes out of a plugin's code was not raised by it; ``interrupted``: a signal has come."""
    passing = isinstance(error, (PassingError, GeneratorExit))
    return passing or (interrupted and isinstance(error, KeyboardInterrupt))


@contextmanager
def interruptions() -> Iterator[Callable[[], bool]]:
    """Tells whether Ctrl-C or SIGTERM has come since the block began, so that a KeyboardInterrupt that a plugin raises is not
    taken for one. Handlers do what they did before."""
    came: list[int] = []
    if threading.current_thread() is not threading.main_thread():
        yield lambda: bool(came)  # signals interrupt the main thread only
        return
    before = {int(number): signal.getsignal(number) for number in STOPPING}
    ours: dict[int, Any] = {}
    for number, handler in before.items():
        if callable(handler):
            ours[number] = _noting(came, handler)
            signal.signal(number, ours[number])
    try:
        yield lambda: bool(came)
    finally:
        for number, handler in ours.items():
            if signal.getsignal(number) is handler:  # else a plugin has its own now
                signal.signal(number, before[number])


def _noting(
    came: list[int], handler: Callable[[int, FrameType | None], Any]
) -> Callable[[int, FrameType | None], Any]:
    """``handler``, with a note that it was called."""

    def note(number: int, frame: FrameType | None) -> Any:
        came.append(number)
        return handler(number, frame)

    return note


def expected(value: Any, kinds: type | tuple[type, ...], what: str) -> Any:
    """``value`` if it is of ``kinds``. Raises StrangerError ``WHAT is int, not ...`` for anything else."""
    if isinstance(value, kinds):
        return value
    names = " or ".join(kind.__name__ for kind in (kinds if isinstance(kinds, tuple) else (kinds,)))
    found = type.__getattribute__(type(value), "__name__")
    raise StrangerError(f"{what} is of type {found}, not {names}; tell its authors")
