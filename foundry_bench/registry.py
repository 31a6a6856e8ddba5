"""Entry points: from a name to a class or function, built-in or from a plugin.

Listing reads names without importing a plugin. A broken plugin is reported when it is loaded and breaks nothing else.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import lru_cache
from importlib import import_module
from importlib.metadata import Distribution, EntryPoint, distributions
from multiprocessing import parent_process
from pathlib import Path
from typing import Any, NamedTuple

from foundry_bench.beforehand.watchdog import watchdog
from foundry_bench.border import StrangerError, guarded, in_time, one_line, said
from foundry_bench.errors import UserError, unknown

KINDS = ("methods", "tasks", "teachers", "datasets", "engines", "trackers", "runtimes")
GROUP = "foundry_bench."
"""What the groups of all kinds begin with."""
OWN = "foundry-bench"
"""The distribution of the built-in ones, whose errors are this package's."""
MEND = "reinstall or uninstall it"
"""What a user can do about a plugin that cannot be imported."""
IMPORT = 15.0
"""Seconds in which a plugin has to be imported."""
PATIENCE = 5.0
"""Seconds after which an import that swallows the end of its time ends with the process."""
FIRST = "torch"
"""What most plugins import, which may take longer on a busy machine and is not their fault."""
ITS_IMPORT = "its import"
"""What is said not to end in time."""
AUTHORS = "tell its authors, or uninstall it"
"""What a user can do about a plugin that fails."""


class Installed(NamedTuple):
    """Entry points of all kinds, and distribution -> why its entry points cannot be read."""

    entries: tuple[EntryPoint, ...]
    damaged: dict[str, str]


def entries(kind: str) -> dict[str, EntryPoint]:
    """Name -> entry point of one kind, sorted by name. Raises UserError when two distributions claim one name."""
    found: dict[str, EntryPoint] = {}
    for entry in _installed(_places()).entries:
        if entry.group != f"{GROUP}{kind}":
            continue
        other = found.get(entry.name)
        if other is not None and other.value != entry.value:
            raise UserError(
                f"two plugins are called {entry.name!r} in {kind}: {distribution(other)} and {distribution(entry)}; "
                "uninstall or rename one"
            )
        found[entry.name] = entry
    return dict(sorted(found.items()))


def damaged() -> list[str]:
    """A line for each distribution that has plugins and whose entry points cannot be read; none of them is registered."""
    return [
        f"the entry points of {name} cannot be read ({reason}); reinstall or uninstall it"
        for name, reason in _installed(_places()).damaged.items()
    ]


def _places() -> tuple[tuple[str, int], ...]:
    """The folders that may hold distributions, and when they last changed."""
    return tuple(
        (place, os.stat(place or ".").st_mtime_ns) for place in sys.path if os.path.exists(place or ".")
    )


@lru_cache(maxsize=1)
def _installed(places: tuple[tuple[str, int], ...]) -> Installed:
    """What all distributions register; their files are read again only when something was installed since.

    Of two releases of one distribution the first on the path counts.
    """
    found: dict[str, list[EntryPoint]] = {}
    broken: dict[str, str] = {}
    for dist in distributions():
        try:
            if GROUP in (dist.read_text("entry_points.txt") or "") and (name := _name(dist)) not in found:
                found[name] = [entry for entry in dist.entry_points if entry.group.startswith(GROUP)]
        except UnicodeDecodeError as error:
            if GROUP.encode() in error.object:
                broken.setdefault(_name(dist), said(error))
        except Exception as error:  # whatever the parser raises
            broken.setdefault(_name(dist), said(error))
    return Installed(tuple(entry for several in found.values() for entry in several), broken)


@lru_cache(maxsize=256)
def _name(dist: Distribution) -> str:
    """The name of a distribution; that of its folder where its metadata cannot be read."""
    folder = getattr(dist, "_path", None)
    try:
        name = dist.metadata["Name"]
    except Exception:
        name = None
    return one_line(str(name or Path(str(folder or "unnamed")).name.partition("-")[0]))


def distribution(entry: EntryPoint) -> str:
    """The distribution that an entry point came from."""
    return _name(entry.dist) if entry.dist is not None else "an unnamed distribution"


def check_known(kind: str, name: str) -> EntryPoint:
    """The entry point of one name, not imported. Raises UserError for a name that nobody registered; the nearest is offered."""
    known = entries(kind)
    if name not in known:
        lost = "".join(f"; {line}" for line in damaged())
        raise UserError(f"{unknown(kind.rstrip('s'), name, known)}{lost}")
    return known[name]


def load(kind: str, name: str, contract: type | None = None) -> Any:
    """Import and return one entry, which is a subclass of ``contract`` where one is given, and else can be called.

    Raises UserError for an unknown name (nearest offered), a broken plugin, one whose import does not end in time, or another
    object.
    """
    entry = check_known(kind, name)
    with guarded(_cannot_be_imported(kind, entry), MEND), _import_in_time(kind, entry):
        found = entry.load()
        fits = callable(found) if contract is None else _is_subclass(found, contract)
        lacking = sorted(getattr(found, "__abstractmethods__", ())) if fits and contract is not None else []
    if not fits:
        wanted = (
            "can be called"
            if contract is None
            else f"is a subclass of {contract.__module__}.{contract.__name__}"
        )
        raise StrangerError(
            f"{_called(kind, entry)}, {entry.value}, is no class or function that {wanted}; {MEND}"
        )
    if lacking:
        raise StrangerError(
            f"{_called(kind, entry)} is an abstract class that lacks {', '.join(lacking)}; {AUTHORS}"
        )
    return found


@contextmanager
def _import_in_time(kind: str, entry: EntryPoint) -> Iterator[None]:
    """A limit on the time that importing a plugin takes; none for what comes with the package or is imported already, nor in
    a cell, which has a limit of its own on a machine that others may keep busy.

    Code that goes on after the end of its time ends the process, where that is a command's.
    """
    known = distribution(entry) == OWN or entry.value.partition(":")[0].strip() in sys.modules
    if known or parent_process() is not None:
        yield
        return
    import_module(FIRST)
    line = broken(kind, entry, f"{ITS_IMPORT} does not end within {IMPORT:.0f} seconds")
    with watchdog(IMPORT + PATIENCE, line), in_time(IMPORT, ITS_IMPORT):
        yield


def _is_subclass(found: Any, contract: type) -> bool:
    return isinstance(found, type) and issubclass(found, contract)


def guard(kind: str, name: str, failure: str) -> AbstractContextManager[None]:
    """The border around calls of a plugin: what it raises becomes ``KIND 'NAME' of DISTRIBUTION FAILURE (...)``.

    A built-in one, and an object that nobody registered, raises what it raises.
    """
    if built_in(kind, name):
        return nullcontext()
    entry = entries(kind)[name]
    return guarded(f"{_called(kind, entry)} {failure}", AUTHORS)


def built_in(kind: str, name: str) -> bool:
    """Whether ``name`` is no plugin's: it comes with the package, or nobody registered it."""
    entry = entries(kind).get(name)
    return entry is None or distribution(entry) == OWN


def blamed(modules: Iterable[str]) -> str | None:
    """The plugin that the innermost of ``modules`` belongs to which is a plugin's, such as ``task 'odd' of stranger``; None
    where all are of this package and of libraries. ``modules`` are those of an error's frames, innermost first."""
    strangers: dict[str, str] = {}
    for entry in _installed(_places()).entries:
        if distribution(entry) != OWN:
            strangers.setdefault(_package(entry.value), _called(entry.group.removeprefix(GROUP), entry))
    return next((strangers[name] for name in map(_package, modules) if name in strangers), None)


def _package(module: str) -> str:
    """The outermost package of a module or of an entry point's value."""
    return module.partition(":")[0].strip().partition(".")[0]


def called(kind: str, name: str) -> str:
    """A registered plugin as messages name it: ``task 'odd' of stranger``. Raises UserError for an unknown name."""
    return _called(kind, check_known(kind, name))


def _called(kind: str, entry: EntryPoint) -> str:
    return f"{kind.rstrip('s')} {entry.name!r} of {distribution(entry)}"


def _cannot_be_imported(kind: str, entry: EntryPoint) -> str:
    return f"{_called(kind, entry)} cannot be imported"


def broken(kind: str, entry: EntryPoint, reason: str) -> str:
    """What to say of an entry that cannot be imported."""
    return f"{_cannot_be_imported(kind, entry)} ({reason}); {MEND}"
