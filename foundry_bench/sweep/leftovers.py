"""What a results folder holds that nothing needs any more, by how sure that is."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from foundry_bench.errors import UserError
from foundry_bench.sweep import index, snapshot
from foundry_bench.sweep.store import FINISHED, KINDS, SET_ASIDE, Store

LEFTOVERS, CACHE, STUDENTS, OTHERS = "leftovers", "cache", "students", "others"
"""Groups: files of killed processes and records set aside; what is made again when needed; weights of students; cells that are
not in the last plan."""


@dataclass(frozen=True)
class Leftover:
    """A file or folder that can go, of a group, with its size in bytes."""

    path: Path
    group: str
    size: int

    def remove(self) -> None:
        """Delete it."""
        if self.path.is_dir() and not self.path.is_symlink():
            shutil.rmtree(self.path, ignore_errors=True)
        else:
            self.path.unlink(missing_ok=True)


def find(store: Store, groups: set[str]) -> list[Leftover]:
    """What of ``groups`` can go. In a published folder, which has records and no plan, all recorded cells count as planned.

    Raises UserError where there is no sweep, or one is being run, and for ``OTHERS`` of a published folder.
    """
    content = snapshot.read(store)
    recorded = index.load(store) if content is None else {}
    if content is None and not recorded:
        raise UserError(f"{store.folder} holds no sweep; nothing to clean")
    if content is None and OTHERS in groups:
        raise UserError(
            f"{store.folder} is published without its plan, by which --others tells what goes; leave that out, or plan "
            f"again with 'foundry-bench run --config {store.sweep_file} --out {store.folder}'"
        )
    notices = [store.marks.alive(name) for name in store.marks.names()]
    if any(notice is not None for notice in notices):
        busy = next(n for n in notices if n is not None)
        raise UserError(
            f"a sweep is running in {store.folder} (process {busy.pid} on {busy.host}); wait for it"
        )
    planned = set(recorded) if content is None else {item["id"] for item in content["cells"]}
    found = [
        *((path, LEFTOVERS) for path in _leftovers(store)),
        *((path, CACHE) for path in _cache(store)),
        *((path, STUDENTS if path.name in planned else OTHERS) for path in _students(store)),
        *((path, OTHERS) for path in _unplanned(store, planned)),
    ]
    return [Leftover(path, group, _size(path)) for path, group in sorted(found) if group in groups]


def _leftovers(store: Store) -> Iterator[Path]:
    """Temporary files, specs of finished cells, marks without a process, records set aside."""
    yield from store.folder.rglob(".*.tmp")
    yield from (store.folder / "cells" / SET_ASIDE).glob("*")
    yield from (store.cache / "scratch").glob("*")
    yield from (store.marks.folder / name for name in store.marks.names())
    finished = {cell_id for cell_id, e in index.load(store).items() if e["identity"]["status"] in FINISHED}
    for kind in KINDS:
        for path in (store.folder / "cells" / kind).glob("*.spec.json"):
            if path.name.removesuffix(".spec.json") in finished:
                yield path


def _cache(store: Store) -> Iterator[Path]:
    yield from store.cache.glob("tokens-*")
    yield from store.cache.glob("groupings")
    yield from store.cache.glob("rehearsal")


def _students(store: Store) -> Iterator[Path]:
    folder = store.folder / "students"
    return (path for path in folder.glob("[!.]*") if path.is_dir())


def _unplanned(store: Store, planned: set[str]) -> Iterator[Path]:
    for kind in KINDS:
        for path in (store.folder / "cells" / kind).glob("[!.]*"):
            if path.name.partition(".")[0] not in planned:
                yield path


def _size(path: Path) -> int:
    """Bytes of a file, of a link itself, or of all files below a folder."""
    if path.is_dir() and not path.is_symlink():
        return sum(file.lstat().st_size for file in path.rglob("*") if file.is_file())
    return path.lstat().st_size
