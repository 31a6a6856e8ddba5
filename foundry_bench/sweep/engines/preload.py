"""What a fork server does once, so that the process of a cell starts in milliseconds: to import this module is to do it.

Nothing here runs a kernel of torch or starts a thread, which would not survive the fork.
"""

from __future__ import annotations

import importlib

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
"""Modules of every cell. Methods and tasks are not among them: one that was edited is read anew by the next cell."""

for name in MODULES:
    importlib.import_module(name)
for kind in registry.KINDS:
    registry.entries(kind)
cell.keep_thread_pools()
