"""What is checked before any training: each method and task in small, by the sweep's own engine, and the space on the disk.

That plugins import, and that data sets and the teacher can be read, is seen when the sweep is planned.
"""

from __future__ import annotations

import shutil
from collections import defaultdict
from typing import TYPE_CHECKING, Any

from foundry_bench.errors import UserError
from foundry_bench.sweep.plan import EVALUATE, REHEARSE, STUDENT, Cell
from foundry_bench.sweep.schedule import Schedule, Settings
from foundry_bench.sweep.store import Store

if TYPE_CHECKING:
    from foundry_bench.sweep.engines.base import Engine
    from foundry_bench.sweep.runner import Reporter

SECONDS = 60.0
"""After which a rehearsal is given up: what takes longer in small has at least begun."""
RECORD_BYTES = 50_000
"""A record with its outcomes, generously."""


def rehearse(
    todo: list[Cell],
    cells: list[Cell],
    store: Store,
    described: dict[str, Any],
    settings: Settings,
    engine: Engine,
    reporter: Reporter,
) -> None:
    """Rehearse what is to be done for the first time, and warn of every method that fails.

    ``todo`` are the cells to run, ``cells`` those of the whole plan. Raises UserError when nothing at all can be run, or when
    the disk has not enough space.
    """
    small = Store(store.cache / "rehearsal")
    wanted = rehearsals(todo, cells, settings.budget)
    fresh = [cell for cell in wanted if not small.finished(cell.kind, cell.id)]
    if fresh:
        reporter.note(f"rehearsing {len(fresh)} methods on a few clouds; --no-rehearsal leaves it out")
    schedule = Schedule(
        fresh, small, described, settings.small(), started=lambda cell: None, done=lambda cell, record: None
    )
    engine.run(schedule, timeout=SECONDS)
    problems = []
    for cell in fresh:
        about = (
            small.read(cell.kind, cell.id) or {"identity": {"status": "failed", "message": "no record"}}
        )["identity"]
        if about["status"] not in ("ok", "skipped", "timeout"):
            problems.append(f"{cell.title} {about['status']}: {about['message']}")
            reporter.warn(f"{problems[-1]}; its cells will fail, too, and the others are run")
    if problems and len(problems) == len(wanted):
        raise UserError(f"nothing can be run: {problems[0]}")
    _check_space(todo, wanted, small, store)


def rehearsals(todo: list[Cell], cells: list[Cell], budget: str) -> list[Cell]:
    """One cell for each method and variant with something left to do; together they go through every task and data set."""
    students = {cell.id: cell for cell in cells if cell.kind == STUDENT}
    chosen: dict[tuple[str, str], Cell] = {}
    for cell in todo:
        if cell.broken is None:
            chosen.setdefault(_key(cell), cell)
    places = _shared_out(todo)
    made = []
    for key, cell in chosen.items():
        student = cell if cell.kind == STUDENT else students[str(cell.parent)]
        inputs = {
            **cell.inputs,
            **{"dataset": student.inputs["dataset"], "task": None, "protocol": {"budget": budget}},
            "places": places[key],
        }
        inputs.pop("student", None)
        made.append(Cell(REHEARSE, inputs))
    return made


def _shared_out(todo: list[Cell]) -> dict[tuple[str, str], list[dict[str, Any]]]:
    """Every task and data set for one of the methods that are to be evaluated on it, the one with the least to do."""
    places: dict[str, dict[str, Any]] = {}
    candidates: dict[str, dict[tuple[str, str], None]] = defaultdict(dict)
    for cell in todo:
        if cell.kind == EVALUATE:
            place = {key: cell.inputs[key] for key in ("task", "dataset", "protocol")}
            places.setdefault(str(place), place)
            candidates[str(place)][_key(cell)] = None
    shares: dict[tuple[str, str], list[dict[str, Any]]] = defaultdict(list)
    for name, place in places.items():
        shares[min(candidates[name], key=lambda key: len(shares[key]))].append(place)
    return shares


def _key(cell: Cell) -> tuple[str, str]:
    return cell.inputs["method"]["name"], cell.inputs["variant"] or ""


def _check_space(todo: list[Cell], wanted: list[Cell], small: Store, store: Store) -> None:
    """Raises UserError when what the rehearsals have measured, times the students to make, does not fit on the disk."""
    costs = {_key(cell): (small.read(cell.kind, cell.id) or {}).get("cost") or {} for cell in wanted}
    students = [cell for cell in todo if cell.kind == STUDENT]
    need = sum(costs.get(_key(cell), {}).get("student_bytes", 0) for cell in students)
    if students and not any(store.cache.glob("tokens-*/done")):
        need += max((cost.get("cache_bytes", 0) for cost in costs.values()), default=0)
    need += RECORD_BYTES * len(todo)
    free = shutil.disk_usage(store.folder).free
    if need > free:
        raise UserError(
            f"{store.folder} needs about {need / 1e9:.1f} GB for {len(todo)} cells and has {free / 1e9:.1f} GB left; "
            "free some space or choose another --out"
        )
