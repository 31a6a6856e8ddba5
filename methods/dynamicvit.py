"""DynamicViT: dynamic token sparsification (Rao et al., NeurIPS 2021, arXiv 2106.02034) for point transformers.

Before the blocks at 1/4, 2/4 and 3/4 of the depth a small predictor decides which tokens go on. In training all tokens stay
and a hard Gumbel-softmax decision hides the dropped ones from attention; at inference the best int(T rho^k) are gathered.

Here: there is no class token to exempt from dropping. Predictors see what their block sees, tokens with positions. A dropped
patch reads the row of the kept one whose centre is nearest, in training too. Of the paper's losses the ratio loss stays, as
the student's penalty; its class, logit and token distillation terms are replaced by the token loss that the harness gives to
every method. Predictors start with a last layer that is zero but for a bias towards the share to keep: off the shelf all
tokens then score alike and the *first* stay, which are the farthest-point subset, and training starts at its target ratio.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Annotated, Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

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
    Tokens,
    nearest,
    require_transformer,
    sum_rows,
    take,
)
from foundry_bench.methods.evit import quarters

EPS = 1e-6
FAR = 1e6
"""A coordinate that is nearest to nothing."""


class Predictor(nn.Module):
    """Log-probabilities (B, N, 2) of keeping (class 0) and dropping each token, from half local and half global features."""

    def __init__(self, dim: int, rho: float) -> None:
        super().__init__()
        self.half = dim // 2
        self.inner = nn.Sequential(nn.LayerNorm(dim), nn.Linear(dim, dim), nn.GELU())
        last = nn.Linear(dim // 4, 2)
        self.outer = nn.Sequential(
            nn.Linear(dim, dim // 2),
            nn.GELU(),
            nn.Linear(dim // 2, dim // 4),
            nn.GELU(),
            last,
            nn.LogSoftmax(-1),
        )
        share = min(rho, 0.99)
        nn.init.zeros_(last.weight)
        last.bias.data = torch.tensor([math.log(share / (1 - share)), 0.0])

    def forward(self, x: Tensor, policy: Tensor) -> Tensor:
        """``policy`` (B, N, 1) weighs the tokens x (B, N, D) in the global mean, so that dropped ones have no say."""
        x = self.inner(x)
        local, rest = x[..., : self.half], x[..., self.half :]
        # at least 1: a cloud may have lost all its tokens during training
        mean = (rest * policy).sum(dim=1, keepdim=True) / policy.sum(dim=1, keepdim=True).clamp_min(1)
        return self.outer(torch.cat([local, mean.expand_as(rest)], dim=-1))


def gumbel_keep(log_probability: Tensor, policy: Tensor, tau: float) -> Tensor:
    """Hard decision (B, N, 1) with the gradient of the softmax (straight-through); what was dropped stays dropped."""
    return F.gumbel_softmax(log_probability, tau=tau, hard=True)[..., :1] * policy


def top_keep(log_probability: Tensor, count: int) -> Tensor:
    """Index (B, count) of the tokens most likely kept, in their old order; the first of those that score alike."""
    order = log_probability[..., 0].argsort(dim=1, descending=True, stable=True)
    return order[:, :count].sort(dim=1).values


def softmax_with_policy(scores: Tensor, policy: Tensor) -> Tensor:
    """Softmax of ``scores`` (B, H, N, N) over the keys with ``policy`` (B, N, 1) 1; every token also sees itself.

    It multiplies exponentials by the decision instead of adding -inf, so that hidden keys have a gradient too. The paper's
    code scales them by the largest score of *all* keys. No class token is always visible here, so that all visible scores may
    lie far below it and that gradient reaches 1 / eps; it is bounded by taking the largest visible score and capping hidden
    ones at it. The values stay the same up to eps.
    """
    seen = policy.float().transpose(1, 2)[:, None]
    seen = seen + (1 - seen) * torch.eye(scores.shape[-1], device=scores.device)
    scores = scores.float()
    largest = scores.masked_fill(seen < 0.5, -torch.inf).amax(dim=-1, keepdim=True).detach()
    weights = (scores - largest).clamp_max(0).exp() * seen
    return (weights + EPS / scores.shape[-1]) / (weights.sum(dim=-1, keepdim=True) + EPS)


def block_with_policy(block: Any, x: Tensor, policy: Tensor) -> Tensor:
    """A timm ``Block`` on x (B, N, D) in which the tokens with ``policy`` (B, N, 1) 0 are seen by themselves only."""
    attention = block.attn
    qkv = attention.qkv(block.norm1(x)).unflatten(-1, (3, attention.num_heads, -1))
    q, k, v = qkv.permute(2, 0, 3, 1, 4).unbind(0)
    weights = softmax_with_policy((q * attention.scale) @ k.transpose(-2, -1), policy)
    out = (weights.to(v.dtype) @ v).transpose(1, 2).flatten(2)
    x = x + attention.proj(out)
    return x + block.mlp(block.norm2(x))


def stand_in(centers: Tensor, rows: Tensor, policy: Tensor) -> Tensor:
    """The row (B, T) that each patch reads: its own if it is kept, else the kept one with the nearest centre.

    Row i is patch ``rows[:, i]`` (B, N) of those at ``centers`` (B, T, 3) and is kept where ``policy`` (B, N, 1) is 1.
    """
    dropped = policy.detach() < 0.5
    # double, which autocast leaves alone: half-precision distances would mistake neighbours
    places = centers.double()
    source = nearest(places, take(places, rows).masked_fill(dropped, FAR))
    own = torch.arange(rows.shape[1], device=rows.device).expand_as(rows)
    return source.scatter(1, rows, torch.where(dropped[..., 0], source.gather(1, rows), own))


def ratio_loss(shares: Sequence[Tensor], rho: float) -> Tensor:
    """Mean over stages k = 1, 2, ... and clouds of (share kept - rho^k)^2; one (B,) tensor of ``shares`` a stage."""
    errors = [(share - rho ** (k + 1)).square().mean() for k, share in enumerate(shares)]
    return torch.stack(errors).mean()


class DynamicViTStudent(ReducingStudent):
    """The teacher with a predictor before three of its blocks."""

    def __init__(
        self, teacher: PointTransformer, rho: float, ratio_weight: float, tau: float, upsample: bool
    ) -> None:
        super().__init__(teacher, upsample)
        self.stages = quarters(self.config.depth)
        self.predictors = nn.ModuleList(Predictor(self.config.dim, rho) for _ in self.stages)
        self.rho, self.ratio_weight, self.tau = rho, ratio_weight, tau

    def kept_tokens(self, stage: int, patches: int) -> int:
        """int(T rho^k) tokens, at least one, go on from ``stage`` = k - 1; T is the number of patches."""
        return max(1, int(patches * self.rho ** (stage + 1)))

    def encode(self, embedding: Embedding, levels: bool = False) -> Tokens:
        stream, base = self.enter(embedding)
        policy, rows, patches = stream.size, stream.source, int(stream.x.shape[1])
        shares: list[Tensor] = []
        dense: list[Tensor] = []
        for i, block in enumerate(self.blocks):
            if i in self.stages:
                stage = self.stages.index(i)
                count = self.kept_tokens(stage, patches)
                if self.training:
                    policy = gumbel_keep(
                        self.predictors[stage](stream.x + stream.pos, policy), policy, self.tau
                    )
                    shares.append(policy.mean(dim=(1, 2)))
                elif count < stream.x.shape[1]:
                    kept = top_keep(self.predictors[stage](stream.x + stream.pos, policy), count)
                    stream = replace(stream, x=take(stream.x, kept), pos=take(stream.pos, kept))
                    rows, policy = rows.gather(1, kept), policy[:, :count]
            if shares:
                stream = self.through(stream, partial(block_with_policy, block), policy)
            else:
                stream = self.through(stream, block)
            if levels and (here := self.config.level_blocks.count(i)):
                read = readable(stream, rows, policy, embedding.centers)
                dense += [self.restore(read, base, final=False)] * here
        penalty = self.ratio_weight * ratio_loss(shares, self.rho) if shares else None
        return self.finish(readable(stream, rows, policy, embedding.centers), base, dense, penalty)


def readable(stream: Stream, rows: Tensor, policy: Tensor, centers: Tensor) -> Stream:
    """``stream`` as the un-merging functions know it; a dropped row that training carries along has size 0."""
    source = stand_in(centers, rows, policy)
    size = sum_rows(torch.ones_like(centers[..., :1]), source, stream.x.shape[1])
    return replace(stream, size=size, source=source)


@dataclass(frozen=True)
class DynamicViT(Method):
    """``rho``: share of the tokens that each of the three stages keeps (rho, rho^2 and rho^3 of all); training aims at it, 1 is
    the teacher. ``ratio_weight``: weight of the ratio loss. ``tau``: Gumbel temperature. ``upsample``: distilled students
    reconstruct the patches by Foundry's CAU instead of copying the nearest kept row."""

    name: ClassVar[str] = "dynamicvit"
    family: ClassVar[Family] = "drop"
    paper: ClassVar[Paper] = Paper(
        "DynamicViT: Efficient Vision Transformers with Dynamic Token Sparsification", "2106.02034"
    )
    abstract: ClassVar[str] = "a predictor chooses the tokens that go on, at three depths"
    variants: ClassVar[tuple[str, ...]] = (OFF_THE_SHELF, FMD)
    grid: ClassVar[dict[str, tuple[Any, ...]]] = {"rho": (0.4,)}
    matched: ClassVar[tuple[dict[str, Any], ...]] = ({"rho": 0.15},)

    rho: Annotated[float, Bounds(above=0, at_most=1)] = 0.4
    ratio_weight: Annotated[float, Bounds(at_least=0, at_most=1e6)] = 2.0
    tau: Annotated[float, Bounds(at_least=1e-3, at_most=1e3)] = 1.0
    upsample: bool = True

    def compress(self, teacher: Encoder, data: PointCloudDataset, ctx: Context) -> Encoder:
        source = require_transformer(teacher, self.name)
        upsample = self.upsample and ctx.trains
        return DynamicViTStudent(source, self.rho, self.ratio_weight, self.tau, upsample)
