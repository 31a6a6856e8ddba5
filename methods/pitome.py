"""PiToMe: token merging that protects informative tokens (Tran et al., NeurIPS 2024, arXiv 2405.16148), for point transformers.

Tokens that lie in large groups of similar tokens have a high energy and may merge; isolated ones have a low energy and are
protected. Margins, layers and the row order are those of the authors' code for vision transformers. As in ToMe, tokens merge
between attention and MLP, and positions, which point transformers add before *every* block, by the same weights.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

import torch
import torch.nn.functional as F
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


def layer_margin(layer: int, depth: int) -> float:
    """m = 0.75 - 0.75 l / L, the similarity below which a neighbour's share in the energy saturates; ``layer`` from 0."""
    return 0.75 - 0.75 * layer / depth


def protects(layer: int, depth: int) -> bool:
    """Whether layer ``layer`` protects tokens: the later half of the layers does."""
    return layer >= math.ceil(depth / 2)


def merged_count(count: int, ratio: float) -> int:
    """r, how many of ``count`` tokens go when the fraction ``ratio`` is kept: floor(T - T ratio)."""
    return math.floor(count - count * ratio)


def energy(similarity: Tensor, margin: float) -> Tensor:
    """Mean over all tokens j, i itself included, of ELU(sim_ij - margin): (B, N, N) -> (B, N)."""
    return F.elu(similarity - margin).mean(dim=-1)


def pitome_match(metric: Tensor, r: int, margin: float, protect: bool) -> tuple[Tensor, int]:
    """Ordered bipartite matching: of the tokens sorted by energy every second one, a, looks for its most similar other one, b.

    ``metric`` (B, N, C) is compared by cosine; ``r``, at most N // 2, tokens go. With ``protect`` only the 2r tokens of highest
    energy take part and every a merges; without, all tokens do and the r best pairs merge. Returns for every token the row
    (B, N) it goes to and the number of rows, ordered [protected | unmerged a | b], each by falling energy or similarity.
    """
    batch, count, _ = metric.shape
    rows = torch.arange(count, device=metric.device).expand(batch, -1)
    r = min(r, count // 2)
    if r <= 0:
        return rows, count
    with torch.no_grad():
        unit = F.normalize(metric, dim=-1)
        similarity = unit @ unit.transpose(-1, -2)
        order = energy(similarity, margin).argsort(dim=-1, descending=True, stable=True)
        taking_part = 2 * r if protect else count
        a, b = order[:, :taking_part:2], order[:, 1:taking_part:2]
        best, partner = take(take(similarity, a).transpose(1, 2), b).max(dim=1)
        by_similarity = best.argsort(dim=-1, descending=True, stable=True)
        merged, unmerged = by_similarity[:, :r], by_similarity[:, r:]
        first = torch.cat([order[:, taking_part:], a.gather(1, unmerged)], dim=1)
        index = torch.empty_like(order)
        index.scatter_(1, first, rows[:, : first.shape[1]])
        index.scatter_(1, b, rows[:, first.shape[1] : count - r])
        index.scatter_(1, a.gather(1, merged), partner.gather(1, merged) + first.shape[1])
    return index, count - r


class PiToMeStudent(MergingStudent):
    """The teacher with the fraction ``ratio`` of the tokens left after every block."""

    knob = "ratio"

    def reduce(self, index: int, stream: Stream, attended: Attended, strength: float) -> Stream:
        depth, r = len(self.blocks), merged_count(stream.x.shape[1], strength)
        if r == 0:
            return stream
        margin, protect = layer_margin(index, depth), protects(index, depth)
        return merge(stream, *pitome_match(attended.keys, r, margin, protect))


@dataclass(frozen=True)
class PiToMe(Method):
    """``ratio``: fraction of the tokens that every block keeps, from 0.5 (2r tokens have to exist) to 1 (no merging).
    ``proportional``: add log(size) to attention; the authors' code has the switch and never applies it. ``upsample``: distilled
    students reconstruct the patches by Foundry's CAU instead of copying merged rows. ``trained_ratio``: values of the ratio
    that training steps draw from, so that one distilled student serves them all."""

    name: ClassVar[str] = "pitome"
    family: ClassVar[Family] = "merge"
    paper: ClassVar[Paper] = Paper(
        "Accelerating Transformers with Spectrum-Preserving Token Merging", "2405.16148"
    )
    abstract: ClassVar[str] = "merges similar tokens in every block and protects isolated ones"
    variants: ClassVar[tuple[str, ...]] = (OFF_THE_SHELF, FMD)
    grid: ClassVar[dict[str, tuple[Any, ...]]] = {"ratio": (0.5, 0.78)}
    matched: ClassVar[tuple[dict[str, Any], ...]] = ({"ratio": 0.63},)
    inference: ClassVar[tuple[str, ...]] = ("ratio", "proportional")

    ratio: Annotated[float, Bounds(at_least=0.5, at_most=1)] = 0.78
    proportional: bool = False
    upsample: bool = True
    trained_ratio: Annotated[tuple[float, ...], Bounds(at_least=0.5, at_most=1)] = (0.5, 0.78)

    def compress(self, teacher: Encoder, data: PointCloudDataset, ctx: Context) -> Encoder:
        source = require_transformer(teacher, self.name)
        return PiToMeStudent(source, self.upsample and ctx.trains, self.trained_ratio)
