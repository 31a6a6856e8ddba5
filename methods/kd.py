"""Plain feature distillation into a shallower transformer: all T tokens, fewer blocks (TinyBERT, DMAE; arXiv 2208.12256)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from foundry_bench.encoder import Embedding, Encoder, Tokens
from foundry_bench.method import Method
from foundry_bench.students import TokenStudent, require_transformer
from foundry_bench.teachers.transformer import run_blocks

if TYPE_CHECKING:
    from foundry_bench.context import Context
    from foundry_bench.datasets import PointCloudDataset


def spaced(total: int, count: int) -> list[int]:
    """``count`` block indices spread evenly over ``total``, ends included."""
    if count == 1:
        return [total - 1]
    return [round(i * (total - 1) / (count - 1)) for i in range(count)]


class ShallowStudent(TokenStudent):
    """A few of the teacher's blocks on all tokens."""

    def encode(self, embedding: Embedding, levels: bool = False) -> Tokens:
        depth = len(self.blocks)
        keep = tuple(max(round(depth * k / 3) - 1, 0) for k in (1, 2, 3)) if levels else ()
        pos = self.positional_encoding(embedding.centers)
        x, kept = run_blocks(self.blocks, embedding.tokens, pos, keep)
        by_block = dict(zip(sorted(set(keep)), kept, strict=True))
        return Tokens(self.norm(x), tuple(by_block[k] for k in keep))


@dataclass(frozen=True)
class FeatureKD(Method):
    """``depth``: number of blocks, copied evenly spaced from the teacher. Two on 64 tokens cost about what the teacher's
    eight cost on 16 SuperTokens."""

    name: ClassVar[str] = "kd"
    grid: ClassVar[dict[str, tuple[Any, ...]]] = {"depth": (2,)}

    depth: int = 2

    def __post_init__(self) -> None:
        if self.depth < 1:
            raise ValueError(f"depth must be >= 1, got {self.depth}")

    def compress(self, teacher: Encoder, data: PointCloudDataset, ctx: Context) -> Encoder:
        source = require_transformer(teacher, self.name)
        if self.depth > len(source.blocks):
            raise ValueError(f"depth must be <= the teacher's {len(source.blocks)}, got {self.depth}")
        return ShallowStudent(source, spaced(len(source.blocks), self.depth))
