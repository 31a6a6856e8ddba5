"""Run only the first blocks of the teacher: a small compression method, from a distribution of its own."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from foundry_bench.authoring import (
    OFF_THE_SHELF,
    Context,
    Embedding,
    Encoder,
    Family,
    Method,
    PointCloudDataset,
    Tokens,
    TokenStudent,
    require_transformer,
)


class FirstBlocks(TokenStudent):
    """The teacher cut after some of its blocks."""

    def encode(self, embedding: Embedding, levels: bool = False) -> Tokens:
        x, _ = self.run(embedding.tokens, self.positional_encoding(embedding.centers))
        features = self.norm(x)
        return Tokens(features, (features,) * 3 if levels else ())


@dataclass(frozen=True)
class KeepFirst(Method):
    """The first ``blocks`` blocks of the teacher, then its norm; nothing is trained."""

    name: ClassVar[str] = "keep-first"
    family: ClassVar[Family] = "prune"
    abstract: ClassVar[str] = "the first blocks and the teacher's norm"
    variants: ClassVar[tuple[str, ...]] = (OFF_THE_SHELF,)
    grid: ClassVar[dict[str, tuple[Any, ...]]] = {"blocks": (1,)}
    blocks: int = 1

    def compress(self, teacher: Encoder, data: PointCloudDataset, ctx: Context) -> Encoder:
        return FirstBlocks(require_transformer(teacher, self.name), list(range(self.blocks)))
