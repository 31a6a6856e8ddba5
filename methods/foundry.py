"""Foundry: Foundation Model Distillation into SuperTokens (arXiv 2511.20721).

The paper has no public code, and only what others quote of its text was at hand. The operators below are as quoted, under
our numbers; where nothing is known, a parameter says what was chosen. For a cloud of T patches, in latent width D:

1. **T** ``tokens`` (B, T, D): the tokenizer's rows, without position (it is frozen here); P ``pos`` (B, T, D): their positions.
2. **S** ``dso.supertokens`` (s, D): learnable SuperTokens.
   ``queries = W_q S``, ``keys = W_k T``, values ``W_v T``, each a linear layer of :class:`DSO`.
3. **CAM** ``cam`` (B, T, s): ``one_hot(argmax_i queries_i . keys_j / sqrt(D))``: token j picks SuperToken i. In training the
   argmax is a straight-through Gumbel-softmax at temperature ``tau``: :func:`assign`.
4. **S_up** ``gathered`` (B, s, D): ``S_up_i = sum_j CAM_ji W_v T_j / max(1, sum_j CAM_ji)``: :meth:`DSO.gather`.
5. **Encoder** ``encoded`` (B, s, D): ``S_enc = norm(blocks(S_up))``; the blocks start as the teacher's and add ``where``, the
   SuperTokens' positions, before each, as it does.
6. **CAU** ``out`` (B, T, D): ``Y_hat = MLP(T + P + CAM S_enc)``: :class:`~foundry_bench.students.base.CAU`. The paper is
   quoted without P, which is ``position=False`` here.
7. **Loss**: ``SmoothL1(Y_hat, Y)`` to the teacher's rows Y: :meth:`~foundry_bench.method.Method.loss`.

That is ``published=true``. By default CAM is the softmax itself, without argmax and noise, in training as at inference, and
the CAU is added to its row, ``Y_hat = CAM S_enc + MLP(...)``, as every other reducer's is here. Both forms cost the same.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal

import torch
import torch.nn.functional as F
from sklearn.cluster import KMeans
from torch import Tensor, nn

from foundry_bench.authoring import (
    CAU,
    Bounds,
    Context,
    Embedding,
    Encoder,
    Family,
    Method,
    Paper,
    PointCloudDataset,
    PointTransformer,
    Tokens,
    TokenStudent,
    assigned_mean,
    calibration_patches,
    content_order,
    require_transformer,
)


def assign(queries: Tensor, keys: Tensor, tau: float, noise: Tensor | None = None) -> Tensor:
    """Cross-attention map CAM (B, T, s): each *token* picks one SuperToken (argmax over s, never over T).

    ``queries`` (s, D) come from SuperTokens, ``keys`` (B, T, D) from tokens; logits are q.k / sqrt(D). With Gumbel
    ``noise`` (B, T, s) the result is one-hot forward and softmax backward (straight-through); without, plainly one-hot.
    """
    logits = (keys @ queries.transpose(-2, -1)).float() / math.sqrt(keys.shape[-1])
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


def assign_softly(queries: Tensor, keys: Tensor, tau: float, noise: Tensor | None = None) -> Tensor:
    """The same map without argmax and noise: (B, T, s), each token's softmax over SuperTokens. ``queries`` are (s, D), or
    (B, s, D) where every cloud has its own."""
    return ((keys @ queries.transpose(-2, -1)).float() / (math.sqrt(keys.shape[-1]) * tau)).softmax(dim=-1)


def own_supertokens(keys: Tensor, count: int) -> Tensor:
    """SuperTokens (B, s, D) of each cloud's own instead of one codebook: the first s = min(``count``, T) of its ``keys``
    (B, T, D), at the length sqrt(D).

    The tokenizer emits patches in farthest-point order, so these are spread over the cloud, and before W_q has learned anything
    each has a token that it is most like: itself. Slots that compete for the tokens of one input by a softmax over slots are
    Slot Attention's (Locatello et al., arXiv 2006.15055); it starts them at random and repeats the assignment, which is left
    out here.
    """
    return F.normalize(keys[:, :count], dim=-1) * math.sqrt(keys.shape[-1])


def load_balance(cam: Tensor) -> Tensor:
    """Switch Transformer's load-balancing loss (Fedus et al., arXiv 2101.03961, equation 4) of CAM (B, T, s), by cloud:
    ``s sum_i f_i P_i``, f_i the share of tokens whose largest entry is i, P_i the mean of column i; their mean over clouds.

    It is 1 where all SuperTokens have equally many tokens and s where one has them all; gradients flow through P alone.
    """
    used, probability = one_hot(cam).mean(dim=1), cam.mean(dim=1)
    return cam.shape[-1] * (used * probability).sum(dim=-1).mean()


class DSO(nn.Module):
    """Dynamic SuperToken Optimisation: learnable queries S (s, D) gather the input tokens; with ``slots`` every cloud has its
    own (:func:`own_supertokens`) and there is no S to learn, only how they ask. ``count``: the first so many of them ask."""

    supertokens: nn.Parameter | None

    def __init__(self, dim: int, supertokens: int, tau: float, assignment: str = "hard") -> None:
        super().__init__()
        self.count, self.tau, self.assignment = supertokens, tau, assignment
        codebook = None if assignment == "slots" else nn.Parameter(torch.randn(supertokens, dim))
        self.register_parameter("supertokens", codebook)
        self.q, self.k, self.v = (nn.Linear(dim, dim) for _ in range(3))
        nn.init.eye_(self.v.weight)
        nn.init.zeros_(self.v.bias)

    def forward(self, tokens: Tensor, centers: Tensor) -> Tensor:
        """CAM (B, T, s) of tokens (B, T, D) at centers (B, T, 3)."""
        queries, keys = self.supertokens, tokens
        if self.assignment != "random":  # which looks at neither: no projection to pay for
            keys = self.k(tokens)
            queries = own_supertokens(keys, self.count) if queries is None else queries[: self.count].clone()
            queries = self.q(queries)
        cam = ASSIGNMENTS[self.assignment](queries, keys, self.tau, self.noise(centers))
        return cam.to(tokens.dtype)

    def noise(self, centers: Tensor) -> Tensor | None:
        """What is random in the assignment of tokens at ``centers`` (B, T, 3): in training, Gumbel noise (B, T, s) where there
        is a choice; for ``random`` an order (B, T); else None."""
        if self.assignment == "random":
            return random_order(centers, self.training)
        if self.assignment != "hard" or self.count == 1 or not self.training:
            return None
        return gumbel_like((*centers.shape[:2], self.count), centers)

    def mean(self, x: Tensor, cam: Tensor) -> tuple[Tensor, Tensor]:
        """Mean (B, s, C) of the rows of x (B, T, C) assigned to each SuperToken, zero where there are none; counts (B, s)."""
        return assigned_mean(x, cam, least=1e-4 if self.assignment in ("soft", "slots") else 1.0)

    def gather(self, tokens: Tensor, cam: Tensor) -> Tensor:
        """SuperTokens S_up (B, s, D): the mean value of the tokens assigned to each."""
        return self.mean(self.v(tokens), cam)[0]


@torch.no_grad()
def seed_supertokens(dso: DSO, tokens: Tensor, sharpness: float, seed: int) -> None:
    """Start S, where there is one, at k-means centres of standardised ``tokens`` (N, D), with keys on the same scale.

    Logits then are cosine similarities times ``sharpness``, well above the Gumbel noise, so that the first steps already see
    stable groups. Starting from random S the noise decides, and training spends most of its steps on undoing that.
    """
    mean, std = tokens.mean(dim=0), tokens.std(dim=0) + 1e-4
    unit = F.normalize((tokens - mean) / std, dim=-1)
    dim = tokens.shape[-1]
    if dso.supertokens is not None:
        count = min(dso.count, len(unit))  # those that no token is left for stay random
        found = KMeans(count, n_init=1, random_state=seed).fit(unit.double().cpu().numpy())
        centers = torch.from_numpy(found.cluster_centers_).to(tokens)
        dso.supertokens[:count].copy_(F.normalize(centers, dim=-1) * dim**0.5)
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
    """DSO -> the teacher's blocks on s SuperTokens -> CAU, as ``foundry`` says."""

    cau: CAU

    def __init__(self, teacher: PointTransformer, foundry: Foundry) -> None:
        super().__init__(teacher)
        dim = self.config.dim
        self.foundry = foundry
        self.dso = DSO(dim, foundry.supertokens, foundry.tau, foundry.assignment)
        self.cau = reconstruction(dim, foundry)

    def encode(self, embedding: Embedding, levels: bool = False) -> Tokens:
        tokens, centers = embedding.tokens, embedding.centers
        pos = self.positional_encoding(centers)
        known = known_of_patches(tokens, pos, self.foundry)
        cam = self.dso(tokens + pos if self.foundry.located else tokens, centers)
        where, counts = self.locate(pos, centers, cam.detach())
        gathered = self.dso.gather(tokens, cam)
        keep = self.config.level_blocks[:2] if levels else ()
        last, kept = self.run(gathered, where, keep)
        encoded = (self.norm(rows) for rows in (last, *kept))
        out, *dense = (self.cau(cam @ rows, known) for rows in encoded)
        aux = {"assignment": cam, "tokens_kept": (counts > 0).sum(dim=1)}
        return Tokens(out, (*dense, out) if levels else (), self.penalty(cam), aux)

    def start(self, teacher: PointTransformer, data: PointCloudDataset, seed: int) -> None:
        """Seed the SuperTokens with the teacher's tokens of ``data``; those whose ``sharpness`` is 0 stay random."""
        if self.foundry.sharpness > 0:
            tokens = sample_tokens(teacher, data, located=self.foundry.located)
            seed_supertokens(self.dso, tokens, self.foundry.sharpness, seed)

    def penalty(self, cam: Tensor) -> Tensor | None:
        """What the distillation adds to its loss for a CAM (B, T, s): in training, ``balance`` times :func:`load_balance`."""
        if not self.training or self.foundry.balance == 0:
            return None
        return self.foundry.balance * load_balance(cam)

    def locate(self, pos: Tensor, centers: Tensor, cam: Tensor) -> tuple[Tensor, Tensor]:
        """Positions (B, s, D) of SuperTokens, and how many tokens (B, s) each has."""
        if self.foundry.mean_position:
            return self.dso.mean(pos, cam)
        middle, counts = self.dso.mean(centers, cam)
        return self.positional_encoding(middle.to(centers.dtype)), counts


def reconstruction(dim: int, foundry: Foundry) -> CAU:
    """The CAU of width ``dim`` with the hidden width and the skip that ``foundry`` asks for."""
    return CAU(dim, max(1, round(dim * foundry.hidden_ratio)), foundry.cau_skip)


def known_of_patches(tokens: Tensor, pos: Tensor, foundry: Foundry) -> Tensor | float:
    """What the CAU sees of a patch besides its SuperToken: T + P (B, T, D), as far as ``foundry`` lets it."""
    return (tokens if foundry.residual else 0.0) + (pos if foundry.position else 0.0)


def without_context(
    student: TokenStudent, cau: CAU, foundry: Foundry, embedding: Embedding, levels: bool
) -> Tokens:
    """``Y_hat = MLP(T + P)``: every patch by itself, the same at all three ``levels``."""
    pos = student.positional_encoding(embedding.centers)
    out = cau(torch.zeros_like(embedding.tokens), known_of_patches(embedding.tokens, pos, foundry))
    return Tokens(out, (out,) * 3 if levels else ())


# Controls: Foundry without one of its parts. `residual=False` is a line of `known_of_patches`.


def assign_at_random(order: Tensor, supertokens: int) -> Tensor:
    """One-hot (B, T, s) groups of equal size that mean nothing: the control for what is learned in the assignment.

    ``order`` (B, T) is a random permutation of each cloud's tokens.
    """
    return F.one_hot(order % supertokens, supertokens).float()


def assign_blindly(queries: Tensor, keys: Tensor, tau: float, noise: Tensor | None) -> Tensor:
    """:func:`assign_at_random` in the order ``noise`` (B, T), as many groups as ``queries``, whatever they and ``keys`` say."""
    assert noise is not None
    return assign_at_random(noise, len(queries))


def random_order(centers: Tensor, training: bool) -> Tensor:
    """An order (B, T) for :func:`assign_at_random`: a new one at every step of training, else one that the cloud decides."""
    return torch.rand_like(centers[..., 0]).argsort(dim=1) if training else content_order(centers)


class NoContextStudent(TokenStudent):
    """``supertokens=0``: every patch by itself, ``Y_hat = MLP(T + P)``, whatever the assignment."""

    cau: CAU

    def __init__(self, teacher: PointTransformer, foundry: Foundry) -> None:
        super().__init__(teacher, [])
        self.foundry = foundry
        self.cau = reconstruction(self.config.dim, foundry)

    def encode(self, embedding: Embedding, levels: bool = False) -> Tokens:
        return without_context(self, self.cau, self.foundry, embedding, levels)


def set_encoder(student: TokenStudent, encoder: str) -> None:
    """``random`` starts the student's blocks and norm at random, ``frozen`` leaves them as the teacher's for good."""
    if encoder == "random":
        fresh = PointTransformer(student.config)
        student.blocks, student.norm = fresh.blocks, fresh.norm
    student.blocks.requires_grad_(encoder != "frozen")
    student.norm.requires_grad_(encoder != "frozen")


ASSIGNMENTS: dict[str, Callable[[Tensor, Tensor, float, Tensor | None], Tensor]] = {
    "hard": assign,
    "soft": assign_softly,
    "random": assign_blindly,
    "slots": assign_softly,
}
"""CAM (B, T, s) from queries (s, D), keys (B, T, D), tau, and the noise that :meth:`DSO.noise` draws; queries (B, s, D) for
``slots``."""

FORMS: dict[bool, dict[str, Any]] = {
    True: {"assignment": "hard", "cau_skip": False},
    False: {"assignment": "soft", "cau_skip": True},
}
"""``published`` -> what that leaves ``assignment`` and ``cau_skip`` at."""


@dataclass(frozen=True)
class Foundry(Method):
    """``supertokens``: s. ``published``: the paper's form, hard assignment and no skip; the default is soft with a skip. It is
    what ``assignment=hard,cau_skip=false`` says, so either way of writing is one student, and another ``assignment`` or
    ``cau_skip`` beside it is refused; the default form as a whole gives way to it, as in ``replace(foundry, published=True)``.
    ``assignment``: ``hard``, ``soft``, ``slots`` (soft, to SuperTokens of every cloud's own instead of one codebook),
    ``random`` (a control). ``cau_skip``: the CAU is added to its row, as the other methods' is here. None leaves either to the
    form. ``balance``: weight of a load-balancing loss on the use of SuperTokens.

    ``position``: whether the CAU sees the patch's position; without it, tokens (which are relative to their centre) cannot
    tell where they are unless their SuperToken says so. ``tau``: temperature of the softmax. ``hidden_ratio``: CAU hidden
    width / D. ``sharpness``: scale of the logits that SuperTokens start with, as k-means centres of tokens; 0 starts them at
    random. ``mean_position``: a SuperToken's position is the mean of its tokens' positions, else the position of their mean
    centre, which for tokens assigned by content lies anywhere. ``located``: tokens are assigned by content and position; the
    paper's text assigns by content alone.

    Controls: ``supertokens=0`` has no context, ``Y = MLP(T + position)``; ``supertokens=1`` is mean pooling (CAM is 1);
    ``assignment=random`` groups tokens without looking at them; ``encoder=random`` starts the blocks at random, ``frozen``
    leaves them as the teacher's; ``residual=False`` hides T from the CAU.
    """

    name: ClassVar[str] = "foundry"
    family: ClassVar[Family] = "foundry"
    paper: ClassVar[Paper] = Paper("Foundry: Distilling 3D Foundation Models for the Edge", "2511.20721")
    abstract: ClassVar[str] = (
        "tokens are gathered into learnable SuperTokens (DSO), all are reconstructed from them (CAU)"
    )
    grid: ClassVar[dict[str, tuple[Any, ...]]] = {"supertokens": (0, 1, 4, 9, 16, 27)}
    also: ClassVar[tuple[dict[str, Any], ...]] = ({"supertokens": 16, "published": True},)
    matched: ClassVar[tuple[dict[str, Any], ...]] = (
        {"supertokens": 16},
        {"supertokens": 16, "published": True},
    )

    supertokens: Annotated[int, Bounds(at_least=0, at_most=1024)] = 16
    published: bool = False
    tau: Annotated[float, Bounds(at_least=1e-3, at_most=1e3)] = 1.0
    hidden_ratio: Annotated[float, Bounds(above=0, at_most=64)] = 1.0
    position: bool = True
    sharpness: Annotated[float, Bounds(at_least=0, at_most=1e3)] = 20.0
    assignment: Literal["hard", "soft", "slots", "random"] = None  # type: ignore[assignment]  # until __post_init__
    encoder: Literal["teacher", "random", "frozen"] = "teacher"
    residual: bool = True
    located: bool = False
    mean_position: bool = True
    cau_skip: bool = None  # type: ignore[assignment]  # until __post_init__
    balance: Annotated[float, Bounds(at_least=0, at_most=1e6)] = 0.0

    def __post_init__(self) -> None:
        """Let the form fill in what was left open, so that one student has one set of parameters."""
        super().__post_init__()
        # replace(Foundry(), published=True) hands over the default form, filled in before, and the name of the other
        filled = self.published and all(getattr(self, k) == v for k, v in FORMS[False].items())
        for name, value in FORMS[self.published].items():
            if filled or getattr(self, name) is None:
                object.__setattr__(self, name, value)
        others = [f"{k}={getattr(self, k)}" for k, v in FORMS[True].items() if getattr(self, k) != v]
        if self.published and others:
            raise ValueError(
                f"published=True is hard without a skip; leave out {','.join(others)} or published"
            )
        object.__setattr__(self, "published", not others)

    def shown(self, values: dict[str, Any]) -> dict[str, Any]:
        form = FORMS[values.get("published", False)]
        return {k: v for k, v in super().shown(values).items() if k not in form or v != form[k]}

    def compress(self, teacher: Encoder, data: PointCloudDataset, ctx: Context) -> Encoder:
        source = require_transformer(teacher, self.name)
        if self.supertokens == 0:
            return NoContextStudent(source, self)
        student = FoundryStudent(source, self)
        student.start(source, data, ctx.seed)
        set_encoder(student, self.encoder)
        return student
