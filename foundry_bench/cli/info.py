"""``foundry-bench info``: everything about one registered name."""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterator
from contextlib import suppress
from importlib.metadata import EntryPoint
from pathlib import Path
from types import NoneType
from typing import Any

import click

from foundry_bench import registry
from foundry_bench.border import plain
from foundry_bench.cli import offers
from foundry_bench.cli.data import overview, overview_text
from foundry_bench.cli.folder_options import folder_options, with_folder_options
from foundry_bench.cli.options import give, json_option
from foundry_bench.descriptions.facts import READ, Facts, facts_of
from foundry_bench.descriptions.reading import UnreadableError, read_facts
from foundry_bench.errors import UserError, no_folder, unknown
from foundry_bench.parameters.query import exists, split_query
from foundry_bench.teachers.cards import read_card
from foundry_bench.teachers.checkpoints.names import split_name
from foundry_bench.teachers.weights import FIX, teacher_folder

ENCODER = ("config.json", "model.safetensors")
"""Files that tell the folder of an encoder."""


@click.command()
@click.argument("name", shell_complete=offers.names)
@click.option(
    "--context",
    is_flag=True,
    help="Measure the context index of a teacher or of a student's folder; takes a while.",
)
@folder_options
@json_option
def info(name: str, context: bool, as_json: bool, **folder: Any) -> int:
    """Explain a method, task, teacher, data set or engine, the folder or file of a teacher, or a folder of clouds: what it was
    understood as, and which tasks it serves.

    \b
    foundry-bench info foundry
    foundry-bench info small
    foundry-bench info 'point_jepa.ckpt?branch=ema' --context
    foundry-bench info scans/ --up y
    """
    found = [kind for kind in registry.KINDS if name in registry.entries(kind)]
    if not found and not context and _is_data(name):
        from foundry_bench.cli.folder_info import describe_folder

        lines = list(describe_folder(with_folder_options([name], **folder)[0]))
        give({"name": name, "folder": lines}, None, as_json)
        if not as_json:
            click.echo("\n".join(lines))
        return 0
    with_folder_options([], **folder)
    if not found and not exists(Path(split_name(name)[0])):
        error = no_folder("name", name, "give a registered name, a folder or a teacher's file")
        raise error or unknown("name", name, [n for kind in registry.KINDS for n in registry.entries(kind)])
    if context and found and "teachers" not in found:
        raise UserError(f"{name} is none of teachers; --context measures a teacher, a file or a folder")
    known = {kind: facts(kind, name, registry.entries(kind)[name]) for kind in found}
    weights = not found or "teachers" in found
    if as_json:
        told = {kind: _as_plain(kind, name, about) for kind, about in known.items()}
        card = {"weights": str(teacher_folder(name)), **_card(name)} if weights else None
        if card is not None and context:
            card["context"] = _measure(name, teacher_folder(name), card)
        give({"name": name, **told, "encoder": card}, None, as_json)
        return 0
    for kind, about in known.items():
        entry = registry.entries(kind)[name]
        with registry.guard(kind, name, "cannot be described"):
            lines = list(describe(about))
        origin = (
            f"{name} ({kind.rstrip('s')}) from {registry.distribution(entry)}, {registry.value_of(entry)}"
        )
        contents = describe_dataset(name) if kind == "datasets" else ()
        for line in [origin, "", *lines, *contents]:
            click.echo("\n".join(map(plain, line.splitlines())))
    if weights:
        for line in describe_weights(name, context):
            click.echo(line)
    return 0


def _as_plain(kind: str, name: str, known: Facts) -> dict[str, Any]:
    """A plugin as plain data."""
    with registry.guard(kind, name, "cannot be described"):
        about: dict[str, Any] = {"from": registry.distribution(registry.entries(kind)[name])}
        about |= {"documented": known.documented}
        about |= {"parameters": {key: _json(one.default) for key, one in known.parameters.items()}}
        about |= {key: _json(known.attributes[key]) for key in READ if key in known.attributes}
    if kind == "datasets":
        about["contents"] = overview(name, catalog_root())
    return about


def _json(value: Any) -> Any:
    """A value that JSON can hold; what it cannot is text."""
    if isinstance(value, dict):
        return {str(key): _json(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_json(item) for item in value]
    if isinstance(value, str | int | float | NoneType):
        return value
    return _json(vars(value)) if hasattr(value, "__dict__") and not callable(value) else str(value)


def describe_dataset(name: str) -> Iterator[str]:
    """Counts and licence of a registered data set."""
    about = overview(name, catalog_root())
    if about:
        yield f"  contents: {overview_text(about).strip()}"
    for label in ("terms", "url"):
        if about.get(label):
            yield f"  {label}: {about[label]}"


def catalog_root() -> Path:
    """Where official data sets are looked for when no other folder is named."""
    from foundry_bench.datasets import catalog

    return catalog.ROOT


def _is_data(name: str) -> bool:
    """Whether ``name`` is a folder that holds no encoder."""
    path = split_query(name)[0]
    return os.path.isdir(path) and not any((Path(path) / file).exists() for file in ENCODER)


def _card(name: str) -> dict[str, Any]:
    """What lies beside an encoder's weights; nothing of a single file."""
    path = teacher_folder(name)
    return read_card(path, FIX) if path.is_dir() else {}


def describe_weights(name: str, context: bool) -> Iterator[str]:
    """What the card beside an encoder's weights says of it, with its context index measured now where ``context`` is set."""
    path, card = teacher_folder(name), _card(name)
    made = {"command": card.get("command"), "method": card.get("method"), "variant": card.get("variant")}
    yield f"  weights: {path}"
    for label, value in {**made, "sizes": card.get("encoder")}.items():
        if value:
            yield f"  {label}: {_text(value)}"
    if context:
        yield _context_line({**_measure(name, path, card), "command": None})
    elif isinstance(card.get("context"), dict):
        yield _context_line(card["context"])
    else:
        yield f"  context index: not measured; foundry-bench info {shlex.quote(name)} --context"


def _measure(name: str, path: Path, card: dict[str, Any]) -> dict[str, Any]:
    from foundry_bench.heads.context_index import context_index
    from foundry_bench.progress import long_work
    from foundry_bench.students.files import load_student
    from foundry_bench.teachers import load_teacher

    encoder = load_student(path) if "method" in card else load_teacher(name)
    with long_work() as (progress, _):
        return {**context_index(encoder, progress=progress).to_dict(), "dim": encoder.config.dim}


def _context_line(known: dict[str, Any]) -> str:
    if known.get("index") is None:
        return f"  context index: {_text(known.get('reason', 'unknown'))}"
    try:
        halves = f"query mean {known['query_mean']:.3f}, self kept {known['self_kept']:.3f}"
        how = f"measured by: {_text(known['command'])}" if known["command"] else "measured now"
        rank = f"effective rank {known['effective_rank']:.1f} of {_text(known['dim'])}"
        return f"  context index: {known['index']:.3f} ({halves}), {rank}; {how}"
    except (KeyError, TypeError, ValueError):  # a card that a person wrote
        return "  context index: not readable in config.json; measure it again with --context"


def facts(kind: str, name: str, entry: EntryPoint) -> Facts:
    """What a plugin says of itself; only another distribution's is imported for it, and one whose source does not tell."""
    if registry.distribution(entry) == registry.OWN:
        with suppress(UnreadableError):
            return read_facts(entry)
    plugin = registry.load(kind, name)
    with registry.guard(kind, name, "cannot be described"):
        return facts_of(plugin)


LABELS = {
    "also": "and the rows",
    "matched": "by default, at matched cost",
    "inference": "inference-time parameters",
    "datasets": "data sets",
    "default": "run without --tasks",
}
"""Of attributes that are shown under another name."""


def describe(known: Facts) -> Iterator[str]:
    """Docstring, then parameters with their defaults, then the class attributes that the harness reads."""
    yield known.documented or "no description"
    if known.parameters:
        yield ""
        for name, parameter in known.parameters.items():
            yield f"  {name} = {parameter.default!r}"
    for attribute in (name for name in READ if name != "metrics"):
        value = known.attributes.get(attribute)
        if value:
            yield f"  {LABELS.get(attribute, attribute)}: {_text(value)}"
    for metric in known.attributes.get("metrics", ()):
        better = "higher" if metric.higher_is_better else "lower"
        yield f"  metric: {metric.name}, {better} is better{', primary' if metric.primary else ''}"


def _text(value: Any) -> str:
    if isinstance(value, dict):
        return "; ".join(f"{_text(key)} = {_text(item)}" for key, item in value.items())
    text = ", ".join(map(_text, value)) if isinstance(value, tuple) else str(value)
    return text if text.isprintable() else ascii(text)
