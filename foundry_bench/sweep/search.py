"""The search for the cheapest student that keeps enough of its teacher: successive halving, then tasks, then other objects.

1. Candidates are drawn from :mod:`foundry_bench.sweep.space` until the time for the first rung is filled; their multiply-adds
   are counted without training, and those above a limit are left out.
2. Rungs: each is an ordinary sweep without tasks in ``rungs/N`` with a part of the budget's steps. Held-out fidelity on
   *unlabelled* objects decides with the cost who goes on; stacks of two that got through the first rung join the second.
3. Those that are left are trained in full, one after the other, and put to the tasks on the *search* half of their objects, in
   the folder itself: the first start alone, and the others where that keeps what is asked for. ``judge`` says by the rule of
   ``foundry-bench choose`` which keep enough.
4. The cheapest of them, and nobody else, is put to the tasks on the *confirm* half, in ``confirm``: on objects by which nothing
   was chosen. Training sides of probes are shared by the halves (:mod:`foundry_bench.datasets.halves`).

All folders are results folders. What was decided is in ``search.json``; a search that was stopped goes on from there.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

from foundry_bench import selectors
from foundry_bench.errors import UserError
from foundry_bench.sweep import index, snapshot
from foundry_bench.sweep.candidates import Places
from foundry_bench.sweep.config import SweepConfig
from foundry_bench.sweep.halving import ETA, Measured, Verdict, go_on, next_to_try
from foundry_bench.sweep.plan import EVALUATE, PROFILE, Cell, Plan, plan, title
from foundry_bench.sweep.record import Fidelity, Record
from foundry_bench.sweep.reporting import InterruptedSweepError, Reporter
from foundry_bench.sweep.runner import run_sweep
from foundry_bench.sweep.search_plan import COSTS, LEAST, RUNGS, Search
from foundry_bench.sweep.search_state import SearchState, adopt
from foundry_bench.sweep.space import TEACHER, choice_of, stacks
from foundry_bench.sweep.store import FINISHED, Store

Judge = Callable[[Path], list[Verdict]]
"""What the tasks of a results folder say of its rows, the cheapest first."""


class Deadline:
    """A listener that ends a sweep after the first cell beyond its time, ``seconds`` from now. ``passed``: it has."""

    def __init__(self, seconds: float) -> None:
        self.end = time.monotonic() + seconds
        self.passed = False

    def open(self, plan: Plan, store: Store) -> None:
        """Nothing to prepare."""

    def cell(self, cell: Cell, record: Record) -> None:
        """Raises KeyboardInterrupt, which keeps what is finished, when the time is up."""
        if time.monotonic() > self.end:
            self.passed = True
            raise KeyboardInterrupt


class Searcher:
    """One run of a search in ``folder``. Each step raises InterruptedSweepError when a person stops it."""

    def __init__(self, search: Search, places: Places, folder: Path, reporter: Reporter) -> None:
        self.search, self.places, self.folder, self.reporter = search, places, folder, reporter
        self.final = replace(search.sweep, methods=(TEACHER,), tasks=places.search, dataset=())
        self.state = SearchState.open(folder, self.final, search.described())
        self._began = time.monotonic()
        self._before = self.state.spent

    def run(self, first: Callable[[], list[str]], judge: Judge) -> str | None:
        """Do what is left and return the selector of the row that was put to the confirmation; None where no row keeps
        enough. ``first``: asked once for the selectors of the first rung, before anything is written."""
        if not self.state.rungs:
            self.state.rungs.append(first())
            Store(self.folder).claim(self.final)
            self._save()
        with self._clock():
            if self.state.winner is None:
                self._begin()
                for number in range(len(self.state.rungs) - 1, len(RUNGS)):
                    self._rung(number)
                self._put_to_tasks(judge)
            if self.state.winner is not None:
                self._confirm(self.state.winner)
        return self.state.winner

    @contextmanager
    def _clock(self) -> Iterator[None]:
        """Remember the time that was spent, whatever ends it."""
        try:
            yield
        finally:
            self._save()

    def _save(self) -> None:
        self.state.spent = self.spent
        self.state.save(self.folder)

    @property
    def spent(self) -> float:
        """Seconds that the search has taken, in earlier runs too."""
        return self._before + time.monotonic() - self._began

    def _begin(self) -> None:
        """The teacher's own row, and whatever of those that were tried is missing. Raises UserError for a task that fails."""
        self._sweep(self._finals(), self.folder, self.search.end if self.state.tried else None, retry=True)
        cells = (cell for cell in plan(replace(self.final, seeds=1)).cells if cell.kind == EVALUATE)
        for record in (Store(self.folder).read(cell.kind, cell.id) for cell in cells):
            if record is not None and record["identity"]["status"] not in FINISHED:
                about = title(EVALUATE, record["inputs"]), record["identity"]["message"]
                raise UserError(f"{about[0]} failed: {about[1]}; leave the task out in a new --out")

    def _rung(self, number: int) -> None:
        """Train and measure who is in a rung, and decide who goes on."""
        entered = self.state.rungs[number]
        share = f"1/{RUNGS[number]} of the steps"
        self.reporter.note(
            f"rung {number + 1} of {len(RUNGS)}: {len(entered)} students, {share}, {self._left()}"
        )
        config = self.search.rung(number, tuple(entered))
        folder = self._rung_folder(number)
        cut = self._sweep(config, folder, self.search.share(self.spent))
        if cut and (made := students_of(Store(folder))):  # who was made in time is measured, too
            self._sweep(replace(config, methods=tuple(made)), folder)
        rows = measured(Store(folder), self.search)
        if cut and len(rows) < min(LEAST, len(entered)):
            raise UserError(
                f"only {len(rows)} of {len(entered)} students were measured in the time of rung {number + 1}; "
                "run again with more --hours"
            )
        if not rows:
            raise UserError(
                f"none of {len(entered)} students is within the limits, or all failed: see "
                f"'foundry-bench status {folder}', and search in a new --out"
            )
        chosen = go_on(rows, max(LEAST, math.ceil(len(entered) / ETA)))
        names = [row.selector for row in chosen]
        if number == 0:
            names += self._stacked(chosen)
        self.reporter.note(f"{len(rows)} of {len(entered)} students were measured, {len(chosen)} go on")
        self.state.rungs.append(names)
        self._save()

    def _stacked(self, chosen: list[Measured]) -> list[str]:
        """As many stacks of ``chosen`` as there are of these, by what their parts promise: costs multiply, and what each loses
        adds up."""
        by_name = {row.selector: row for row in chosen}
        found = []
        for pair in stacks([choice_of(name) for name in by_name]):
            first, second = by_name[pair.first.selector], by_name[pair.second.selector]
            promised = first.fidelity + second.fidelity - 1
            found.append(Measured(pair.choice.selector, first.cost * second.cost, promised))
        return [row.selector for row in go_on(found, len(chosen))]

    def _finals(self) -> SweepConfig:
        return replace(self.final, methods=(TEACHER, *self.state.tried))

    def _put_to_tasks(self, judge: Judge) -> None:
        """Train in full whom it is worth, one after the other, while there is time; then settle on the cheapest that keeps."""
        last = Store(self._rung_folder(len(RUNGS) - 1))
        known = {row.selector: row for row in measured(last, self.search)}
        left = [known[name] for name in self.state.rungs[-1] if name in known]
        verdicts, shown = judge(self.folder), True
        while self.spent < self.search.end:
            kept_less = [Verdict(name, kept, False) for name, kept in self.state.dropped.items()]
            tried = {name: known[name] for name in (*self.state.tried, *self.state.dropped) if name in known}
            row = next_to_try(left, tried, [*verdicts, *kept_less], self.search.keep)
            if row is None:
                break
            self.reporter.note(f"in full and on tasks: {row.selector}, {self._left()}")
            shown = self._first_start_keeps(row.selector, judge)
            if not shown:
                continue
            self.state.tried.append(row.selector)
            self._save()
            over = self._sweep(self._finals(), self.folder, self.search.end)
            verdicts = judge(self.folder)
            if over:
                break
        if not shown:  # the folder shows who was tried, not who was dropped last
            self._sweep(self._finals(), self.folder, self.search.end)
        self.state.winner = next((verdict.selector for verdict in verdicts if verdict.able), None)
        self._save()

    def _first_start_keeps(self, selector: str, judge: Judge) -> bool:
        """Whether a student's first start keeps what is asked for, as far as there was time to see; one that does not is
        dropped: the others would have to make up for it, and a bound is below their mean."""
        if self.final.seeds == 1:
            return True
        alone = replace(self.final, methods=(TEACHER, selector), seeds=1)
        if self._sweep(alone, self.folder, self.search.end):
            return False
        kept = next((v.kept for v in judge(self.folder) if v.selector == selector), None)
        if kept is None or kept >= self.search.keep:
            return True
        self.state.dropped[selector] = kept
        self._save()
        self.reporter.note(f"its first start keeps {100 * kept:.1f} %: no more of it")
        return False

    def _confirm(self, winner: str) -> None:
        self.reporter.note(f"on objects that nothing was chosen by: {winner}")
        config = replace(self.final, methods=(TEACHER, winner), tasks=self.places.confirm)
        self._sweep(config, self.folder / "confirm")

    def _rung_folder(self, number: int) -> Path:
        return self.folder / "rungs" / str(number + 1)

    def _sweep(
        self, config: SweepConfig, folder: Path, until: float | None = None, *, retry: bool = False
    ) -> bool:
        """Run a sweep with what the other folders already hold; whether it was stopped, at ``until`` seconds."""
        sources = [self.folder, *(self._rung_folder(n) for n in range(len(RUNGS)))]
        adopt(Store(folder), config, [Store(source) for source in sources if source != folder])
        deadline = Deadline(math.inf if until is None else until - self.spent)
        try:
            run_sweep(
                config, folder, self.reporter, retry=retry, rehearse=False, listeners=(deadline,), most=None
            )
        except InterruptedSweepError:
            if not deadline.passed:
                raise
        return deadline.passed

    def _left(self) -> str:
        left = max(self.search.seconds - self.spent, 0.0)
        return f"{left / 60:.0f} of {self.search.seconds / 60:.0f} min are left"


def measured(store: Store, search: Search) -> list[Measured]:
    """The students of a folder that were measured and are within the limits of ``search``."""
    content, recorded = snapshot.read(store), index.load(store)
    found = []
    for cell in snapshot.cells_of(content) if content is not None else []:
        entry, student = recorded.get(cell.id), recorded.get(cell.parent or "")
        if cell.kind != PROFILE or entry is None or student is None or entry["cost"] is None:
            continue
        alike = fidelity_of(entry["fidelity"] or student["fidelity"])
        costs = {name: float(cast(dict[str, Any], entry["cost"])[key]) for name, key in COSTS.items()}
        if alike is not None and all(costs[name] <= limit for name, limit in search.limits):
            found.append(Measured(selectors.record_selector(cell.inputs), costs[search.cost], alike))
    return found


def students_of(store: Store) -> list[str]:
    """The rows of a folder whose student was made."""
    content, recorded = snapshot.read(store), index.load(store)
    cells = snapshot.cells_of(content) if content is not None else []
    made = {id for id, entry in recorded.items() if entry["identity"]["status"] == "ok"}
    return [selectors.record_selector(c.inputs) for c in cells if c.kind == PROFILE and c.parent in made]


def fidelity_of(fidelity: Fidelity | None) -> float | None:
    """The number that rungs go by: R2 of what differs between the patches of a cloud, which orders students as tasks on single
    tokens do; plain R2 where a record has no other."""
    if fidelity is None:
        return None
    within = fidelity.get("r2_within")
    return fidelity["r2"] if within is None else within
