"""What is checked before any training: each method and task in small, by the sweep's own engine, and the space on the disk.

That plugins import, and that data sets and the teacher can be read, is seen when the sweep is planned.
"""

from __future__ import annotations

import shutil
from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING

from foundry_bench.errors import UserError
from foundry_bench.sweep.plan import EVALUATE, REHEARSE, STUDENT, Cell
from foundry_bench.sweep.record import Environment, Inputs, Place, Record, given
from foundry_bench.sweep.schedule import Schedule, Settings
from foundry_bench.sweep.store import Store
from foundry_bench.variants import OFF_THE_SHELF

if TYPE_CHECKING:
    from foundry_bench.sweep.engines.base import Engine
    from foundry_bench.sweep.reporting import Reporter

SECONDS = 60.0
"""After which a rehearsal is given up: what takes longer in small has at least begun."""
PASSED = ("ok", "skipped", "timeout")
RECORD_BYTES = 50_000
"""A record with its outcomes, generously."""


@dataclass(frozen=True)
class Known:
    """What has been rehearsed before: methods, and places (tasks with their data sets), as texts to compare."""

    methods: frozenset[str] = frozenset()
    places: frozenset[str] = frozenset()

    @classmethod
    def of(cls, small: Store) -> Known:
        """From the records of earlier rehearsals that went well, or were given up for their length."""
        files = (small.folder / "cells" / REHEARSE).glob("*.json")
        records = [small.read(REHEARSE, f.stem) for f in files if not f.name.endswith(".spec.json")]
        inputs = [r["inputs"] for r in records if r is not None and r["identity"]["status"] in PASSED]
        places = (str(place) for block in inputs for place in block["places"])
        return cls(frozenset(map(_method, inputs)), frozenset(places))


def rehearse(
    todo: list[Cell],
    cells: list[Cell],
    store: Store,
    described: Environment,
    settings: Settings,
    engine: Engine,
    reporter: Reporter,
) -> None:
    """Rehearse what is to be done for the first time, and warn of every method that fails.

    ``todo`` are the cells to run, ``cells`` those of the whole plan. Raises UserError when nothing at all can be run, or when
    the disk has not enough space.
    """
    small = Store(store.cache / "rehearsal")
    wanted = rehearsals(todo, cells, settings.budget, Known.of(small))
    if wanted:
        reporter.note(f"rehearsing {len(wanted)} methods on a few clouds; --no-rehearsal leaves it out")
    passed: list[Cell] = []

    def done(cell: Cell, record: Record) -> None:
        passed.append(cell)
        reporter.step("rehearsing", len(passed), len(wanted))

    if wanted:
        reporter.step("rehearsing", 0, len(wanted))
    schedule = Schedule(wanted, small, described, settings.small(), started=lambda cell: None, done=done)
    engine.run(schedule, timeout=SECONDS)
    problems = []
    for cell in wanted:
        record = small.read(cell.kind, cell.id)
        if record is not None and record["identity"]["status"] not in PASSED:
            about = record["identity"]
            problems.append(f"{cell.title} {about['status']}: {about['message']}")
            reporter.warn(f"{problems[-1]}; its cells will fail, too, and the others are run")
        elif record is not None and record["identity"]["status"] == "timeout":
            reporter.warn(
                f"{cell.title} is given up: {record['identity']['message']}; its cells may take long"
            )
    if problems and len(problems) == len({_key(cell) for cell in todo}):
        raise UserError(f"nothing can be run: {problems[0]}")
    _check_space(todo, small, store)


def rehearsals(todo: list[Cell], cells: list[Cell], budget: str, known: Known | None = None) -> list[Cell]:
    """One cell for each method with something left to do that is not ``known``, of a variant that trains where there is one: it
    goes through all that the other does. Together they go through every task and data set."""
    known = known or Known()
    students = {cell.id: cell for cell in cells if cell.kind == STUDENT}
    chosen: dict[str, Cell] = {}
    for cell in sorted(todo, key=lambda cell: cell.inputs["variant"] == OFF_THE_SHELF):
        if cell.broken is None:
            chosen.setdefault(_key(cell), cell)
    new = {key for key, cell in chosen.items() if _method(cell.inputs) not in known.methods}
    places = _shared_out(todo, new, known.places)
    made = []
    for key in [key for key in chosen if key in new or places[key]]:
        cell = chosen[key]
        student = cell if cell.kind == STUDENT else students[str(cell.parent)]
        inputs: Inputs = {
            **cell.inputs,
            "dataset": student.inputs["dataset"],
            "task": None,
            "protocol": {"budget": budget},
            "places": places[key],
        }
        inputs.pop("student", None)
        made.append(Cell(REHEARSE, inputs))
    return made


def _shared_out(todo: list[Cell], new: set[str], known: frozenset[str]) -> dict[str, list[Place]]:
    """Every task and data set for one of the methods that are to be evaluated on it: if possible one that is ``new`` and so
    is rehearsed anyway, and the one with the least to do."""
    places: dict[str, Place] = {}
    candidates: dict[str, dict[str, None]] = defaultdict(dict)
    for cell in todo:
        if cell.kind != EVALUATE:
            continue
        place = _place(cell.inputs)
        if str(place) not in known:
            places.setdefault(str(place), place)
            candidates[str(place)][_key(cell)] = None
    shares: dict[str, list[Place]] = defaultdict(list)
    for name, place in places.items():
        shares[min(candidates[name], key=lambda key: (key not in new, len(shares[key])))].append(place)
    return shares


def _place(inputs: Inputs) -> Place:
    return {
        "task": given(inputs["task"]),
        "dataset": given(inputs["dataset"]),
        "protocol": given(inputs["protocol"]),
    }


def _key(cell: Cell) -> str:
    return cell.inputs["method"]["name"]


def _method(inputs: Inputs) -> str:
    """What a rehearsal of a method depends on."""
    return str((inputs["method"], inputs["variant"], inputs["teacher"]["sha256"], inputs["pipeline"]))


def _check_space(todo: list[Cell], small: Store, store: Store) -> None:
    """Raises UserError when what the rehearsals have measured, times the students to make, does not fit on the disk."""
    sizes: dict[str, int] = {}
    cache = 0
    for file in (small.folder / "cells" / REHEARSE).glob("*.json"):
        record = None if file.name.endswith(".spec.json") else small.read(REHEARSE, file.stem)
        if record is not None and record["cost"] is not None:
            sizes[_method(record["inputs"])] = record["cost"]["student_bytes"]
            cache = max(cache, record["cost"]["cache_bytes"])
    students = [cell for cell in todo if cell.kind == STUDENT and cell.broken is None]
    need = RECORD_BYTES * len(todo) + sum(sizes.get(_method(cell.inputs), 0) for cell in students)
    if students and not any(store.cache.glob("tokens-*/done")):
        need += cache
    free = shutil.disk_usage(store.folder).free
    if need > free:
        raise UserError(
            f"{store.folder} needs about {need / 1e9:.1f} GB for {len(todo)} cells and has {free / 1e9:.1f} GB left; "
            "free some space or choose another --out"
        )
