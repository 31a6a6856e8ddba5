"""What one file may ask for before it is read."""

from __future__ import annotations

from pathlib import Path
from typing import IO

from foundry_bench.datasets.one_file import FileError

LARGEST = 2**30
"""Bytes that one file may take in memory. Arrays of ``.npy`` are mapped and not bound."""
HEADER_BYTES = 2**16
"""Bytes within which a header of text must end."""


def must_fit(announced: int, held: int, what: str) -> None:
    """Raise FileError where a file announces more bytes of ``what`` than it holds."""
    if announced > held:
        raise FileError(
            f"announces {announced:,} bytes of {what} and holds {held:,}: it is cut off or damaged"
        )


def must_end(stream: IO[bytes], announced: int, width: int) -> None:
    """Raise FileError where whole points of ``width`` bytes follow the ``announced`` ones; what is shorter, or padding of
    zeros, does not count."""
    rest = stream.read(width)
    if len(rest) == width and any(rest):
        raise FileError(f"announces {announced:,} points and holds more: its header is not its own")


def must_be_small(size: int, advice: str) -> None:
    """Raise FileError where ``size`` bytes would be taken in memory and are too many; ``advice`` says what to do."""
    if size > LARGEST:
        raise FileError(f"would take {size:,} bytes in memory, at most {LARGEST:,} are read: {advice}")


def bounded_bytes(path: Path) -> bytes:
    """A whole file that is not too large."""
    must_be_small(path.stat().st_size, "cut it into tiles")
    return path.read_bytes()
