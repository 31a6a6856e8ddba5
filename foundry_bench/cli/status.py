"""``foundry-bench status``: how far a sweep is, from another shell."""

from __future__ import annotations

from collections import Counter
from datetime import datetime, timezone
from pathlib import Path

import click

from foundry_bench.cli.place import Place
from foundry_bench.errors import UserError
from foundry_bench.progress import console
from foundry_bench.sweep import index, snapshot
from foundry_bench.sweep.estimate import Estimate, human_time
from foundry_bench.sweep.marks import SWEEP, Notice
from foundry_bench.sweep.plan import EVALUATE, PROFILE, STUDENT
from foundry_bench.sweep.store import FINISHED, Store

MOST = 10
"""Failures that are listed."""


@click.command()
@click.argument("results", type=Place())
def status(results: Path) -> int:
    """Show what is finished, running and failed in the folder RESULTS. Nothing is disturbed or locked.

    \b
    foundry-bench status results/fewshot-quick
    """
    store = Store(results)
    content = snapshot.read(store)
    if content is None:
        how = f" --config {store.sweep_file}" if store.sweep_file.is_file() else ""
        raise UserError(f"{results} holds no sweep; start one with 'foundry-bench run{how} --out {results}'")
    cells, recorded = snapshot.cells_of(content), index.load(store)
    alive = {name: notice for name in store.marks.names() if (notice := store.marks.alive(name))}
    drivers = [notice for notice in alive.values() if notice.kind == SWEEP]
    waiting = [cell for cell in cells if cell.id not in recorded]
    failed = [recorded[c.id] for c in cells if c.id in recorded and _status(recorded[c.id]) not in FINISHED]
    say = console().print
    for kind in (STUDENT, EVALUATE, PROFILE):
        ids = [cell.id for cell in cells if cell.kind == kind]
        counts = Counter(_status(recorded[id]) if id in recorded else "missing" for id in ids)
        say(f"{kind:8} {len(ids):6}  " + "  ".join(f"{n} {status}" for status, n in counts.most_common()))
    for notice in drivers:
        say(f"a sweep works here: {notice.host}, process {notice.pid}, {notice.engine}, for {_age(notice)}")
    for notice in (n for n in alive.values() if n.kind != SWEEP):
        say(f"running  {notice.title} for {_age(notice)} on {notice.host}", markup=False)
    for entry in failed[:MOST]:
        say(
            f"{_status(entry):8} {entry['title']}: {entry['identity']['message']}",
            markup=False,
            soft_wrap=True,
        )
    if len(failed) > MOST:
        say(f"... and {len(failed) - MOST} more, see the end of {results / 'leaderboard.md'}")
    say(_verdict(len(waiting), drivers, Estimate(recorded).total(waiting, content["resolved"]["jobs"] or 2)))
    return 0


def _verdict(waiting: int, drivers: list[Notice], seconds: float) -> str:
    if not waiting:
        return "all cells are recorded"
    if not drivers:
        return f"{waiting} cells are missing and nobody works on them; run the same command again"
    return f"{waiting} cells are left, about {human_time(seconds)}"


def _status(entry: index.Entry) -> str:
    return str(entry["identity"]["status"])


def _age(notice: Notice) -> str:
    if not notice.start:  # its process has not written it yet
        return "a moment"
    started = datetime.fromisoformat(notice.start)
    return human_time((datetime.now(timezone.utc) - started).total_seconds())
