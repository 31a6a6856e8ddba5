"""What was logged where, so that a resumed sweep continues its runs and shows no cell twice."""

from __future__ import annotations

import contextlib
import hashlib
import json
import threading
import uuid
from pathlib import Path
from typing import Any

from foundry_bench.storage import write_atomic
from foundry_bench.sweep.record import Identity, Record
from foundry_bench.sweep.store import FINISHED

VERSION = 1


class Memory:
    """``.cache/trackers.json`` of a results folder, shared by the threads of all trackers.

    Other processes that run cells of the folder may write it, too. What one of them overwrites of another's is told
    twice, which trackers must bear anyway. A file that is missing or damaged means that nothing was logged.
    """

    def __init__(self, file: Path) -> None:
        self._file = file
        self._lock = threading.Lock()
        file.parent.mkdir(parents=True, exist_ok=True)
        fresh: dict[str, Any] = {"version": VERSION, "sweep": uuid.uuid4().hex[:12], "pages": {}}
        with contextlib.suppress(FileExistsError), file.open("x", encoding="utf-8") as handle:
            json.dump(fresh, handle)
        self._content = self._read() or fresh

    @property
    def sweep(self) -> str:
        """The random id of the sweep."""
        return str(self._content["sweep"])

    def page(self, name: str, destination: str) -> Page:
        """What one tracker remembers of one destination, whose address is kept as a hash: it may hold a password."""
        key = f"{name} {hashlib.sha256(destination.encode()).hexdigest()[:16]}"
        with self._lock:
            content = self._content["pages"].get(key) or {}
            return Page(self, key, dict(content.get("logged", {})), dict(content.get("state", {})))

    def write(self, key: str, page: dict[str, Any]) -> None:
        """Replace one page and write the file."""
        with self._lock:
            self._content["pages"][key] = json.loads(
                json.dumps(page)
            )  # a copy, which its owner cannot change
            others = (self._read() or self._content)["pages"]
            self._content["pages"] = {**others, **self._content["pages"]}
            logged = others.get(key, {}).get("logged", {})
            self._content["pages"][key]["logged"] = {**logged, **page["logged"]}
            write_atomic(self._file, json.dumps(self._content).encode())

    def _read(self) -> dict[str, Any] | None:
        try:
            content = json.loads(self._file.read_bytes())
            if content["version"] == VERSION and content["sweep"] and isinstance(content["pages"], dict):
                return dict(content)
        except (OSError, ValueError, KeyError, TypeError):
            pass
        return None


class Page:
    """The cells that a tracker has logged, with attempt and status, and its own ``state`` of JSON values."""

    def __init__(self, memory: Memory, key: str, logged: dict[str, Any], state: dict[str, Any]) -> None:
        self._memory = memory
        self._key = key
        self._logged = logged
        self.state = state

    def knows(self, cell_id: str) -> bool:
        """Whether any attempt of the cell was logged."""
        return cell_id in self._logged

    def finished(self, cell_id: str) -> bool:
        """Whether an attempt that came to its end was logged. One made again, say for its weights, says the same."""
        return self.knows(cell_id) and self._logged[cell_id][1] in FINISHED

    def has(self, record: Record) -> bool:
        """Whether there is nothing new in this record."""
        about = record["identity"]
        return self.finished(about["cell_id"]) or self._logged.get(about["cell_id"]) == _entry(about)

    def add(self, record: Record) -> None:
        """Remember that this record was logged, and write it down."""
        self._logged[record["identity"]["cell_id"]] = _entry(record["identity"])
        self.save()

    def save(self) -> None:
        """Write it down, with ``state``."""
        self._memory.write(self._key, {"logged": self._logged, "state": self.state})


def _entry(identity: Identity) -> list[Any]:
    return [identity["attempt"], identity["status"]]
