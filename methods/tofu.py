"""Token Fusion, ToFu (Kim et al., WACV 2024, arXiv 2312.01026), for point transformers.

ToMe's bipartite matching decides which tokens are redundant. Early blocks, which respond least linearly to averaged inputs,
*prune* them: the partner's value is kept as it is. Later blocks *merge* them by MLERP, an average that keeps the norm which
plain averaging would shrink. Point transformers add the position before *every* block: a pruned token's goes with it, and
merged ones are averaged plainly, as centres are, since their norm carries no feature.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
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
    PointTransformer,
    Stream,
    merge,
    require_transformer,
    select,
)
from foundry_bench.methods.tome import match


def survivors(index: Tensor, count: int) -> Tensor:
    """The token (B, count) whose value each row of ToMe's matching ``index`` (B, N) keeps: an odd token where there is one,
    since only even ones are merged away, else the unmerged even one."""
    tokens = torch.arange(index.shape[1], device=index.device).expand_as(index)
    kept = index.new_empty(index.shape[0], count)
    kept.scatter_(1, index[:, ::2], tokens[:, ::2])
    return kept.scatter_(1, index[:, 1::2], tokens[:, 1::2])


def prune(stream: Stream, index: Tensor, count: int) -> Stream:
    """Drop the tokens that ``index`` (B, N) would merge away; their patches are counted with, and read, the partner."""
    return select(stream, survivors(index, count), index)


def mlerp(stream: Stream, index: Tensor, count: int) -> Stream:
    """Merge the rows that ``index`` (B, N) sends to the same place: x = mean / ||mean|| * max ||x_i||.

    The mean is weighted by size, as all means of merged tokens are; the largest norm is that of *all* tokens of the place.
    """
    merged = merge(stream, index, count)
    norms = stream.x.norm(dim=-1, keepdim=True)
    largest = norms.new_zeros(norms.shape[0], count, 1).scatter_reduce(1, index[..., None], norms, "amax")
    return replace(merged, x=F.normalize(merged.x, dim=-1) * largest)


class ToFuStudent(MergingStudent):
    """The teacher with ``r`` tokens less after every block: the first ``pruning`` blocks prune, the others merge."""

    knob = "r"

    def __init__(
        self, teacher: PointTransformer, upsample: bool, trained_r: Sequence[int], pruned: float
    ) -> None:
        super().__init__(teacher, upsample, trained_r)
        self.pruning = math.ceil(pruned * len(self.blocks))

    def reduce(self, index: int, stream: Stream, attended: Attended, strength: int) -> Stream:
        if min(strength, stream.x.shape[1] // 2) == 0:
            return stream
        fuse = prune if index < self.pruning else mlerp
        return fuse(stream, *match(attended.keys, strength))


@dataclass(frozen=True)
class ToFu(Method):
    """``r``: tokens fused a block. ``pruned``: share of the blocks, from the first, that prune instead of merging.
    ``proportional``: add log(size) to attention, as ToMe can. ``upsample``: distilled students reconstruct the patches by
    Foundry's CAU instead of copying fused rows. ``trained_r``: values of r that training steps draw from, so that one distilled
    student serves them all."""

    name: ClassVar[str] = "tofu"
    family: ClassVar[Family] = "merge"
    paper: ClassVar[Paper] = Paper(
        "Token Fusion: Bridging the Gap between Token Pruning and Token Merging", "2312.01026"
    )
    abstract: ClassVar[str] = (
        "prunes similar tokens in early blocks, merges them with their norm kept in late ones"
    )
    variants: ClassVar[tuple[str, ...]] = (OFF_THE_SHELF, FMD)
    grid: ClassVar[dict[str, tuple[Any, ...]]] = {"r": (8, 32)}
    matched: ClassVar[tuple[dict[str, Any], ...]] = ({"r": 16},)
    inference: ClassVar[tuple[str, ...]] = ("r", "proportional")

    r: Annotated[int, Bounds(at_least=0)] = 8
    pruned: Annotated[float, Bounds(at_least=0, at_most=1)] = 0.5
    proportional: bool = False
    upsample: bool = True
    trained_r: Annotated[tuple[int, ...], Bounds(at_least=0)] = (8, 32)

    def compress(self, teacher: Encoder, data: PointCloudDataset, ctx: Context) -> Encoder:
        source = require_transformer(teacher, self.name)
        return ToFuStudent(source, self.upsample and ctx.trains, self.trained_r, self.pruned)
