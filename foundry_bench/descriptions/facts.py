"""What a plugin says of itself: its docstring, the attributes that the harness reads, and its parameters."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import dataclass, field, is_dataclass
from typing import Any

from foundry_bench.parameters.types import choices, hints, known

READ = (
    *("family", "abstract", "paper", "version", "variants", "grid", "also", "matched", "inference"),
    *("datasets", "needs", "default", "metrics"),
)
"""The attributes that lists and ``info`` show, in the order of ``info``."""


@dataclass(frozen=True)
class Parameter:
    """The default of a parameter, and the values that its annotation names word for word."""

    default: Any
    choices: tuple[Any, ...] = ()


@dataclass(frozen=True)
class Facts:
    """``documented``: the whole docstring, "" where there is none. ``attributes``: those of :data:`READ` that it has."""

    documented: str
    attributes: Mapping[str, Any] = field(default_factory=dict)
    parameters: Mapping[str, Parameter] = field(default_factory=dict)


def facts_of(plugin: Any) -> Facts:
    """The facts of an imported plugin, a class or a function."""
    own = isinstance(plugin, type) and is_dataclass(plugin)
    stated = {name: getattr(plugin, name, None) for name in READ}
    return Facts(
        documented=inspect.cleandoc(str(getattr(plugin, "__doc__", None) or "")),
        attributes={name: value for name, value in stated.items() if not _computed(value)},
        parameters={
            name: Parameter(one.default, choices(hints(plugin)[name])) for name, one in known(plugin).items()
        }
        if own
        else {},
    )


def _computed(value: Any) -> bool:
    """Whether an attribute is none, or told by an instance only."""
    return value is None or isinstance(value, property) or inspect.isroutine(value)
