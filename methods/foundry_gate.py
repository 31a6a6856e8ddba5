"""Foundry-Gate: a per-token gate decides which tokens go through the encoder themselves and which only through their
SuperToken; the threshold r changes the compression at inference (arXiv 2511.20721).

Known of it: r = 0 costs what the full Transformer costs, a large r what Foundry costs, and "performance is sensitive to
lambda_gate". The gate's form, its loss and its training are ours: a linear probability per token, a threshold drawn anew
for every cloud in training so that one student serves all r, and a quadratic pull of the mean probability to a target.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal

import torch
from torch import Tensor, nn

from foundry_bench.authoring import (
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
    require_transformer,
    take,
)
from foundry_bench.methods.foundry import Foundry, FoundryStudent
from foundry_bench.methods.foundry_nested import FoundryNested, drawn_used, nested_loss

AUTO_THRESHOLD = 0.5


def pack(keep: Tensor, whole: bool = False) -> tuple[Tensor, Tensor]:
    """Positions of the kept tokens, moved to the front: index (B, M) and validity (B, M), M the largest count in the batch.

    ``keep`` (B, N) is boolean. Work after packing is proportional to M, so a cloud that keeps little costs little. ``whole``
    leaves M at N, for a graph that must know its sizes beforehand.
    """
    index = keep.int().argsort(dim=1, descending=True, stable=True)
    if keep.shape[0] and not whole:
        longest = keep.sum(dim=1).max().item()  # int(...) has no form in a graph
        if torch.compiler.is_compiling():  # what an exporter has to be told of a size that it cannot see
            torch._check(longest >= 1)
            torch._check(longest <= keep.shape[1])
        index = index[:, :longest]
    return index, keep.gather(1, index)


class FoundryGateStudent(FoundryStudent):
    """Foundry with a gate: tokens whose probability reaches ``r`` run beside the non-empty SuperTokens of the others."""

    data_dependent = True
    packs = True
    """Whether only as many rows run as a cloud keeps. Without, all run and the others are masked: the same at full cost."""

    def __init__(self, teacher: PointTransformer, method: FoundryGate) -> None:
        shared = {"tau": method.tau, "sharpness": method.sharpness, "cau_skip": not method.published}
        super().__init__(teacher, Foundry(method.supertokens, assignment="hard", **shared))
        self.gate = nn.Linear(self.config.dim, 1)
        nn.init.zeros_(self.gate.weight)
        nn.init.zeros_(self.gate.bias)
        self.weight, self.target = method.weight, method.target
        self.r: float | str = "auto"
        self.used = 0

    @property
    def threshold(self) -> float:
        """The numeric threshold; ``auto`` lets the gate decide: more likely kept than not."""
        return AUTO_THRESHOLD if self.r == "auto" else float(self.r)

    def encode(self, embedding: Embedding, levels: bool = False) -> Tokens:
        tokens, centers = embedding.tokens, embedding.centers
        pos = self.positional_encoding(centers)
        probability = self.gate(tokens + pos).sigmoid()
        threshold = torch.rand_like(probability[:, :1]) if self.training else self.threshold
        own = probability >= threshold
        self.dso.count = min(self.used or self.foundry.supertokens, self.foundry.supertokens)
        cam = self.dso(tokens, centers) * ~own
        supertokens = self.dso.gather(tokens, cam)
        where, counts = self.locate(pos, centers, cam.detach())
        x = torch.cat([supertokens, tokens], dim=1)
        places = torch.cat([where, pos], dim=1)
        index, valid = pack(torch.cat([counts > 0, own[..., 0]], dim=1), whole=not self.packs)
        keep = self.config.level_blocks[:2] if levels else ()
        seen = None if self.packs and valid.shape[0] == 1 else valid  # a single cloud's rows are all its own
        rows, kept = self.run(take(x, index), take(places, index), keep, seen)
        straight = own.to(tokens.dtype) + probability - probability.detach()

        def spread(packed: Tensor) -> Tensor:
            full = torch.zeros_like(x).scatter(
                1, index[..., None].expand_as(packed), packed * valid[..., None]
            )
            shared, separate = full.split([supertokens.shape[1], tokens.shape[1]], dim=1)
            context = cam @ shared
            if self.training:
                context = context * (1 - straight) + separate * straight
            else:
                context = context + separate
            return self.cau(context, tokens + pos)

        out = spread(self.norm(rows))
        dense = (*(spread(self.norm(level)) for level in kept), out) if levels else ()
        penalty = self.weight * (probability.mean() - self.target).square() if self.training else None
        aux = {"gate": probability[..., 0], "assignment": cam, "tokens_kept": valid.sum(dim=1)}
        return Tokens(out, dense, penalty, aux)


@dataclass(frozen=True)
class FoundryGate(Method):
    """``r``: a token runs by itself if its gate probability is at least r; ``auto`` lets the gate decide (0.5).
    ``published``: the CAU without the skip that all reducers get here, as in the paper. The assignment is hard either way: a
    SuperToken without tokens costs nothing, where soft ones would cost more beside kept tokens than they save. ``weight``
    and ``target``: strength of the gate's regulariser and the mean probability it pulls to.
    ``nested``: trained so that the first SuperTokens serve by themselves; ``used`` says at inference how many do, 0 for all.
    Of a student that is not nested no other number was trained. A step of a nested one trains all and a random number of
    them on its one batch: as many steps and samples, twice the computing."""

    name: ClassVar[str] = "foundry-gate"
    version: ClassVar[str] = "2"
    family: ClassVar[Family] = "foundry"
    paper: ClassVar[Paper] = Paper("Foundry: Distilling 3D Foundation Models for the Edge", "2511.20721")
    abstract: ClassVar[str] = "a gate lets tokens through by themselves; its threshold is chosen at inference"
    grid: ClassVar[dict[str, tuple[Any, ...]]] = {"r": ("auto", 0.0, 0.3, 1.01)}
    matched: ClassVar[tuple[dict[str, Any], ...]] = ({"r": "auto"},)
    inference: ClassVar[tuple[str, ...]] = ("r", "used")

    r: Annotated[float, Bounds(at_least=0)] | Literal["auto"] = "auto"
    supertokens: Annotated[int, Bounds(at_least=1, at_most=1024)] = 16
    published: bool = False
    tau: Annotated[float, Bounds(at_least=1e-3, at_most=1e3)] = 1.0
    sharpness: Annotated[float, Bounds(at_least=0, at_most=1e3)] = 20.0
    weight: Annotated[float, Bounds(at_least=0, at_most=1e6)] = 0.1
    target: Annotated[float, Bounds(at_least=0, at_most=1)] = 0.25
    nested: bool = False
    used: Annotated[int, Bounds(at_least=0, at_most=1024)] = 0

    def classes(self) -> tuple[type, ...]:
        return (type(self), Foundry, FoundryNested)

    def compress(self, teacher: Encoder, data: PointCloudDataset, ctx: Context) -> Encoder:
        source = require_transformer(teacher, self.name)
        student = FoundryGateStudent(source, self)
        student.start(source, data, ctx.seed)
        return student

    def loss(self, student: Encoder, inputs: Any, target: Tokens) -> Tensor:
        """Foundry's loss; of a nested student at all of its SuperTokens and at a random number of them."""
        if not self.nested:
            return super().loss(student, inputs, target)
        return nested_loss(self, drawn_used(self.supertokens), student, inputs, target)
