"""SHA-256 of files, remembered while a file stays the same, so that a second start need not read them again."""

from __future__ import annotations

import contextlib
import hashlib
import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from foundry_bench.datasets.lazy import Progress, silent
from foundry_bench.datasets.official.cache import cache_root
from foundry_bench.datasets.one_file import reading
from foundry_bench.storage import read_sealed, sealed, write_atomic

SETTLED = 2.0
"""Seconds for which a file must have been left alone before its hash is remembered.

Some file systems count time in steps of that length: a file written twice within one would look the same.
"""
_BLOCK = 2**20
_REPAIR = "repair or remove it"


def file_hashes(
    folder: Path, paths: Sequence[Path], progress: Progress = silent, what: str = "reading files"
) -> list[str]:
    """SHA-256 of the content of each of the files ``paths`` below ``folder``.

    A file whose path, size, inode and times of change are those of the last call is not read again. ``progress(what, done,
    total)`` hears of those that are. Raises UserError, with the file's name, for one that cannot be read.
    """
    kept = cache_root() / f"hashes-{hashlib.sha256(os.fsencode(folder.resolve())).hexdigest()[:32]}.json"
    known = _remembered(kept)
    now = time.time()
    found = dict(known)
    hashes: list[str] = []
    fresh = 0
    for done, path in enumerate(paths, 1):
        with reading(path, _REPAIR):
            status = path.stat()
            mark = [status.st_size, status.st_ino, status.st_mtime_ns, status.st_ctime_ns]
            name = os.path.relpath(path, folder)
            entry = known.get(name)
            if entry and entry[:4] == mark:
                sha256 = entry[4]
            else:
                sha256 = _sha256(path)
                fresh += 1
                progress(what, done, len(paths))
        hashes.append(sha256)
        if now - max(status.st_mtime, status.st_ctime) > SETTLED:
            found[name] = [*mark, sha256]
    if fresh:
        with contextlib.suppress(OSError):  # without a cache the files are read again next time
            there = {name: entry for name, entry in found.items() if (folder / name).exists()}
            write_atomic(kept, sealed(there), durable=False)
    return hashes


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while block := stream.read(_BLOCK):
            digest.update(block)
    return digest.hexdigest()


def _remembered(kept: Path) -> dict[str, list[Any]]:
    """The entries of the last call; none where the file is not as this module wrote it."""
    try:
        entries: dict[str, list[Any]] = read_sealed(kept)
    except (OSError, ValueError):
        return {}
    return entries
