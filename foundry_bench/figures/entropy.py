"""How widely attention looks: the entropy of its maps, block by block."""

from __future__ import annotations

import math

import pandas as pd
import torch
from torch import Tensor

from foundry_bench.encoder import Encoder
from foundry_bench.figures.files import blank
from foundry_bench.figures.seen import Made, Seen, device_of
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


def entropy(found: Seen) -> Made | None:
    """Entropy of the attention maps by block, of the student beside its teacher, and of the assignment where there is one."""
    patches = found.looked.patches[:64]
    named = {"teacher": found.teacher, "student": found.student}
    values = {name: attention_entropy(e, patches.to(device_of(e))) for name, e in named.items()}
    assignment = found.looked.aux.get("assignment")
    if not values["teacher"] and not values["student"] and assignment is None:
        return None
    figure = blank((6, 3.4))
    axes = figure.add_subplot()
    looks = {"teacher": ("o-", "0.15"), "student": ("s--", "#0072b2")}
    for name, layers in values.items():
        style, colour = looks[name]
        axes.plot(range(1, len(layers) + 1), layers, style, color=colour, label=f"attention of the {name}")
    rows = [(name, i + 1, value) for name, layers in values.items() for i, value in enumerate(layers)]
    if assignment is not None:
        value = assignment_entropy(assignment)
        axes.axhline(value, color="#d55e00", linewidth=1, label="assignment to SuperTokens")
        rows.append(("assignment", 0, value))
    axes.set(xlabel="attention layer", ylabel="entropy / log(keys)", ylim=(0, 1.02))
    axes.legend(frameon=False)
    return figure, pd.DataFrame(rows, columns=["of", "layer", "entropy"])
