"""Farthest-point token sampling: keep the first s tokens, copy each to its nearest patches (Foundry's "FPS-Student").

The tokenizer emits patches in farthest-point order, so the first s *are* the farthest-point subset: sampling costs nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import Tensor, nn

from foundry_bench.encoder import Embedding, Encoder, Tokens
from foundry_bench.method import FMD, Method
from foundry_bench.students import TokenMLP, TokenStudent, require_transformer
from foundry_bench.teachers.transformer import PointTransformer, run_blocks
from foundry_bench.tokens import nearest, take

if TYPE_CHECKING:
    from foundry_bench.context import Context
    from foundry_bench.datasets import PointCloudDataset


class SubsetStudent(TokenStudent):
    """Runs the blocks on ``count`` of the tokens; every patch then reads its nearest kept token.

    With ``upsample``, ``Y = MLP(T + position + nearest)`` as in Foundry's CAU; without, ``Y = nearest``.
    """

    def __init__(self, teacher: PointTransformer, count: int, upsample: bool = True) -> None:
        super().__init__(teacher)
        self.count = count
        self.cau = TokenMLP(self.config.dim, self.config.dim) if upsample else None

    def choose(self, centers: Tensor) -> Tensor:
        """Index (B, count) of the kept tokens: the first ones, in farthest-point order."""
        return torch.arange(self.count, device=centers.device).expand(len(centers), -1)

    def encode(self, embedding: Embedding, levels: bool = False) -> Tokens:
        tokens, centers = embedding.tokens, embedding.centers
        index = self.choose(centers)
        pos = self.positional_encoding(centers)
        keep = self.config.level_blocks[:2] if levels else ()
        x, kept = run_blocks(self.blocks, take(tokens, index), take(pos, index), keep)
        source = nearest(centers, take(centers, index))
        base = tokens + pos

        def spread(rows: Tensor) -> Tensor:
            rows = take(self.norm(rows), source)
            return rows if self.cau is None else self.cau(base + rows)

        out = spread(x)
        dense = (*(spread(level) for level in kept), out) if levels else ()
        return Tokens(out, dense, aux={"source": source})

    @property
    def inference_steps(self) -> dict[str, nn.Module]:
        steps: dict[str, nn.Module] = {"tokenizer": self.tokenizer}
        return steps if self.cau is None else {**steps, "decoder": self.cau}


@dataclass(frozen=True)
class FPS(Method):
    """``tokens``: how many are kept. ``upsample``: reconstruct the others by Foundry's CAU instead of a copy."""

    name: ClassVar[str] = "fps"
    variants: ClassVar[tuple[str, ...]] = (FMD,)
    grid: ClassVar[dict[str, tuple[Any, ...]]] = {"tokens": (16,)}

    tokens: int = 16
    upsample: bool = True

    def __post_init__(self) -> None:
        if self.tokens < 1:
            raise ValueError(f"tokens must be >= 1, got {self.tokens}")

    def compress(self, teacher: Encoder, data: PointCloudDataset, ctx: Context) -> Encoder:
        return SubsetStudent(require_transformer(teacher, self.name), self.tokens, self.upsample)
