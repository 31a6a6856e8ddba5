"""``foundry-bench clean``: give back disk space of a results folder."""

from __future__ import annotations

from pathlib import Path

import click

from foundry_bench.cli.options import give, json_option
from foundry_bench.cli.place import Place
from foundry_bench.progress import console
from foundry_bench.sweep import leftovers, snapshot
from foundry_bench.sweep.store import Store


@click.command()
@click.argument("results", type=Place())
@click.option(
    "--cache",
    is_flag=True,
    help="Also the teacher's cached tokens, groupings and the rehearsals; made again when needed.",
)
@click.option(
    "--students", is_flag=True, help="Also the weights of students; trained again when a new task needs them."
)
@click.option(
    "--others", is_flag=True, help="Also cells and students that are not in the last plan of the folder."
)
@click.option("--dry-run", is_flag=True, help="Only say what would be removed.")
@json_option
def clean(results: Path, cache: bool, students: bool, others: bool, dry_run: bool, as_json: bool) -> int:
    """Remove from the folder RESULTS what nothing needs: files of killed processes, records that were set aside.

    Records and weights of the last plan stay unless they are asked for.

    \b
    foundry-bench clean results/fewshot-quick --dry-run
    foundry-bench clean results/fewshot-quick --cache --others
    """
    chosen = {leftovers.CACHE: cache, leftovers.STUDENTS: students, leftovers.OTHERS: others}
    groups = {leftovers.LEFTOVERS, *(group for group, wanted in chosen.items() if wanted)}
    store = Store(results)
    found = leftovers.find(store, groups)
    listed = [{"path": str(item.path), "group": item.group, "bytes": item.size} for item in found]
    say = (lambda *_, **__: None) if as_json else console().print
    for item in found:
        say(f"{'would remove' if dry_run else 'removed'} {item.path} ({_human(item.size)})", soft_wrap=True)
        if not dry_run:
            item.remove()
    total = _human(sum(item.size for item in found))
    say(f"{len(found)} files and folders, {total}{', nothing was removed' if dry_run else ''}")
    if not found and snapshot.read(store) is None:
        say("a published folder: its records and tables are its results, and stay")
    give({"removed": [] if dry_run else listed, "would_remove": listed if dry_run else []}, None, as_json)
    return 0


def _human(size: float) -> str:
    for unit in ("B", "kB", "MB"):
        if size < 1000:
            return f"{size:.0f} {unit}"
        size /= 1000
    return f"{size:.1f} GB"
