"""How widely attention looks: the entropy of its maps, block by block."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from foundry_bench.encoder import Encoder
from foundry_bench.heads.context_index import watched_attention
from foundry_bench.points.patches import Patches


@torch.inference_mode()
def attention_entropy(encoder: Encoder, patches: Patches) -> list[float]:
    """Mean entropy of every attention map that ``encoder`` computes on ``patches``, in the order of its blocks, as a share of
    the logarithm of the keys: 1 looks at all alike, 0 at one. Layers that write their maps out themselves are not seen."""
    found: list[float] = []

    def see(maps: Tensor) -> None:
        keys = maps.shape[-1]
        entropy = torch.special.entr(maps.float()).sum(dim=-1).mean()
        found.append(float(entropy) / math.log(keys) if keys > 1 else 0.0)

    with watched_attention(encoder, see):
        encoder(patches)
    return found


def assignment_entropy(assignment: Tensor) -> float:
    """Mean entropy of the rows of a map from tokens to SuperTokens (n, T, s) as a share of log s: 0 where each has one."""
    count = assignment.shape[-1]
    whole = assignment / assignment.sum(dim=-1, keepdim=True).clamp_min(1e-12)
    return float(torch.special.entr(whole).sum(dim=-1).mean()) / math.log(count) if count > 1 else 0.0
