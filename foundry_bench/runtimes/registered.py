"""Registered runtimes by name, those that can be used here, and why others cannot."""

from __future__ import annotations

from collections.abc import Sequence

from foundry_bench import registry
from foundry_bench.border import StrangerError
from foundry_bench.errors import UserError
from foundry_bench.runtimes.base import Runtime
from foundry_bench.runtimes.columns import EAGER, NAME

KIND = "runtimes"


def others(names: Sequence[str]) -> tuple[str, ...]:
    """The runtimes beside the one that is always measured, each once, in an order that means nothing."""
    return tuple(sorted(set(names) - {EAGER}))


def check_runtimes(names: Sequence[str]) -> tuple[Runtime, ...]:
    """The runtimes of ``names`` beside the one that is always measured.

    Raises UserError for a name that nobody registered and for one that cannot be used here, with what to install.
    """
    found = tuple(runtime_of(name) for name in others(names))
    for runtime in found:
        with registry.guard(KIND, runtime.name, "cannot say whether it is available"):
            reason = runtime.available()
        if reason is not None:
            raise UserError(f"runtime {runtime.name} cannot be used here: {reason}")
    return found


def runtime_of(name: str) -> Runtime:
    """One registered runtime, whether or not it can be used here. Raises UserError."""
    cls = registry.load(KIND, name, Runtime)
    if not NAME.fullmatch(name) or "@" in name or getattr(cls, "name", None) != name:
        raise StrangerError(
            f"{registry.called(KIND, name)} must be called as it is registered, by letters, digits, dots and dashes; "
            f"{registry.AUTHORS}"
        )
    with registry.guard(KIND, name, "cannot be made"):
        made: Runtime = cls()
    return made
