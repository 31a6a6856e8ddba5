"""Entry points: from a name to a class or function, built-in or from a plugin.

Listing reads names without importing a plugin. A broken plugin is reported when it is loaded and breaks nothing else.
"""

from __future__ import annotations

import os
import sys
from functools import lru_cache
from importlib.metadata import EntryPoint, EntryPoints, entry_points
from typing import TYPE_CHECKING, Any

from foundry_bench.errors import UserError, unknown

if TYPE_CHECKING:
    pass

KINDS = ("methods", "tasks", "teachers", "datasets", "engines", "trackers")


def entries(kind: str) -> dict[str, EntryPoint]:
    """Name -> entry point of one kind, sorted by name. Raises UserError when two distributions claim one name."""
    found: dict[str, EntryPoint] = {}
    for entry in _installed(f"foundry_bench.{kind}", _places()):
        other = found.get(entry.name)
        if other is not None and other.value != entry.value:
            raise UserError(
                f"two plugins are called {entry.name!r} in {kind}: {distribution(other)} and {distribution(entry)}; "
                "uninstall or rename one"
            )
        found[entry.name] = entry
    return dict(sorted(found.items()))


def _places() -> tuple[tuple[str, int], ...]:
    """The folders that may hold distributions, and when they last changed."""
    return tuple(
        (place, os.stat(place or ".").st_mtime_ns) for place in sys.path if os.path.exists(place or ".")
    )


@lru_cache(maxsize=len(KINDS))
def _installed(group: str, places: tuple[tuple[str, int], ...]) -> EntryPoints:
    """Entry points of one group; the files of all distributions are read again only when something was installed since."""
    return entry_points(group=group)


def distribution(entry: EntryPoint) -> str:
    """The distribution that an entry point came from."""
    return entry.dist.name if entry.dist is not None else "an unnamed distribution"


def check_known(kind: str, name: str) -> EntryPoint:
    """The entry point of one name, not imported. Raises UserError for a name that nobody registered; the nearest is offered."""
    known = entries(kind)
    if name not in known:
        raise unknown(kind.rstrip("s"), name, known)
    return known[name]


def load(kind: str, name: str) -> Any:
    """Import and return one entry. Raises UserError for an unknown name (nearest offered) or a broken plugin."""
    entry = check_known(kind, name)
    try:
        return entry.load()
    except UserError:
        raise
    except Exception as error:  # whatever a third-party module raises at import
        raise UserError(broken(kind, entry, f"{type(error).__name__}: {error}")) from error


def broken(kind: str, entry: EntryPoint, reason: str) -> str:
    """What to say of an entry that cannot be imported."""
    return (
        f"{kind.rstrip('s')} {entry.name!r} of {distribution(entry)} cannot be imported ({reason}); "
        "reinstall or uninstall it"
    )
