"""gitmerge3D: merging in bins of consecutive tokens, undone at once (NeurIPS 2025, openreview cFVQJepi4e).

Tokens are sorted along a space-filling curve and cut into bins; one token of each bin is a destination, and the most similar
others are averaged into their best one. Attention's result is copied back at once, so the stream of tokens stays dense. The
published code merges queries, keys and values of patches of 1024 points; on objects of 64 to 128 tokens attention's products
are 3 to 5 % of the encoder, so here projections and MLP run on merged tokens too: ``x += unmerge(f(merge(LN(x + position))))``.
Projections are linear: merging their inputs *is* merging queries, keys and values, if all heads share one matching.

Not taken over: proportional attention, because the published code adds log(size) along the query axis, where the softmax
cancels it; random destinations; and the split into patches of high and low energy, as an object is a single patch.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Annotated, Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from foundry_bench.authoring import (
    FMD,
    OFF_THE_SHELF,
    Bounds,
    Change,
    Context,
    Embedding,
    Encoder,
    Family,
    FoldingStudent,
    Method,
    Paper,
    PointCloudDataset,
    Stream,
    require_transformer,
    select,
    sum_rows,
    take,
)

BITS = 10


def z_order(centers: Tensor) -> Tensor:
    """The order (B, T) of ``centers`` (B, T, 3) along the Morton curve through a grid of 1024 cells a side on [-1, 1].

    PTv3 serialises its points the same way. Points of one cell keep their order.
    """
    cells = ((centers + 1) * 2 ** (BITS - 1)).long().clamp(0, 2**BITS - 1)
    bit = torch.arange(BITS, device=centers.device)
    axis = torch.tensor([2, 1, 0], device=centers.device)
    interleaved = cells[..., None] // 2**bit % 2 * 2 ** (3 * bit + axis[:, None])
    return interleaved.sum(dim=(-1, -2)).argsort(dim=1, stable=True)


def bin_stride(r: float) -> int:
    """Tokens a bin, when a share ``r`` of all is to be merged: ceil(1 / (1 - r)), so that enough are no destinations."""
    return math.ceil(1 / (1 - r) - 1e-9)  # 1 / (1 - 0.9) is a rounding error more than 10


def offsets(count: int, stride: int) -> list[int]:
    """Where in a bin each of ``count`` heads has its destination (the published ``no_rand``)."""
    return [max(stride // count, 1) * head % stride for head in range(count)]


def bin_match(metric: Tensor, stride: int, r: int, at: Sequence[int] | None = None) -> tuple[Tensor, int]:
    """The matching of tokens with ``metric`` (B, N, C), or of each head with its own, (B, H, N, C), compared by cosine.

    Every bin of ``stride`` consecutive tokens has one destination, at position ``at`` of its head (default: by
    :func:`offsets`); a remainder of fewer tokens has none. The ``r`` others that are most similar to a destination merge
    into it. Returns for every token the row (B, [H,] N) it goes to and the number of rows, ordered [unmerged | destinations].
    """
    if metric.dim() == 3:
        index, count = bin_match(metric[:, None], stride, r, at)
        return index[:, 0], count
    batch, heads, total, _ = metric.shape
    stride = min(stride, total)
    bins = total // stride
    r = max(0, min(r, total - bins))
    unmerged = total - bins - r
    with torch.no_grad():
        first = torch.tensor(offsets(heads, stride) if at is None else list(at), device=metric.device)
        rows = torch.arange(total, device=metric.device)
        own = torch.zeros(heads, total, device=metric.device)
        own.scatter_(1, rows[:bins] * stride + first[:, None], 1.0)
        order = own.argsort(dim=1, descending=True, stable=True).expand(batch, -1, -1)
        to, others = order[..., :bins], order[..., bins:]
        unit = F.normalize(metric, dim=-1)
        score = _rows(unit, others) @ _rows(unit, to).transpose(-1, -2)
        best, partner = score.max(dim=-1)
        ranked = best.argsort(dim=-1, descending=True, stable=True)
        merged, kept = ranked[..., :r], ranked[..., r:]
        place = torch.empty_like(partner)
        place.scatter_(2, kept, rows[:unmerged].expand_as(kept))
        place.scatter_(2, merged, partner.gather(2, merged) + unmerged)
        index = torch.empty_like(order).scatter(2, others, place)
        return index.scatter(2, to, (rows[:bins] + unmerged).expand_as(to)), total - r


def _rows(x: Tensor, index: Tensor) -> Tensor:
    """Rows of x (B, H, N, C) at index (B, H, M)."""
    return x.gather(2, index[..., None].expand(-1, -1, -1, x.shape[-1]))


def merge_rows(x: Tensor, index: Tensor, count: int) -> Tensor:
    """Plain mean (B, count, C) of the rows of x (B, N, C) that ``index`` (B, N) sends to the same place; ``take(.., index)``
    copies it back to each of them."""
    return sum_rows(x, index, count) / sum_rows(torch.ones_like(x[..., :1]), index, count)


class GitMergeStudent(FoldingStudent):
    """The teacher, whose blocks work on merged tokens and update all of them: every token keeps its own state.

    Tokens stay sorted along the curve from begin to end, ``Stream.source`` restores their order. A block matches by its own
    normalised input, which costs nothing; the values, which the paper takes, would need their projection on all tokens. One
    matching serves all heads, so blocks take turns at the destinations as heads do in the original.
    """

    knob = "r"

    def begin(self, embedding: Embedding, pos: Tensor) -> tuple[Stream, Tensor]:
        stream, base = super().begin(embedding, pos)
        order = z_order(embedding.centers)
        return select(stream, order, order.argsort(dim=1)), base

    def fold(self, index: int, x: Tensor, strength: float) -> tuple[Change, Change] | None:
        r = int(x.shape[1] * strength)
        if r == 0:
            return None
        stride = min(bin_stride(strength), int(x.shape[1]))  # one bin has them all
        to, count = bin_match(x, stride, r, [offsets(len(self.blocks), stride)[index]])
        return partial(merge_rows, index=to, count=count), partial(take, index=to)


@dataclass(frozen=True)
class GitMerge(Method):
    """``r``: share of the tokens that is merged away in every block, 0 for none (the published guide calls the same number a
    retention ratio). ``upsample``: distilled students end in Foundry's CAU. ``trained_r``: values of r that training steps
    draw from, so that one distilled student serves them all."""

    name: ClassVar[str] = "gitmerge"
    family: ClassVar[Family] = "merge"
    paper: ClassVar[Paper] = Paper(
        "How Many Tokens Do 3D Point Cloud Transformer Architectures Really Need?", "2511.05449"
    )
    abstract: ClassVar[str] = "merges in bins along a space-filling curve and undoes it in every block"
    variants: ClassVar[tuple[str, ...]] = (OFF_THE_SHELF, FMD)
    grid: ClassVar[dict[str, tuple[Any, ...]]] = {"r": (0.57, 0.85)}
    matched: ClassVar[tuple[dict[str, Any], ...]] = ({"r": 0.73},)
    inference: ClassVar[tuple[str, ...]] = ("r",)

    r: Annotated[float, Bounds(at_least=0, below=1)] = 0.57
    upsample: bool = True
    trained_r: Annotated[tuple[float, ...], Bounds(at_least=0, below=1)] = (0.57, 0.85)

    def compress(self, teacher: Encoder, data: PointCloudDataset, ctx: Context) -> Encoder:
        source = require_transformer(teacher, self.name)
        return GitMergeStudent(source, self.upsample and ctx.trains, self.trained_r)
