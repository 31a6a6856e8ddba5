"""The end of long work: what it has made is kept, whatever has become of the place for it."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

from safetensors import SafetensorError

from foundry_bench.border import said
from foundry_bench.errors import UserError

LOST = (OSError, SafetensorError, UserError)
"""What saving raises."""
IN_MEMORY = "/dev/shm"
"""A folder in memory, which has room where the disk is full."""


def saved(save: Callable[[Path], None], out: Path, what: str) -> None:
    """Save into ``out``, or elsewhere where that cannot be.

    Raises UserError where it was saved elsewhere, which says where, and where it cannot be saved at all.
    """
    try:
        save(out)
        return
    except LOST as error:
        first = error
    reason = f"{what} cannot be saved in {out} ({said(first)})"
    for place in (tempfile.gettempdir(), os.path.expanduser("~"), IN_MEMORY):
        if (folder := _elsewhere(save, place)) is not None:
            raise UserError(f"{reason}; it is kept in {folder}, move it from there") from first
    if isinstance(first, UserError):
        raise first
    raise UserError(f"{reason} nor anywhere else; free some space and make it again") from first


def _elsewhere(save: Callable[[Path], None], place: str) -> Path | None:
    """A new folder below ``place`` that it was saved in."""
    try:
        folder = Path(tempfile.mkdtemp(prefix="foundry-bench-", dir=place))
    except OSError:
        return None
    try:
        save(folder)
    except LOST:
        shutil.rmtree(folder, ignore_errors=True)
        return None
    return folder
