"""Nested Foundry: one student for every number of SuperTokens, chosen at inference.

Foundry's student (:mod:`foundry_bench.methods.foundry`), trained on a random prefix of its SuperTokens at every step, so that
the first s of them serve by themselves, for any s: the nesting of Matryoshka representations, of queries as in the Matryoshka
Query Transformer (Hu et al., arXiv 2405.19315). s = 0 is the student without context, by the same CAU.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal

import torch

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
)
from foundry_bench.methods.foundry import Foundry, FoundryStudent, without_context

MOST = 16
"""SuperTokens that a student is trained with."""


class NestedStudent(FoundryStudent):
    """Foundry of which the first ``supertokens`` are used; in training, as many as are drawn at every step."""

    def __init__(self, teacher: PointTransformer, foundry: Foundry) -> None:
        super().__init__(teacher, foundry)
        self.supertokens = foundry.supertokens

    def encode(self, embedding: Embedding, levels: bool = False) -> Tokens:
        count = int(torch.randint(self.foundry.supertokens + 1, ())) if self.training else self.supertokens
        if count > 0:
            self.dso.count = count
            return super().encode(embedding, levels)
        return without_context(self, self.cau, self.foundry, embedding, levels)


@dataclass(frozen=True)
class FoundryNested(Method):
    """``supertokens``: s, chosen at inference; 0 has no context. ``assignment``: ``soft``, one codebook, of which a prefix is
    used, or ``slots``, the first s patches of every cloud itself. Like ``foundry``, it adds the CAU to its row and starts the
    codebook at k-means centres, with logits of ``sharpness``."""

    name: ClassVar[str] = "foundry-nested"
    family: ClassVar[Family] = "foundry"
    paper: ClassVar[Paper] = Paper("Foundry: Distilling 3D Foundation Models for the Edge", "2511.20721")
    abstract: ClassVar[str] = (
        "one foundry for every number of SuperTokens: the first of them serve by themselves"
    )
    grid: ClassVar[dict[str, tuple[Any, ...]]] = {"supertokens": (0, 4, 16)}
    inference: ClassVar[tuple[str, ...]] = ("supertokens",)

    supertokens: Annotated[int, Bounds(at_least=0, at_most=MOST)] = MOST
    assignment: Literal["soft", "slots"] = "soft"
    sharpness: Annotated[float, Bounds(at_least=0, at_most=1e3)] = 20.0

    def classes(self) -> tuple[type, ...]:
        return (type(self), Foundry)

    def compress(self, teacher: Encoder, data: PointCloudDataset, ctx: Context) -> Encoder:
        source = require_transformer(teacher, self.name)
        student = NestedStudent(source, Foundry(MOST, assignment=self.assignment, sharpness=self.sharpness))
        student.start(source, data, ctx.seed)
        return student
