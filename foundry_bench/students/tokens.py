"""Pure functions that token-reducing methods share: attention, gating masks, merging with positions, un-merging.

Un-merging is one index map: ``Stream.source`` tells for each of the T original patches which row stands for it now. Every
reduction composes it, so that reading ``take(x, source)`` undoes any number of reductions at any depth.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from foundry_bench.teachers.prefix import Prefix


@dataclass(frozen=True)
class Attended:
    """What one attention layer leaves: ``out`` (B, N, D), ``keys`` averaged over heads (B, N, D / H), and ``received``
    (B, N), the attention each token gets, averaged over heads and queries, where it was asked for."""

    out: Tensor
    keys: Tensor
    received: Tensor | None = None


def attend(attention: Any, x: Tensor, bias: Tensor | None = None, received: bool = False) -> Attended:
    """Multi-head self-attention of a timm ``Attention`` on x (B, N, D), with an additive ``bias`` that broadcasts to
    (B, H, N, N). ``received`` asks for the attention that every token receives, which rules the fused kernel out."""
    qkv = attention.qkv(x).unflatten(-1, (3, attention.num_heads, -1)).permute(2, 0, 3, 1, 4)
    q, k, v = qkv.unbind(0)
    share = None
    if attention.fused_attn and not received:
        out = F.scaled_dot_product_attention(q, k, v, attn_mask=None if bias is None else bias.to(q.dtype))
    else:
        scores = (q * attention.scale) @ k.transpose(-2, -1)
        weights = (scores if bias is None else scores + bias).softmax(dim=-1)
        share = weights.mean(dim=(1, 2)) if received else None
        out = weights.to(v.dtype) @ v
    return Attended(attention.proj(out.transpose(1, 2).flatten(2)), k.mean(dim=1), share)


def set_fused_attention(module: nn.Module, fused: bool) -> None:
    """Switch every attention layer to the fused kernel or to plain matrix products.

    The fused kernel's backward pass is several times slower on CPUs for these short sequences, and tracers cannot count it.
    """
    for layer in module.modules():
        if hasattr(layer, "fused_attn"):
            layer.fused_attn = fused  # type: ignore[assignment]


def block_with_mask(block: Any, x: Tensor, keep: Tensor) -> Tensor:
    """A timm ``Block`` in which the tokens with ``keep`` (B, N) False are invisible as keys."""
    bias = torch.zeros(keep.shape, dtype=x.dtype, device=x.device).masked_fill(
        ~keep, torch.finfo(x.dtype).min
    )
    x = x + attend(block.attn, block.norm1(x), bias[:, None, None]).out
    return x + block.mlp(block.norm2(x))


def take(x: Tensor, index: Tensor) -> Tensor:
    """Rows of x (B, N, C) at index (B, M) -> (B, M, C)."""
    return x.gather(1, index[..., None].expand(-1, -1, x.shape[-1]))


@dataclass(frozen=True)
class Stream:
    """Tokens between two reductions. ``x`` and ``pos`` (B, N, D): tokens and the positions added before every block;
    ``size`` (B, N, 1): how many patches each row stands for; ``source`` (B, T): the row each original patch reads.

    What belongs to the forward pass and not to its rows: ``prefix``, the teacher's rows that stand for no patch, which the
    base classes keep apart from all of these, and ``strength``, the pass's compression where a method has several.
    """

    x: Tensor
    pos: Tensor
    size: Tensor
    source: Tensor
    prefix: Prefix | None = field(default=None, kw_only=True)
    strength: Any = field(default=None, kw_only=True)

    @classmethod
    def of(cls, x: Tensor, pos: Tensor) -> Stream:
        """The stream of x (B, T, D) before any reduction."""
        return cls(
            x, pos, torch.ones_like(x[..., :1]), torch.arange(x.shape[1], device=x.device).expand(x.shape[:2])
        )

    def of_pass(self, earlier: Stream) -> Stream:
        """These rows, in the forward pass of an ``earlier`` stream."""
        return replace(self, prefix=earlier.prefix, strength=earlier.strength)


def sum_rows(x: Tensor, index: Tensor, count: int) -> Tensor:
    """Sum of the rows of x (B, N, C) that ``index`` (B, N) sends to each of ``count`` rows, (B, count, C)."""
    total = x.new_zeros(x.shape[0], count, x.shape[-1])
    return total.scatter_add_(1, index[..., None].expand_as(x), x)


def merge(stream: Stream, index: Tensor, count: int) -> Stream:
    """Rows sent to the same of ``count`` places by ``index`` (B, N) become their mean, weighted by size; positions too.

    Every place must receive at least one row.
    """
    width = stream.x.shape[-1]
    packed = torch.cat([stream.x * stream.size, stream.pos * stream.size, stream.size], dim=-1)
    total = sum_rows(packed, index, count)
    size = total[..., 2 * width :]
    mean = total[..., : 2 * width] / size
    source = index.gather(1, stream.source)
    return Stream(mean[..., :width], mean[..., width:], size, source).of_pass(stream)


def select(stream: Stream, kept: Tensor, stand_in: Tensor) -> Stream:
    """Keep the rows ``kept`` (B, M); row i is from now on read at ``stand_in`` (B, N), an index into the kept ones."""
    return Stream(
        take(stream.x, kept),
        take(stream.pos, kept),
        sum_rows(stream.size, stand_in, kept.shape[1]),
        stand_in.gather(1, stream.source),
    ).of_pass(stream)


Value = TypeVar("Value")


def draw(choices: Sequence[Value]) -> Value:
    """One of ``choices``, at random from torch's global generator: the compression of one training step."""
    return choices[int(torch.randint(len(choices), ()))]


def assigned_mean(x: Tensor, assignment: Tensor, least: float = 1.0) -> tuple[Tensor, Tensor]:
    """Mean of the rows of x (B, T, C) that ``assignment`` (B, T, s) gives to each of s clusters, and the counts (B, s).

    The denominator is max(``least``, count), so an empty cluster is zero and, with hard assignment, a small one is not
    biased; soft assignment needs a smaller ``least``. Gradients flow through the numerator and, where the count exceeds
    ``least``, through the denominator.
    """
    counts = assignment.sum(dim=1)
    return assignment.transpose(1, 2) @ x / counts.clamp_min(least)[..., None], counts


def nearest(centers: Tensor, kept: Tensor) -> Tensor:
    """For each of ``centers`` (B, T, 3) the index (B, T) of the nearest of ``kept`` (B, s, 3)."""
    # double: autocast would round distances until neighbours are mistaken
    centers, kept = centers.double(), kept.double()
    squared = kept.square().sum(-1)[:, None] - 2 * centers @ kept.transpose(1, 2)
    return squared.argmin(dim=-1)


def content_order(centers: Tensor) -> Tensor:
    """A pseudo-random order (B, T) of each cloud's tokens that depends on their centres (B, T, 3) alone.

    The same cloud gets the same order in any batch, on any run and in half precision too, without a generator in the forward
    pass: centres are rounded to half precision first, which leaves alone those that are rounded already.
    """
    # tensors, because exporters write a number of Python's in single precision, in which the order is another one
    weights = centers.new_tensor([12.9898, 78.233, 37.719], dtype=torch.double)
    stretch = centers.new_tensor(43758.5453, dtype=torch.double)
    phase = (centers.half().double() * weights).sum(-1)
    return (torch.sin(phase) * stretch).frac().abs().argsort(dim=1)
