"""``foundry-bench list``: what is registered, by whom, and what is broken."""

from __future__ import annotations

import click
from rich.markup import escape
from rich.table import Table

from foundry_bench import registry
from foundry_bench.errors import UserError, unknown
from foundry_bench.progress import console


@click.command(name="list")
@click.argument("kind", required=False)
def list_names(kind: str | None) -> int:
    """List methods, tasks, teachers, datasets or engines; all of them without KIND.

    \b
    foundry-bench list
    foundry-bench list methods
    """
    if kind is not None and kind not in registry.KINDS:
        raise unknown("kind", kind, registry.KINDS)
    for name in [kind] if kind else registry.KINDS:
        console().print(_table(name))
    return 0


def _table(kind: str) -> Table:
    table = Table(title=kind, title_justify="left", header_style="bold")
    for column in ("name", "from", "what"):
        table.add_column(column, overflow="fold")
    for name, entry in registry.entries(kind).items():
        try:
            what = summary(registry.load(kind, name))
        except UserError as error:
            what = f"[red]broken:[/red] {escape(str(error))}"
        table.add_row(name, registry.distribution(entry), what)
    return table


def summary(plugin: object) -> str:
    """The first line of a plugin's docstring, escaped for rich."""
    return escape((plugin.__doc__ or "").strip().partition("\n")[0])
