"""How many cells a sweep would have, counted before any of them is made."""

from __future__ import annotations

import math

from foundry_bench import registry, selectors
from foundry_bench.errors import UserError
from foundry_bench.parameters.named import parse_part
from foundry_bench.sweep.config import NONE, SweepConfig, Table

MOST = 20_000
"""Cells of a sweep above which a person is asked: planning takes minutes, and running them months."""


class LargePlanError(UserError):
    """A sweep of more cells than anybody runs by intention."""


def check_size(config: SweepConfig, tables: tuple[Table, ...], most: int | None) -> None:
    """Raise LargePlanError where ``tables``, with names in place of ``all`` and ``default``, make more than ``most`` cells.

    Cells that several selectors share are counted for each of them.
    """
    if most is None:
        return
    students = [
        sum(_students(text, config.grid) for text in table.methods) * config.seeds for table in tables
    ]
    places = [sum(_places(text, config) for text in table.tasks) for table in tables]
    cells = sum(n * (2 + p) for n, p in zip(students, places, strict=True))
    if cells > most:
        raise LargePlanError(
            f"this sweep has about {cells:,} cells ({sum(students):,} students, {config.seeds:,} seeds); "
            f"ask for fewer, or add --yes to plan more than {most:,}"
        )


def _students(text: str, grid: selectors.Grid) -> int:
    """Students of one selector and one seed; a plugin that cannot be used counts as one, the cell that says so."""
    selector = selectors.parse_selector(text)
    try:
        classes = [registry.load("methods", part.name) for part in selector.parts]
        axes = {**classes[0].grid, **selector.parts[0].values} if len(classes) == 1 else {}
        variants = 1 if selector.variant else len(classes[0].variants)
        if grid != "full" and len(classes) == 1 and not selector.parts[0].values and classes[0].matched:
            return len(classes[0].matched) * variants
    except (UserError, TypeError, AttributeError):
        return 1
    if axes:
        return math.prod(map(len, axes.values())) * variants
    return math.prod(len(v) for part in selector.parts for v in part.values.values()) * variants


def _places(text: str, config: SweepConfig) -> int:
    """Evaluations of one student that one task's selector stands for."""
    if text == NONE:
        return 0
    first, place = selectors.split_task(text)
    part = parse_part(first)
    tasks = math.prod(map(len, part.values.values()))
    return tasks * (1 if place is not None else len(config.dataset) or _own_places(part.name))


def _own_places(task: str) -> int:
    """The data sets that a task is evaluated on where none is named; 1 for a plugin that cannot be used."""
    try:
        return max(len(registry.load("tasks", task).datasets), 1)
    except (UserError, TypeError, AttributeError):
        return 1
