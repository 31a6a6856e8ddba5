"""All records of a results folder at once, in the short form that plans, estimates and leaderboards need.

Parsing and verifying every record takes seconds for a large sweep. What was read is kept in one file, with the size, time and
inode of each record and its outcomes; a record that has changed since is read again. The records stay the only truth: an
index that is missing, damaged or of another folder costs time and nothing else.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import cast

from foundry_bench.storage import read_sealed, sealed, write_atomic
from foundry_bench.sweep.plan import title
from foundry_bench.sweep.record import Entry, Fidelity, Record, ScoresBlock
from foundry_bench.sweep.store import KINDS, Store

VERSION = 2
Entries = dict[str, Entry]
"""Cell id -> short record."""
Known = dict[str, tuple[list[int], Entry]]
"""Cell id -> time, size and inode of its files, and its short record; the pair is a list in JSON."""


def load(store: Store) -> Entries:
    """Short records of all cells of the folder that are as they were written; ``store.warnings`` names the others."""
    known = _known(store)
    current: Known = {}
    changed = False
    for kind in KINDS:
        stamps = _stamps(store.folder / "cells" / kind)
        for name, stamp in stamps.items():
            if not _is_record(name):
                continue
            cell_id = name[: -len(".json")]
            key = [*stamp, *stamps.get(f"{cell_id}.npz", ())]
            entry = known.get(cell_id)
            if entry is None or entry[0] != key:
                changed = True
                record = store.read(kind, cell_id)
                if record is None:
                    continue
                try:
                    entry = (key, shorten(record))
                except (KeyError, TypeError, AttributeError, ValueError):
                    store.ignore(store.record_path(kind, cell_id), "is of a shape that no cell leaves")
                    continue
            current[cell_id] = entry
    if changed or len(current) != len(known):
        _save(store, current)
    return {cell_id: entry[1] for cell_id, entry in current.items()}


def shorten(record: Record) -> Entry:
    """The short form of one record."""
    inputs = record["inputs"]
    return {
        "identity": record["identity"],
        "title": title(record["identity"]["kind"], inputs),
        "method": inputs["method"]["name"],
        "variant": inputs["variant"],
        "task": inputs["task"] and inputs["task"]["name"],
        "fidelity": _without_curve(record["fidelity"]),
        "scores": _with_primary(record["scores"]),
        "cost": record["cost"],
        "environment": {"seconds": record["environment"].get("seconds")},
    }


def _without_curve(fidelity: Fidelity | None) -> Fidelity | None:
    if fidelity is None:
        return None
    short = fidelity.copy()
    short.pop("curve", None)
    return short


def _with_primary(scores: ScoresBlock | None) -> ScoresBlock | None:
    return scores and {**scores, "values": [v for v in scores["values"] if v["primary"]]}


def _is_record(name: str) -> bool:
    return name.endswith(".json") and not name.endswith(".spec.json") and not name.startswith(".")


def _stamps(folder: Path) -> dict[str, list[int]]:
    """Name -> time, size and inode of the files that records consist of."""
    try:
        entries = list(os.scandir(folder))
    except (FileNotFoundError, NotADirectoryError):
        return {}
    found = {}
    for entry in entries:
        if entry.name.endswith((".json", ".npz")):
            try:
                info = entry.stat()
            except (
                OSError
            ):  # another process has just replaced or removed it, or it is a link that leads nowhere
                continue
            found[entry.name] = [info.st_mtime_ns, info.st_size, info.st_ino]
    return found


def _path(store: Store) -> Path:
    return store.cache / "index.json"


def _known(store: Store) -> Known:
    try:
        content = read_sealed(_path(store))
    except (OSError, ValueError):
        return {}
    return cast(Known, content["entries"]) if content["version"] == VERSION else {}


def _save(store: Store, entries: Known) -> None:
    """Keep the index where that is possible: whoever may only read a folder can still ask it."""
    try:
        write_atomic(_path(store), sealed({"version": VERSION, "entries": entries}))
    except OSError:
        return
