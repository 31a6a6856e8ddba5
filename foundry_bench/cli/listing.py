"""``foundry-bench list``: what is registered, by whom, and what is broken. No plugin is imported into this process."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

import click
from rich.table import Table
from rich.text import Text

from foundry_bench import registry
from foundry_bench.border import one_line, plain
from foundry_bench.cli import offers
from foundry_bench.cli.options import give, json_option
from foundry_bench.descriptions.description import Description
from foundry_bench.descriptions.known import described_kinds
from foundry_bench.errors import unknown
from foundry_bench.progress import console
from foundry_bench.variants import FAMILIES

METHODS, TASKS = "methods", "tasks"
EXTRA = {METHODS: "family", TASKS: "default"}
"""What a kind tells besides names and abstracts."""
COLUMNS: dict[str, tuple[str, ...]] = {
    METHODS: ("method", "family", "what it does", "variants", "paper"),
    TASKS: ("task", "default", "what it is"),
}
"""Of tables in Markdown, where a kind has its own."""


@click.command(name="list")
@click.argument("kind", required=False, shell_complete=offers.kinds)
@click.option("--markdown", is_flag=True, help="Write tables in Markdown, as the documentation has them.")
@json_option
def list_names(kind: str | None, markdown: bool, as_json: bool) -> int:
    """List methods, tasks, teachers, datasets or engines; all of them without KIND.

    \b
    foundry-bench list
    foundry-bench list methods --markdown
    """
    if kind is not None and kind not in registry.KINDS:
        raise unknown("kind", kind, registry.KINDS)
    found = described_kinds([kind] if kind else registry.KINDS)
    give({name: _plain(name, descriptions) for name, descriptions in found.items()}, None, as_json)
    for name, descriptions in found.items():
        if as_json:
            continue
        if markdown:
            click.echo("\n".join(markdown_table(name, descriptions)))
        else:
            console().print(_table(name, descriptions))
    for line in registry.damaged():
        click.echo(f"warning: {one_line(line)}", err=True)
    return 0


def _plain(kind: str, descriptions: dict[str, Description]) -> list[dict[str, Any]]:
    """A kind's plugins as plain data."""
    entries = registry.entries(kind)
    return [
        {"name": name, "from": registry.distribution(entries[name]), **asdict(about)}
        for name, about in ordered(descriptions).items()
    ]


def _table(kind: str, descriptions: dict[str, Description]) -> Table:
    table = Table(title=kind, title_justify="left", header_style="bold")
    for column in ("name", *([EXTRA[kind]] if kind in EXTRA else []), "from", "what"):
        table.add_column(column, overflow="fold")
    entries = registry.entries(kind)
    for name, about in ordered(descriptions).items():
        what = Text("broken: ", "red") if about.error else Text()
        what.append(plain(about.error or about.abstract), "")
        known = (name, *_extra(kind, about), registry.distribution(entries[name]))
        table.add_row(*(Text(plain(text)) for text in known), what)
    return table


def _extra(kind: str, about: Description) -> list[str]:
    """The family of a method; whether ``run`` without ``--tasks`` runs a task."""
    known = {METHODS: about.family or "-", TASKS: "yes" if about.default else "by name"}
    return [known[kind]] if kind in known else []


def ordered(descriptions: dict[str, Description]) -> dict[str, Description]:
    """By family, in the order of :data:`FAMILIES`, then by name; what has no family comes last."""
    place = {family: number for number, family in enumerate(FAMILIES)}
    last = len(place)

    def rank(item: tuple[str, Description]) -> tuple[int, str]:
        name, about = item
        return (place[about.family] if about.family else last, name)

    return dict(sorted(descriptions.items(), key=rank))


def markdown_table(kind: str, descriptions: dict[str, Description]) -> Iterator[str]:
    """The lines of a table in Markdown; methods have a family, variants and a paper."""
    methods = kind == METHODS
    columns = COLUMNS.get(kind, (kind, "what it is"))
    yield _line(columns)
    yield "|" + "---|" * len(columns)
    for name, about in ordered(descriptions).items():
        what = f"broken: {about.error}" if about.error else about.abstract
        paper = f"[{about.paper.arxiv}](https://arxiv.org/abs/{about.paper.arxiv})" if about.paper else ""
        known = (
            (about.family or "", what, ", ".join(about.variants), paper)
            if methods
            else (*_extra(kind, about), what)
        )
        yield _line((f"`{name}`", *known))


def _line(cells: tuple[str, ...]) -> str:
    """One row; a bar inside a cell is not the end of it."""
    return "| " + " | ".join(plain(cell).replace("|", "\\|") for cell in cells) + " |"
