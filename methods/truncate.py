"""Truncation: the teacher's first k blocks on all tokens and Foundry's reconstruction for the rest.

Without any block (k = 0) it is the control that sees every patch by itself, token and position.

The baseline that any token reducer has to beat: two blocks on 64 tokens cost what eight cost on 16, a block being
linear in its tokens but for the attention (``foundry_bench.cost.macs.closed_form_block_macs``).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

from foundry_bench.authoring import (
    CAU,
    FMD,
    OFF_THE_SHELF,
    Bounds,
    Context,
    Embedding,
    Encoder,
    Family,
    Method,
    PointCloudDataset,
    PointTransformer,
    Tokens,
    TokenStudent,
    UserError,
    require_transformer,
)


class TruncatedStudent(TokenStudent):
    """Blocks 0 to k - 1, then Foundry's CAU, ``Y = norm(x) + MLP(T + position + norm(x))``; off the shelf ``Y = norm(x)``.

    Without blocks ``x = T + position``.
    """

    def __init__(self, teacher: PointTransformer, blocks: int, upsample: bool) -> None:
        super().__init__(teacher, list(range(blocks)))
        self.cau = CAU(self.config.dim, self.config.dim, skip=True) if upsample else None

    def encode(self, embedding: Embedding, levels: bool = False) -> Tokens:
        pos = self.positional_encoding(embedding.centers)
        base = embedding.tokens + pos
        last = len(self.blocks) - 1
        wanted = tuple(min(k, last) for k in self.config.level_blocks) if levels else ()
        x, kept = self.run(embedding.tokens, pos, wanted) if self.blocks else (base, [base] * len(wanted))
        if self.cau is None:
            return Tokens(self.norm(x), tuple(kept))
        out = self.cau(self.norm(x), base)
        return Tokens(out, tuple(self.cau(self.norm(level), base) for level in kept))


@dataclass(frozen=True)
class Truncate(Method):
    """``blocks``: how many of the teacher's first blocks are kept, 0 for none. ``upsample``: distilled students have Foundry's
    CAU on top."""

    name: ClassVar[str] = "truncate"
    family: ClassVar[Family] = "prune"
    abstract: ClassVar[str] = "the first blocks only, and Foundry's CAU"
    variants: ClassVar[tuple[str, ...]] = (OFF_THE_SHELF, FMD)
    grid: ClassVar[dict[str, tuple[Any, ...]]] = {"blocks": (1, 3)}
    matched: ClassVar[tuple[dict[str, Any], ...]] = ({"blocks": 2},)

    blocks: Annotated[int, Bounds(at_least=0)] = 2
    upsample: bool = True

    def compress(self, teacher: Encoder, data: PointCloudDataset, ctx: Context) -> Encoder:
        source = require_transformer(teacher, self.name)
        if self.blocks > len(source.blocks):
            raise UserError(
                f"blocks={self.blocks} is more than the teacher's {len(source.blocks)}; give no more"
            )
        return TruncatedStudent(source, self.blocks, self.upsample and ctx.trains)
