"""``foundry-bench search``: find the cheapest student that keeps so much of its teacher, and confirm it on other objects."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from foundry_bench.cli import offers
from foundry_bench.cli.choose import PERCENT, POSITIVE, Duration, explain, percent, recipe
from foundry_bench.cli.folder_options import NAMES, folder_options, sweep_with_folder_options
from foundry_bench.cli.options import cell_options, data_root_option, out_option, teacher_option
from foundry_bench.display import SweepDisplay
from foundry_bench.report.numbers import figures
from foundry_bench.sweep.config import SweepConfig
from foundry_bench.sweep.estimate import human_time
from foundry_bench.sweep.halving import Verdict
from foundry_bench.sweep.reporting import InterruptedSweepError

if TYPE_CHECKING:
    from foundry_bench.report.choice import Candidate, Wish
    from foundry_bench.sweep.search_plan import Search

NOTHING_FOUND, INTERRUPTED = 1, 130


@click.command()
@click.option(
    "--keep", type=PERCENT, default=99, show_default=True, help="Percent of the teacher's mean score."
)
@click.option(
    "--worst", type=PERCENT, default=97, show_default=True, help="Percent that the worst task keeps."
)
@click.option("--macs", type=POSITIVE, help="Most multiply-adds, as a share of the teacher's.")
@click.option("--latency", type=Duration(), help="Longest time of a cloud on this machine, such as 5ms.")
@click.option("--mb", type=POSITIVE, help="Most megabytes on disk.")
@click.option("--hours", type=POSITIVE, default=1, show_default=True, help="Time of all runs together.")
@click.option(
    "--methods",
    help="Selectors to choose from, such as 'kd,lowrank[keep=0.2,0.4]'. [all]",
    shell_complete=offers.methods,
)
@click.option("--tasks", help="As for 'run'. [default]", shell_complete=offers.tasks)
@teacher_option
@click.option(
    "--distill-on",
    help="Unlabelled data set or folder that students are trained on. [pretrain]",
    shell_complete=offers.dataset,
)
@folder_options
@data_root_option
@click.option(
    "--budget", help="quick or standard, of whom is put to tasks. [quick]", shell_complete=offers.budgets
)
@click.option("--seeds", type=int, default=3, show_default=True, help="Starts of whom is put to tasks.")
@click.option("--seed", type=int, default=0, show_default=True, help="Of the draw of candidates.")
@click.option("--engine", help="As for 'run'. [local]", shell_complete=offers.engine)
@cell_options
@out_option("Results folder", default="results/search", show_default=True)
@click.option("--dry-run", is_flag=True, help="Print the candidates and rungs with their time.")
def search(
    keep: float,
    worst: float,
    macs: float | None,
    latency: float | None,
    mb: float | None,
    hours: float,
    methods: str | None,
    seed: int,
    out: Path,
    dry_run: bool,
    **options: Any,
) -> int:
    """Find the cheapest student that surely keeps so much of its teacher, and how to make it.

    Candidates of all methods are trained a little and compared by how well they imitate the teacher on unlabelled objects; the
    few that are left are trained in full and put to the tasks on one half of their objects, and the cheapest that keeps
    enough on the other half. Nothing was chosen by that half, so its figure is not that of the luckiest of many. The same
    command goes on where a search was stopped. Exit code 1 where nothing keeps enough, or it is not confirmed.

    \b
    foundry-bench search --keep 99 --hours 1
    foundry-bench search --keep 97 --latency 3ms --methods kd,lowrank,prune-structured --out results/fast
    """
    from foundry_bench.report.choice import Wish
    from foundry_bench.selectors import split_selectors
    from foundry_bench.sweep.search_plan import Search

    folder = {name: options.pop(name) for name in NAMES}
    config = sweep_with_folder_options(SweepConfig.about_to_run(None, options), **folder)
    wish = Wish(keep / 100, worst / 100, macs, latency, mb)
    limits = {"macs": macs, "latency": latency, "mb": mb}
    asked = Search(
        config,
        wish.keep,
        wish.worst,
        hours,
        tuple(split_selectors(methods)) if methods else (),
        tuple((name, limit) for name, limit in limits.items() if limit is not None),
        seed,
    )
    with SweepDisplay() as display:
        if dry_run:
            _dry_run(asked, display.note)
            return 0
        try:
            return _run(asked, wish, out, display)
        except InterruptedSweepError:
            display.stop()
            click.echo("interrupted; what is finished is kept, run the same command again to go on", err=True)
            return INTERRUPTED


def _run(asked: Search, wish: Wish, out: Path, display: SweepDisplay) -> int:
    from foundry_bench.report import writer
    from foundry_bench.report.choice import candidates
    from foundry_bench.report.frame import load_results
    from foundry_bench.sweep.candidates import places_of
    from foundry_bench.sweep.search import Searcher
    from foundry_bench.sweep.space import space

    def judge(folder: Path) -> list[Verdict]:
        rows = candidates(load_results(folder), wish)
        return [Verdict(row.selector, row.kept, not row.against) for row in rows]

    space(asked.methods)  # so that a slip is told at once
    searcher = Searcher(asked, places_of(asked.sweep), out, display)
    winner = searcher.run(lambda: list(_candidates(asked, display.note)), judge)
    display.stop()
    rows = candidates(load_results(out), wish)
    writer.write_reports(out)
    for selector, kept in searcher.state.dropped.items():
        click.echo(f"not {selector}: its first start keeps {percent(kept)}")
    if winner is None:
        click.echo(
            f"nothing that was tried keeps {100 * wish.keep:g} % for sure in {human_time(searcher.spent)}"
        )
        explain(sorted(rows, key=lambda row: (len(row.against), -(row.lower or 0.0))))
        click.echo("more --hours go on from here")
        return NOTHING_FOUND
    promised = next(row for row in rows if row.selector == winner)
    explain(rows[: rows.index(promised)])
    again = candidates(load_results(out / "confirm"), wish)
    confirmed = next(row for row in again if row.selector == winner)
    code = _tell(promised, confirmed, asked, display)
    click.echo(f"made already, with the first start: {_student(promised, out)}")
    return code


def _student(row: Candidate, out: Path) -> Path:
    """The folder of a row's first student."""
    from foundry_bench.report.frame import load_results
    from foundry_bench.sweep.store import Store

    frame = load_results(out)
    mine = frame[frame["kind"] == "profile"]
    for key, value in row.keys.items():
        mine = mine[mine[key] == value]
    return Store(out).student_folder(mine.sort_values("seed")["student"].iloc[0])


def _tell(promised: Candidate, confirmed: Candidate, asked: Search, display: SweepDisplay) -> int:
    """What was found, what it promised and what came of that; the exit code."""
    from rich.markup import escape
    from rich.table import Table

    table = Table(title=escape(promised.selector), title_justify="left", pad_edge=False)
    for column in ("objects", "kept %", "95 % interval", "worst task"):
        table.add_column(column)
    for name, row in (("searched by", promised), ("of the confirmation", confirmed)):
        place, share = row.worst or ("", None)
        table.add_row(
            *map(escape, (name, percent(row.kept), interval_text(row), f"{percent(share)} {place}"))
        )
    display.console.print(table)
    costs = {"MACs of teacher": "macs", "ms a cloud": "latency", "MB": "mb"}
    told = [
        f"{figures(cost)} {unit}" for unit, key in costs.items() if (cost := promised.costs[key]) is not None
    ]
    click.echo(", ".join(told))
    if confirmed.against:
        click.echo(f"NOT CONFIRMED on objects that nothing was chosen by: {'; '.join(confirmed.against)}")
        click.echo(
            "these objects cannot confirm another row; search again for a larger --keep in a new --out"
        )
    else:
        click.echo("confirmed on objects that nothing was chosen by")
    click.echo(f"\nto make it: {recipe(promised, asked.sweep.budget)}")
    return NOTHING_FOUND if confirmed.against else 0


def interval_text(row: Candidate) -> str:
    """Both ends of the interval of what a row keeps."""
    if row.kept is None or row.lower is None:
        return "unknown"
    return f"{percent(row.lower)} to {percent(2 * row.kept - row.lower)}"


def _candidates(asked: Search, note: Callable[[str], None]) -> dict[str, float]:
    """The selectors of the first rung with their multiply-adds."""
    from foundry_bench.sweep.candidates import Costs, candidates
    from foundry_bench.sweep.space import space

    choices = space(asked.methods)
    below = math.nextafter(1.0, 0.0) if asked.cost == "macs" else math.inf
    most = dict(asked.limits).get("macs", below)
    note(f"counting the multiply-adds of up to {asked.first} students of {len(choices)}")
    return candidates(choices, Costs(asked.sweep).share, asked.first, seed=asked.seed, most=most, note=note)


def _dry_run(asked: Search, note: Callable[[str], None]) -> None:
    """The candidates and what will be done with them."""
    from foundry_bench.sweep.search_plan import RUNGS

    found = _candidates(asked, note)
    for selector, share in sorted(found.items(), key=lambda row: row[1]):
        note(f"{share:6.3f} of the teacher's multiply-adds  {selector}")
    spent = 0.0
    for number, part in enumerate(RUNGS):
        spent = asked.share(spent)
        each = human_time(asked.seconds_each(number))
        note(
            f"rung {number + 1}: 1/{part} of the steps of {asked.sweep.budget}, about {each} each, until {human_time(spent)}"
        )
    note(f"tasks: one after the other, {asked.sweep.seeds} starts each, until {human_time(asked.end)}")
    note("confirmation: the one that is chosen, on objects that nothing was chosen by")
