"""Plain feature distillation into a smaller transformer: all T tokens, fewer or narrower blocks (TinyBERT, arXiv 1909.10351;
DMAE, arXiv 2208.12256)."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Annotated, Any, ClassVar

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
    TokenStudent,
    UserError,
    require_transformer,
)


def spaced(total: int, count: int) -> list[int]:
    """``count`` block indices spread evenly over ``total``, ends included."""
    if count == 1:
        return [total - 1]
    return [round(i * (total - 1) / (count - 1)) for i in range(count)]


class ShallowStudent(TokenStudent):
    """A few of the teacher's blocks on all tokens."""

    def encode(self, embedding: Embedding, levels: bool = False) -> Tokens:
        hidden, kept = self.hidden(embedding, levels)
        return Tokens(self.norm(hidden), tuple(kept))

    def hidden(self, embedding: Embedding, levels: bool) -> tuple[Tensor, list[Tensor]]:
        """The last hidden state (B, T, d) and, if asked for, those at a third, two thirds and the end of the depth."""
        keep = tuple(max(round(len(self.blocks) * k / 3) - 1, 0) for k in (1, 2, 3)) if levels else ()
        pos = self.positional_encoding(embedding.centers)
        return self.run(embedding.tokens, pos, keep)


class NarrowStudent(ShallowStudent):
    """A transformer of another width, with a tokenizer of its own, that starts at random; a linear layer leads to the
    teacher's D. Unlike TinyBERT's it stays, because students have to give the teacher's tokens."""

    def __init__(self, teacher: PointTransformer, depth: int, width: float) -> None:
        full = teacher.config
        heads = max(1, round(full.heads * width))
        dim = heads * max(1, round(full.dim * width / heads))
        widths = tuple(max(1, round(w * width)) for w in full.tokenizer_widths)
        small = PointTransformer(replace(full, dim=dim, depth=depth, heads=heads, tokenizer_widths=widths))
        super().__init__(small)
        self.tokenizer.requires_grad_(True)
        self.config = full
        self.project = nn.Linear(dim, full.dim)

    def train(self, mode: bool = True) -> NarrowStudent:
        """Training mode for all, the tokenizer's batch norms included: nothing in it is the teacher's."""
        super().train(mode)
        self.tokenizer.train(mode)
        return self

    def encode(self, embedding: Embedding, levels: bool = False) -> Tokens:
        hidden, kept = self.hidden(embedding, levels)
        return Tokens(self.project(self.norm(hidden)), tuple(self.project(self.norm(x)) for x in kept))

    @property
    def cost_parts(self) -> dict[str, nn.Module]:
        return {"tokenizer": self.tokenizer, "decoder": self.project}


def small_transformer(teacher: PointTransformer, depth: int, width: float) -> ShallowStudent:
    """The student of one size: copies of evenly spaced blocks at the teacher's width, else a new transformer."""
    if width < 1:
        return NarrowStudent(teacher, depth, width)
    if depth > len(teacher.blocks):
        raise UserError(
            f"depth={depth} is more than the teacher's {len(teacher.blocks)} blocks; give no more, or a width below 1"
        )
    return ShallowStudent(teacher, spaced(len(teacher.blocks), depth))


@dataclass(frozen=True)
class FeatureKD(Method):
    """``depth``: number of blocks. ``width``: share of the teacher's width; 1 copies ``depth`` of its blocks, evenly spaced,
    and keeps its tokenizer, anything else starts at random with a tokenizer as narrow as the blocks."""

    name: ClassVar[str] = "kd"
    family: ClassVar[Family] = "distil"
    paper: ClassVar[Paper] = Paper(
        "TinyBERT: Distilling BERT for Natural Language Understanding", "1909.10351"
    )
    abstract: ClassVar[str] = (
        "a smaller transformer: fewer of the teacher's blocks, or narrower ones from scratch"
    )
    grid: ClassVar[dict[str, tuple[Any, ...]]] = {"depth": (1, 3), "width": (1.0, 0.5)}
    matched: ClassVar[tuple[dict[str, Any], ...]] = ({"depth": 2, "width": 1.0},)

    depth: Annotated[int, Bounds(at_least=1, at_most=64)] = 2
    width: Annotated[float, Bounds(above=0, at_most=1)] = 1.0

    def compress(self, teacher: Encoder, data: PointCloudDataset, ctx: Context) -> Encoder:
        return small_transformer(require_transformer(teacher, self.name), self.depth, self.width)
