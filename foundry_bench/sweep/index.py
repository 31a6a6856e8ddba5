"""All records of a results folder at once, in the short form that plans, estimates and leaderboards need.

Parsing and verifying every record takes seconds for a large sweep. What was read is kept in one file, with the size, time and
inode of each record and its outcomes; a record that has changed since is read again. The records stay the only truth: an
index that is missing, damaged or of another folder costs time and nothing else.
"""

from __future__ import annotations

from pathlib import Path
from typing import TypedDict, cast

from foundry_bench.storage import entries_in, read_sealed, sealed, write_atomic
from foundry_bench.sweep.plan import title
from foundry_bench.sweep.record import Entry, Fidelity, Record, ScoresBlock
from foundry_bench.sweep.shapes import shape
from foundry_bench.sweep.store import KINDS, Store

VERSION = 3
Entries = dict[str, Entry]
"""Cell id -> short record."""


class Kept(TypedDict):
    """``stamp``: time, size and inode of a record and of its outcomes; ``entry``: the short record."""

    stamp: list[int]
    entry: Entry


Known = dict[str, Kept]
"""By the cell's id."""


class IndexFile(TypedDict):
    """``.cache/index.json``."""

    version: int
    entries: Known


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
            kept = known.get(cell_id)
            if kept is None or kept["stamp"] != key:
                changed = True
                record = store.read(kind, cell_id)
                if record is None:
                    continue
                kept = {"stamp": key, "entry": shorten(record)}
            current[cell_id] = kept
    if changed or len(current) != len(known):
        _save(store, current)
    return {cell_id: kept["entry"] for cell_id, kept in current.items()}


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
    found = {}
    for entry in entries_in(folder):
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
    if not shape(IndexFile)(content) or content["version"] != VERSION:
        return {}
    return cast(IndexFile, content)["entries"]


def _save(store: Store, entries: Known) -> None:
    """Keep the index where that is possible: whoever may only read a folder can still ask it."""
    try:
        write_atomic(_path(store), sealed({"version": VERSION, "entries": entries}))
    except OSError:
        return
