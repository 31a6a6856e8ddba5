"""Token Merging (Bolya et al., ICLR 2023, arXiv 2210.09461) for point transformers.

In every block, between attention and MLP, the r most similar token pairs of a bipartite split are averaged. Point
transformers add the position before *every* block, so positions are merged with the tokens, by the same weights.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

import torch
from torch import Tensor

from foundry_bench.authoring import (
    FMD,
    OFF_THE_SHELF,
    Attended,
    Bounds,
    Context,
    Encoder,
    Family,
    MergingStudent,
    Method,
    Paper,
    PointCloudDataset,
    Stream,
    merge,
    require_transformer,
    take,
)


def match(metric: Tensor, r: int) -> tuple[Tensor, int]:
    """Bipartite soft matching: even tokens look for their most similar odd one, and the ``r`` best pairs merge.

    ``metric`` (B, N, C), compared by cosine; at most half of the tokens go. Returns for every token the row (B, N) it
    goes to and the number of rows, ordered [unmerged even | odd].
    """
    batch, count, _ = metric.shape
    r = max(0, min(r, count // 2))
    if r == 0:
        return torch.arange(count, device=metric.device).expand(batch, -1), count
    with torch.no_grad():
        unit = metric / metric.norm(dim=-1, keepdim=True)
        best, partner = (unit[:, ::2] @ unit[:, 1::2].transpose(-1, -2)).max(dim=-1)
        order = best.argsort(dim=-1, descending=True)
        merged, kept = order[:, :r], order[:, r:]
        unmerged = kept.shape[1]
        index = torch.empty(batch, count, dtype=torch.long, device=metric.device)
        places = torch.arange(count - r, device=metric.device).expand(batch, -1)
        index[:, 1::2] = places[:, unmerged:]
        index.scatter_(1, 2 * kept, places[:, :unmerged])
        index.scatter_(1, 2 * merged, partner.gather(1, merged) + unmerged)
    return index, count - r


Merge = Callable[..., Tensor]


def bipartite_soft_matching(metric: Tensor, r: int) -> tuple[Merge, Callable[[Tensor], Tensor]]:
    """The matching of ``metric`` (B, N, C) as the two functions of the official code.

    ``merge(x, mode)``: (B, N, D) -> (B, N - r, D); ``unmerge``: (B, N - r, D) -> (B, N, D), which copies a merged row back
    to its sources.
    """
    index, count = match(metric, r)

    def merge(x: Tensor, mode: str = "mean") -> Tensor:
        rows = x.new_zeros(x.shape[0], count, x.shape[-1])
        return rows.scatter_reduce(1, index[..., None].expand_as(x), x, mode, include_self=False)

    return merge, lambda x: take(x, index)


def merge_wavg(merge: Merge, x: Tensor, size: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Average merged rows of x (B, N, D) by the number of tokens each stands for, ``size`` (B, N, 1)."""
    if size is None:
        size = torch.ones_like(x[..., :1])
    total = merge(size, mode="sum")
    return merge(x * size, mode="sum") / total, total


class ToMeStudent(MergingStudent):
    """The teacher with ``r`` tokens merged in every block."""

    knob = "r"

    def reduce(self, index: int, stream: Stream, attended: Attended, strength: int) -> Stream:
        return merge(stream, *match(attended.keys, strength)) if strength > 0 else stream


@dataclass(frozen=True)
class ToMe(Method):
    """``r``: tokens merged a block. ``proportional``: add log(size) to attention, which helps supervised models and is off
    for masked-autoencoder ones (the paper's appendix). ``upsample``: distilled students reconstruct the patches by Foundry's
    CAU instead of copying merged rows. ``trained_r``: values of r that training steps draw from, so that one distilled
    student serves them all."""

    name: ClassVar[str] = "tome"
    family: ClassVar[Family] = "merge"
    paper: ClassVar[Paper] = Paper("Token Merging: Your ViT But Faster", "2210.09461")
    abstract: ClassVar[str] = "merges the most similar tokens in every block"
    variants: ClassVar[tuple[str, ...]] = (OFF_THE_SHELF, FMD)
    grid: ClassVar[dict[str, tuple[Any, ...]]] = {"r": (8, 32), "proportional": (False, True)}
    matched: ClassVar[tuple[dict[str, Any], ...]] = ({"r": 16, "proportional": True},)
    inference: ClassVar[tuple[str, ...]] = ("r", "proportional")

    r: Annotated[int, Bounds(at_least=0)] = 8
    proportional: bool = False
    upsample: bool = True
    trained_r: Annotated[tuple[int, ...], Bounds(at_least=0)] = (8, 32)

    def compress(self, teacher: Encoder, data: PointCloudDataset, ctx: Context) -> Encoder:
        source = require_transformer(teacher, self.name)
        return ToMeStudent(source, self.upsample and ctx.trains, self.trained_r)
