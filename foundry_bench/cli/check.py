"""``foundry-bench check``: the conformance kit for one plugin, a line for each rule."""

from __future__ import annotations

import shlex
from typing import Any

import click

from foundry_bench import registry
from foundry_bench.beforehand import plugin_files
from foundry_bench.border import plain
from foundry_bench.cli.folder_options import folder_options, with_folder_options
from foundry_bench.cli.options import data_root_option

BROKEN = 1
"""Exit code where a rule is broken."""


@click.command()
@click.argument("target")
@click.option("--teacher", help="A teacher's name, file or folder. [a tiny one with random weights]")
@click.option("--data", help="A data set or folder. [embedded clouds]")
@click.option(
    "--timeout",
    type=click.FloatRange(min=0, min_open=True),
    default=300.0,
    show_default=True,
    help="Seconds after which a rule counts as broken.",
)
@folder_options
@data_root_option
def check(
    target: str, timeout: float, teacher: str | None, data: str | None, data_root: str, **folder: Any
) -> int:
    """Hold a plugin to the rules that the harness relies on, and say what to change where one is broken.

    TARGET is a registered name, a file with plugins or one in it (mine.py:KeepFirst), or PACKAGE:NAME of an installed one.
    Methods and tasks go through the whole kit, data sets and engines through what can be tried in general.

    \b
    foundry-bench check keep_first.py
    foundry-bench check foundry-bench-keep-first:keep-first
    foundry-bench check tome
    """
    from foundry_bench.progress import working_context
    from foundry_bench.teachers import load_teacher
    from foundry_bench.testing import kit

    data = next(iter(with_folder_options([data] if data else [], **folder)), None)
    chosen = kit.subjects(target)
    encoder = None if teacher is None else load_teacher(teacher)
    wrong: list[str] = []
    count = 0
    with working_context(data_root=data_root) as ctx:
        for subject in chosen:
            click.echo(plain(str(subject)))
            for rule in kit.rules(subject, encoder, data, ctx):
                count += 1
                reason = kit.broken(subject, rule, timeout)
                click.echo(f"  {'ok    ' if reason is None else 'BROKEN'} {plain(rule.title)}")
                if reason is not None:
                    wrong.append(reason)
                    click.echo("         the rules after it build on it and were not tried")
                    break
    for reason in wrong:
        click.echo(f"to change: {plain(reason)}")
    if wrong:
        click.echo(f"{len(wrong)} of {count} rules broken")
        return BROKEN
    click.echo(f"{count} rules hold; try it: {_next(chosen[0].kind, chosen[0].name)}")
    return 0


def _next(kind: str, name: str) -> str:
    """A command that uses what has passed."""
    file = registry.file_of(kind, name)
    command = {
        "methods": f"foundry-bench run --methods teacher,{name}",
        "tasks": f"foundry-bench run --methods teacher --tasks {name}",
        "datasets": f"foundry-bench run --methods teacher --tasks classification --dataset {name}",
        "engines": f"foundry-bench run --methods teacher --engine {name}",
    }.get(kind, f"foundry-bench info {name}")
    return command if file is None else f"{command} --plugin {shlex.quote(plugin_files.shown(file))}"
