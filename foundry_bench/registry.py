"""Entry points: from a name to a class or function, built-in or from a plugin.

Listing reads names without importing a plugin. A broken plugin is reported when it is loaded and breaks nothing else.
"""

from __future__ import annotations

import inspect
import os
import sys
import traceback
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import lru_cache
from importlib import import_module
from importlib.metadata import Distribution, EntryPoint, distributions
from multiprocessing import parent_process
from pathlib import Path
from typing import Any, NamedTuple

from foundry_bench.beforehand import plugin_files
from foundry_bench.beforehand.watchdog import watchdog
from foundry_bench.border import StrangerError, guarded, in_time, one_line, place_of, said
from foundry_bench.errors import UserError, unknown

KINDS = ("methods", "tasks", "teachers", "datasets", "engines", "trackers", "runtimes")
GROUP = "foundry_bench."
"""What the groups of all kinds begin with."""
OWN = "foundry-bench"
OWN_MODULES = "foundry_bench."
"""The distribution of the built-in ones, whose errors are this package's."""
MEND = "reinstall or uninstall it"
"""What a user can do about a plugin that cannot be imported."""
IMPORT = 15.0
"""Seconds in which a plugin has to be imported."""
PATIENCE = 5.0
"""Seconds after which an import that swallows the end of its time ends with the process."""
FIRST = "foundry_bench.authoring"
"""What most plugins import, torch below it, which may take longer on a busy machine and is not their fault."""
ITS_IMPORT = "its import"
"""What is said not to end in time."""
AUTHORS = "tell its authors, or uninstall it"
"""What a user can do about a plugin that fails."""
THERE = "mend it there"
"""What the author of a plugin file can do, who is likely to be the user."""


class Installed(NamedTuple):
    """Entry points of all kinds, and distribution -> why its entry points cannot be read."""

    entries: tuple[EntryPoint, ...]
    damaged: dict[str, str]


def entries(kind: str) -> dict[str, EntryPoint]:
    """Name -> entry point of one kind, sorted by name. Of several that claim one name the first is given; none can be used,
    see :func:`clashes`."""
    return {name: several[0] for name, several in sorted(_claims(kind).items())}


def clashes(kind: str) -> dict[str, str]:
    """Name that several plugins of one kind claim -> what to say of it: who they are, and what to do."""
    found = {}
    for name, several in _claims(kind).items():
        if len(several) > 1:
            who = " and ".join(dict.fromkeys(map(distribution, several)))
            strangers = [one for one in several if distribution(one) != OWN]
            fix = (
                "leave out --plugin or rename one"
                if any(map(_file, strangers))
                else "uninstall or rename one"
            )
            found[name] = f"two plugins are called {name!r} in {kind}: {who}; {fix}"
    return found


def _claims(kind: str) -> dict[str, list[EntryPoint]]:
    """Name -> all different entry points that claim it, those of files last."""
    found: dict[str, list[EntryPoint]] = {}
    for entry in (*_installed(_places()).entries, *plugin_files.entry_points()[0]):
        if entry.group == f"{GROUP}{kind}":
            several = found.setdefault(entry.name, [])
            if all(other.value != entry.value for other in several):
                several.append(entry)
    return found


def damaged() -> list[str]:
    """A line for each distribution that has plugins and whose entry points cannot be read, and for each plugin file that
    registers nothing; none of them is registered."""
    return [
        *(
            f"the entry points of {name} cannot be read ({reason}); reinstall or uninstall it"
            for name, reason in _installed(_places()).damaged.items()
        ),
        *plugin_files.entry_points()[1].values(),
    ]


def file_of(kind: str, name: str) -> Path | None:
    """The plugin file that registers a name; None for what is installed or known to nobody."""
    entry = entries(kind).get(name)
    return None if entry is None else _file(entry)


def _file(entry: EntryPoint) -> Path | None:
    """The plugin file that an entry point stands in, None for one that is installed."""
    return plugin_files.file_of(entry.value)


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
    """The distribution, or the plugin file, that an entry point came from."""
    file = _file(entry)
    if file is not None:
        return one_line(plugin_files.shown(file))
    return _name(entry.dist) if entry.dist is not None else "an unnamed distribution"


def check_known(kind: str, name: str) -> EntryPoint:
    """The entry point of one name, not imported. Raises UserError for a name that nobody registered, where the nearest is
    offered, and for one that several plugins claim."""
    claims = _claims(kind)
    if name not in claims:
        lost = "".join(f"; {line}" for line in damaged())
        raise UserError(f"{unknown(kind.rstrip('s'), name, sorted(claims))}{lost}")
    if len(claims[name]) > 1:
        raise UserError(clashes(kind)[name])
    return claims[name][0]


def load(kind: str, name: str, contract: type | None = None) -> Any:
    """Import and return one entry, which is a subclass of ``contract`` where one is given, and else can be called.

    Raises UserError for an unknown name (nearest offered), a broken plugin, one whose import does not end in time, or another
    object.
    """
    entry = check_known(kind, name)
    fix = THERE if _file(entry) else MEND
    with guarded(_cannot_be_imported(kind, entry), fix, _package(entry.value)), _import_in_time(kind, entry):
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
            f"{_called(kind, entry)}, {value_of(entry)}, is no class or function that {wanted}; {fix}"
        )
    if lacking:
        raise StrangerError(
            f"{_called(kind, entry)} is an abstract class that lacks {', '.join(lacking)}; {fix_of(entry)}; "
            f"{found.__name__} is in {line_of(found)}"
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
    return guarded(f"{_called(kind, entry)} {failure}", fix_of(entry), _package(entry.value))


def fix_of(entry: EntryPoint) -> str:
    """What to do about a plugin that fails."""
    return THERE if _file(entry) else AUTHORS


def value_of(entry: EntryPoint) -> str:
    """What an entry point leads to, as messages name it: a file has a module of its own, whose name means nothing."""
    return entry.value.partition(":")[2] if _file(entry) else entry.value


def line_of(code: Any) -> str:
    """``file:line`` of a class, function or method, as far as it is known."""
    plain = inspect.unwrap(code) if callable(code) else code
    try:
        file, line = inspect.getsourcefile(plain), inspect.getsourcelines(plain)[1]
    except (OSError, TypeError):
        return "a file that is not known"
    return f"{plugin_files.shown(Path(str(file)))}:{line}"


def owner_of(cls: type) -> str:
    """A plugin's class as messages name it: ``method 'odd' of stranger``, or ``class Odd`` where nobody registered it."""
    place = f"{cls.__module__}:{cls.__qualname__}"
    for kind in KINDS:
        for entry in entries(kind).values():
            if entry.value.replace(" ", "") == place:
                return _called(kind, entry)
    return f"class {cls.__qualname__}"


def broken_rule(plugin: object, call: str, found: str, wanted: str) -> StrangerError:
    """The error for a plugin whose method ``call`` does not keep its contract: ``method 'odd' of stranger: Odd.compress
    (odd.py:12) returned None; WANTED``."""
    return StrangerError(f"{owner_of(type(plugin))}: {code_of(plugin, call)} {found}; {wanted}")


def code_of(made: object, call: str) -> str:
    """The method ``call`` of an object as messages name it: ``Odd.compress (odd.py:12)``; for one that its class inherits from
    this package the line of the class, whose author wrote something else of it."""
    cls = type(made)
    code = getattr(cls, call, cls)
    inherited = str(getattr(code, "__module__", "")).startswith(OWN_MODULES)
    return f"{cls.__name__}.{call} ({line_of(cls if inherited else code)})"


def returned(value: object) -> str:
    """What a call gave back, in words: ``returned None``, ``returned the class Whole``, ``returned a tuple``."""
    if value is None:
        return "returned None"
    if isinstance(value, type):
        return f"returned the class {value.__name__}"
    name = type.__getattribute__(type(value), "__name__")
    return f"returned {'an' if name[:1].lower() in 'aeiou' else 'a'} {name}"


def wrong_declaration(cls: type, found: str, wanted: str) -> StrangerError:
    """The error for what a plugin's class declares: ``method 'odd' of stranger: Odd (odd.py:9) has ...; WANTED``."""
    return StrangerError(f"{owner_of(cls)}: {cls.__name__} ({line_of(cls)}) {found}; {wanted}")


def built_in(kind: str, name: str) -> bool:
    """Whether ``name`` is no plugin's: it comes with the package, or nobody registered it."""
    entry = entries(kind).get(name)
    return entry is None or distribution(entry) == OWN


def blamed(modules: Iterable[str]) -> str | None:
    """The plugin that the innermost of ``modules`` belongs to which is a plugin's, such as ``task 'odd' of stranger``; None
    where all are of this package and of libraries. ``modules`` are those of an error's frames, innermost first."""
    strangers: dict[str, str] = {}
    for entry in (*_installed(_places()).entries, *plugin_files.entry_points()[0]):
        if distribution(entry) != OWN:
            strangers.setdefault(_package(entry.value), _called(entry.group.removeprefix(GROUP), entry))
    return next((strangers[name] for name in map(_package, modules) if name in strangers), None)


def placed(error: BaseException) -> str | None:
    """The plugin in whose code an error was raised, and the place: ``method 'odd' of stranger, Odd.compress, odd.py:12``."""
    modules = [
        str(frame.f_globals.get("__name__", "")) for frame, _ in traceback.walk_tb(error.__traceback__)
    ]
    plugin = blamed(reversed(modules))
    packages = [_package(module) for module in reversed(modules)]
    own = next((one for one in packages if plugin is not None and blamed([one]) == plugin), "")
    return f"{plugin}, {place_of(error, own)}" if plugin else None


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
    return f"{_cannot_be_imported(kind, entry)} ({reason}); {THERE if _file(entry) else MEND}"
