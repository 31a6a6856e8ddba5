"""Rows in front of the patches that stand for none of them: the CLS token of Point-BERT, ACT and fine-tuned encoders."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class Prefix:
    """Rows in front of the patches that stand for none of them (a CLS token): ``x`` and their positions ``pos``, (B, n, D).

    They join every block and no reduction: methods see the patches alone.
    """

    x: Tensor
    pos: Tensor

    @classmethod
    def of(cls, encoder: nn.Module, batch: int) -> Prefix | None:
        """The prefix of ``batch`` clouds from a teacher's or student's parameters, None where it has none."""
        rows, pos = getattr(encoder, "prefix", None), getattr(encoder, "prefix_pos", None)
        if rows is None or pos is None:
            return None
        return cls(rows.expand(batch, -1, -1), pos.expand(batch, -1, -1))

    def in_front(self, x: Tensor, pos: Tensor) -> tuple[Tensor, Tensor]:
        """Tokens and positions (B, n + N, D): these rows and then those of ``x`` and ``pos`` (B, N, D)."""
        return torch.cat([self.x.to(x.dtype), x], dim=1), torch.cat([self.pos.to(pos.dtype), pos], dim=1)

    def split(self, x: Tensor) -> tuple[Prefix, Tensor]:
        """The prefix after a layer that gave ``x`` (B, n + N, D), and the patches' rows (B, N, D)."""
        count = self.x.shape[1]
        return replace(self, x=x[:, :count]), x[:, count:]

    def beside(self, change: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
        """``x`` (B, n + N, D) with the patches' rows changed, (B, n + M, D), and these left as they are."""
        count = self.x.shape[1]
        return torch.cat([x[:, :count], change(x[:, count:])], dim=1)
