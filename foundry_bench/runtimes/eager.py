"""PyTorch as it is written: the encoder itself."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import TYPE_CHECKING

from foundry_bench.runtimes.base import Forward, Runtime

if TYPE_CHECKING:
    from foundry_bench.encoder import Encoder
    from foundry_bench.points.patches import Patches


class Eager(Runtime):
    """The default, on any device. Threads are those of the process."""

    name = "eager"
    abstract = "PyTorch as it is written, on any device; always measured"

    def available(self) -> str | None:
        return None

    def version(self) -> str:
        import torch

        return str(torch.__version__)

    def prepare(self, encoder: Encoder, example: Patches, folder: Path, threads: int) -> Forward:
        return lambda patches: encoder(patches).features

    def again(self, encoder: Encoder, example: Patches, folder: Path, threads: int) -> Forward:
        """A copy with weights of its own, which lie in memory as those of the original do."""
        return self.prepare(copy.deepcopy(encoder), example, folder, threads)
