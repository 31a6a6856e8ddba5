"""``foundry-bench info``: everything about one registered name."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from typing import Any

import click

from foundry_bench import registry
from foundry_bench.errors import unknown


@click.command()
@click.argument("name")
def info(name: str) -> int:
    """Explain a method, task, teacher, data set or engine.

    \b
    foundry-bench info foundry
    """
    found = [kind for kind in registry.KINDS if name in registry.entries(kind)]
    if not found:
        raise unknown("name", name, [n for kind in registry.KINDS for n in registry.entries(kind)])
    for kind in found:
        entry = registry.entries(kind)[name]
        click.echo(f"{name} ({kind.rstrip('s')}) from {registry.distribution(entry)}, {entry.value}\n")
        for line in describe(registry.load(kind, name)):
            click.echo(line)
    return 0


def describe(plugin: Any) -> Iterator[str]:
    """Docstring, then parameters with their defaults, then the class attributes that the harness reads."""
    yield inspect.getdoc(plugin) or "no description"
    if is_dataclass(plugin):
        yield ""
        for parameter in fields(plugin):
            yield f"  {parameter.name} = {parameter.default!r}"
    for label, attribute in (
        ("family", "family"),
        ("abstract", "abstract"),
        ("paper", "paper"),
        ("version", "version"),
        ("variants", "variants"),
        ("grid", "grid"),
        ("inference-time parameters", "inference"),
        ("data sets", "datasets"),
        ("needs", "needs"),
        ("run without --tasks", "default"),
    ):
        value = getattr(plugin, attribute, None)
        if value:
            yield f"  {label}: {_text(value)}"
    for metric in getattr(plugin, "metrics", ()):
        better = "higher" if metric.higher_is_better else "lower"
        yield f"  metric: {metric.name}, {better} is better{', primary' if metric.primary else ''}"


def _text(value: Any) -> str:
    if isinstance(value, dict):
        return "; ".join(f"{key} = {_text(item)}" for key, item in value.items())
    return ", ".join(map(str, value)) if isinstance(value, tuple) else str(value)
