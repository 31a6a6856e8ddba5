"""Farthest-point token sampling: keep the first s tokens, rebuild the others from the nearest (Foundry's "FPS-Student").

The tokenizer emits patches in farthest-point order, so the first s *are* the farthest-point subset: sampling costs nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

import torch
from torch import Tensor

from foundry_bench.authoring import (
    FMD,
    OFF_THE_SHELF,
    Bounds,
    Context,
    Embedding,
    Encoder,
    Family,
    Method,
    Paper,
    PointCloudDataset,
    PointTransformer,
    ReducingStudent,
    Stream,
    nearest,
    require_transformer,
    select,
    take,
)


class SubsetStudent(ReducingStudent):
    """Runs the blocks on ``count`` of the tokens; every patch then reads the kept token with the nearest centre."""

    def __init__(self, teacher: PointTransformer, count: int, upsample: bool = True) -> None:
        super().__init__(teacher, upsample)
        self.count = min(count, teacher.config.groups)

    def choose(self, centers: Tensor) -> Tensor:
        """Index (B, count) of the kept tokens: the first ones, in farthest-point order."""
        return torch.arange(self.count, device=centers.device).expand(centers.shape[0], -1)

    def known(self, tokens: Tensor, kept: Tensor) -> Tensor:
        """The tokens (B, T, D) that the reconstruction may read: all of them."""
        return tokens

    def begin(self, embedding: Embedding, pos: Tensor) -> tuple[Stream, Tensor]:
        kept = self.choose(embedding.centers)
        tokens = self.known(embedding.tokens, kept)
        stand_in = nearest(embedding.centers, take(embedding.centers, kept))
        return select(Stream.of(tokens, pos), kept, stand_in), tokens + pos


@dataclass(frozen=True)
class FPS(Method):
    """``tokens``: how many are kept. ``upsample``: distilled students reconstruct the others by Foundry's CAU instead of a
    copy."""

    name: ClassVar[str] = "fps"
    family: ClassVar[Family] = "drop"
    paper: ClassVar[Paper] = Paper("Foundry: Distilling 3D Foundation Models for the Edge", "2511.20721")
    abstract: ClassVar[str] = "the farthest-point subset of the tokens"
    variants: ClassVar[tuple[str, ...]] = (OFF_THE_SHELF, FMD)
    grid: ClassVar[dict[str, tuple[Any, ...]]] = {"tokens": (9, 27)}
    matched: ClassVar[tuple[dict[str, Any], ...]] = ({"tokens": 17},)

    tokens: Annotated[int, Bounds(at_least=1)] = 16
    upsample: bool = True

    def compress(self, teacher: Encoder, data: PointCloudDataset, ctx: Context) -> Encoder:
        source = require_transformer(teacher, self.name)
        return SubsetStudent(source, self.tokens, self.upsample and ctx.trains)
