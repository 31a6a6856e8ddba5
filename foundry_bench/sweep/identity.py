"""What a cell is: the hash of all that determines it, the source of its plugins included."""

from __future__ import annotations

import hashlib
import inspect
import json
from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

from foundry_bench.beforehand import plugin_files
from foundry_bench.sweep.record import Inputs

HARNESS_MODULES = ("builtins", "abc", "typing", "foundry_bench.method", "foundry_bench.task")


def source_files(classes: Iterable[type]) -> list[Path]:
    """Files that define plugin classes and their bases, the harness's own contracts left out; of a plugin file also those
    beside it that it imports."""
    bases = [base for cls in classes for base in cls.__mro__ if base.__module__ not in HARNESS_MODULES]
    found = {Path(name) for base in bases if (name := inspect.getsourcefile(base)) is not None}
    beside = [plugin_files.with_neighbours(file) for file in found & set(plugin_files.files())]
    return sorted(found.union(*beside))


def code_sha256(classes: Iterable[type]) -> str:
    """Hash of plugins' source, so that an edited method or task is a new cell."""
    return _files_sha256(tuple((str(file), file.stat().st_mtime_ns) for file in source_files(classes)))


@cache
def _files_sha256(files: tuple[tuple[str, int], ...]) -> str:
    """Hash of the content of files; the times are there so that an edited one is read again."""
    digest = hashlib.sha256()
    for path, _ in files:
        digest.update(Path(path).read_bytes())
    return digest.hexdigest()


def identity(kind: str, inputs: Inputs) -> str:
    """SHA-256 of the canonical JSON of all that determines a cell: names that only point at hashed content are left out."""
    text = json.dumps(
        {"kind": kind, **_determining(inputs)}, sort_keys=True, separators=(",", ":"), allow_nan=False
    )
    return hashlib.sha256(text.encode()).hexdigest()


def _determining(block: Mapping[str, Any]) -> dict[str, Any]:
    """A block of inputs without what is only for people: short forms, and of whatever has a hash of its content the name and
    how it was divided."""
    hashed = "sha256" in block
    return {
        key: _determining(value) if isinstance(value, dict) else value
        for key, value in block.items()
        if key != "shown" and not (hashed and key in ("name", "split"))
    }
