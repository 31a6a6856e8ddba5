"""The factored tokenizer beside the published form, and the speed of grouping.

    python benchmarks/tokenizer.py

Prints the largest difference of the outputs, the multiply-adds of both forms and clouds grouped per second
(1,024 points -> 64 groups of 32).
"""

from __future__ import annotations

import time

import torch
from fvcore.nn import FlopCountAnalysis
from rich.console import Console
from torch import Tensor, nn

from foundry_bench.datasets import load_kicad
from foundry_bench.points import group
from foundry_bench.teachers.tokenizer import PointNetTokenizer


class PlainTokenizer(nn.Module):
    """The same weights in the published form: [global | local] concatenated for every point."""

    def __init__(self, factored: PointNetTokenizer) -> None:
        super().__init__()
        self.first_conv, self.second_conv = factored.first_conv, factored.second_conv

    def forward(self, neighborhoods: Tensor) -> Tensor:
        """(B, T, K, 3) -> (B, T, D)."""
        batch, groups, size, _ = neighborhoods.shape
        local = self.first_conv(neighborhoods.reshape(-1, 3)).reshape(batch * groups, size, -1)
        joined = torch.cat([local.amax(dim=1, keepdim=True).expand_as(local), local], dim=-1)
        return self.second_conv(joined.flatten(0, 1)).reshape(batch, groups, size, -1).amax(dim=2)


def macs(module: nn.Module, inputs: Tensor) -> int:
    """Multiply-adds of the linear layers."""
    analysis = FlopCountAnalysis(module, inputs).unsupported_ops_warnings(False)
    return int(analysis.by_operator()["linear"])


@torch.inference_mode()
def main() -> None:
    """Compare the two forms at ViT-S sizes and time the grouping of real clouds."""
    console = Console()
    torch.manual_seed(0)
    factored = PointNetTokenizer((128, 256, 512), 384).eval()
    plain = PlainTokenizer(factored)
    points = torch.from_numpy(load_kicad().points[:256])
    patches = group(points[:8], 64, 32)
    gap = (factored(patches.neighborhoods) - plain(patches.neighborhoods)).abs().max()
    console.print(f"largest difference: {float(gap):.1e}")
    ours, theirs = (macs(m, patches.neighborhoods[:1]) for m in (factored, plain))
    console.print(
        f"GMAC: published {theirs / 1e9:.4f}, factored {ours / 1e9:.4f} ({1 - ours / theirs:.1%} fewer)"
    )
    began = time.perf_counter()
    group(points, 64, 32)
    console.print(
        f"grouping: {len(points) / (time.perf_counter() - began):.0f} clouds/s, {torch.get_num_threads()} threads"
    )


if __name__ == "__main__":
    main()
