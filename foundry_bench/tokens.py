"""Pure functions that token-reducing methods share: attention, gating masks, positions of merged tokens, un-merging."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def attend(attention: Any, x: Tensor, bias: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Multi-head self-attention of a timm ``Attention`` on x (B, N, D), with an additive ``bias`` that broadcasts to
    (B, H, N, N). Returns the output (B, N, D) and the keys averaged over heads (B, N, D / H), ToMe's metric."""
    batch, count, _ = x.shape
    qkv = attention.qkv(x).reshape(batch, count, 3, attention.num_heads, -1).permute(2, 0, 3, 1, 4)
    q, k, v = qkv.unbind(0)
    if attention.fused_attn:
        out = F.scaled_dot_product_attention(q, k, v, attn_mask=None if bias is None else bias.to(q.dtype))
    else:
        scores = (q * attention.scale) @ k.transpose(-2, -1)
        out = (scores if bias is None else scores + bias).softmax(dim=-1) @ v
    return attention.proj(out.transpose(1, 2).reshape(batch, count, -1)), k.mean(dim=1)


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
    x = x + attend(block.attn, block.norm1(x), bias[:, None, None])[0]
    return x + block.mlp(block.norm2(x))


def take(x: Tensor, index: Tensor) -> Tensor:
    """Rows of x (B, N, C) at index (B, M) -> (B, M, C)."""
    return x.gather(1, index[..., None].expand(-1, -1, x.shape[-1]))


def assigned_mean(x: Tensor, assignment: Tensor) -> tuple[Tensor, Tensor]:
    """Mean of the rows of x (B, T, C) that ``assignment`` (B, T, s) gives to each of s clusters, and the counts (B, s).

    The denominator is max(1, count), so an empty cluster is zero and a small one is not biased. Gradients flow through
    the numerator and, where the count exceeds 1, through the denominator.
    """
    counts = assignment.sum(dim=1)
    return assignment.transpose(1, 2) @ x / counts.clamp_min(1)[..., None], counts


def nearest(centers: Tensor, kept: Tensor) -> Tensor:
    """For each of ``centers`` (B, T, 3) the index (B, T) of the nearest of ``kept`` (B, s, 3)."""
    squared = kept.square().sum(-1)[:, None] - 2 * centers @ kept.transpose(1, 2)
    return squared.argmin(dim=-1)


def content_order(centers: Tensor) -> Tensor:
    """A pseudo-random order (B, T) of each cloud's tokens that depends on their centres (B, T, 3) alone.

    The same cloud gets the same order in any batch and on any run, without a generator in the forward pass.
    """
    phase = (centers.double() * centers.new_tensor([12.9898, 78.233, 37.719], dtype=torch.double)).sum(-1)
    return (torch.sin(phase) * 43758.5453).frac().abs().argsort(dim=1)
