"""The plan as it was last made, on disk, and whether anything that it was made from has changed.

Making a plan imports every method, and with it torch: seconds for an answer that is mostly "nothing is left
to do". As ``make`` does, the sizes and modification times of the files behind a plan tell that it still
holds.
"""

from __future__ import annotations

import json
import os
from dataclasses import asdict, replace
from importlib.metadata import EntryPoint
from importlib.util import find_spec
from pathlib import Path
from typing import Any, TypedDict, cast

from foundry_bench import registry
from foundry_bench.datasets.embedded_reader import EMBEDDED
from foundry_bench.errors import UserError
from foundry_bench.storage import read_sealed, sealed, write_atomic
from foundry_bench.sweep.config import HOW, SweepConfig
from foundry_bench.sweep.plan import Cell, Plan
from foundry_bench.sweep.record import Inputs, given
from foundry_bench.sweep.shapes import shape
from foundry_bench.sweep.store import Store
from foundry_bench.teachers.checkpoints.names import split_name

OWN = "foundry-bench"
PACKAGES = ("foundry_bench", "foundry_bench.methods", "foundry_bench.tasks")


class PlannedCell(TypedDict):
    """The fields of :class:`~foundry_bench.sweep.plan.Cell`."""

    kind: str
    id: str
    parent: str | None
    broken: str | None
    inputs: Inputs


class PlanFile(TypedDict):
    """``plan.json``. ``fingerprint``: all that the plan depends on, null where that cannot be told from files; ``resolved``:
    the sweep with ``all`` replaced by names; the others are the plan's fields."""

    fingerprint: dict[str, Any] | None
    sources: list[str]
    resolved: dict[str, Any]
    warnings: list[str]
    tables: dict[str, list[str]]
    cells: list[PlannedCell]


def save(store: Store, asked: SweepConfig, plan: Plan) -> None:
    """Write ``plan.json``: the cells, for reports, and the fingerprint of what they came from."""
    cells: list[PlannedCell] = [
        {"kind": c.kind, "id": c.id, "parent": c.parent, "broken": c.broken, "inputs": c.inputs}
        for c in plan.cells
    ]
    content: PlanFile = {
        "fingerprint": fingerprint(asked, plan.sources, plan.cells),
        "sources": [str(path) for path in plan.sources],
        "resolved": plan.config.to_plain(),
        "warnings": plan.warnings,
        "tables": plan.tables,
        "cells": cells,
    }
    text = sealed(content)
    if not store.plan_file.is_file() or store.plan_file.read_bytes() != text:
        write_atomic(store.plan_file, text)


def load(store: Store, asked: SweepConfig) -> Plan | None:
    """The last plan if it still answers ``asked``, else None."""
    content = read(store)
    if content is None or content["warnings"]:
        return None
    sources = [Path(path) for path in content["sources"]]
    planned = cells_of(content)
    current = fingerprint(asked, sources, planned)
    if current is None or current != content["fingerprint"]:
        return None
    resolved = SweepConfig.from_plain(content["resolved"])
    config = replace(resolved, **{key: getattr(asked, key) for key in HOW})
    return Plan(config, planned, content["tables"], sources=sources)


def read(store: Store) -> PlanFile | None:
    """The content of ``plan.json``, None where there is none, or one that is not as it was written: it is then made again."""
    try:
        content = read_sealed(store.plan_file)
        if not shape(PlanFile)(content):
            return None
        SweepConfig.from_plain(content["resolved"])
    except (OSError, ValueError, UserError):
        return None
    return cast(PlanFile, content)


def cells_of(content: PlanFile) -> list[Cell]:
    """The cells of a raw plan."""
    return [
        Cell(item["kind"], item["inputs"], item["parent"], item["broken"], item["id"])
        for item in content["cells"]
    ]


def fingerprint(asked: SweepConfig, sources: list[Path], cells: list[Cell]) -> dict[str, Any] | None:
    """Everything a plan depends on, cheap to look at. None where a plugin could change without a file
    telling.
    """
    entries = {kind: registry.entries(kind) for kind in registry.KINDS}
    files = list(sources)
    teacher = Path(split_name(asked.teacher)[0])
    if teacher.exists():
        files += _tree(teacher)
    elif not _own(entries["teachers"].get(asked.teacher)):
        return None
    if not all(_packaged(given(cell.inputs["dataset"])["name"]) for cell in cells if not cell.broken):
        return None
    for package in PACKAGES:
        spec = find_spec(package)
        for folder in (spec.submodule_search_locations or []) if spec else []:
            files += _tree(Path(folder))
    return {
        "asked": json.loads(json.dumps({k: v for k, v in asdict(asked).items() if k not in HOW})),
        "plugins": {
            k: {n: [e.value, registry.distribution(e)] for n, e in v.items()} for k, v in entries.items()
        },
        "variables": {k: v for k, v in sorted(os.environ.items()) if k.startswith("FOUNDRY_BENCH_")},
        "files": {str(path): _stamp(path) for path in sorted(set(files))},
    }


def _packaged(dataset: str) -> bool:
    """Whether the package itself holds or makes a data set."""
    name = dataset.partition("[")[0]
    return name in EMBEDDED or name == "procedural"


def _own(entry: EntryPoint | None) -> bool:
    return entry is not None and registry.distribution(entry) == OWN


def _tree(path: Path) -> list[Path]:
    if path.is_file():
        return [path]
    return [file for file in path.rglob("*") if file.is_file() and "__pycache__" not in file.parts]


def _stamp(path: Path) -> list[int] | None:
    try:
        info = path.stat()
    except OSError:
        return None
    return [info.st_size, info.st_mtime_ns]
