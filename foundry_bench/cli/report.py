"""``foundry-bench report``: write the reports of a results folder again."""

from __future__ import annotations

from pathlib import Path

import click

from foundry_bench.beforehand.checks import check_folder
from foundry_bench.cli.options import give, json_option, rows_of
from foundry_bench.cli.place import Place, wide_option
from foundry_bench.progress import console
from foundry_bench.report import writer


@click.command()
@click.argument("results", type=Place())
@wide_option
@json_option
def report(results: Path, wide: bool, as_json: bool) -> int:
    """Write leaderboard, summary, plots and the page report.html of the folder RESULTS.

    The page needs a browser and nothing else: no network, no server.

    \b
    foundry-bench report results/fewshot-quick
    """
    if results.is_dir():
        check_folder(results, "folder")
    board = writer.write_reports(results)
    from foundry_bench.report.tables import print_board

    give({"rows": rows_of(board)}, None, as_json)
    if not as_json:
        print_board(console(), board, str(results), wide=wide)
    return 0
