"""``foundry-bench status``: how far a sweep is, from another shell."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict, dataclass
from datetime import datetime, timezone
from pathlib import Path

import click

from foundry_bench.cli.options import give, json_option
from foundry_bench.cli.place import Place
from foundry_bench.errors import UserError
from foundry_bench.progress import console, counted
from foundry_bench.sweep import index, snapshot
from foundry_bench.sweep.estimate import AtWork, Estimate, human_time
from foundry_bench.sweep.marks import SWEEP, Notice
from foundry_bench.sweep.plan import EVALUATE, PROFILE, STUDENT
from foundry_bench.sweep.store import FINISHED, Store

MOST = 10
"""Failures that are listed."""


@click.command()
@click.argument("results", type=Place())
@json_option
def status(results: Path, as_json: bool) -> int:
    """Show what is finished, running and failed in the folder RESULTS. Nothing is disturbed or locked.

    \b
    foundry-bench status results/fewshot-quick
    """
    found = look(Store(results))
    give(asdict(found), None, as_json)
    if not as_json:
        _say(found, results)
    return 0


@dataclass(frozen=True)
class Progress:
    """How far a sweep is. ``counts``: kind of cell -> status -> number of cells. ``sweeps`` and ``running`` are the notices of
    who drives one and of cells at work, ``failed`` a line for each failure; ``seconds`` is the estimated time of what is
    missing. ``published``: there is no plan, and what is recorded is all there is."""

    counts: dict[str, dict[str, int]]
    sweeps: list[Notice]
    running: list[Notice]
    failed: list[str]
    waiting: int
    seconds: float
    published: bool


def look(store: Store) -> Progress:
    """How far the sweep in a folder is. Raises UserError where there is none."""
    content, recorded = snapshot.read(store), index.load(store)
    if content is None and not recorded:
        how = f" --config {store.sweep_file}" if store.sweep_file.is_file() else ""
        raise UserError(
            f"{store.folder} holds no sweep; start one with 'foundry-bench run{how} --out {store.folder}'"
        )
    cells = [] if content is None else snapshot.cells_of(content)
    kinds = {cell.id: cell.kind for cell in cells} or {k: e["identity"]["kind"] for k, e in recorded.items()}
    state = {id: _status(recorded[id]) if id in recorded else "missing" for id in kinds}
    marks = {name: notice for name in store.marks.names() if (notice := store.marks.alive(name))}
    alive = list(marks.values())
    waiting = [cell for cell in cells if cell.id not in recorded and cell.id not in marks]
    running = [
        AtWork.of(cell, _seconds(marks[cell.id]), marks[cell.id]) for cell in cells if cell.id in marks
    ]
    jobs = 2 if content is None else content["resolved"]["jobs"] or 2
    return Progress(
        counts={
            kind: dict(Counter(state[id] for id in kinds if kinds[id] == kind).most_common())
            for kind in (STUDENT, EVALUATE, PROFILE)
        },
        sweeps=[notice for notice in alive if notice.kind == SWEEP],
        running=[notice for notice in alive if notice.kind != SWEEP],
        failed=[
            f"{state[id]:8} {recorded[id]['title']}: {recorded[id]['identity']['message']}"
            for id in kinds
            if state[id] not in (*FINISHED, "missing")
        ],
        waiting=sum(cell.id not in recorded for cell in cells),
        seconds=Estimate(recorded).left(waiting, running, jobs),
        published=content is None,
    )


def _say(found: Progress, results: Path) -> None:
    say = console().print
    for kind, counts in found.counts.items():
        say(
            f"{kind:8} {sum(counts.values()):6}  "
            + "  ".join(f"{n} {status}" for status, n in counts.items())
        )
    for notice in found.sweeps:
        say(f"a sweep works here: {notice.host}, process {notice.pid}, {notice.engine}, for {_age(notice)}")
    for notice in found.running:
        phase = f": {notice.phase} {counted(notice.done, notice.total)}".rstrip() if notice.phase else ""
        say(
            f"running  {notice.title} for {_age(notice)} on {notice.host}{phase}",
            markup=False,
            soft_wrap=True,
        )
    for line in found.failed[:MOST]:
        say(line, markup=False, soft_wrap=True)
    if len(found.failed) > MOST:
        say(f"... and {len(found.failed) - MOST} more, see the end of {results / 'leaderboard.md'}")
    say(_verdict(found))


def _verdict(found: Progress) -> str:
    if found.published:
        return "a published folder: its records without a plan, by which nothing is missing"
    if not found.waiting:
        return "all cells are recorded"
    if not found.sweeps:
        return f"{found.waiting} cells are missing and nobody works on them; run the same command again"
    return f"{found.waiting} cells are left, about {human_time(found.seconds)}"


def _status(entry: index.Entry) -> str:
    return str(entry["identity"]["status"])


def _age(notice: Notice) -> str:
    if not notice.start:  # its process has not written it yet
        return "a moment"
    return human_time(_seconds(notice))


def _seconds(notice: Notice) -> float:
    """Seconds since the work of a notice began."""
    if not notice.start:
        return 0.0
    return (datetime.now(timezone.utc) - datetime.fromisoformat(notice.start)).total_seconds()
