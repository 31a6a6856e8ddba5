"""Bases of students that run the teacher's blocks on fewer tokens and give every original patch its row back."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, ClassVar

import torch.nn.functional as F
from torch import Tensor

from foundry_bench.encoder import Embedding, Tokens
from foundry_bench.students.base import CAU, TokenStudent
from foundry_bench.students.tokens import Attended, Stream, attend, draw, take
from foundry_bench.teachers.prefix import Prefix
from foundry_bench.teachers.transformer import PointTransformer


class ReducingStudent(TokenStudent):
    """Reduces the tokens before the first block (:meth:`begin`) and runs the blocks on what is left.

    Off the shelf, every patch then copies the row that stands for it. With ``upsample`` Foundry's CAU reconstructs it, as
    ``Y = row + MLP(T + position + row)``: without the skip, a method that is good off the shelf would lose that first.
    """

    def __init__(self, teacher: PointTransformer, upsample: bool) -> None:
        super().__init__(teacher)
        self.cau = CAU(self.config.dim, self.config.dim, skip=True) if upsample else None

    def begin(self, embedding: Embedding, pos: Tensor) -> tuple[Stream, Tensor]:
        """The stream that enters block 0, and (B, T, D) what the reconstruction of each patch knows besides its row:
        by default all tokens, and T + position."""
        return Stream.of(embedding.tokens, pos), embedding.tokens + pos

    def step(self, index: int, block: Any, stream: Stream) -> Stream:
        """Run block ``index``."""
        x, pos, prefix = self.entering(stream)
        return leaving(stream, block(x + pos), prefix)

    def entering(self, stream: Stream) -> tuple[Tensor, Tensor, Prefix | None]:
        """What enters a block, with the teacher's prefix rows in front: tokens and positions (B, n + N, D), and the prefix.

        Raises ValueError for a stream that lost its prefix.
        """
        if stream.prefix is not None:
            return *stream.prefix.in_front(stream.x, stream.pos), stream.prefix
        if self.prefix is not None:
            raise ValueError("a stream lost the teacher's prefix; make streams by dataclasses.replace")
        return stream.x, stream.pos, None

    def encode(self, embedding: Embedding, levels: bool = False) -> Tokens:
        stream, base = self.begin(embedding, self.positional_encoding(embedding.centers))
        stream = replace(stream, prefix=Prefix.of(self, len(embedding.tokens)))
        dense = []
        for i, block in enumerate(self.blocks):
            stream = self.step(i, block, stream)
            if levels and i in self.config.level_blocks:
                dense.append(self.restore(stream, base, final=False))
        aux = {"source": stream.source, "size": stream.size[..., 0]}
        if stream.prefix is not None:
            aux["prefix"] = self.norm(stream.prefix.x)
        return Tokens(self.restore(stream, base, final=True), tuple(dense), aux=aux)

    def restore(self, stream: Stream, base: Tensor, *, final: bool) -> Tensor:
        """One row per original patch, (B, T, D), from the rows that are left."""
        if self.cau is None:
            return take(self.norm(stream.x) if final else stream.x, stream.source)
        return self.cau(take(self.norm(stream.x), stream.source), base)


class MergingStudent(ReducingStudent):
    """Reduces between attention and MLP of the blocks, as ToMe and its kin do: subclasses say how in :meth:`reduce`.

    ``knob`` names the attribute that holds the compression; in training every step draws one of ``trained_at`` instead, so
    that one distilled student serves them all.
    """

    knob: ClassVar[str]
    proportional = False
    """Add log(size) to the attention *keys*, so that a merged row weighs as much as the rows it stands for."""
    needs_received = False
    """Whether :meth:`reduce` reads the attention that every token receives."""

    def __init__(self, teacher: PointTransformer, upsample: bool, trained_at: Sequence[Any]) -> None:
        super().__init__(teacher, upsample)
        self.trained_at = tuple(trained_at)

    def reduce(self, index: int, stream: Stream, attended: Attended, strength: Any) -> Stream:
        """The stream after block ``index``'s attention and before its MLP; ``strength`` is this pass's compression."""
        raise NotImplementedError

    def begin(self, embedding: Embedding, pos: Tensor) -> tuple[Stream, Tensor]:
        self._strength = draw(self.trained_at) if self.training else getattr(self, self.knob)
        return super().begin(embedding, pos)

    def step(self, index: int, block: Any, stream: Stream) -> Stream:
        x, pos, prefix = self.entering(stream)
        x = x + pos
        shrunk = stream.x.shape[1] < stream.source.shape[1]
        bias = stream.size.log().transpose(1, 2)[:, None] if self.proportional and shrunk else None
        if bias is not None and prefix is not None:
            bias = F.pad(bias, (prefix.x.shape[1], 0))
        attended = attend(block.attn, block.norm1(x), bias, received=self.needs_received)
        after = leaving(stream, x + attended.out, prefix)
        reduced = self.reduce(index, after, of_patches(attended, prefix), self._strength)
        x, _, prefix = self.entering(replace(reduced, prefix=after.prefix))
        return leaving(reduced, x + block.mlp(block.norm2(x)), prefix)


def leaving(stream: Stream, x: Tensor, prefix: Prefix | None) -> Stream:
    """``stream`` after a layer that gave ``x`` (B, n + N, D), the n rows of ``prefix`` first."""
    if prefix is None:
        return replace(stream, x=x)
    prefix, x = prefix.split(x)
    return replace(stream, x=x, prefix=prefix)


def of_patches(attended: Attended, prefix: Prefix | None) -> Attended:
    """What ``attended`` says of the patches; what they receive from the prefix counts, what it receives does not."""
    if prefix is None:
        return attended
    count = prefix.x.shape[1]
    received = None if attended.received is None else attended.received[:, count:]
    return Attended(attended.out[:, count:], attended.keys[:, count:], received)
