"""What a fork server does once, so that the process of a cell starts in milliseconds: to import this module is to do it.

Nothing here runs a kernel of torch or starts a thread, which would not survive the fork.
"""

from __future__ import annotations

import importlib
from contextlib import suppress

from foundry_bench import registry
from foundry_bench.sweep import cell

MODULES = (
    "torch",
    "scipy.stats",
    "sklearn.svm",
    "foundry_bench.cost",
    "foundry_bench.distillation",
    "foundry_bench.students",
    "foundry_bench.training",
    "foundry_bench.stack",
    "foundry_bench.datasets.catalog",
)
"""Modules of every cell."""
OWN = "foundry-bench"
"""The distribution whose plugins are imported, too; strangers' code runs in the process of its cell only."""

for name in MODULES:
    importlib.import_module(name)
for kind in ("methods", "tasks", "teachers", "datasets"):
    with suppress(Exception):  # a broken one is told by the cell that needs it
        for entry in registry.entries(kind).values():
            if registry.distribution(entry) == OWN:
                entry.load()
cell.keep_thread_pools()
