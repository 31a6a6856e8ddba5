"""Token Merging (Bolya et al., ICLR 2023, arXiv 2210.09461) for point transformers.

In every block, between attention and MLP, the r most similar token pairs of a bipartite split are averaged. Point
transformers add the position before *every* block, so positions are merged with the tokens, by the same weights.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import Tensor

from foundry_bench.encoder import Embedding, Encoder, Tokens
from foundry_bench.method import FMD, OFF_THE_SHELF, Method
from foundry_bench.students import TokenStudent, require_transformer
from foundry_bench.teachers.transformer import PointTransformer
from foundry_bench.tokens import attend, take

if TYPE_CHECKING:
    from foundry_bench.context import Context
    from foundry_bench.datasets import PointCloudDataset

Merge = Callable[..., Tensor]


def bipartite_soft_matching(metric: Tensor, r: int) -> tuple[Merge, Callable[[Tensor], Tensor]]:
    """Match even tokens to odd ones by cosine similarity and merge the ``r`` best pairs; at most half the tokens go.

    ``metric`` (B, N, C). Returns ``merge(x, mode)``: (B, N, D) -> (B, N - r, D), ordered [unmerged even | odd], and
    ``unmerge``: (B, N - r, D) -> (B, N, D), which copies a merged row back to its sources.
    """
    batch, count, _ = metric.shape
    r = min(r, count // 2)
    if r <= 0:
        return (lambda x, mode="mean": x), (lambda x: x)
    with torch.no_grad():
        unit = metric / metric.norm(dim=-1, keepdim=True)
        scores = unit[:, ::2] @ unit[:, 1::2].transpose(-1, -2)
        best, partner = scores.max(dim=-1)
        order = best.argsort(dim=-1, descending=True)
        merged, kept = order[:, :r], order[:, r:]
        target = partner.gather(-1, merged)

    def merge(x: Tensor, mode: str = "mean") -> Tensor:
        even, odd = x[:, ::2], x[:, 1::2]
        index = target[..., None].expand(-1, -1, x.shape[-1])
        odd = odd.scatter_reduce(1, index, take(even, merged), reduce=mode)
        return torch.cat([take(even, kept), odd], dim=1)

    def unmerge(x: Tensor) -> Tensor:
        rest, odd = x.split([kept.shape[1], count // 2], dim=1)
        out = x.new_empty(batch, count, x.shape[-1])
        out[:, 1::2] = odd
        put = kept[..., None].expand(-1, -1, x.shape[-1])
        out.scatter_(1, 2 * put, rest)
        return out.scatter(1, 2 * merged[..., None].expand(-1, -1, x.shape[-1]), take(odd, target))

    return merge, unmerge


def merge_wavg(merge: Merge, x: Tensor, size: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Average merged rows of x (B, N, D) by the number of tokens each stands for, ``size`` (B, N, 1)."""
    if size is None:
        size = torch.ones_like(x[..., :1])
    total = merge(size, mode="sum")
    return merge(x * size, mode="sum") / total, total


class ToMeStudent(TokenStudent):
    """The teacher with ``r`` tokens merged in every block, un-merged to all T patches at the end and at each level."""

    def __init__(self, teacher: PointTransformer, r: int, proportional: bool) -> None:
        super().__init__(teacher)
        self.r = r
        self.proportional = proportional

    def encode(self, embedding: Embedding, levels: bool = False) -> Tokens:
        x, pos = embedding.tokens, self.positional_encoding(embedding.centers)
        size: Tensor | None = None
        unmerges: list[Callable[[Tensor], Tensor]] = []
        dense = []
        for i, block in enumerate(self.blocks):
            x = x + pos
            bias = size.log().transpose(1, 2)[:, None] if self.proportional and size is not None else None
            out, metric = attend(block.attn, block.norm1(x), bias)
            x = x + out
            if self.r > 0:
                merge, unmerge = bipartite_soft_matching(metric, self.r)
                before = size
                x, size = merge_wavg(merge, x, before)
                pos, _ = merge_wavg(merge, pos, before)
                unmerges.append(unmerge)
            x = x + block.mlp(block.norm2(x))
            if levels and i in self.config.level_blocks:
                dense.append(restore(x, unmerges))
        return Tokens(restore(self.norm(x), unmerges), tuple(dense))


def restore(x: Tensor, unmerges: list[Callable[[Tensor], Tensor]]) -> Tensor:
    """Undo merges in reverse order, so that every original patch has a row again."""
    for unmerge in reversed(unmerges):
        x = unmerge(x)
    return x


@dataclass(frozen=True)
class ToMe(Method):
    """``r``: tokens merged a block. ``proportional``: add log(size) to attention, which helps supervised models and is off
    for masked-autoencoder ones (the paper's appendix)."""

    name: ClassVar[str] = "tome"
    variants: ClassVar[tuple[str, ...]] = (OFF_THE_SHELF, FMD)
    grid: ClassVar[dict[str, tuple[Any, ...]]] = {"r": (4, 8)}
    inference: ClassVar[tuple[str, ...]] = ("r", "proportional")

    r: int = 8
    proportional: bool = False

    def __post_init__(self) -> None:
        if self.r < 0:
            raise ValueError(f"r must be >= 0, got {self.r}")

    def compress(self, teacher: Encoder, data: PointCloudDataset, ctx: Context) -> Encoder:
        return ToMeStudent(require_transformer(teacher, self.name), self.r, self.proportional)
