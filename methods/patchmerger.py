"""PatchMerger: learned queries merge the tokens once, half way through the network (Renggli et al., arXiv 2202.12015).

``PM(X) = softmax(Q LN(X)^T / sqrt(D)) LN(X)``, with the softmax over *tokens*: each of M queries reads a weighted mean of all
of them. Point transformers add the position before every block, so positions are merged by the same weights. The published
queries and norm start at random and mean nothing to a finished network; :func:`calibrate` says what they are here.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

import torch
import torch.nn.functional as F
from sklearn.cluster import KMeans
from torch import Tensor, nn

from foundry_bench.authoring import (
    FMD,
    OFF_THE_SHELF,
    Bounds,
    Context,
    Encoder,
    Family,
    Method,
    Paper,
    PointCloudDataset,
    PointTransformer,
    ReducingStudent,
    Stream,
    UserError,
    calibration_patches,
    require_transformer,
)

EPS = 1e-4
FEWEST = 1.1
"""Tokens that a query reads at least, calibrated: none reads fewer than one."""


def log_weights(queries: Tensor, tokens: Tensor) -> Tensor:
    """Logarithm (B, M, T) of what each of the ``queries`` (M, D) reads of normalised ``tokens`` (B, T, D); exponentials sum
    to 1 over the tokens."""
    logits = queries @ tokens.transpose(1, 2)
    return (logits.float() * tokens.shape[-1] ** -0.5).log_softmax(dim=-1)


def reading_weights(log_weight: Tensor) -> Tensor:
    """The soft un-merging (B, T, M): the transposed merging weights (their logarithm is (B, M, T)), each patch's row divided
    by its sum. Taken from logarithms, because every query may ignore a patch up to underflow."""
    return log_weight.transpose(1, 2).softmax(dim=-1)


@dataclass(frozen=True)
class MergedStream(Stream):
    """Tokens after the merger. Patches read them by ``reading`` (B, T, M); ``source`` is the row that weighs most."""

    reading: Tensor


class PM(nn.Module):
    """``tokens`` queries and a norm of their own; both start as published."""

    def __init__(self, dim: int, tokens: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(dim)
        self.queries = nn.Parameter(torch.randn(tokens, dim))

    def forward(self, stream: Stream) -> MergedStream:
        normed = self.norm(stream.x)
        log_weight = log_weights(self.queries, normed)
        both = torch.cat([normed, stream.pos.to(normed.dtype)], dim=-1)
        x, pos = (log_weight.exp().to(normed.dtype) @ both).to(normed.dtype).chunk(2, dim=-1)
        reading = reading_weights(log_weight)
        return MergedStream(x, pos, reading.sum(dim=1)[..., None], reading.argmax(dim=-1), reading)


@torch.no_grad()
def calibrate(merger: PM, tokens: Tensor, seed: int) -> None:
    """Give queries and norm a meaning without training, from unlabelled ``tokens`` (N, T, D) at the merger's depth.

    The norm's output is what the following blocks get, so its scale and shift restore each channel's mean and deviation.
    Queries are k-means centres of the standardised tokens, which makes logits cosines times a sharpness; the sharpness is
    the one at which a query reads T / M tokens (the exponential of its entropy), that is its share, on average;
    ``FEWEST`` where there are as many queries as tokens, or the sharpness had no end and queries no place in half precision.
    """
    flat, shape = tokens.flatten(0, 1), tokens.shape[-1:]
    mean, std, unit = flat.mean(dim=0), flat.std(dim=0) + EPS, F.layer_norm(flat, shape)
    weight = std / (unit.std(dim=0) + EPS)
    bias = mean - weight * unit.mean(dim=0)
    normed = F.layer_norm(tokens, shape, weight, bias)
    standard = F.normalize((normed.flatten(0, 1) - mean) / std, dim=-1)
    count = min(len(merger.queries), len(flat))  # those that no token is left for stay random
    fitted = KMeans(count, n_init=1, random_state=seed).fit(standard.double().cpu().numpy())
    centers = F.normalize(torch.from_numpy(fitted.cluster_centers_).to(flat), dim=-1) / std
    share = max(tokens.shape[1] / len(centers), FEWEST)
    low, high = 1e-2, 1e3
    for _ in range(24):
        sharpness = (low * high) ** 0.5
        log_weight = log_weights(sharpness * centers, normed)
        read = (-log_weight.exp() * log_weight).sum(dim=-1).exp().mean()
        low, high = (sharpness, high) if read > share else (low, sharpness)
    merger.norm.weight.copy_(weight)
    merger.norm.bias.copy_(bias)
    merger.queries[:count].copy_(sharpness * centers)


def sample_tokens_after(
    teacher: PointTransformer, data: PointCloudDataset, after: int, count: int = 32
) -> Tensor:
    """The teacher's tokens (count, T, D) after ``after`` blocks, of ``count`` training clouds of ``data``."""
    with torch.no_grad():
        embedding = teacher.embed(calibration_patches(teacher, data, count))
        pos = teacher.positional_encoding(embedding.centers)
        if after == 0:
            return embedding.tokens
        return teacher.run(embedding.tokens, pos, keep=(after - 1,))[1][0]


class PatchMergerStudent(ReducingStudent):
    """The teacher with a merger between two of its blocks; ``after`` blocks run on all tokens.

    A patch reads the mean of the merged rows, weighted by its share in each, followed by the teacher's norm.
    """

    def __init__(self, teacher: PointTransformer, tokens: int, after: int, upsample: bool) -> None:
        super().__init__(teacher, upsample)
        self.after = after
        self.merger = PM(self.config.dim, tokens)

    def before(self, index: int, stream: Stream) -> Stream:
        return self.merger(stream) if index == self.after else stream

    def restore(self, stream: Stream, base: Tensor, *, final: bool) -> Tensor:
        if not isinstance(stream, MergedStream):
            return super().restore(stream, base, final=final)
        rows = stream.reading.to(stream.x.dtype) @ stream.x
        if self.cau is not None:
            return self.cau(self.norm(rows), base)
        return self.norm(rows) if final else rows


@dataclass(frozen=True)
class PatchMerger(Method):
    """``tokens``: M, how many the merger leaves. ``after``: blocks that run before it, -1 for half of them as published; fewer
    save more. ``upsample``: distilled students reconstruct the patches by Foundry's CAU on top of the soft un-merging."""

    name: ClassVar[str] = "patchmerger"
    family: ClassVar[Family] = "pool"
    paper: ClassVar[Paper] = Paper("Learning to Merge Tokens in Vision Transformers", "2202.12015")
    abstract: ClassVar[str] = "learned queries merge the tokens once, half way through the network"
    variants: ClassVar[tuple[str, ...]] = (OFF_THE_SHELF, FMD)
    grid: ClassVar[dict[str, tuple[Any, ...]]] = {"tokens": (8,), "after": (-1, 1)}
    matched: ClassVar[tuple[dict[str, Any], ...]] = ({"tokens": 10, "after": 1},)

    tokens: Annotated[int, Bounds(at_least=1, at_most=1024)] = 8
    after: Annotated[int, Bounds(at_least=-1)] = -1
    upsample: bool = True

    def compress(self, teacher: Encoder, data: PointCloudDataset, ctx: Context) -> Encoder:
        source = require_transformer(teacher, self.name)
        depth = len(source.blocks)
        after = depth // 2 if self.after == -1 else self.after
        if after >= depth:
            raise UserError(
                f"{self.name} merges before a block, but after={after} of the teacher's {depth} leaves none"
            )
        student = PatchMergerStudent(source, self.tokens, after, self.upsample and ctx.trains)
        calibrate(student.merger, sample_tokens_after(source, data, after), ctx.seed)
        return student
