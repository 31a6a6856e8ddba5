"""Descriptions of registered plugins: those of this package from their source, others from a file in the user's cache; what is
missing there is asked for and added."""

from __future__ import annotations

import hashlib
import json
import os
import sys
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import asdict, replace
from datetime import date
from importlib.metadata import EntryPoint, version
from pathlib import Path
from typing import Any

from foundry_bench import registry
from foundry_bench.descriptions.asking import ask
from foundry_bench.descriptions.description import Description, description_of, from_json
from foundry_bench.descriptions.reading import UnreadableError, read_facts
from foundry_bench.descriptions.source import source_sha256
from foundry_bench.storage import CACHE_VARIABLE, write_atomic
from foundry_bench.variants import Family

FORM = 3
"""Raised when a description holds something new."""
KEPT = 2000
"""Most descriptions that the file holds; the oldest go first."""
UNKNOWN = Description(error="no process could be started to import it")


def described(
    kind: str, names: Iterable[str] | None = None, *, ask_for: bool = True
) -> dict[str, Description]:
    """Name -> description of the registered plugins of one kind, or of those of ``names`` that are registered.

    Without ``ask_for`` nothing is said of those that would have to be imported for it. Nothing is imported into this process. A
    broken plugin has its error in its description and breaks nothing else, and so has a name that two plugins claim.
    """
    entries = registry.entries(kind)
    wanted = [name for name in (entries if names is None else names) if name in entries]
    found = dict(zip(wanted, describe([entries[name] for name in wanted], ask_for), strict=True))
    return _without_clashes(kind, found)


def described_kinds(kinds: Sequence[str]) -> dict[str, dict[str, Description]]:
    """Kind -> name -> description of all that is registered, with one process for all that is not yet known."""
    entries = [(kind, entry) for kind in kinds for entry in registry.entries(kind).values()]
    found: dict[str, dict[str, Description]] = {kind: {} for kind in kinds}
    for (kind, entry), about in zip(entries, describe([entry for _, entry in entries]), strict=True):
        found[kind][entry.name] = about
    return {kind: _without_clashes(kind, about) for kind, about in found.items()}


def _without_clashes(kind: str, found: dict[str, Description]) -> dict[str, Description]:
    """The error of a name that several plugins claim in place of what the first of them says."""
    claimed = registry.clashes(kind)
    return {
        name: Description(error=claimed[name]) if name in claimed else about for name, about in found.items()
    }


def describe(entries: Sequence[EntryPoint], ask_for: bool = True) -> list[Description]:
    """A description of each entry, read, kept or asked for; what is asked for is kept."""
    read = [_read_here(entry) for entry in entries]
    left = iter(_asked([entry for entry, about in zip(entries, read, strict=True) if about is None], ask_for))
    return [next(left) if about is None else about for about in read]


def _read_here(entry: EntryPoint) -> Description | None:
    """The description of a plugin of this package whose source tells all."""
    if registry.distribution(entry) != registry.OWN:
        return None
    try:
        return description_of(read_facts(entry))
    except UnreadableError:
        return None


def _asked(entries: Sequence[EntryPoint], ask_for: bool) -> list[Description]:
    """A description of each entry, kept or asked for."""
    if not entries:
        return []
    sources = [source_sha256(entry) for entry in entries]
    keys = [_key(entry, source) for entry, source in zip(entries, sources, strict=True)]
    found = _read(set(keys))
    missing = [number for number, key in enumerate(keys) if key not in found and ask_for]
    fresh: dict[str, Description] = {}
    for number, answer in zip(missing, ask([entries[number] for number in missing]), strict=True):
        if answer is not None:
            found[keys[number]] = answer
            if _lasts(entries[number], sources[number], answer):
                fresh[keys[number]] = answer
    _keep(fresh)
    return [_worded(entry, found.get(key, UNKNOWN)) for entry, key in zip(entries, keys, strict=True)]


def _lasts(entry: EntryPoint, source: str | None, answer: Description) -> bool:
    """Whether an answer may be kept: an error of this package's own plugins only says that the machine was busy, and what is
    described from a source that is not known could change unseen."""
    if answer.error:
        return registry.distribution(entry) != registry.OWN
    return bool(source)


def families(methods: Iterable[str]) -> dict[str, Family | None]:
    """Method -> its family; that of its first part for a stack; None for one that is not installed, broken, or silent.

    Raises nothing: a figure is drawn from records whatever is installed.
    """
    first = {method: method.partition("+")[0] for method in methods}
    known = described("methods", sorted(set(first.values())))
    return {method: known[part].family if part in known else None for method, part in first.items()}


def cache_file() -> Path:
    """The file, in the folder that FOUNDRY_BENCH_CACHE names or in the user's cache. Raises RuntimeError without a home."""
    named = os.environ.get(CACHE_VARIABLE)
    root = Path(named) if named else Path.home() / ".cache" / "foundry-bench"
    return root / "plugins" / "described.json"


def _key(entry: EntryPoint, source: str | None) -> str:
    """What a description depends on."""
    release = entry.dist.version if entry.dist is not None else None
    place = [registry.distribution(entry), release, entry.group, entry.name, entry.value]
    return hashlib.sha256(json.dumps([FORM, version("foundry-bench"), *place, source]).encode()).hexdigest()


def _day() -> str:
    """How long an error holds: a day, or until something is installed or removed, for that is how one is mended."""
    installed: list[str] = []
    for place in sys.path:
        with suppress(OSError):
            installed += [
                name for name in os.listdir(place or ".") if name.endswith(("-info", ".pth", ".egg"))
            ]
    return f"{date.today()} {hashlib.sha256(json.dumps(sorted(installed)).encode()).hexdigest()}"


def _content() -> dict[str, Any]:
    """All that the file holds; nothing where there is none, or none that can be read."""
    try:
        content = json.loads(cache_file().read_bytes())
    except (OSError, RuntimeError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def _read(keys: set[str]) -> dict[str, Description]:
    """The kept descriptions of ``keys``, without errors that no longer hold and what another hand has spoiled."""
    found: dict[str, Description] = {}
    day = _day()
    for key, values in _content().items():
        if key in keys:
            with suppress(KeyError, TypeError, AttributeError):
                description = from_json(values["description"])
                if description.error is None or values["day"] == day:
                    found[key] = description
    return found


def _keep(fresh: dict[str, Description]) -> None:
    """Add to the file, whole or not at all; a cache that cannot be written is no error."""
    if not fresh:
        return
    day = _day()
    new = {key: {"day": day, "description": asdict(value)} for key, value in fresh.items()}
    old = {key: value for key, value in _content().items() if key not in new}
    kept = dict([*old.items(), *new.items()][-KEPT:])
    with suppress(OSError, RuntimeError):
        write_atomic(cache_file(), json.dumps(kept).encode(), durable=False)


def _worded(entry: EntryPoint, description: Description) -> Description:
    """An error in the words in which loading the plugin tells it."""
    if description.error is None:
        return description
    return replace(
        description, error=registry.broken(entry.group.rpartition(".")[2], entry, description.error)
    )
