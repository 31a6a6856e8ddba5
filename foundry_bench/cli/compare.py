"""``foundry-bench compare``: what changed between two results folders, and whether it is separable."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from foundry_bench.beforehand.checks import check_file
from foundry_bench.cli.options import file_option, give, json_option, rows_of
from foundry_bench.cli.place import Place
from foundry_bench.errors import UserError
from foundry_bench.progress import console
from foundry_bench.storage import write_atomic

if TYPE_CHECKING:
    import pandas as pd
    from rich.console import Console

    from foundry_bench.report.compare import Comparison

FORMATS = (".md", ".csv")


@click.command()
@click.argument("a", type=Place())
@click.argument("b", type=Place())
@file_option("A .md or .csv file")
@click.option("--all", "everything", is_flag=True, help="List scores and costs that did not change, too.")
@json_option
def compare(a: Path, b: Path, output: Path | None, everything: bool, as_json: bool) -> int:
    """Tell what changed from the results folder A to B: settings, environment, scores and cost.

    The first line is the verdict. The .csv file has the listed scores and costs in long form.

    \b
    foundry-bench compare results/before results/after
    foundry-bench compare results/quick results/standard -o changes.md
    """
    if output is not None and output.suffix not in FORMATS:
        raise UserError(f"cannot write {output}; name a file that ends in {' or '.join(FORMATS)}")
    if output is not None:
        check_file(output, "--output")
    from foundry_bench.report import compare as report
    from foundry_bench.report import compare_text as text_of

    comparison = report.compare(a, b)
    if output is not None:
        as_csv = output.suffix == ".csv"
        text = (
            text_of.changes(comparison, everything).to_csv(index=False)
            if as_csv
            else text_of.to_markdown(comparison, everything)
        )
        write_atomic(output, text.encode())
    if as_json:
        listed = {"settings": comparison.settings, "only_a": comparison.only_a, "only_b": comparison.only_b}
        changed = rows_of(text_of.changes(comparison, everything))
        give({"verdict": comparison.verdict, **listed, "changes": changed}, None, as_json)
        return 0
    _show(comparison, everything, console())
    return 0


def _show(comparison: Comparison, everything: bool, screen: Console) -> None:
    from rich.markup import escape

    from foundry_bench.report.compare_text import sections

    def line(text: str, style: str | None = None) -> None:
        screen.print(escape(text), style=style, soft_wrap=True)

    line(comparison.verdict, "bold")
    for side, about in zip("AB", comparison.about, strict=True):
        line(f"{side}: {about}")
    for section in sections(comparison, everything):
        line(f"\n{section.heading}", "bold")
        for text in section.lines:
            line(f"  {text}")
        if section.table is not None:
            screen.print(_table(section.table))


def _table(frame: pd.DataFrame) -> object:
    from rich.markup import escape
    from rich.table import Table

    table = Table(header_style="bold", pad_edge=False)
    for column in frame.columns:
        table.add_column(escape(str(column)), overflow="fold")
    for row in frame.itertuples(index=False):
        table.add_row(*(escape(str(cell)) for cell in row))
    return table
