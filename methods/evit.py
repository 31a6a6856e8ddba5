"""EViT: expediting vision transformers by token reorganisation (Liang et al., ICLR 2022, arXiv 2202.07800).

In the blocks at 1/4, 2/4 and 3/4 of the depth, between attention and MLP, the most attended tokens stay and the others are
fused into one. The paper scores a token by the attention the class token pays to it. Point-JEPA's encoder has no class token:
here the score is the attention that the token *receives*, averaged over heads and over all queries.

As published, the fused token is ``sum_i score_i x_i`` over the tokens that leave, not divided by the sum of the scores, which
is below 1. That it shrinks matters little where only the class token is read, but here every dropped patch reads it: with
``normalise`` it is the weighted mean. Point transformers add the position before every block, so its position is the sum with
the same weights. The paper's schedule, which lowers the keep rate during training, is replaced by drawing it at every step.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
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
    PointTransformer,
    ReducingStudent,
    Stream,
    require_transformer,
    sum_rows,
    take,
)

EPS = 1e-12


def quarters(depth: int) -> tuple[int, ...]:
    """The blocks (0-based) at 1/4, 2/4 and 3/4 of the depth, without repetition: 3, 6 and 9 of 12."""
    return tuple(sorted({depth * i // 4 for i in (1, 2, 3)}))


def kept_tokens(keep: float, tokens: int) -> int:
    """ceil(keep N). ``tokens`` counts the fused token of an earlier block like any other."""
    return math.ceil(keep * tokens)


def split(scores: Tensor, count: int) -> tuple[Tensor, Tensor, Tensor]:
    """Attentive tokens (B, count), best first; inattentive ones (B, N - count); and for each of ``scores`` (B, N) the row
    (B, N) that stands for it: its rank, or ``count``, the fused token behind the kept ones."""
    order = scores.argsort(dim=1, descending=True, stable=True)
    return order[:, :count], order[:, count:], order.argsort(dim=1).clamp_max(count)


def fuse(x: Tensor, weights: Tensor) -> Tensor:
    """One token (B, 1, C) of the inattentive x (B, N, C): their sum, each times its weight (B, N)."""
    return (x * weights[..., None]).sum(dim=1, keepdim=True)


def reorganise(stream: Stream, scores: Tensor, count: int, normalise: bool = False) -> Stream:
    """Keep the ``count`` tokens of the highest ``scores`` (B, N) and fuse the others; dropped patches read the fused row."""
    attentive, inattentive, index = split(scores, count)
    weights = scores.gather(1, inattentive)
    if normalise:
        weights = weights / weights.sum(dim=1, keepdim=True).clamp_min(EPS)
    both = torch.cat([stream.x, stream.pos], dim=-1)
    both = torch.cat([take(both, attentive), fuse(take(both, inattentive), weights)], dim=1)
    x, pos = both.chunk(2, dim=-1)
    return Stream(x, pos, sum_rows(stream.size, index, count + 1), index.gather(1, stream.source))


class EViTStudent(MergingStudent):
    """The teacher with ceil(``keep`` N) tokens and a fused one after the attention of three blocks."""

    knob = "keep"
    needs_received = True

    def __init__(
        self, teacher: PointTransformer, upsample: bool, trained_at: Sequence[float], normalise: bool
    ) -> None:
        super().__init__(teacher, upsample, trained_at)
        self.normalise = normalise

    def step(self, index: int, block: Any, stream: Stream) -> Stream:
        if index in quarters(len(self.blocks)):
            return super().step(index, block, stream)
        # scores rule the fused attention kernel out, so only the blocks that use them compute them
        return ReducingStudent.step(self, index, block, stream)

    def reduce(self, index: int, stream: Stream, attended: Attended, strength: float) -> Stream:
        tokens = int(stream.x.shape[1])
        count = kept_tokens(strength, tokens)
        if count >= tokens or attended.received is None:
            return stream
        return reorganise(stream, attended.received, count, self.normalise)


@dataclass(frozen=True)
class EViT(Method):
    """``keep``: share of the tokens that stay at each of the three blocks; 1 is the teacher. ``normalise``: the fused token
    is a weighted mean, not the paper's unnormalised sum. ``upsample``: distilled students reconstruct the patches by Foundry's
    CAU instead of copying the fused row. ``trained_keep``: values of ``keep`` that training steps draw from, so that one
    distilled student serves them all."""

    name: ClassVar[str] = "evit"
    family: ClassVar[Family] = "drop"
    paper: ClassVar[Paper] = Paper(
        "Not All Patches are What You Need: Expediting Vision Transformers via Token Reorganizations",
        "2202.07800",
    )
    abstract: ClassVar[str] = "the most attended tokens go on, the others are fused into one, at three depths"
    variants: ClassVar[tuple[str, ...]] = (OFF_THE_SHELF, FMD)
    grid: ClassVar[dict[str, tuple[Any, ...]]] = {"keep": (0.3,), "normalise": (False, True)}
    matched: ClassVar[tuple[dict[str, Any], ...]] = ({"keep": 0.1, "normalise": True},)
    inference: ClassVar[tuple[str, ...]] = ("keep",)

    keep: Annotated[float, Bounds(above=0, at_most=1)] = 0.3
    normalise: bool = False
    upsample: bool = True
    trained_keep: Annotated[tuple[float, ...], Bounds(above=0, at_most=1)] = (0.3,)

    def compress(self, teacher: Encoder, data: PointCloudDataset, ctx: Context) -> Encoder:
        source = require_transformer(teacher, self.name)
        return EViTStudent(source, self.upsample and ctx.trains, self.trained_keep, self.normalise)
