"""Nested Foundry: one student for every number of SuperTokens, chosen at inference.

Foundry's student (:mod:`foundry_bench.methods.foundry`), trained so that the first s of its SuperTokens serve by themselves,
for any s: the nesting of Matryoshka representations, of queries as in the Matryoshka Query Transformer (Hu et al., arXiv
2405.19315). Every step trains several prefixes on its one batch, the longest always, as slimmable networks are trained by
the sandwich rule (Yu and Huang, arXiv 1903.05134): as many steps and samples as any student's, but more computing, more than
twice that of Foundry at s = 16.

s = 0, the student without context, has a CAU of its own: it must make all of a row of what the others only correct, and shares
nothing with them that would be worth the quarrel.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Any, ClassVar, Literal

import torch
from torch import Tensor

from foundry_bench.authoring import (
    Bounds,
    Context,
    Embedding,
    Encoder,
    Family,
    Method,
    Paper,
    Patches,
    PointCloudDataset,
    PointTransformer,
    Tokens,
    require_transformer,
)
from foundry_bench.methods.foundry import Foundry, FoundryStudent, reconstruction, without_context

MOST = 16
"""SuperTokens that a student is trained with."""
FEW = 3
"""Counts from 1 to this are drawn at every step, as are those above: they lose most where they are seldom trained."""


class NestedStudent(FoundryStudent):
    """Foundry of which the first ``supertokens`` are used; ``alone`` is the CAU of none."""

    def __init__(self, teacher: PointTransformer, foundry: Foundry) -> None:
        super().__init__(teacher, foundry)
        self.supertokens = foundry.supertokens
        self.alone = reconstruction(self.config.dim, foundry)

    def encode(self, embedding: Embedding, levels: bool = False) -> Tokens:
        if self.supertokens == 0:
            return without_context(self, self.alone, self.foundry, embedding, levels)
        self.dso.count = self.supertokens
        return super().encode(embedding, levels)


def drawn_counts() -> tuple[int, ...]:
    """Numbers of SuperTokens that one step of training serves, from torch's global generator: all, one of the smallest, one in
    between, none."""
    small = int(torch.randint(1, FEW + 1, ()))
    between = int(torch.randint(FEW + 1, MOST, ()))
    return MOST, small, between, 0


def balanced(losses: Sequence[Tensor]) -> Tensor:
    """Mean of ``losses``, each scaled to the value of the first: all pull by the same share of their error.

    Without that, short prefixes, whose error is two to four times that of the longest, would have most of the gradient.
    """
    aim = losses[0].detach()
    scaled = [loss * (aim / loss.detach().clamp_min(1e-12)) for loss in losses]
    return torch.stack(scaled).mean()


def nested_loss(
    method: Method,
    served: Sequence[dict[str, Any]],
    student: Encoder,
    inputs: Embedding | Patches,
    target: Tokens,
) -> Tensor:
    """The FMD losses, :func:`balanced`, of a student of ``method`` with each of the ``served`` parameters of inference."""
    losses = []
    for values in served:
        replace(method, **values).configure(student)
        losses.append(Method.loss(method, student, inputs, target))
    method.configure(student)
    return balanced(losses)


def drawn_used(supertokens: int) -> list[dict[str, Any]]:
    """What one step serves where the smallest numbers need no help: all SuperTokens, and fewer."""
    fewer = [{"used": int(torch.randint(1, supertokens, ()))}] if supertokens > 1 else []
    return [{"used": 0}, *fewer]


@dataclass(frozen=True)
class FoundryNested(Method):
    """``supertokens``: s, chosen at inference; 0 has no context. ``assignment``: ``slots``, the first s patches of every cloud,
    which lie in farthest-point order, so that any prefix is spread over it; or ``soft``, a prefix of one codebook. Like
    ``foundry``, it adds the CAU to its row and starts with logits of ``sharpness``, a codebook at k-means centres."""

    name: ClassVar[str] = "foundry-nested"
    version: ClassVar[str] = "2"
    family: ClassVar[Family] = "foundry"
    paper: ClassVar[Paper] = Paper("Foundry: Distilling 3D Foundation Models for the Edge", "2511.20721")
    abstract: ClassVar[str] = (
        "one foundry for every number of SuperTokens: the first of them serve by themselves"
    )
    grid: ClassVar[dict[str, tuple[Any, ...]]] = {"supertokens": (0, 4, 16)}
    matched: ClassVar[tuple[dict[str, Any], ...]] = ({"supertokens": 16}, {"supertokens": 4})
    inference: ClassVar[tuple[str, ...]] = ("supertokens",)

    supertokens: Annotated[int, Bounds(at_least=0, at_most=MOST)] = MOST
    assignment: Literal["soft", "slots"] = "slots"
    sharpness: Annotated[float, Bounds(at_least=0, at_most=1e3)] = 20.0

    def classes(self) -> tuple[type, ...]:
        return (type(self), Foundry)

    def compress(self, teacher: Encoder, data: PointCloudDataset, ctx: Context) -> Encoder:
        source = require_transformer(teacher, self.name)
        student = NestedStudent(source, Foundry(MOST, assignment=self.assignment, sharpness=self.sharpness))
        student.start(source, data, ctx.seed)
        return student

    def loss(self, student: Encoder, inputs: Any, target: Tokens) -> Tensor:
        """Foundry's loss at several numbers of SuperTokens, :func:`balanced`; its value is that of all of them."""
        served = [{"supertokens": count} for count in drawn_counts()]
        return nested_loss(self, served, student, inputs, target)
