"""Where a sweep touches the rest of the package: teachers, data sets, budgets. Heavy imports stay inside."""

from __future__ import annotations

import hashlib
import inspect
from collections.abc import Iterable
from dataclasses import asdict
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from foundry_bench import registry
from foundry_bench.errors import UserError

if TYPE_CHECKING:
    from foundry_bench.context import Progress
    from foundry_bench.datasets import PointCloudDataset
    from foundry_bench.encoder import TokenEncoder

HARNESS_MODULES = ("builtins", "abc", "typing", "foundry_bench.method", "foundry_bench.task")


def source_files(classes: Iterable[type]) -> list[Path]:
    """Files that define plugin classes and their bases, the harness's own contracts left out."""
    bases = [base for cls in classes for base in cls.__mro__ if base.__module__ not in HARNESS_MODULES]
    found = {inspect.getsourcefile(base) for base in bases}
    return sorted(Path(file) for file in found if file is not None)


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


def load_teacher(name: str) -> TokenEncoder:
    """A teacher by registered name or path."""
    from foundry_bench import teachers

    return teachers.load_teacher(name)


def teacher_sha256(name: str) -> str:
    """Hash of a teacher's weights."""
    from foundry_bench import teachers

    return teachers.teacher_sha256(name)


def load_dataset(name: str, root: str | Path, progress: Progress | None = None) -> PointCloudDataset:
    """A data set by registered name or folder; official ones lie below ``root``."""
    from foundry_bench.datasets import catalog

    return catalog.load_dataset(name, Path(root), progress or catalog.silent)


def dataset_sha256(name: str, root: str | Path) -> str:
    """Hash of a data set."""
    from foundry_bench.datasets import catalog

    return catalog.dataset_sha256(name, Path(root))


def resolve_budget(name: str) -> dict[str, Any]:
    """All values of a named budget."""
    from foundry_bench.distillation import BUDGETS, get_budget

    if name not in BUDGETS:
        raise registry.unknown("budget", name, BUDGETS)
    return asdict(get_budget(name))


def check_engine(name: str) -> None:
    """Raise UserError for an engine nobody registered."""
    known = registry.entries("engines")
    plain = name.partition("[")[0]
    if plain not in known:
        raise registry.unknown("engine", plain, known)


def check_needs(task: str, needs: tuple[str, ...], data: str, dataset: PointCloudDataset) -> None:
    """Raise UserError when a data set lacks what a task needs."""
    values = {need: getattr(dataset, need, None) for need in needs}
    missing = [need for need, value in values.items() if value is None or len(value) == 0]
    if missing:
        raise UserError(f"data set {data!r} has no {', '.join(missing)}, which task {task!r} needs")
