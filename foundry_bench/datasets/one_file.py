"""The border of one file: whatever reading it raises becomes one line."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from foundry_bench.border import message_of, one_line, plain
from foundry_bench.errors import UserError

_LONGEST = 300
"""Characters of a message from outside that are shown."""


class FileError(ValueError):
    """Why one file cannot be used; the message is one line, to be read after the file's name."""


@contextmanager
def one_file() -> Iterator[None]:
    """Turn whatever is raised inside into FileError; a FileError, a UserError and Ctrl-C pass.

    Libraries raise anything for a damaged file: MemoryError, OverflowError, RecursionError, and, where they are written in
    Rust, exceptions that are no Exception.
    """
    try:
        yield
    except (FileError, UserError, KeyboardInterrupt, GeneratorExit):
        raise
    except BaseException as error:
        raise FileError(f"cannot be read ({_reason(error)})") from error


@contextmanager
def reading(path: Path, advice: str) -> Iterator[None]:
    """The same, with the file's name and what to do about it, as UserError."""
    try:
        with one_file():
            yield
    except FileError as error:
        raise UserError(f"{shown(path)} {error}: {advice}") from error


def _reason(error: BaseException) -> str:
    """The message of an exception on one line, without characters that steer a terminal."""
    if isinstance(error, OSError) and error.errno:
        return os.strerror(error.errno)
    if isinstance(error, MemoryError):
        return "it asks for more memory than there is"
    text = one_line(message_of(error)) or type(error).__name__
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}..."


def shown(text: object) -> str:
    """A path, or a text from a file, with everything that cannot be printed as an escape sequence."""
    return plain(str(text))
