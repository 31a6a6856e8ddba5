"""What a fork server does once, so that the process of a cell starts in milliseconds: to import this module is to do it.

Nothing here runs a kernel of torch or starts a thread, which would not survive the fork.
"""

from __future__ import annotations

import ctypes
import importlib
import warnings
from contextlib import suppress
from pathlib import Path

from foundry_bench import registry
from foundry_bench.sweep import cell
from foundry_bench.sweep.engines.descendants import adopt_orphans

MODULES = (
    "torch",
    "scipy.stats",
    "sklearn.svm",
    "foundry_bench.authoring",
    "foundry_bench.cost",
    "foundry_bench.training.distillation",
    "foundry_bench.students.files",
    "foundry_bench.training.finished",
    "foundry_bench.stack",
    "foundry_bench.datasets.catalog",
)
"""Modules of every cell. Methods and tasks are not among them: one that was edited is read anew by the next cell."""
HUGE = 2 << 20
"""Bytes of a huge page."""
COLLAPSE = 25
"""MADV_COLLAPSE of Linux 6.1, see madvise(2)."""


def use_huge_pages() -> None:
    """Move what is loaded, half a gigabyte of small objects, into huge pages, which a fork copies one entry for and not 512.

    It takes a second or two, more than halves the kernel's part of a cell's process, and leaves what cells allocate as it is.
    Where the kernel cannot do it nothing happens.
    """
    madvise = ctypes.CDLL(None).madvise
    for line in Path("/proc/self/maps").read_text().splitlines():
        limits, rights, _, _, _, *name = line.split()
        start, end = (int(limit, 16) for limit in limits.split("-"))
        start, end = -(-start // HUGE) * HUGE, end // HUGE * HUGE
        if "w" in rights and name in ([], ["[heap]"]) and start < end:
            madvise(ctypes.c_void_p(start), ctypes.c_size_t(end - start), COLLAPSE)


for module in MODULES:
    importlib.import_module(module)
for kind in registry.KINDS:
    registry.entries(kind)
cell.keep_thread_pools()
with suppress(OSError, AttributeError):
    use_huge_pages()
# Orphans of a cell that was killed come to the fork server, which multiprocessing tells of when they end.
adopt_orphans()
warnings.filterwarnings("ignore", "forkserver: waitpid returned unexpected pid")
