"""The results folder: specs, records, students. Every file appears whole or not at all."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from foundry_bench.errors import UserError
from foundry_bench.storage import write_atomic
from foundry_bench.sweep.config import SweepConfig

SCHEMA_VERSION = 1
KINDS = ("student", "evaluate", "profile")
ORPHAN = "parent"
"""Stage of a record whose cell could not start because its student failed."""
FINISHED = ("ok", "skipped")
"""Statuses that a second run leaves alone."""


def write_json(path: Path, value: object) -> None:
    """Write strict JSON (no NaN) atomically."""
    write_atomic(path, (json.dumps(value, indent=1, allow_nan=False) + "\n").encode())


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
        """Teacher targets and the like; safe to delete."""
        return self.folder / ".cache"

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
        if not self.sweep_file.exists():
            foreign = sorted(p.name for p in self.folder.iterdir() if p.name != ".cache")
            if foreign:
                raise UserError(f"{self.folder} holds {foreign[0]!r} but no sweep.yaml; choose another --out")
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

    def read(self, kind: str, cell_id: str) -> dict[str, Any] | None:
        """One record, or None where it is missing or truncated (then a warning names it)."""
        path = self.record_path(kind, cell_id)
        try:
            record = json.loads(path.read_bytes())
            version, status = record["schema_version"], record["identity"]["status"]
        except FileNotFoundError:
            return None
        except (ValueError, KeyError, TypeError, OSError) as error:
            self._ignore(path, f"cannot be read ({type(error).__name__})")
            return None
        if version != SCHEMA_VERSION:
            self._ignore(path, f"has schema version {version}, this program reads {SCHEMA_VERSION}")
            return None
        outcomes = (record.get("scores") or {}).get("outcomes_file")
        if status == "ok" and outcomes and not path.with_name(outcomes).exists():
            self._ignore(path, f"lacks its outcomes {outcomes}")
            return None
        return record

    def write(self, record: dict[str, Any]) -> Path:
        """Write one record and return its path."""
        path = self.record_path(record["identity"]["kind"], record["identity"]["cell_id"])
        write_json(path, record)
        return path

    def records(self) -> Iterator[dict[str, Any]]:
        """All readable records of the folder, in a fixed order."""
        for kind in KINDS:
            for path in sorted((self.folder / "cells" / kind).glob("*.json")):
                if not path.name.endswith(".spec.json"):
                    record = self.read(kind, path.stem)
                    if record is not None:
                        yield record

    def _ignore(self, path: Path, reason: str) -> None:
        line = f"{path} {reason}; the cell counts as missing"
        if line not in self.warnings:
            self.warnings.append(line)


def status_of(record: dict[str, Any] | None) -> str | None:
    """The status of a record, None without one."""
    return None if record is None else record["identity"]["status"]
