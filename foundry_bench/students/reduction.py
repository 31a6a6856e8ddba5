"""Bases of students that run the teacher's blocks on fewer tokens and give every original patch its row back."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
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

    The teacher's prefix is this class's business: every layer that mixes rows goes through :meth:`through`.
    """

    def __init__(self, teacher: PointTransformer, upsample: bool) -> None:
        super().__init__(teacher)
        self.cau = CAU(self.config.dim, self.config.dim, skip=True) if upsample else None

    def begin(self, embedding: Embedding, pos: Tensor) -> tuple[Stream, Tensor]:
        """The stream that enters block 0, and (B, T, D) what the reconstruction of each patch knows besides its row:
        by default all tokens, and T + position."""
        return Stream.of(embedding.tokens, pos), embedding.tokens + pos

    def before(self, index: int, stream: Stream) -> Stream:
        """What enters block ``index``: by default all that the block before left."""
        return stream

    def step(self, index: int, block: Any, stream: Stream) -> Stream:
        """Run block ``index``."""
        return self.through(stream, block)

    def through(self, stream: Stream, layer: Callable[..., Tensor], visible: Tensor | None = None) -> Stream:
        """The stream after ``layer``, (B, M, D) -> (B, M, D), ran on its tokens with their positions, behind the prefix.

        ``visible`` (B, N, 1), where given, tells how far each token is seen; the layer gets it too, 1 for the prefix.
        """
        x, pos, prefix = self.entering(stream)
        if visible is None:
            return leaving(stream, layer(x + pos), prefix)
        if prefix is not None:
            visible = F.pad(visible, (0, 0, prefix.x.shape[1], 0), value=1.0)
        return leaving(stream, layer(x + pos, visible), prefix)

    def enter(self, embedding: Embedding) -> tuple[Stream, Tensor]:
        """What :meth:`begin` says, with the prefix beside the stream."""
        stream, base = self.begin(embedding, self.positional_encoding(embedding.centers))
        return replace(stream, prefix=Prefix.of(self, embedding.tokens.shape[0])), base

    def entering(self, stream: Stream) -> tuple[Tensor, Tensor, Prefix | None]:
        """What enters a block, with the teacher's prefix rows in front: tokens and positions (B, n + N, D), and the prefix.

        Raises ValueError for a stream that lost its prefix.
        """
        if stream.prefix is not None:
            return *stream.prefix.in_front(stream.x, stream.pos), stream.prefix
        if self.prefix is not None:
            raise ValueError(
                "a stream lost the teacher's prefix; make it from the one before by Stream.of_pass"
            )
        return stream.x, stream.pos, None

    def encode(self, embedding: Embedding, levels: bool = False) -> Tokens:
        stream, base = self.enter(embedding)
        dense: list[Tensor] = []
        for i, block in enumerate(self.blocks):
            stream = self.step(i, block, self.before(i, stream).of_pass(stream))
            if levels and (count := self.config.level_blocks.count(i)):
                dense += [self.restore(stream, base, final=False)] * count
        return self.finish(stream, base, dense)

    def finish(
        self, stream: Stream, base: Tensor, dense: Sequence[Tensor], penalty: Tensor | None = None
    ) -> Tokens:
        """The student's output after the last block; figures may read what became of the rows and of the prefix."""
        aux = {"source": stream.source, "size": stream.size[..., 0]}
        if stream.prefix is not None:
            aux["prefix"] = self.norm(stream.prefix.x)
        return Tokens(self.restore(stream, base, final=True), tuple(dense), penalty, aux)

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
        """The stream after block ``index``'s attention and before its MLP; ``strength`` is the pass's compression."""
        raise NotImplementedError

    def begin(self, embedding: Embedding, pos: Tensor) -> tuple[Stream, Tensor]:
        strength = draw(self.trained_at) if self.training else getattr(self, self.knob)
        stream, base = super().begin(embedding, pos)
        return replace(stream, strength=strength), base

    def step(self, index: int, block: Any, stream: Stream) -> Stream:
        x, pos, prefix = self.entering(stream)
        x = x + pos
        shrunk = stream.x.shape[1] < stream.source.shape[1]
        bias = stream.size.log().transpose(1, 2)[:, None] if self.proportional and shrunk else None
        if bias is not None and prefix is not None:
            bias = F.pad(bias, (prefix.x.shape[1], 0))
        attended = attend(block.attn, block.norm1(x), bias, received=self.needs_received)
        after = leaving(stream, x + attended.out, prefix)
        reduced = self.reduce(index, after, of_patches(attended, prefix), stream.strength).of_pass(after)
        x, _, prefix = self.entering(reduced)
        return leaving(reduced, x + block.mlp(block.norm2(x)), prefix)


Change = Callable[[Tensor], Tensor]


class FoldingStudent(MergingStudent):
    """Runs the layers of every block on fewer rows and gives what they add to all rows, so that each keeps its own state:
    subclasses say how in :meth:`fold`."""

    def fold(self, index: int, x: Tensor, strength: Any) -> tuple[Change, Change] | None:
        """From the normalised rows x (B, N, D) that enter block ``index``: what makes (B, M, D) of any (B, N, D) before
        attention and MLP, and what undoes it behind them. None to leave them as they are."""
        raise NotImplementedError

    def step(self, index: int, block: Any, stream: Stream) -> Stream:
        x, pos, prefix = self.entering(stream)
        x = x + pos
        normed = block.norm1(x)
        changes = self.fold(index, normed if prefix is None else prefix.split(normed)[1], stream.strength)
        x = x + folded(block.attn, normed, changes, prefix)
        x = x + folded(block.mlp, block.norm2(x), changes, prefix)
        return leaving(stream, x, prefix)


def folded(
    layer: Callable[[Tensor], Tensor], x: Tensor, changes: tuple[Change, Change] | None, prefix: Prefix | None
) -> Tensor:
    """``layer`` between two ``changes`` of the rows x (B, n + N, D) that are not the n of the ``prefix``."""
    if changes is None:
        return layer(x)
    narrow, widen = changes if prefix is None else (partial(prefix.beside, change) for change in changes)
    return widen(layer(narrow(x)))


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
