"""Foundry: Foundation Model Distillation into SuperTokens (arXiv 2511.20721).

The paper has no public code; the equations are those of its text. Where it is silent, a parameter says what was chosen.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import torch
import torch.nn.functional as F
from sklearn.cluster import KMeans
from torch import Tensor, nn

from foundry_bench.encoder import Embedding, Encoder, Tokens
from foundry_bench.method import Method
from foundry_bench.students import TokenMLP, TokenStudent, require_transformer
from foundry_bench.teachers.transformer import PointTransformer, run_blocks
from foundry_bench.tokens import assigned_mean

if TYPE_CHECKING:
    from foundry_bench.context import Context
    from foundry_bench.datasets import PointCloudDataset


def assign(queries: Tensor, keys: Tensor, tau: float, noise: Tensor | None = None) -> Tensor:
    """Cross-attention map CAM (B, T, s): each *token* picks one SuperToken (argmax over s, never over T).

    ``queries`` (s, D) come from SuperTokens, ``keys`` (B, T, D) from tokens; logits are q.k / sqrt(D). With Gumbel
    ``noise`` (B, T, s) the result is one-hot forward and softmax backward (straight-through); without, plainly one-hot.
    """
    logits = (keys @ queries.T).float() / math.sqrt(keys.shape[-1])
    if noise is None:
        return one_hot(logits)
    soft = ((logits + noise) / tau).softmax(dim=-1)
    return one_hot(soft) + soft - soft.detach()


def one_hot(scores: Tensor) -> Tensor:
    """One-hot of the argmax over the last axis, without gradient."""
    return torch.zeros_like(scores).scatter_(-1, scores.argmax(dim=-1, keepdim=True), 1.0).detach()


def gumbel_like(logits_shape: tuple[int, ...], like: Tensor) -> Tensor:
    """Standard Gumbel noise."""
    return -torch.empty(logits_shape, device=like.device).exponential_().log()


class DSO(nn.Module):
    """Dynamic SuperToken Optimisation: learnable queries S (s, D) gather the input tokens."""

    def __init__(self, dim: int, supertokens: int, tau: float) -> None:
        super().__init__()
        self.supertokens = nn.Parameter(torch.randn(supertokens, dim))
        self.q, self.k, self.v = (nn.Linear(dim, dim) for _ in range(3))
        self.tau = tau
        nn.init.eye_(self.v.weight)
        nn.init.zeros_(self.v.bias)

    def forward(self, tokens: Tensor) -> Tensor:
        """CAM (B, T, s) of tokens (B, T, D)."""
        keys = self.k(tokens)
        queries = self.q(self.supertokens)
        noise = (
            gumbel_like((*keys.shape[:2], len(queries)), keys) if self.training and len(queries) > 1 else None
        )
        return assign(queries, keys, self.tau, noise).to(tokens.dtype)

    def gather(self, tokens: Tensor, cam: Tensor) -> Tensor:
        """SuperTokens (B, s, D): the mean value of the tokens assigned to each, zero where there are none."""
        return assigned_mean(self.v(tokens), cam)[0]


@torch.no_grad()
def seed_supertokens(dso: DSO, tokens: Tensor, sharpness: float, seed: int) -> None:
    """Start S at k-means centres of standardised ``tokens`` (N, D), with keys on the same scale.

    Logits then are cosine similarities times ``sharpness``, well above the Gumbel noise, so that the first steps already see
    stable groups. Starting from random S the noise decides, and training spends most of its steps on undoing that.
    """
    mean, std = tokens.mean(dim=0), tokens.std(dim=0) + 1e-4
    unit = F.normalize((tokens - mean) / std, dim=-1)
    count, dim = dso.supertokens.shape
    centers = KMeans(count, n_init=1, random_state=seed).fit(unit.double().cpu().numpy()).cluster_centers_
    dso.supertokens.copy_(F.normalize(torch.from_numpy(centers).to(tokens), dim=-1) * dim**0.5)
    nn.init.eye_(dso.q.weight)
    nn.init.zeros_(dso.q.bias)
    scale = sharpness / dim**0.5
    dso.k.weight.copy_(torch.diag(scale / std))
    dso.k.bias.copy_(-scale * mean / std)


def sample_tokens(teacher: PointTransformer, data: PointCloudDataset, count: int = 64) -> Tensor:
    """The teacher's tokens (count * T, D) of clouds spread over ``data``."""
    rows = np.unique(np.linspace(0, len(data.points) - 1, count).round().astype(int))
    points = torch.from_numpy(data.points[rows, : teacher.config.points])
    device = next(teacher.parameters()).device
    with torch.no_grad():
        return teacher.embed(teacher.tokenize(points.to(device))).tokens.flatten(0, 1)


class FoundryStudent(TokenStudent):
    """DSO -> the teacher's blocks on s SuperTokens -> CAU: ``Y = MLP(T + position + CAM S)``."""

    def __init__(
        self, teacher: PointTransformer, supertokens: int, tau: float, hidden_ratio: float, position: bool
    ) -> None:
        super().__init__(teacher, None if supertokens else [])
        dim = self.config.dim
        self.position = position
        self.dso = DSO(dim, supertokens, tau) if supertokens else None
        self.cau = TokenMLP(dim, round(dim * hidden_ratio))

    def encode(self, embedding: Embedding, levels: bool = False) -> Tokens:
        tokens, centers = embedding.tokens, embedding.centers
        base = tokens + self.positional_encoding(centers) if self.position else tokens
        if self.dso is None:
            out = self.cau(base)
            return Tokens(out, (out,) * 3 if levels else ())
        cam = self.dso(tokens)
        supertokens = self.dso.gather(tokens, cam)
        where, counts = assigned_mean(centers, cam.detach())
        keep = self.config.level_blocks[:2] if levels else ()
        x, kept = run_blocks(
            self.blocks, supertokens, self.positional_encoding(where.to(centers.dtype)), keep
        )
        out = self.cau(base + cam @ self.norm(x))
        dense = (*(self.cau(base + cam @ self.norm(level)) for level in kept), out) if levels else ()
        return Tokens(out, dense, aux={"assignment": cam, "tokens_kept": (counts > 0).sum(dim=1)})

    @property
    def cost_parts(self) -> dict[str, nn.Module]:
        return {"tokenizer": self.tokenizer, "decoder": self.cau}


@dataclass(frozen=True)
class Foundry(Method):
    """``supertokens`` = 0 is the control without any context: ``Y = MLP(T + position)``.

    ``position``: whether the CAU sees the patch's position. Without it, tokens (which are relative to their centre) cannot
    tell where they are unless their SuperToken says so. ``tau``: Gumbel temperature. ``hidden_ratio``: CAU hidden width / D.
    ``sharpness``: scale of the logits that SuperTokens start with, as k-means centres of tokens; 0 starts them at random.
    """

    name: ClassVar[str] = "foundry"
    grid: ClassVar[dict[str, tuple[Any, ...]]] = {"supertokens": (0, 1, 4, 16)}

    supertokens: int = 16
    tau: float = 1.0
    hidden_ratio: float = 1.0
    position: bool = True
    sharpness: float = 20.0

    def __post_init__(self) -> None:
        if self.supertokens < 0 or self.tau <= 0:
            raise ValueError(f"supertokens must be >= 0 and tau > 0, got {self.supertokens} and {self.tau}")

    def compress(self, teacher: Encoder, data: PointCloudDataset, ctx: Context) -> Encoder:
        source = require_transformer(teacher, self.name)
        student = FoundryStudent(source, self.supertokens, self.tau, self.hidden_ratio, self.position)
        if student.dso is not None and self.sharpness > 0:
            seed_supertokens(student.dso, sample_tokens(source, data), self.sharpness, ctx.seed)
        return student
