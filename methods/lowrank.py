"""Low-rank layers: W = U S V^T cut at rank r, weighted by what the layer's inputs are (SVD-LLM, arXiv 2403.07378; ASVD,
arXiv 2312.05821)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

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


def truncated_svd(weight: Tensor, r: int, moment: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Factors (m, r) and (r, n) whose product W' is the best of rank r for ``weight`` W (m, n), in float64.

    Without ``moment``, best is the smallest |W - W'|. With the second moment E[x x^T] = S S^T (n, n) of the inputs it is the
    smallest E|(W - W') x|^2: SVD-LLM whitens, W S = U Sigma V^T, and cuts W' = U_r Sigma_r V_r^T S^-1. Since
    Sigma_r V_r^T = U_r^T W S, that is U_r (U_r^T W): S is never inverted.
    """
    w = weight.detach().double()
    whitened = w if moment is None else w @ torch.linalg.cholesky(moment).to(w.device)
    u = torch.linalg.svd(whitened, full_matrices=False).U[:, :r]
    return u, u.T @ w


def factored(layer: nn.Linear, r: int, moment: Tensor | None) -> nn.Sequential:
    """``layer`` as two linear layers through r numbers; the first has no bias."""
    second, first = (factor.to(layer.weight.dtype) for factor in truncated_svd(layer.weight, r, moment))
    return nn.Sequential(linear(first, None), linear(second, layer.bias))


@dataclass(frozen=True)
class LowRank(Method):
    """Every linear layer becomes two; one that would not get cheaper, or that reads or writes coordinates, stays.

    ``keep``: share of the multiply-adds that a layer's factors may cost, measured at the rank r = mn / (m + n) where they
    cost as much as the layer; 1 changes nothing. ``tokenizer``: whether the tokenizer's layers are factored too; it is then
    trained, on patches; if not it is the teacher's, frozen. ``whiten``: cut what matters least to the layers' outputs on
    calibration clouds, not what is least in the weights (plain SVD). ``samples``: calibration clouds, of training objects.
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
    matched: ClassVar[tuple[dict[str, Any], ...]] = ({"keep": 0.36},)

    keep: Annotated[float, Bounds(above=0, at_most=1)] = 0.38
    tokenizer: bool = True
    whiten: bool = True
    samples: Annotated[int, Bounds(at_least=1)] = 64

    def compress(self, teacher: Encoder, data: PointCloudDataset, ctx: Context) -> Encoder:
        student = trainable_copy(teacher, self.tokenizer)
        ranks = {
            name: (layer, r)
            for name, layer in linears(student, self.tokenizer).items()
            if (r := rank(layer.out_features, layer.in_features, self.keep)) is not None
        }
        moments: dict[str, Tensor] = {}
        if self.whiten and ranks:
            patches = calibration_patches(student, data, self.samples)
            moments = second_moments(student, patches, {name: layer for name, (layer, _) in ranks.items()})
        for name, (layer, r) in ranks.items():
            replace(student, name, factored(layer, r, moments.get(name)))
        return student
