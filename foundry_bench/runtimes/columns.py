"""How the figures of a runtime are called where all figures stand side by side: ``latency_ratio_onnxruntime``."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

EAGER = "eager"
"""The runtime that is always measured; figures without a name are its."""
RUNTIMES = "runtimes"
"""Key of a cost block that holds the blocks of the other runtimes by name."""
NAME = re.compile(r"(?!iqr$)[A-Za-z0-9][A-Za-z0-9.-]{0,39}(@[A-Za-z0-9][A-Za-z0-9._-]{0,39})?")
"""What a column may end in: a runtime, and the machine where it is another one. ``latency_ratio_iqr`` is a spread."""
NOISY = "noisy"
"""Whether a measurement's control stayed off."""
SHOWN = (
    *("latency_ms", "latency_ratio", "latency_ratio_iqr", "latency_total_ratio", "latency_cpu_ratio"),
    NOISY,
)
"""Figures of each runtime that tables of results keep."""
REASON = "reason"
"""Why an encoder could not be measured in a runtime."""


def flat(cost: Mapping[str, Any]) -> dict[str, Any]:
    """A cost block without blocks inside: the figures of other runtimes end in their names."""
    found = {key: value for key, value in cost.items() if key != RUNTIMES}
    for name, block in (cost.get(RUNTIMES) or {}).items():
        if NAME.fullmatch(name):
            found.update({f"{key}_{name}": value for key, value in block.items()})
    return found


def figures_elsewhere(cost: Mapping[str, Any]) -> dict[str, Any]:
    """Those figures of other runtimes in a cost block that tables keep; of a runtime that failed all, as None, and the
    reason."""
    found = flat(cost)
    names = [name for name in cost.get(RUNTIMES) or {} if NAME.fullmatch(name)]
    return {column: found.get(column) for column in columns_of(names)}


def columns_of(names: Iterable[str]) -> list[str]:
    """The columns of runtimes in a table of cells."""
    return [f"{key}_{name}" for name in names for key in (*SHOWN, REASON)]


def runtimes_among(columns: Iterable[str]) -> list[str]:
    """The names of the runtimes whose ratios are among ``columns``, sorted."""
    start = f"{SHOWN[1]}_"
    names = {column[len(start) :] for column in columns if column.startswith(start)}
    return sorted(name for name in names if NAME.fullmatch(name))
