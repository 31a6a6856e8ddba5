"""Foundry: Foundation Model Distillation into SuperTokens (arXiv 2511.20721).

The paper has no public code; the equations are those of its text. Where it is silent, a parameter says what was chosen.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

import torch
import torch.nn.functional as F
from sklearn.cluster import KMeans
from torch import Tensor, nn

from foundry_bench.encoder import Embedding, Encoder, Tokens
from foundry_bench.method import Method
from foundry_bench.parameters.types import Bounds
from foundry_bench.students.base import CAU, TokenStudent, require_transformer
from foundry_bench.students.tokens import assigned_mean, content_order
from foundry_bench.teachers.prefix import Prefix
from foundry_bench.teachers.transformer import PointTransformer, run_blocks
from foundry_bench.training.token_cache import calibration_patches
from foundry_bench.variants import Family, Paper

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


def assign_softly(queries: Tensor, keys: Tensor, tau: float) -> Tensor:
    """The same map without the argmax: (B, T, s), each token's softmax over SuperTokens."""
    return ((keys @ queries.T).float() / (math.sqrt(keys.shape[-1]) * tau)).softmax(dim=-1)


def assign_at_random(order: Tensor, supertokens: int) -> Tensor:
    """One-hot (B, T, s) groups of equal size that mean nothing: the control for what is learned in the assignment.

    ``order`` (B, T) is a random permutation of each cloud's tokens.
    """
    return F.one_hot(order % supertokens, supertokens).float()


class DSO(nn.Module):
    """Dynamic SuperToken Optimisation: learnable queries S (s, D) gather the input tokens."""

    def __init__(self, dim: int, supertokens: int, tau: float, assignment: str = "hard") -> None:
        super().__init__()
        self.supertokens = nn.Parameter(torch.randn(supertokens, dim))
        self.q, self.k, self.v = (nn.Linear(dim, dim) for _ in range(3))
        self.tau, self.assignment = tau, assignment
        nn.init.eye_(self.v.weight)
        nn.init.zeros_(self.v.bias)

    def forward(self, tokens: Tensor, centers: Tensor) -> Tensor:
        """CAM (B, T, s) of tokens (B, T, D) at centers (B, T, 3)."""
        count = len(self.supertokens)
        if self.assignment == "random":
            order = (
                torch.rand_like(centers[..., 0]).argsort(dim=1) if self.training else content_order(centers)
            )
            return assign_at_random(order, count).to(tokens.dtype)
        keys, queries = self.k(tokens), self.q(self.supertokens)
        if self.assignment == "soft":
            return assign_softly(queries, keys, self.tau).to(tokens.dtype)
        noise = gumbel_like((*keys.shape[:2], count), keys) if self.training and count > 1 else None
        return assign(queries, keys, self.tau, noise).to(tokens.dtype)

    def mean(self, x: Tensor, cam: Tensor) -> tuple[Tensor, Tensor]:
        """Mean (B, s, C) of the rows of x (B, T, C) assigned to each SuperToken, zero where there are none; counts (B, s)."""
        return assigned_mean(x, cam, least=1e-4 if self.assignment == "soft" else 1.0)

    def gather(self, tokens: Tensor, cam: Tensor) -> Tensor:
        """SuperTokens (B, s, D): the mean value of the tokens assigned to each."""
        return self.mean(self.v(tokens), cam)[0]


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


def sample_tokens(
    teacher: PointTransformer, data: PointCloudDataset, count: int = 64, located: bool = False
) -> Tensor:
    """The teacher's tokens (count * T, D) of ``count`` training clouds of ``data``; with their positions if ``located``."""
    with torch.no_grad():
        embedding = teacher.embed(calibration_patches(teacher, data, count))
        position = teacher.positional_encoding(embedding.centers) if located else 0
        return (embedding.tokens + position).flatten(0, 1)


class FoundryStudent(TokenStudent):
    """DSO -> the teacher's blocks on s SuperTokens -> CAU: ``Y = MLP(T + position + CAM S)``.

    Without ``upsample``, ``Y = CAM S``; without ``residual``, the CAU does not see T.
    """

    def __init__(
        self,
        teacher: PointTransformer,
        supertokens: int,
        *,
        tau: float = 1.0,
        hidden_ratio: float = 1.0,
        position: bool = True,
        assignment: str = "hard",
        residual: bool = True,
        upsample: bool = True,
        located: bool = False,
        mean_position: bool = True,
        cau_skip: bool = False,
    ) -> None:
        super().__init__(teacher, None if supertokens else [])
        dim = self.config.dim
        self.position, self.residual, self.located = position, residual, located
        self.mean_position = mean_position
        self.dso = DSO(dim, supertokens, tau, assignment) if supertokens else None
        self.cau = CAU(dim, round(dim * hidden_ratio), cau_skip) if upsample else None

    def encode(self, embedding: Embedding, levels: bool = False) -> Tokens:
        tokens, centers = embedding.tokens, embedding.centers
        pos = self.positional_encoding(centers)
        known = self.known(tokens, pos)
        if self.dso is None:
            out = self.reconstruct(torch.zeros_like(tokens), known)
            return Tokens(out, (out,) * 3 if levels else ())
        cam = self.dso(tokens + pos if self.located else tokens, centers)
        if self.mean_position:
            where, counts = self.dso.mean(pos, cam.detach())
        else:
            middle, counts = self.dso.mean(centers, cam.detach())
            where = self.positional_encoding(middle.to(centers.dtype))
        keep = self.config.level_blocks[:2] if levels else ()
        x, kept = run_blocks(
            self.blocks, self.dso.gather(tokens, cam), where, keep, Prefix.of(self, len(tokens))
        )
        out, *dense = (self.reconstruct(cam @ self.norm(level), known) for level in (x, *kept))
        aux = {"assignment": cam, "tokens_kept": (counts > 0).sum(dim=1)}
        return Tokens(out, (*dense, out) if levels else (), aux=aux)

    def known(self, tokens: Tensor, pos: Tensor) -> Tensor | float:
        """What the CAU sees of a patch besides its SuperToken: T + position, (B, T, D), as far as the parameters allow."""
        return (tokens if self.residual else 0.0) + (pos if self.position else 0.0)

    def reconstruct(self, rows: Tensor, known: Tensor | float) -> Tensor:
        """The teacher's tokens (B, T, D) from what each token's SuperToken says, ``rows`` (B, T, D)."""
        return rows if self.cau is None else self.cau(rows, known)


ASSIGNMENTS = ("hard", "soft", "random")


@dataclass(frozen=True)
class Foundry(Method):
    """``supertokens``: s. ``position``: whether the CAU sees the patch's position; without it, tokens (which are relative to
    their centre) cannot tell where they are unless their SuperToken says so. ``tau``: Gumbel temperature. ``hidden_ratio``:
    CAU hidden width / D. ``sharpness``: scale of the logits that SuperTokens start with, as k-means centres of tokens; 0
    starts them at random.

    ``mean_position``: a SuperToken's position is the mean of its tokens' positions, else the position of their mean centre,
    which for tokens assigned by content lies anywhere. ``located``: tokens are assigned by content and position; the paper's
    text assigns by content alone. ``cau_skip``: the CAU is added to its row, as the other methods' is here.

    Controls: ``supertokens=0`` has no context, ``Y = MLP(T + position)``; ``supertokens=1`` is mean pooling (CAM is 1);
    ``assignment=random`` groups tokens without looking at them, ``soft`` is the map without the argmax; ``encoder=random``
    starts the blocks at random, ``frozen`` leaves them as the teacher's; ``residual=False`` hides T from the CAU.
    """

    name: ClassVar[str] = "foundry"
    family: ClassVar[Family] = "foundry"
    paper: ClassVar[Paper] = Paper("Foundry: Distilling 3D Foundation Models for the Edge", "2511.20721")
    abstract: ClassVar[str] = (
        "tokens are gathered into learnable SuperTokens (DSO), all are reconstructed from them (CAU)"
    )
    grid: ClassVar[dict[str, tuple[Any, ...]]] = {"supertokens": (0, 1, 4, 9, 16, 27)}

    supertokens: Annotated[int, Bounds(at_least=0)] = 16
    tau: Annotated[float, Bounds(above=0)] = 1.0
    hidden_ratio: Annotated[float, Bounds(above=0)] = 1.0
    position: bool = True
    sharpness: Annotated[float, Bounds(at_least=0)] = 20.0
    assignment: Literal["hard", "soft", "random"] = "hard"
    encoder: Literal["teacher", "random", "frozen"] = "teacher"
    residual: bool = True
    located: bool = False
    mean_position: bool = True
    cau_skip: bool = False

    def __post_init__(self) -> None:
        if self.supertokens < 0 or self.tau <= 0:
            raise ValueError(f"supertokens must be >= 0 and tau > 0, got {self.supertokens} and {self.tau}")
        if self.assignment not in ASSIGNMENTS:
            raise ValueError(f"assignment must be one of {', '.join(ASSIGNMENTS)}, got {self.assignment!r}")
        if self.encoder not in ("teacher", "random", "frozen"):
            raise ValueError(f"encoder must be teacher, random or frozen, got {self.encoder!r}")

    def compress(self, teacher: Encoder, data: PointCloudDataset, ctx: Context) -> Encoder:
        source = require_transformer(teacher, self.name)
        student = FoundryStudent(
            source,
            self.supertokens,
            tau=self.tau,
            hidden_ratio=self.hidden_ratio,
            position=self.position,
            assignment=self.assignment,
            residual=self.residual,
            located=self.located,
            mean_position=self.mean_position,
            cau_skip=self.cau_skip,
        )
        if student.dso is not None and self.sharpness > 0:
            tokens = sample_tokens(source, data, located=self.located)
            seed_supertokens(student.dso, tokens, self.sharpness, ctx.seed)
        if self.encoder == "random" and student.dso is not None:
            fresh = PointTransformer(source.config)
            student.blocks, student.norm = fresh.blocks, fresh.norm
        student.blocks.requires_grad_(self.encoder != "frozen")
        student.norm.requires_grad_(self.encoder != "frozen")
        return student
