"""The context index of the shipped teacher, of two public checkpoints, and of networks that must have none.

python benchmarks/teacher_context.py

The checkpoints are the small ones of the tests, in the published layouts and with random weights: they show that the measure
reads them. Identity attention stands in place of the shipped teacher's, layer by layer.
"""

from __future__ import annotations

import sys
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from foundry_bench.encoder import Encoder
from foundry_bench.heads.context_index import context_index, standard_clouds
from foundry_bench.teachers import PointTransformer, load_teacher

GOLDEN = Path(__file__).parents[1] / "tests" / "golden"
SIZES = "?heads=4&groups=16&group_size=8&points=256"


class IdentityAttention(nn.Module):
    """Every query attends to itself alone, with the projections of a timm ``Attention``."""

    def __init__(self, attention: nn.Module) -> None:
        super().__init__()
        self.attention = attention

    def forward(self, x: Tensor, **_: object) -> Tensor:
        batch, count, _width = x.shape
        projected = self.attention.qkv(x).reshape(batch, count, 3, self.attention.num_heads, -1)
        itself = torch.eye(count, dtype=torch.bool, device=x.device)
        out = F.scaled_dot_product_attention(*projected.permute(2, 0, 3, 1, 4), attn_mask=itself)
        return self.attention.proj(out.transpose(1, 2).reshape(batch, count, -1))


def encoders() -> dict[str, Encoder]:
    """Row of the table -> encoder."""
    shipped, alone, alike = (load_teacher("small") for _ in range(3))
    for block in alone.blocks:
        block.attn = IdentityAttention(block.attn)
    for block in alike.blocks:
        block.attn.qkv.weight[: shipped.config.dim] = 0
    torch.manual_seed(0)
    return {
        "shipped `small`": shipped,
        "random initialisation": PointTransformer(shipped.config),
        "`small` with identity attention": alone,
        "`small` with the same query everywhere": alike,
        "Point-JEPA layout": load_teacher(f"{GOLDEN / 'point_jepa.ckpt'}{SIZES}"),
        "Point-MAE layout": load_teacher(f"{GOLDEN / 'point_mae.pth'}{SIZES}"),
    }


def main() -> None:
    """Print the table as Markdown."""
    clouds = standard_clouds()
    sys.stdout.write(
        "| encoder | context index | query mean | self kept | effective rank |\n|---|---|---|---|---|\n"
    )
    for name, encoder in encoders().items():
        found = context_index(encoder, clouds)
        rank = f"{found.effective_rank:.1f} of {encoder.config.dim}"
        sys.stdout.write(
            f"| {name} | {found.index:.4f} | {found.query_mean:.4f} | {found.self_kept:.4f} | {rank} |\n"
        )


if __name__ == "__main__":
    main()
