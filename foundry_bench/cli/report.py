"""``foundry-bench report``: write the reports of a results folder again."""

from __future__ import annotations

from pathlib import Path

import click

from foundry_bench.beforehand.checks import check_folder
from foundry_bench.cli.options import figures_option, give, json_option, rows_of, style_of, style_options
from foundry_bench.cli.place import Place, wide_option
from foundry_bench.progress import console
from foundry_bench.report import writer


@click.command()
@click.argument("results", type=Place())
@figures_option
@click.option(
    "--label",
    "labels",
    metavar="ROWS",
    multiple=True,
    help="Rows that get a label in figures before all others; may be repeated.",
)
@style_options
@wide_option
@json_option
def report(
    results: Path,
    figures: str | None,
    labels: tuple[str, ...],
    size: str | None,
    font: str | None,
    font_size: float | None,
    pdf: bool,
    wide: bool,
    as_json: bool,
) -> int:
    """Write leaderboard, summary, figures and the page report.html of the folder RESULTS.

    The page needs a browser and nothing else: no network, no server. Figures are written as PNG and SVG with their numbers as
    CSV: accuracy over cost, of the mean and of every task, rows at matched cost, shares of the teacher's scores, and curves
    along one trained student.

    \b
    foundry-bench report results/fewshot-quick
    foundry-bench report results/fewshot-quick --size 3.3x2.5 --font-size 7 --pdf --label 'foundry[supertokens=16]'
    foundry-bench report results/fewshot-quick --figures 'foundry[supertokens=16],tome'
    """
    from foundry_bench.report.chosen import check_rows

    label = ",".join(labels) or None
    for rows in (figures, label):
        if rows is not None:
            check_rows(rows)
    drawn = writer.Drawn(True, figures, label, style_of(size, font, font_size, pdf))
    if results.is_dir():
        check_folder(results, "folder")
    board = writer.write_reports(
        results,
        drawn,
        tell=lambda line: click.echo(line, err=True),
        warn=lambda line: click.echo(f"warning: {line}", err=True),
    )
    from foundry_bench.report.tables import print_board

    give({"rows": rows_of(board)}, None, as_json)
    if not as_json:
        print_board(console(), board, str(results), wide=wide)
    return 0
