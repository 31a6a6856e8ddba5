"""``foundry-bench report``: write the reports of a results folder again."""

from __future__ import annotations

from pathlib import Path

import click

from foundry_bench.beforehand.checks import check_folder
from foundry_bench.cli.place import Place
from foundry_bench.progress import console
from foundry_bench.report import writer


@click.command()
@click.argument("results", type=Place())
def report(results: Path) -> int:
    """Write leaderboard, summary and plots of the folder RESULTS.

    \b
    foundry-bench report results/fewshot-quick
    """
    if results.is_dir():
        check_folder(results, "folder")
    board = writer.write_reports(results)
    from foundry_bench.report.tables import rich_table

    console().print(rich_table(board, str(results)))
    return 0
