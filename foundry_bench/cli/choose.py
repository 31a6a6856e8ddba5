"""``foundry-bench choose``: the row to deploy, from finished results."""

from __future__ import annotations

import math
import re
import shlex
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from foundry_bench.cli.options import give, json_option
from foundry_bench.cli.place import Place
from foundry_bench.progress import console
from foundry_bench.report.numbers import figures

if TYPE_CHECKING:
    from rich.table import Table

    from foundry_bench.report.choice import Candidate

NEXT, REASONS = 2, 10
"""Further rows that are shown, and cheaper ones whose fault is told."""
UNITS = {"us": 1e-3, "ms": 1.0, "s": 1e3}
NOTHING_FOUND = 1


class Duration(click.ParamType):
    """A time such as ``5ms``, in milliseconds."""

    name = "TIME"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        found = re.fullmatch(r"(\d+\.?\d*|\.\d+) ?(us|ms|s)", str(value))
        if found is None or not 0 < float(found[1]) < math.inf:
            self.fail(f"{value!r} is no time; write it with its unit, such as 5ms", param, ctx)
        return float(found[1]) * UNITS[found[2]]


class Finite(click.FloatRange):
    """A positive number up to ``max``, which is not ``nan``."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        number = super().convert(value, param, ctx)
        if not math.isfinite(number):
            self.fail(f"{value!r} is no number to compare with", param, ctx)
        return float(number)


PERCENT = Finite(0, 200, min_open=True)
POSITIVE = Finite(0, min_open=True)


@click.command()
@click.argument("results", nargs=-1, required=True, type=Place())
@click.option(
    "--keep", type=PERCENT, default=99, show_default=True, help="Percent of the teacher's mean score."
)
@click.option(
    "--worst", type=PERCENT, default=97, show_default=True, help="Percent that the worst task keeps."
)
@click.option("--macs", type=POSITIVE, help="Most multiply-adds, as a share of the teacher's.")
@click.option(
    "--latency", type=Duration(), help="Longest time of a cloud where it was measured, such as 5ms."
)
@click.option("--mb", type=POSITIVE, help="Most megabytes on disk.")
@click.option("--tasks", help="Tasks that alone count, by comma: onepatch,fewshot:kicad.")
@json_option
def choose(
    results: tuple[Path, ...],
    keep: float,
    worst: float,
    macs: float | None,
    latency: float | None,
    mb: float | None,
    tasks: str | None,
    as_json: bool,
) -> int:
    """Name the cheapest row of RESULTS that surely keeps so much of its teacher, and how to make it.

    Surely: the lower end of the 95 % interval over objects and starts. Exit code 1 where no row does.

    \b
    foundry-bench choose results/reference-forms --keep 99
    foundry-bench choose results/mine --keep 97 --latency 5ms --tasks onepatch,densefewshot
    """
    from foundry_bench.report.choice import Wish, candidates
    from foundry_bench.report.frame import load_together
    from foundry_bench.report.leaderboard import one_budget

    frame = load_together(results)
    wish = Wish(keep / 100, worst / 100, macs, latency, mb)
    rows = candidates(frame, wish, [task.strip() for task in tasks.split(",")] if tasks else ())
    able = [row for row in rows if not row.against]
    if as_json:
        recipes = {"recipe": recipe(able[0], one_budget(frame) or "quick")} if able else {"recipe": None}
        give(
            {"chosen": able[0].selector if able else None, **recipes, "rows": list(map(asdict, rows))},
            None,
            True,
        )
        return 0 if able else NOTHING_FOUND
    screen = console()
    if able:
        screen.print(_table(able[: 1 + NEXT], f"keeps {keep:g} % for sure, {worst:g} % at worst"))
        explain(rows[: rows.index(able[0])])
        click.echo(f"\nto make it: {recipe(able[0], one_budget(frame) or 'quick')}")
        return 0
    click.echo(f"no row keeps {keep:g} % for sure with {worst:g} % at worst and the given costs")
    explain(sorted(rows, key=lambda row: (len(row.against), -(row.lower or 0.0))))
    return NOTHING_FOUND


def _table(rows: list[Candidate], title: str) -> Table:
    from rich.markup import escape
    from rich.table import Table

    table = Table(title=title, title_justify="left", pad_edge=False)
    table.add_column("row", overflow="fold")
    for column in ("kept %", "surely", "worst task", "MACs of teacher", "latency ms", "MB"):
        table.add_column(column, justify="right")
    for row in rows:
        place, share = row.worst or ("", None)
        shown = (percent(row.kept), percent(row.lower), f"{percent(share)} {place}")
        costs = map(_figures, row.costs.values())
        table.add_row(*map(escape, (row.selector, *shown, *costs)))
    return table


def percent(share: float | None) -> str:
    """A share as a number of percent, nothing where there is none."""
    return "" if share is None else f"{100 * share:.1f}"


def _figures(cost: float | None) -> str:
    return "" if cost is None else figures(cost)


def explain(rows: list[Candidate]) -> None:
    """A line for each of ``rows`` that says why it was not chosen."""
    for row in rows[:REASONS]:
        click.echo(f"not {row.selector}: {'; '.join(row.against)}")
    if len(rows) > REASONS:
        click.echo(f"and {len(rows) - REASONS} more")


def recipe(row: Candidate, budget: str) -> str:
    """The command that makes a student of ``row``."""
    from foundry_bench.variants import FMD, OFF_THE_SHELF

    teacher = row.keys["teacher"]
    if row.keys["variant"] == FMD:
        chosen = f"--teacher {shlex.quote(teacher)} --method {shlex.quote(row.selector)} --budget {shlex.quote(budget)}"
        return f"foundry-bench distill {chosen} -o student"
    if row.keys["variant"] == OFF_THE_SHELF:
        made = f"fb.make_student({row.selector!r}, fb.load_teacher({teacher!r}))"
        return f"python -c \"import foundry_bench as fb; fb.save_student({made}, 'student')\""
    return f"an expert is trained by its task's labels: foundry-bench run --methods {shlex.quote(row.selector)} ..."
