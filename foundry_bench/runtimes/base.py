"""The Runtime contract: what makes an encoder run where it will be used, so that it can be timed and checked there."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

if TYPE_CHECKING:
    from torch import Tensor

    from foundry_bench.encoder import Encoder
    from foundry_bench.points.patches import Patches

Forward = Callable[["Patches"], "Tensor"]
"""Tokens (B, T, D) of patches, on the processor they are on."""


class Runtime(ABC):
    """Base of every runtime; one is registered under ``foundry_bench.runtimes`` by its ``name``, which columns of
    tables end in."""

    name: ClassVar[str]
    """Letters, digits, dots and dashes."""
    abstract: ClassVar[str] = ""
    """What it is, in a line."""

    @abstractmethod
    def available(self) -> str | None:
        """Why it cannot be used here, with the fix, or None. Imports as little as it can."""

    @abstractmethod
    def version(self) -> str:
        """The version of the library that runs the encoder; asked where it is available."""

    @abstractmethod
    def prepare(self, encoder: Encoder, example: Patches, folder: Path, threads: int) -> Forward:
        """``encoder`` as this runtime runs it, with ``threads`` threads, on patches of the shape of ``example``.

        ``folder`` is an empty one for files, which stay as long as the result is used. The encoder stays as it is.
        Raises UserError, in one line with the reason, for an encoder that this runtime cannot run.
        """

    def again(self, encoder: Encoder, example: Patches, folder: Path, threads: int) -> Forward:
        """A second copy, independent of the first, of what :meth:`prepare` has just made in ``folder``; made anew by
        default."""
        return self.prepare(encoder, example, folder, threads)
