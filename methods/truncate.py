"""Truncation: the teacher's first k blocks on all tokens and Foundry's reconstruction for the rest.

The baseline that any token reducer has to beat: two blocks on 64 tokens cost what eight cost on 16 (PAPER, idea 6).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

from foundry_bench.encoder import Embedding, Encoder, Tokens
from foundry_bench.method import FMD, OFF_THE_SHELF, Method
from foundry_bench.parameters.types import Bounds
from foundry_bench.students.base import CAU, TokenStudent, require_transformer
from foundry_bench.teachers.prefix import Prefix
from foundry_bench.teachers.transformer import PointTransformer, run_blocks
from foundry_bench.variants import Family

if TYPE_CHECKING:
    from foundry_bench.context import Context
    from foundry_bench.datasets import PointCloudDataset


class TruncatedStudent(TokenStudent):
    """Blocks 0 to k - 1, then Foundry's CAU, ``Y = norm(x) + MLP(T + position + norm(x))``; off the shelf ``Y = norm(x)``."""

    def __init__(self, teacher: PointTransformer, blocks: int, upsample: bool) -> None:
        super().__init__(teacher, list(range(blocks)))
        self.cau = CAU(self.config.dim, self.config.dim, skip=True) if upsample else None

    def encode(self, embedding: Embedding, levels: bool = False) -> Tokens:
        pos = self.positional_encoding(embedding.centers)
        base = embedding.tokens + pos
        wanted = tuple(min(k, len(self.blocks) - 1) for k in self.config.level_blocks) if levels else ()
        x, kept = run_blocks(self.blocks, embedding.tokens, pos, wanted, Prefix.of(self, len(pos)))
        by_block = dict(zip(sorted(set(wanted)), kept, strict=True))
        if self.cau is None:
            return Tokens(self.norm(x), tuple(by_block[k] for k in wanted))
        out = self.cau(self.norm(x), base)
        return Tokens(out, tuple(self.cau(self.norm(by_block[k]), base) for k in wanted))


@dataclass(frozen=True)
class Truncate(Method):
    """``blocks``: how many of the teacher's first blocks are kept. ``upsample``: distilled students have Foundry's CAU on
    top."""

    name: ClassVar[str] = "truncate"
    family: ClassVar[Family] = "prune"
    abstract: ClassVar[str] = "the first blocks only, and Foundry's CAU"
    variants: ClassVar[tuple[str, ...]] = (OFF_THE_SHELF, FMD)
    grid: ClassVar[dict[str, tuple[Any, ...]]] = {"blocks": (1, 3)}

    blocks: Annotated[int, Bounds(at_least=1)] = 2
    upsample: bool = True

    def compress(self, teacher: Encoder, data: PointCloudDataset, ctx: Context) -> Encoder:
        source = require_transformer(teacher, self.name)
        if self.blocks > len(source.blocks):
            raise ValueError(f"blocks must be <= the teacher's {len(source.blocks)}, got {self.blocks}")
        return TruncatedStudent(source, self.blocks, self.upsample and ctx.trains)
