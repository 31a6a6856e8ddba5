"""The results folder: specs, records, students. Every file appears whole or not at all."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

from foundry_bench.errors import UserError
from foundry_bench.storage import read_json, write_atomic
from foundry_bench.sweep.config import SweepConfig
from foundry_bench.sweep.marks import Marks
from foundry_bench.sweep.record import SCHEMA_VERSION, Record
from foundry_bench.sweep.shapes import shape

KINDS = ("student", "evaluate", "profile")
ORPHAN = "parent"
"""Stage of a record whose cell could not start because its student failed or was skipped."""
SKIPPED = "skipped"
FINISHED = ("ok", SKIPPED)
"""Statuses of cells that came to their end. The others leave a record too, which ``run --retry`` makes anew."""
STATUSES = (*FINISHED, "failed", "oom", "timeout", "killed")
SET_ASIDE = "set-aside"
LARGEST_HEADER = 100_000_000
"""Bytes of a header of ``.safetensors``, as the format has it."""


def write_json(path: Path, value: object, *, durable: bool = True) -> None:
    """Write strict JSON (no NaN) atomically; ``durable``: see :func:`~foundry_bench.storage.atomic_path`."""
    write_atomic(path, (json.dumps(value, indent=1, allow_nan=False) + "\n").encode(), durable=durable)


def digest(record: Mapping[str, Any]) -> str:
    """SHA-256 of a record's canonical JSON without the digest itself, so that an edited number is noticed."""
    content = {key: value for key, value in record.items() if key != "digest"}
    return hashlib.sha256(json.dumps(content, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


IGNORED = "; the cell counts as missing"
"""How the line about a record that is not used ends."""


class Store:
    """A results folder and what it remembers. ``warnings`` collects lines about files that had to be
    ignored.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.warnings: list[str] = []

    @property
    def sweep_file(self) -> Path:
        """The resolved sweep, which can be run again."""
        return self.folder / "sweep.yaml"

    @property
    def plan_file(self) -> Path:
        """The cells of the last plan, see :mod:`foundry_bench.sweep.snapshot`."""
        return self.folder / "cells" / "plan.json"

    @property
    def cache(self) -> Path:
        """Teacher targets, the index and the like; safe to delete while no sweep runs."""
        return self.folder / ".cache"

    @property
    def marks(self) -> Marks:
        """Which cells are being run now."""
        return Marks(self.cache / "running")

    def spec_path(self, kind: str, cell_id: str) -> Path:
        """What ``run_cell`` reads."""
        return self.folder / "cells" / kind / f"{cell_id}.spec.json"

    def record_path(self, kind: str, cell_id: str) -> Path:
        """What ``run_cell`` leaves behind."""
        return self.folder / "cells" / kind / f"{cell_id}.json"

    def beside(self, kind: str, cell_id: str, suffix: str) -> Path:
        """A file that belongs to a record: ``.npz`` outcomes, ``.traceback.txt``, ``.log``."""
        return self.folder / "cells" / kind / f"{cell_id}{suffix}"

    def student_folder(self, cell_id: str) -> Path:
        """The weights of one student."""
        return self.folder / "students" / cell_id

    def check(self, config: SweepConfig) -> None:
        """Raise UserError when the folder belongs to something else."""
        if not self.folder.exists():
            return
        if not self.folder.is_dir():
            raise UserError(f"{self.folder} is a file; choose another --out")
        there = sorted(path.name for path in self.folder.iterdir() if not path.name.startswith("."))
        if not self.sweep_file.exists():
            if there:
                raise UserError(f"{self.folder} holds {there[0]!r} but no sweep.yaml; choose another --out")
            return
        differing = SweepConfig.from_sources(self.sweep_file, {}).differing(config)
        if differing:
            raise UserError(
                f"{self.folder} holds a sweep with another {' and '.join(differing)} (see its sweep.yaml); "
                f"choose another --out, e.g. {self.folder}-2"
            )

    def claim(self, config: SweepConfig) -> None:
        """Make the folder this sweep's own. The cache keeps itself out of version control."""
        write_atomic(self.sweep_file, config.to_yaml().encode())
        write_atomic(self.cache / ".gitignore", b"*\n")

    def read(self, kind: str, cell_id: str) -> Record | None:
        """One record, or None where it is missing or not as it was written (then a warning names it).

        The one door through which JSON becomes a :class:`Record`: its digest tells that a program has written it whole.
        """
        path = self.record_path(kind, cell_id)
        try:
            record = read_json(path)
            problem = self._problem(record, path)
        except FileNotFoundError:
            return None
        except (ValueError, KeyError, TypeError, AttributeError, OSError) as error:
            problem = f"cannot be read ({type(error).__name__})"
        if problem is not None:
            self.ignore(path, problem)
            return None
        return cast(Record, record)

    def newer(self, kind: str, cell_id: str, attempts: int) -> Record | None:
        """One record if it is of a later attempt than the first ``attempts``, whatever came of it."""
        record = self.read(kind, cell_id)
        return record if record is not None and record["identity"]["attempt"] > attempts else None

    def finished(self, kind: str, cell_id: str) -> bool:
        """Whether a cell came to its end and what it made is there: the weights, too, of a student."""
        status = status_of(self.read(kind, cell_id))
        return status in FINISHED and (kind != "student" or status != "ok" or self.has_student(cell_id))

    def has_student(self, cell_id: str) -> bool:
        """Whether a student's weights are there, whole as far as their size tells."""
        folder = self.student_folder(cell_id)
        try:
            weights = folder / "model.safetensors"
            if not weights.is_file():  # to open a pipe would wait
                return False
            size = weights.stat().st_size
            with weights.open("rb") as file:
                length = int.from_bytes(file.read(8), "little")
                header = json.loads(file.read(min(length, size, LARGEST_HEADER)))
            ends = [about["data_offsets"][1] for name, about in header.items() if name != "__metadata__"]
            return 8 + length + max(ends, default=0) == size and bool(read_json(folder / "config.json"))
        except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
            return False

    def write(self, record: Record) -> Path:
        """Seal one record with its digest, write it and return its path."""
        path = self.record_path(record["identity"]["kind"], record["identity"]["cell_id"])
        write_json(path, {**record, "digest": digest(record)})
        return path

    def set_aside(self, kind: str, cell_id: str) -> Path | None:
        """Move a record that is not as it was written out of the way, and return where to; None where there is none."""
        path = self.record_path(kind, cell_id)
        if not path.exists() or self.read(kind, cell_id) is not None:
            return None
        folder = self.folder / "cells" / SET_ASIDE
        folder.mkdir(exist_ok=True)
        goal = folder / f"{kind}-{cell_id}-{len(list(folder.glob(f'{kind}-{cell_id}-*'))) + 1}.json"
        path.replace(goal)
        return goal

    def _problem(self, record: dict[str, Any], path: Path) -> str | None:
        """What is wrong with a file that is JSON."""
        if record["schema_version"] != SCHEMA_VERSION:
            version = record["schema_version"]
            return f"has schema version {version}, this program reads {SCHEMA_VERSION}"
        if record.get("digest") != digest(record) or record["identity"]["cell_id"] != path.stem:
            return "is not as it was written (edited, or of an early version)"
        if not shape(Record)(record) or not _whole(record, path.parent.name):
            return "is of a shape that no cell leaves"
        scores = record["scores"] or {}
        file = scores.get("outcomes_file")
        if not file:
            return None
        outcomes = path.with_name(file)
        if not outcomes.exists():
            return f"lacks its outcomes {file}"
        if hashlib.sha256(outcomes.read_bytes()).hexdigest() != scores["outcomes_sha256"]:
            return f"has outcomes {file} that are not as they were written"
        return None

    def ignore(self, path: Path, reason: str) -> None:
        """Remember a line about a record that counts as missing."""
        line = f"{path} {reason}{IGNORED}"
        if line not in self.warnings:
            self.warnings.append(line)


def _whole(record: Mapping[str, Any], kind: str) -> bool:
    """Whether it is of this kind and came to one of the known ends; an evaluation also names its place, and has scores if it
    came to any."""
    inputs, status = record["inputs"], record["identity"]["status"]
    if record["identity"]["kind"] != kind or status not in STATUSES:
        return False
    placed = inputs["task"] is not None and inputs["dataset"] is not None
    return kind != "evaluate" or (placed and (status != "ok" or record["scores"] is not None))


def status_of(record: Record | None) -> str | None:
    """The status of a record, None without one."""
    return None if record is None else record["identity"]["status"]
