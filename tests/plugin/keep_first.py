"""Run only the first blocks of the teacher: a small compression method, from a distribution of its own."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from foundry_bench.context import Context
from foundry_bench.datasets import PointCloudDataset
from foundry_bench.encoder import Embedding, Encoder, Tokens
from foundry_bench.method import OFF_THE_SHELF, Method
from foundry_bench.students.base import TokenStudent, require_transformer


class FirstBlocks(TokenStudent):
    """The teacher cut after some of its blocks."""

    def encode(self, embedding: Embedding, levels: bool = False) -> Tokens:
        x, position = embedding.tokens, self.positional_encoding(embedding.centers)
        for block in self.blocks:
            x = block(x + position)
        features = self.norm(x)
        return Tokens(features, (features,) * 3 if levels else ())


@dataclass(frozen=True)
class KeepFirst(Method):
    """The first ``blocks`` blocks of the teacher, then its norm; nothing is trained."""

    name: ClassVar[str] = "keep-first"
    variants: ClassVar[tuple[str, ...]] = (OFF_THE_SHELF,)
    grid: ClassVar[dict[str, tuple[Any, ...]]] = {"blocks": (1,)}
    blocks: int = 1

    def compress(self, teacher: Encoder, data: PointCloudDataset, ctx: Context) -> Encoder:
        return FirstBlocks(require_transformer(teacher, self.name), list(range(self.blocks)))
