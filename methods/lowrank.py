"""Low-rank layers: W = U S V^T cut at rank r, weighted by what the layer's inputs are (SVD-LLM, arXiv 2403.07378; ASVD,
arXiv 2312.05821).

The ranks are the same share of every layer, or spread over the layers by what a direction is worth for its cost, as SVD-LLM V2
(arXiv 2503.12340) and Swift-SVD (arXiv 2604.01609) do within layers of one kind. What a direction is worth is measured here at
the encoder's output tokens, to first order, so that layers of all kinds compete, the tokenizer's with those of the blocks.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal

import torch
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
    calibration_patches,
    global_ranks,
    linear,
    linears,
    replace,
    second_moments,
    trainable_copy,
)


def rank(outputs: int, inputs: int, keep: float) -> int | None:
    """r = floor(keep m n / (m + n)), at least 1, for a layer n -> m; None where two factors do not cost less than m n."""
    r = max(1, math.floor(keep * outputs * inputs / (outputs + inputs)))
    return r if keep < 1 and r * (outputs + inputs) < outputs * inputs else None


def saved_rank(name: str, shapes: Mapping[str, tuple[int, ...]]) -> int | None:
    """The rank that layer ``name`` has in a saved student with tensors of these ``shapes``, None for dense."""
    return next(iter(shapes.get(f"{name}.0.weight", ())), None) or None


def directions(weight: Tensor, moment: Tensor | None = None) -> Tensor:
    """Left singular vectors U (m, k) of ``weight`` W (m, n), those that matter most first, in float64.

    With the second moment E[x x^T] = S S^T (n, n) of the inputs they are those of W S, which SVD-LLM calls whitened.
    """
    w = weight.detach().double()
    whitened = w if moment is None else w @ torch.linalg.cholesky(moment).to(w.device)
    return torch.linalg.svd(whitened, full_matrices=False).U


def truncated_svd(weight: Tensor, r: int, moment: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Factors (m, r) and (r, n) whose product W' is the best of rank r for ``weight`` W (m, n), in float64.

    Without ``moment``, best is the smallest |W - W'|; with it the smallest E|(W - W') x|^2. SVD-LLM cuts the whitened
    W S = U Sigma V^T as W' = U_r Sigma_r V_r^T S^-1. Since Sigma_r V_r^T = U_r^T W S, that is U_r (U_r^T W): S is never
    inverted.
    """
    u = directions(weight, moment)[:, :r]
    return u, u.T @ weight.detach().double()


def factored(layer: nn.Linear, r: int, moment: Tensor | None) -> nn.Sequential:
    """``layer`` as two linear layers through r numbers; the first has no bias."""
    second, first = (factor.to(layer.weight.dtype) for factor in truncated_svd(layer.weight, r, moment))
    return nn.Sequential(linear(first, None), linear(second, layer.bias))


@dataclass(frozen=True)
class LowRank(Method):
    """Every linear layer becomes two; one that would not get cheaper, or that reads or writes coordinates, stays.

    ``keep``: share of the multiply-adds that a layer's factors may cost, measured at the rank r = mn / (m + n) where they
    cost as much as the layer; 1 changes nothing. ``allocate``: ``uniform``, every layer keeps that share; ``global``, all
    layers together cost what they would then, each direction is kept for what it is worth at the output tokens for its cost,
    and a layer may stay dense. ``tokenizer``: whether the tokenizer's layers are factored too; it is then trained, on patches;
    if not it is the teacher's, frozen. ``whiten``: cut what matters least to the layers' outputs on calibration clouds, not
    what is least in the weights (plain SVD). ``samples``: calibration clouds, of training objects.
    """

    name: ClassVar[str] = "lowrank"
    family: ClassVar[Family] = "factor"
    paper: ClassVar[Paper] = Paper(
        "SVD-LLM: Truncation-aware Singular Value Decomposition for Large Language Model Compression",
        "2403.07378",
    )
    abstract: ClassVar[str] = "two thin layers for one, cut where the layer's inputs lose least"
    variants: ClassVar[tuple[str, ...]] = (OFF_THE_SHELF, FMD)
    grid: ClassVar[dict[str, tuple[Any, ...]]] = {"keep": (0.38, 0.22)}
    also: ClassVar[tuple[dict[str, Any], ...]] = tuple(
        {"keep": keep, "allocate": "global"} for keep in (0.22, 0.12)
    )
    matched: ClassVar[tuple[dict[str, Any], ...]] = ({"keep": 0.36}, {"keep": 0.12, "allocate": "global"})
    stacked_on: ClassVar[tuple[str, ...]] = (
        "tome[r=8,proportional=true]+lowrank[keep=0.22]+fmd",
        "foundry[supertokens=16,assignment=slots]+lowrank[keep=0.22]+fmd",
    )

    keep: Annotated[float, Bounds(above=0, at_most=1)] = 0.38
    allocate: Literal["uniform", "global"] = "uniform"
    tokenizer: bool = True
    whiten: bool = True
    samples: Annotated[int, Bounds(at_least=1)] = 64

    def compress(self, teacher: Encoder, data: PointCloudDataset, ctx: Context) -> Encoder:
        student = trainable_copy(teacher, self.tokenizer)
        layers = linears(student, self.tokenizer)
        ranks = {
            name: rank(layer.out_features, layer.in_features, self.keep) for name, layer in layers.items()
        }
        if all(r is None for r in ranks.values()):
            return student
        moments: dict[str, Tensor] = {}
        patches = calibration_patches(student, data, self.samples) if self._calibrates else None
        if self.whiten and patches is not None:
            moments = second_moments(student, patches, layers)
        if self.allocate == "global" and ctx.shapes is not None:
            ranks = {name: saved_rank(name, ctx.shapes) for name in layers}
        elif self.allocate == "global" and patches is not None:
            bases = {name: directions(layer.weight, moments.get(name)) for name, layer in layers.items()}
            ranks = global_ranks(student, patches, layers, bases, ranks)
        for name, r in ranks.items():
            if r is not None:
                replace(student, name, factored(layers[name], r, moments.get(name)))
        return student

    @property
    def _calibrates(self) -> bool:
        return self.whiten or self.allocate == "global"
