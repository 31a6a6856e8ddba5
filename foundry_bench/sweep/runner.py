"""``todo = plan - recorded``, then run it. Disk is the scheduler's memory: running again is always right."""

from __future__ import annotations

import errno
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

from foundry_bench import registry, selectors
from foundry_bench.beforehand.checks import check_device, check_folder
from foundry_bench.errors import UserError
from foundry_bench.parameters.named import bare_name
from foundry_bench.runtimes.registered import KIND, check_runtimes, others
from foundry_bench.storage import FULL
from foundry_bench.sweep import environment, index, reasons, snapshot
from foundry_bench.sweep.config import SweepConfig
from foundry_bench.sweep.count import MOST
from foundry_bench.sweep.estimate import Estimate
from foundry_bench.sweep.interrupts import termination_interrupts
from foundry_bench.sweep.marks import SWEEP, Notice
from foundry_bench.sweep.plan import PROFILE, STUDENT, Cell, plan
from foundry_bench.sweep.record import Record, given
from foundry_bench.sweep.reporting import InterruptedSweepError, Listener, Outcome, Reporter
from foundry_bench.sweep.store import FINISHED, ORPHAN, SKIPPED, Store

if TYPE_CHECKING:
    from foundry_bench.sweep.engines.base import Engine

READ_ONLY = (errno.EROFS, errno.EACCES, errno.EPERM)
GIGABYTE = 10**9


def prepare(
    config: SweepConfig,
    store: Store,
    reporter: Reporter,
    *,
    retry: bool = False,
    most: int | None = MOST,
) -> Outcome:
    """Plan and compare with what is on disk; nothing runs and nothing is written but the index.

    Engine, device and folder are tried first. Raises UserError for what cannot be used, LargePlanError for a new plan of more
    than ``most`` cells.
    """
    from foundry_bench.sweep.engines.base import Engine

    name = bare_name(config.engine)
    registry.check_known("engines", name)
    if config.device != "cpu" and not registry.load("engines", name, Engine).elsewhere:
        check_device(config.device)
    if name != config.engine:
        selectors.instance("engines", config.engine, Engine)
    _check_runtimes(config)
    check_folder(store.folder, "--out")
    store.check(config)
    planned = snapshot.load(store, config) or plan(config, most, _measured_on(store))
    for line in planned.notes:
        reporter.note(line)
    for line in planned.warnings:
        reporter.warn(line)
    recorded = index.load(store)
    todo = unfinished(planned.cells, recorded, store, retry=retry)
    for line in store.warnings:
        reporter.warn(line)
    for line in reasons.explain(planned.cells, todo, recorded, store):
        reporter.note(line)
    tried = {c.id: recorded[c.id]["identity"]["attempt"] for c in todo if c.id in recorded}
    return Outcome(planned, todo, tried)


def _measured_on(store: Store) -> str | None:
    """The clouds that cost was measured on in a folder, None where nothing was. A sweep without tasks measures on the same, so
    that nothing is measured again, and no student made again for it whose weights are gone."""
    content = snapshot.read(store)
    if content is not None:
        measured = [cell["inputs"] for cell in content["cells"] if cell["kind"] == PROFILE]
    else:
        known = (i for i, entry in index.load(store).items() if entry["identity"]["kind"] == PROFILE)
        records = (store.read(PROFILE, cell_id) for cell_id in known)
        measured = [record["inputs"] for record in islice(filter(None, records), 1)]
    return next((given(inputs["dataset"])["name"] for inputs in measured), None)


def _check_runtimes(config: SweepConfig) -> None:
    """Raise UserError for a runtime that nobody registered, or that cannot be used where the cells will run."""
    from foundry_bench.sweep.engines.base import Engine

    if not others(config.runtime):
        return
    if registry.load("engines", bare_name(config.engine), Engine).elsewhere:
        for name in others(config.runtime):
            registry.check_known(KIND, name)
    else:
        check_runtimes(config.runtime)


def unfinished(
    cells: list[Cell], recorded: index.Entries, store: Store, *, retry: bool = False
) -> list[Cell]:
    """Cells without a record, and students whose weights a missing child needs; with ``retry`` those that failed, too.

    A student that was skipped for what this machine lacked is missing once it is there. A cell that failed or was skipped only
    because its student was is missing as soon as the student is there or will be made.
    """
    status = {id: entry["identity"]["status"] for id, entry in recorded.items()}
    todo: set[str] = set()
    for cell in cells:  # parents come before their children
        known = status.get(cell.id)
        failed = known is not None and known not in FINISHED
        orphan = known is not None and recorded[cell.id]["identity"]["stage"] == ORPHAN
        adopted = orphan and (cell.parent in todo or status.get(cell.parent or "") == "ok")
        if known is None or adopted or (failed and retry) or (known == SKIPPED and _has_come(cell)):
            todo.add(cell.id)
    wanted = {c.parent for c in cells if c.id in todo}
    for cell in reversed(cells):  # so that one pass reaches a parent's parent
        needed = cell.id in wanted and cell.id not in todo and status[cell.id] == "ok"
        if needed and not store.has_student(cell.id):
            todo.add(cell.id)
            wanted.add(cell.parent)
    return [cell for cell in cells if cell.id in todo]


def _has_come(cell: Cell) -> bool:
    """Whether a student was skipped for what this machine has now."""
    if cell.kind != STUDENT:
        return False
    method = selectors.build_method(cell.inputs["method"]["name"], given(cell.inputs["params"]))
    return method.lacks() is None


def run_sweep(
    config: SweepConfig,
    folder: Path,
    reporter: Reporter,
    *,
    retry: bool = False,
    rehearse: bool = True,
    listeners: Sequence[Listener] = (),
    most: int | None = MOST,
) -> Outcome:
    """Run what is missing; ``most`` as in :func:`prepare`.

    Raises UserError before anything runs or when the disk is full, InterruptedSweepError when it was stopped; both lose nothing
    that was finished.
    """
    store = Store(folder)
    with _disk_errors(store):
        outcome = prepare(config, store, reporter, retry=retry, most=most)
        store.claim(outcome.plan.config)
        with _driving(store, outcome):
            snapshot.save(store, config, outcome.plan)
            for line in _set_aside(outcome, store):
                reporter.warn(line)
            for listener in listeners:
                listener.open(outcome.plan, store)
            if outcome.todo:
                _run_cells(outcome, store, reporter, rehearse, listeners)
            recorded = index.load(store)
    status = {id: entry["identity"]["status"] for id, entry in recorded.items()}
    unfit = [cell for cell in outcome.plan.cells if status.get(cell.id) not in FINISHED]
    records = [store.read(cell.kind, cell.id) for cell in unfit]
    outcome.failed = [record for record in records if record is not None]
    return outcome


def _run_cells(
    outcome: Outcome, store: Store, reporter: Reporter, rehearse: bool, listeners: Sequence[Listener]
) -> None:
    from foundry_bench.sweep import preflight
    from foundry_bench.sweep.engines.base import Engine
    from foundry_bench.sweep.schedule import Schedule, Settings

    config = outcome.plan.config
    memory = None if config.memory is None else int(config.memory * GIGABYTE)
    engine = selectors.instance(
        "engines",
        config.engine,
        Engine,
        **{"jobs": config.jobs, "timeout": config.timeout, "threads": config.threads},
        **{"device": config.device, "memory": memory},
    )
    settings = Settings(
        config.budget, config.device, config.data_root, config.engine, memory, not config.no_memory
    )
    described = environment.describe()

    def done(cell: Cell, record: Record) -> None:
        reporter.finished(cell, record)
        for listener in listeners:
            listener.cell(cell, record)

    schedule = partial(Schedule, started=reporter.started, done=done)
    try:
        failing = registry.guard("engines", bare_name(config.engine), "failed")
        with termination_interrupts(), failing, _opened(engine, store):
            if rehearse:
                todo, cells = outcome.todo, outcome.plan.cells
                preflight.rehearse(todo, cells, store, described, settings, engine, reporter)
            estimate = Estimate(index.load(store))
            reporter.begin(outcome.todo, estimate, engine.slots, store.marks)
            todo = estimate.cheap_first(outcome.todo)
            engine.run(schedule(todo, store, described, settings, tried=outcome.tried))
    except KeyboardInterrupt:
        left = unfinished(outcome.todo, index.load(store), store)
        raise InterruptedSweepError(
            f"interrupted; {len(outcome.todo) - len(left)} cells finished are kept, run the same command again to complete"
        ) from None


def _set_aside(outcome: Outcome, store: Store) -> Iterator[str]:
    """Move records that are not as they were written out of the way of new ones; a line each."""
    for cell in outcome.todo:
        moved = store.set_aside(cell.kind, cell.id)
        if moved is not None:
            yield f"the record of {cell.title} was set aside as {moved}, the cell is run again"


@contextmanager
def _driving(store: Store, outcome: Outcome) -> Iterator[None]:
    """Show that this process drives a sweep in the folder, and clear the marks that dead processes left."""
    for name in store.marks.names():
        notice = store.marks.left(name)
        if notice is not None and (notice.kind == SWEEP or not notice.in_the_sweep):
            store.marks.remove(name)
    config = outcome.plan.config
    notice = Notice(SWEEP, f"{len(outcome.todo)} cells", engine=config.engine)
    with store.marks.held(f"{SWEEP}-{uuid.uuid4().hex[:12]}", notice):
        yield


@contextmanager
def _opened(engine: Engine, store: Store) -> Iterator[None]:
    """The engine, ready to run cells of ``store``."""
    try:
        engine.open(store)
        yield
    finally:
        engine.close()


@contextmanager
def _disk_errors(store: Store) -> Iterator[None]:
    """One line for a disk that is full or cannot be written."""
    try:
        yield
    except OSError as error:
        full = error.errno in FULL
        if not full and error.errno not in READ_ONLY:
            raise
        where = f"cannot write to {store.folder}: {error.strerror or error}"
        fix = "free some space" if full else "choose another --out or give yourself the right to write there"
        raise UserError(f"{where}; {fix} and run the same command again, finished cells are kept") from error
