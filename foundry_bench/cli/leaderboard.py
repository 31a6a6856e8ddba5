"""``foundry-bench leaderboard``: one table of several results folders."""

from __future__ import annotations

from pathlib import Path

import click

from foundry_bench.beforehand.checks import check_file
from foundry_bench.cli.options import file_option, give, json_option, rows_of
from foundry_bench.cli.place import Place, wide_option
from foundry_bench.progress import console
from foundry_bench.storage import write_atomic


@click.command()
@click.argument("results", nargs=-1, required=True, type=Place())
@click.option(
    "--merge",
    "records",
    multiple=True,
    type=Place(),
    help="A record of 'foundry-bench bench' as further columns; may be given several times.",
)
@file_option("A .csv file")
@wide_option
@json_option
def leaderboard(
    results: tuple[Path, ...], records: tuple[Path, ...], output: Path | None, wide: bool, as_json: bool
) -> int:
    """Rank the rows of one or several folders RESULTS together.

    \b
    foundry-bench leaderboard results/a results/b -o leaderboard.csv
    foundry-bench leaderboard results/a --merge jetson.json --merge phone.json
    """
    if output is not None:
        check_file(output, "--output")
    from foundry_bench.report.frame import load_together
    from foundry_bench.report.leaderboard import build
    from foundry_bench.report.merged import merge
    from foundry_bench.report.tables import print_board

    frame, unmatched = merge(load_together(results), records)
    for line in unmatched:
        click.echo(f"warning: {line}", err=True)
    board = build(frame)
    give({"rows": rows_of(board)}, None, as_json)
    rest = f"in {output}" if output is not None else "with -o FILE"
    if not as_json:
        print_board(console(), board, ", ".join(map(str, results)), rest, wide=wide)
    if output is not None:
        write_atomic(output, board.to_csv(index=False).encode())
    return 0
