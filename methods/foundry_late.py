"""Foundry, late: SuperTokens are gathered after the first blocks, and every patch adds what the others change in them.

Foundry (:mod:`foundry_bench.methods.foundry`) gathers what the tokenizer tells of each patch by itself, and rebuilds patches
from their SuperTokens. Here the first blocks run on all T patches, as PatchMerger's do (arXiv 2202.12015), and no patch loses
its own row: what n more blocks add to it is read from its SuperTokens, as gitmerge3D's blocks do one by one (arXiv
2511.05449). In latent width D:

1. **X** ``own`` (B, T, D): the patches' rows after ``after`` blocks; P ``pos`` (B, T, D) their positions.
2. **CAM** ``cam`` (B, T, s): Foundry's soft assignment to slots (:class:`~foundry_bench.methods.foundry.DSO`), of X.
3. **S_up** ``start`` (B, s, D): the mean row of each slot, without W_v; P_S ``where`` (B, s, D) its mean position.
4. **S_enc** (B, s, D): S_up after the n other blocks, which add P_S before each.
5. ``row = norm(X + n P + CAM (S_enc - S_up - n P_S))`` (B, T, D).
6. **CAU**: ``Y_hat = row + MLP(X + P + row)``.

The blocks are evenly spaced ones of the teacher. With all of them, and a SuperToken for every patch, ``row`` is its.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Annotated, Any, ClassVar

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
    Patches,
    PointCloudDataset,
    PointTransformer,
    ReducingStudent,
    Stream,
    Tokens,
    calibration_patches,
    require_transformer,
)
from foundry_bench.methods.foundry import DSO, Foundry, seed_supertokens
from foundry_bench.methods.foundry_nested import FoundryNested, drawn_used, nested_loss
from foundry_bench.methods.kd import FeatureKD, spaced

CALIBRATION = 64
"""Clouds whose rows tell how the assignment starts."""


@dataclass(frozen=True)
class GatheredStream(Stream):
    """SuperTokens on their way through the blocks, and what the patches need of them: ``own`` and ``own_pos`` (B, T, D), the
    patches' rows and positions; ``start`` (B, s, D), the SuperTokens as they were gathered; ``cam`` (B, T, s)."""

    own: Tensor
    own_pos: Tensor
    start: Tensor
    cam: Tensor
    ran: int = 0
    """Blocks that have run on the SuperTokens."""


class LateStudent(ReducingStudent):
    """Some of the teacher's blocks, ``chosen``: the first ``after`` of them on all patches, the others on SuperTokens."""

    def __init__(self, teacher: PointTransformer, chosen: list[int], method: FoundryLate) -> None:
        super().__init__(teacher, upsample=True, blocks=chosen)
        self.chosen, self.after = chosen, min(method.after, len(chosen) - 1)
        self.dso = DSO(self.config.dim, method.supertokens, tau=1.0, assignment="slots")
        self.supertokens = method.supertokens
        self.used = 0
        self.dso.v = nn.Identity()  # a SuperToken is a row of the stream, or there is no change to speak of

    @property
    def level_blocks(self) -> tuple[int, ...]:
        """The blocks that lay nearest to those of the teacher's levels."""
        places = range(len(self.chosen))
        return tuple(
            min(places, key=lambda i: abs(self.chosen[i] - level)) for level in self.config.level_blocks
        )

    @torch.no_grad()
    def start(self, patches: Patches, sharpness: float, seed: int) -> None:
        """Give the assignment a meaning without training, from the rows that are gathered of some ``patches``."""
        stream, _ = self.enter(self.embed(patches))
        for i in range(self.after):
            stream = self.step(i, self.blocks[i], stream)
        seed_supertokens(self.dso, stream.x.flatten(0, 1), sharpness, seed)

    def before(self, index: int, stream: Stream) -> Stream:
        return self.gathered(stream) if index == self.after else stream

    def gathered(self, stream: Stream) -> GatheredStream:
        """The SuperTokens of a stream of all patches."""
        self.dso.count = min(self.used or self.supertokens, self.supertokens)
        cam = self.dso(stream.x, stream.pos)  # of places, slots want no more than how many there are
        where, counts = self.dso.mean(stream.pos, cam)
        start = self.dso.gather(stream.x, cam)
        return GatheredStream(
            start, where, counts[..., None], cam.argmax(dim=-1), stream.x, stream.pos, start, cam
        )

    def step(self, index: int, block: Any, stream: Stream) -> Stream:
        after = super().step(index, block, stream)
        return replace(after, ran=after.ran + 1) if isinstance(after, GatheredStream) else after

    def encode(self, embedding: Embedding, levels: bool = False) -> Tokens:
        out = super().encode(embedding, levels)
        return replace(out, levels=(*out.levels[:-1], out.features)) if levels else out

    def restore(self, stream: Stream, base: Tensor, *, final: bool) -> Tensor:
        assert self.cau is not None
        own, pos, row = stream.x, stream.pos, stream.x
        if isinstance(stream, GatheredStream):
            own, pos = stream.own, stream.own_pos
            change = stream.x - stream.start - stream.ran * stream.pos
            row = own + stream.ran * pos + stream.cam @ change
        # Levels are rows of the stream, as the teacher's: the CAU learns what is missing at the end, and is wrong before it.
        return self.cau(self.norm(row), own + pos) if final else row


@dataclass(frozen=True)
class FoundryLate(Method):
    """``supertokens``: s. ``depth``: how many of the teacher's blocks are kept, evenly spaced, at most all. ``after``: how
    many of these run on all patches, before the SuperTokens are gathered, at most all but one. ``sharpness``: scale of the
    logits that the assignment starts with, cosines of standardised rows.
    ``nested``: trained so that the first SuperTokens serve by themselves; ``used`` says at inference how many do, 0 for all.
    Of a student that is not nested no other number was trained. A step of a nested one trains all and a random number of
    them on its one batch: as many steps and samples, twice the computing."""

    name: ClassVar[str] = "foundry-late"
    family: ClassVar[Family] = "foundry"
    paper: ClassVar[Paper] = Paper("Foundry: Distilling 3D Foundation Models for the Edge", "2511.20721")
    abstract: ClassVar[str] = (
        "SuperTokens are gathered after the first block; patches add what the others change in them"
    )
    grid: ClassVar[dict[str, tuple[Any, ...]]] = {"supertokens": (4, 12, 20, 32)}
    matched: ClassVar[tuple[dict[str, Any], ...]] = ({"supertokens": 20},)
    inference: ClassVar[tuple[str, ...]] = ("used",)

    supertokens: Annotated[int, Bounds(at_least=1, at_most=1024)] = 20
    depth: Annotated[int, Bounds(at_least=1, at_most=1024)] = 4
    after: Annotated[int, Bounds(at_least=0, at_most=1024)] = 1
    sharpness: Annotated[float, Bounds(above=0, at_most=1e3)] = 20.0
    nested: bool = False
    used: Annotated[int, Bounds(at_least=0, at_most=1024)] = 0

    def classes(self) -> tuple[type, ...]:
        return (type(self), Foundry, FoundryNested, FeatureKD)

    def compress(self, teacher: Encoder, data: PointCloudDataset, ctx: Context) -> Encoder:
        source = require_transformer(teacher, self.name)
        chosen = spaced(len(source.blocks), min(self.depth, len(source.blocks)))
        student = LateStudent(source, chosen, self)
        student.start(calibration_patches(source, data, CALIBRATION), self.sharpness, ctx.seed)
        return student

    def loss(self, student: Encoder, inputs: Any, target: Tokens) -> Tensor:
        """The FMD loss; of a nested student at all of its SuperTokens and at a random number of them."""
        if not self.nested:
            return super().loss(student, inputs, target)
        return nested_loss(self, drawn_used(self.supertokens), student, inputs, target)
