"""``foundry-bench run``: the main job."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from foundry_bench.cli import offers
from foundry_bench.cli.folder_options import NAMES, folder_options, sweep_with_folder_options
from foundry_bench.cli.options import cell_options, figures_option, give, json_option, out_option, rows_of
from foundry_bench.cli.place import Place, wide_option

if TYPE_CHECKING:
    import pandas as pd

    from foundry_bench.display import SweepDisplay
    from foundry_bench.sweep.config import SweepConfig
    from foundry_bench.sweep.record import Record
    from foundry_bench.sweep.reporting import Outcome
    from foundry_bench.sweep.store import Store

INTERRUPTED = 130


def _print_schema(context: click.Context, option: click.Parameter, asked: bool) -> None:
    if asked:
        from foundry_bench.sweep.config import json_schema

        click.echo(json.dumps(json_schema(), indent=2))
        context.exit()


@click.command()
@click.option(
    "--methods",
    help="Selectors such as 'teacher,foundry[supertokens=1,4],tome+fmd', or all. [all]",
    shell_complete=offers.methods,
)
@click.option(
    "--tasks",
    help="Such as 'fewshot,classification[mode=finetune]:modelnet40', default, all or none. [default: see 'list tasks']",
    shell_complete=offers.tasks,
)
@click.option(
    "--grid",
    help="Rows that a bare name stands for: default, one or two at matched cost, or full. [default]",
    shell_complete=offers.values("default", "full"),
)
@click.option(
    "--teacher",
    help="Name of a teacher, or a file or folder with weights. [small]",
    shell_complete=offers.teacher,
)
@click.option(
    "--dataset",
    help="Data sets to evaluate on, where a task names none. [each task's own]",
    shell_complete=offers.datasets,
)
@click.option(
    "--distill-on",
    help="Unlabelled data set or folder that students are trained on. [pretrain]",
    shell_complete=offers.dataset,
)
@folder_options
@click.option("--data-root", help="Folder that holds the official data sets. [data]")
@click.option("--budget", help="quick, standard or paper. [quick]", shell_complete=offers.budgets)
@click.option("--seeds", type=int, help="Number of seeds. [1]")
@click.option(
    "--engine", help="local, serial, ray or ray[address=HOST:PORT]. [local]", shell_complete=offers.engine
)
@cell_options
@click.option("--memory", type=float, help="GB of memory after which a cell is stopped. [no limit]")
@out_option("Results folder. [results/TASKS-BUDGET]")
@click.option(
    "--config",
    "config_file",
    type=Place(),
    help="A sweep.yaml, or embedded or paper; options win.",
)
@click.option("--tables", help="Some of the tables of a --config that makes several. [all]")
@click.option("--timeout", type=float, help="Seconds after which a cell is stopped. [21600]")
@click.option(
    "--track",
    help="Trackers that hear of every cell: mlflow, wandb[project=NAME], tensorboard. [none]",
    shell_complete=offers.trackers,
)
@click.option(
    "--runtime",
    help="What latency is measured in: onnxruntime, executorch or a plugin's, beside PyTorch. [eager]",
    shell_complete=offers.runtimes,
)
@click.option("--no-memory", is_flag=True, default=None, help="Leave out peak memory.")
@click.option("--retry", is_flag=True, help="Run cells again that failed, were killed or took too long.")
@click.option("--no-rehearsal", is_flag=True, help="Start without trying every method and task in small.")
@click.option("--yes", is_flag=True, help="Plan as many cells as it takes without being asked.")
@click.option(
    "--schema",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=_print_schema,
    help="Print the JSON schema of --config, for editors.",
)
@figures_option
@wide_option
@click.option("--dry-run", is_flag=True, help="Print the cells, which are reused, and the estimated time.")
@json_option
def run(
    out: Path | None,
    config_file: Path | None,
    retry: bool,
    no_rehearsal: bool,
    yes: bool,
    figures: str | None,
    wide: bool,
    dry_run: bool,
    as_json: bool,
    **options: Any,
) -> int:
    """Compare methods on tasks and write a leaderboard.

    Every recorded cell is kept: the same command completes an interrupted sweep, and one with more methods,
    tasks or seeds widens it. Cells that failed are run again with --retry. Several commands may work in one folder at
    the same time. The leaderboard shows the cells of the last command.

    \b
    foundry-bench run --methods all --tasks fewshot
    foundry-bench run --methods 'foundry[supertokens=1,4,16]' --tasks fewshot --budget standard
    foundry-bench run --config results/fewshot-quick/sweep.yaml
    foundry-bench run --methods teacher,foundry --tasks classification:mine/ --up y
    foundry-bench run --config embedded --tables general-vs-experts
    foundry-bench run --config paper --teacher point_jepa.ckpt --data-root ~/data --device cuda
    """
    from foundry_bench.sweep.config import SweepConfig
    from foundry_bench.sweep.count import MOST, LargePlanError

    if figures is not None:
        from foundry_bench.report.chosen import check_rows

        check_rows(figures)
    asked = {name: options.pop(name) for name in NAMES}
    config = sweep_with_folder_options(SweepConfig.about_to_run(config_file, options), **asked)
    folder = out or config.default_out
    how: dict[str, Any] = {"retry": retry, "rehearse": not no_rehearsal, "dry_run": dry_run}
    how |= {"figures": figures, "wide": wide, "as_json": as_json}
    try:
        return _run(config, folder, None if yes else MOST, **how)
    except LargePlanError as large:
        if not sys.stdin.isatty() or not click.confirm(f"{large}; plan them all?", err=True):
            raise
    return _run(config, folder, None, **how)


def _run(
    config: SweepConfig,
    folder: Path,
    most: int | None,
    *,
    retry: bool,
    rehearse: bool,
    dry_run: bool,
    figures: str | None,
    wide: bool,
    as_json: bool,
) -> int:
    """Run or dry-run one sweep and return the exit code."""
    from foundry_bench.display import SweepDisplay
    from foundry_bench.report.live import LiveBoard
    from foundry_bench.sweep.reporting import InterruptedSweepError
    from foundry_bench.sweep.runner import prepare, run_sweep
    from foundry_bench.sweep.store import Store
    from foundry_bench.trackers import Trackers, select

    board = LiveBoard()
    with (
        SweepDisplay(stderr=as_json) as display,
        Trackers(select(config.track), display.warn) as trackers,
    ):
        if dry_run:
            outcome = prepare(config, Store(folder), display, retry=retry, most=most)
            _dry_run(outcome, folder, display, as_json)
            return 0
        try:
            outcome = run_sweep(
                config,
                folder,
                display,
                retry=retry,
                rehearse=rehearse,
                listeners=(board, trackers),
                most=most,
            )
        except InterruptedSweepError as interruption:
            display.stop()
            click.echo(str(interruption), err=True)
            board.stop()
            return INTERRUPTED
        display.stop()
        _report(outcome, folder, display, None if as_json else wide, figures)
        if config.track:
            trackers.close(_board(folder))
    if as_json:
        give({**_counts(outcome), "results": str(folder), "rows": rows_of(_board(folder))}, None, as_json)
    return outcome.exit_code


def _counts(outcome: Outcome) -> dict[str, Any]:
    """What a sweep came to, for programs."""
    failed = [{"title": title_of(record), **record["identity"]} for record in outcome.failed]
    return {"cells": len(outcome.plan.cells), "to_run": len(outcome.todo), "failed": failed}


def _dry_run(outcome: Outcome, folder: Path, display: SweepDisplay, as_json: bool) -> None:
    from foundry_bench.sweep import index
    from foundry_bench.sweep.estimate import Estimate, human_time
    from foundry_bench.sweep.store import Store

    todo = {cell.id for cell in outcome.todo}
    estimate = Estimate(index.load(Store(folder)))
    seconds = estimate.total(outcome.todo, outcome.plan.config.jobs or 2)
    if as_json:
        cells = [{"id": c.id, "title": c.title, "run": c.id in todo} for c in outcome.plan.cells]
        give({"cells": cells, "seconds": seconds, "basis": estimate.basis}, None, as_json)
        return
    for cell in outcome.plan.cells:
        display.note(f"{'run  ' if cell.id in todo else 'reuse'} {cell.id[:12]} {cell.title}")
    reused = len(outcome.plan.cells) - len(todo)
    line = f"{len(todo)} cells to run, {reused} reused"
    about = f"{line}, about {human_time(seconds)} ({estimate.basis})"
    display.note(about if todo else f"{line}; nothing is left to do")


def _report(
    outcome: Outcome, folder: Path, display: SweepDisplay, wide: bool | None, figures: str | None
) -> None:
    """Write what is missing or out of date and the ``figures`` of rows, and show the leaderboard when something has changed;
    ``wide`` as for :func:`~foundry_bench.report.tables.print_board`, None to show none."""
    from foundry_bench.report import writer
    from foundry_bench.sweep.store import ORPHAN, Store

    if not outcome.todo:
        how = "recorded" if outcome.failed else "finished"
        display.note(f"nothing is left to do: all {len(outcome.plan.cells)} cells are {how}")
    if outcome.todo or figures is not None or writer.outdated(folder):
        drawn = writer.Drawn(rows=figures)
        board = writer.write_reports(folder, drawn, tell=display.note, warn=display.warn)
        from foundry_bench.report.tables import print_board

        if wide is not None:
            print_board(display.console, board, str(folder), wide=wide)
    if outcome.failed:
        display.warn(
            f"{len(outcome.failed)} cells failed, see the end of {folder / 'leaderboard.md'}; --retry runs them again"
        )
        for record in (r for r in outcome.failed if r["identity"]["stage"] != ORPHAN):
            display.note(f"  {failure(record, Store(folder))}")
    figure = folder / "figures" / writer.FIGURES[0]
    display.note(f"leaderboard: {folder / 'leaderboard.csv'}  page: {folder / writer.PAGE}  plot: {figure}")


def _board(folder: Path) -> pd.DataFrame:
    """The leaderboard as it was written."""
    import pandas as pd

    return pd.read_csv(folder / "leaderboard.csv")


def title_of(record: Record) -> str:
    """What the cell of a record is called."""
    from foundry_bench.sweep.plan import title

    return title(record["identity"]["kind"], record["inputs"])


def failure(record: Record, store: Store) -> str:
    """One line about a record that is not finished, with the file to look into."""
    about = record["identity"]
    file = about["traceback_file"]
    where = f" ({store.beside(about['kind'], '', file)})" if file else ""
    return f"{about['status']}: {title_of(record)}: {about['message']}{where}"
