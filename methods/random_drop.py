"""Random token dropping: the control that every token sampler has to beat (PatchDropout, arXiv 2208.07220)."""

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
    Patches,
    PointCloudDataset,
    PointTransformer,
    content_order,
    require_transformer,
    take,
)
from foundry_bench.methods.fps import SubsetStudent


class RandomDropStudent(SubsetStudent):
    """Keeps ``count`` tokens uniformly at random: anew at every training step, fixed per cloud at inference.

    With ``early`` the dropped patches never reach the tokenizer, which saves its cost too: their token is zero.
    """

    def __init__(self, teacher: PointTransformer, count: int, upsample: bool, early: bool) -> None:
        super().__init__(teacher, count, upsample)
        self.early = early

    def choose(self, centers: Tensor) -> Tensor:
        if self.training:
            order = torch.rand(centers.shape[:2], device=centers.device).argsort(dim=1)
        else:
            order = content_order(centers)
        return order[:, : self.count]

    def known(self, tokens: Tensor, kept: Tensor) -> Tensor:
        return spread(take(tokens, kept), kept, tokens.shape[1]) if self.early else tokens

    def embed(self, patches: Patches) -> Embedding:
        if not self.early:
            return super().embed(patches)
        kept = self.choose(patches.centers)
        rows = torch.arange(len(patches), device=kept.device)[:, None]
        tokens = self.tokenizer(patches.neighborhoods[rows, kept])
        return Embedding(spread(tokens, kept, patches.centers.shape[1]), patches.centers)


def spread(rows: Tensor, index: Tensor, count: int) -> Tensor:
    """Rows (B, M, C) at ``index`` (B, M) of ``count`` rows that are zero elsewhere, (B, count, C)."""
    full = rows.new_zeros(len(rows), count, rows.shape[-1])
    return full.scatter(1, index[..., None].expand_as(rows), rows)


@dataclass(frozen=True)
class RandomDrop(Method):
    """``keep``: share of the tokens that the blocks see; kept values are not rescaled. ``early``: drop patches before the
    tokenizer instead of tokens after it. ``upsample``: distilled students reconstruct the dropped patches by Foundry's CAU
    instead of a copy of the nearest."""

    name: ClassVar[str] = "random-drop"
    version: ClassVar[str] = "2"
    family: ClassVar[Family] = "drop"
    paper: ClassVar[Paper] = Paper(
        "PatchDropout: Economizing Vision Transformers Using Patch Dropout", "2208.07220"
    )
    abstract: ClassVar[str] = "a random subset of the tokens, after the tokenizer or before it"
    variants: ClassVar[tuple[str, ...]] = (OFF_THE_SHELF, FMD)
    grid: ClassVar[dict[str, tuple[Any, ...]]] = {"keep": (0.14, 0.42), "early": (False, True)}
    matched: ClassVar[tuple[dict[str, Any], ...]] = ({"keep": 0.27},)

    keep: Annotated[float, Bounds(above=0, at_most=1)] = 0.25
    early: bool = False
    upsample: bool = True

    def compress(self, teacher: Encoder, data: PointCloudDataset, ctx: Context) -> Encoder:
        source = require_transformer(teacher, self.name)
        count = max(1, round(self.keep * source.config.groups))
        return RandomDropStudent(source, count, self.upsample and ctx.trains, self.early)
