"""What the harness hands to a method or task besides its data: nothing in the package is global."""

from __future__ import annotations

import atexit
import hashlib
import json
import logging
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from shutil import rmtree
from tempfile import mkdtemp
from typing import Any

import torch

from foundry_bench.variants import FMD, OFF_THE_SHELF

Progress = Callable[[str, int, int], None]
"""Called as ``progress(what, done, total)``."""


def no_progress(what: str, done: int, total: int) -> None:
    """A receiver of progress that shows nothing."""


def derive_seed(seed: int, *names: str) -> int:
    """A 31-bit seed for one component, hashed from the sweep's seed and the ``names``, so that no two components draw the
    same numbers."""
    digest = hashlib.sha256("\x1f".join([str(seed), *names]).encode()).digest()
    return int.from_bytes(digest[:4], "big") & 0x7FFFFFFF


def start_seed(seed: int, method: str, params: Mapping[str, Any], component: str) -> int:
    """The seed of one component of a student's random start, from the sweep's seed, the method's name and its training-time
    parameters. It does not depend on the code: a start stays the same when code is edited or moved."""
    return derive_seed(seed, method, json.dumps(params, sort_keys=True, separators=(",", ":")), component)


@cache
def own_folder(process: int) -> Path:
    """A new folder that only this user can enter, removed when ``process``, the present one, ends."""
    folder = mkdtemp(prefix="foundry-bench-")
    atexit.register(rmtree, folder, ignore_errors=True)
    return Path(folder)


@dataclass(frozen=True)
class Context:
    """Device, seed, variant, budget name, folders and sinks of one cell. ``cache`` outlives the cell, ``scratch`` does not;
    official data sets lie below ``data_root``.

    ``variant`` says whether and how the student will be trained. A method leaves out parts that are useless without training
    where ``variant`` is off-the-shelf. ``shapes``, where a saved student is made again: those of its tensors, by name. The
    teacher and the clouds are stand-ins then, so a method whose sizes follow from their numbers reads them here.
    """

    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    seed: int = 0
    variant: str = FMD
    budget: str = "quick"
    data_root: Path = Path("data")
    scratch: Path = field(default_factory=lambda: own_folder(os.getpid()))
    cache: Path | None = None
    log: logging.Logger = field(default_factory=lambda: logging.getLogger("foundry_bench"))
    progress: Progress = no_progress
    shapes: Mapping[str, tuple[int, ...]] | None = None

    @property
    def trains(self) -> bool:
        """Whether the student will be trained."""
        return self.variant != OFF_THE_SHELF

    def generator(self, *names: str) -> torch.Generator:
        """A CPU generator for the component ``names`` of this cell."""
        return torch.Generator().manual_seed(derive_seed(self.seed, *names))

    def for_component(self, name: str) -> Context:
        """The same context with the seed of one component."""
        return replace(self, seed=derive_seed(self.seed, name))
