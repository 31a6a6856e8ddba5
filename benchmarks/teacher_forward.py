"""The encoder here beside the published form of the same one: same weights, same outputs, timed in turns.

    python benchmarks/teacher_forward.py [--seconds 20]

ViT-S (dim 384, depth 12, 6 heads, 64 patches of 32 points, clouds of 1,024 points) with random weights, written as a Point-MAE
checkpoint and loaded from it. Prints the largest relative difference of the outputs and, for batches of 1 and 16 on 1 and 2
threads, the ratio of the two times: its median over pairs and its quartile range (IQR), how many times as fast that is, and
the same with the grouping of points included, which is the same for both. :class:`PublishedEncoder` keeps what the
public code does: convolutions over points, [global | local] concatenated for every point, attention as two matrix products.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn

from foundry_bench.cost.latency import measure_latency
from foundry_bench.datasets import load_kicad
from foundry_bench.encoder import Encoder, EncoderConfig, Tokens
from foundry_bench.points.patches import Patches
from foundry_bench.teachers import load_teacher

VIT_S = EncoderConfig(qkv_bias=False)
WANTED = "1.2 at batch 1, 1.3 at batch 16"


class PublishedTokenizer(nn.Module):
    """The mini-PointNet of Point-BERT, Point-MAE and (``bias`` False before the norms) Point-JEPA."""

    def __init__(self, widths: tuple[int, int, int], dim: int, bias: bool = True) -> None:
        super().__init__()
        w0, w1, w2 = widths
        self.first_conv = nn.Sequential(
            nn.Conv1d(3, w0, 1, bias=bias), nn.BatchNorm1d(w0), nn.ReLU(inplace=True), nn.Conv1d(w0, w1, 1)
        )
        self.second_conv = nn.Sequential(
            nn.Conv1d(2 * w1, w2, 1, bias=bias),
            nn.BatchNorm1d(w2),
            nn.ReLU(inplace=True),
            nn.Conv1d(w2, dim, 1),
        )

    def forward(self, groups: Tensor) -> Tensor:
        """(B, T, K, 3) -> (B, T, D)."""
        batch, count, size, _ = groups.shape
        points = groups.reshape(batch * count, size, 3).transpose(2, 1)
        local = self.first_conv(points)
        pooled = local.max(dim=2, keepdim=True).values
        joined = torch.cat([pooled.expand(-1, -1, size), local], dim=1)
        return self.second_conv(joined).max(dim=2).values.reshape(batch, count, -1)


class PublishedAttention(nn.Module):
    """Scores, softmax and weighted sum, each by itself."""

    def __init__(self, dim: int, heads: int, qkv_bias: bool) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(dim, 3 * dim, bias=qkv_bias)
        self.proj = nn.Linear(dim, dim)

    def forward(self, x: Tensor) -> Tensor:
        """(B, N, D) -> (B, N, D)."""
        batch, count, dim = x.shape
        split = self.qkv(x).reshape(batch, count, 3, self.heads, dim // self.heads).permute(2, 0, 3, 1, 4)
        q, k, v = split[0], split[1], split[2]
        weights = ((q @ k.transpose(-2, -1)) * (dim // self.heads) ** -0.5).softmax(dim=-1)
        return self.proj((weights @ v).transpose(1, 2).reshape(batch, count, dim))


class PublishedMlp(nn.Module):
    """Two linear layers."""

    def __init__(self, dim: int, hidden: int) -> None:
        super().__init__()
        self.fc1, self.act, self.fc2 = nn.Linear(dim, hidden), nn.GELU(), nn.Linear(hidden, dim)

    def forward(self, x: Tensor) -> Tensor:
        """(B, N, D) -> (B, N, D)."""
        return self.fc2(self.act(self.fc1(x)))


class PublishedBlock(nn.Module):
    """Pre-norm transformer block."""

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(config.dim), nn.LayerNorm(config.dim)
        self.attn = PublishedAttention(config.dim, config.heads, config.qkv_bias)
        self.mlp = PublishedMlp(config.dim, round(config.mlp_ratio * config.dim))

    def forward(self, x: Tensor) -> Tensor:
        """(B, N, D) -> (B, N, D)."""
        x = x + self.attn(self.norm1(x))
        return x + self.mlp(self.norm2(x))


class PublishedBlocks(nn.Module):
    """Positions are added before every block."""

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(PublishedBlock(config) for _ in range(config.depth))

    def forward(self, x: Tensor, pos: Tensor) -> Tensor:
        """(B, N, D) -> (B, N, D)."""
        for block in self.blocks:
            x = block(x + pos)
        return x


class PublishedEncoder(Encoder):
    """Point-MAE's encoder with all patches visible; with ``config.prefix``, the fine-tuned one with a CLS token; with
    ``reduced`` channels of its PointNet, Point-BERT's. Module names are those of the public checkpoints."""

    def __init__(self, config: EncoderConfig, reduced: int = 0, conv_bias: bool = True) -> None:
        super().__init__()
        self.config = config
        self.encoder = PublishedTokenizer(config.tokenizer_widths, reduced or config.dim, conv_bias)
        self.reduce_dim = nn.Linear(reduced, config.dim) if reduced else nn.Identity()
        self.pos_embed = nn.Sequential(nn.Linear(3, 128), nn.GELU(), nn.Linear(128, config.dim))
        self.blocks = PublishedBlocks(config)
        self.norm = nn.LayerNorm(config.dim)
        for name in ("cls_token", "cls_pos"):
            rows = nn.Parameter(0.02 * torch.randn(1, 1, config.dim)) if config.prefix else None
            self.register_parameter(name, rows)

    def forward(self, patches: Patches, levels: bool = False) -> Tokens:
        x, pos = self.reduce_dim(self.encoder(patches.neighborhoods)), self.pos_embed(patches.centers)
        if self.cls_token is None:
            return Tokens(self.norm(self.blocks(x, pos)))
        x = torch.cat([self.cls_token.expand(len(x), -1, -1), x], dim=1)
        pos = torch.cat([self.cls_pos.expand(len(x), -1, -1), pos], dim=1)
        out = self.norm(self.blocks(x, pos))
        return Tokens(out[:, 1:], aux={"prefix": out[:, :1]})


@torch.no_grad()
def perturb(model: nn.Module, seed: int = 0) -> None:
    """Give every weight and every batch-norm statistic a value of its own, so that a wrong or missing one shows."""
    generator = torch.Generator().manual_seed(seed)
    for name, value in model.state_dict().items():
        if value.is_floating_point():
            noise = torch.randn(value.shape, generator=generator)
            value.add_(noise.abs() if name.endswith("running_var") else 0.02 * noise)


def point_mae_file(model: nn.Module, path: Path) -> Path:
    """Write ``model`` as Point-MAE's authors write theirs, and return ``path``."""
    state = {f"module.MAE_encoder.{name}": value for name, value in model.state_dict().items()}
    torch.save({"base_model": state, "epoch": 300}, path)
    return path


def main() -> None:
    """Load the published encoder's weights, compare outputs, time both in turns."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seconds", type=float, default=20.0, help="time spent on each line")
    seconds = parser.parse_args().seconds
    torch.manual_seed(0)
    published = PublishedEncoder(VIT_S).eval()
    perturb(published)
    with TemporaryDirectory() as folder:
        ours = load_teacher(point_mae_file(published, Path(folder) / "pretrain.pth"), up="y")
    clouds = torch.from_numpy(load_kicad().points[:64, : VIT_S.points]).float()
    patches = ours.tokenize(clouds[:16])
    with torch.inference_mode():
        theirs = published(patches).features
        gap = ((ours(patches).features - theirs).abs().max() / theirs.abs().max()).item()
    console = Console()
    console.print(f"largest difference of the outputs, relative to the largest output: {gap:.1e}")
    table = Table(
        "batch",
        "threads",
        "ours ms",
        "theirs ms",
        "ratio",
        "IQR",
        "faster",
        "grouped",
        "control",
        "turns",
        box=None,
    )
    for batch in (1, 16):
        for threads in (1, 2):
            found = measure_latency(
                ours, published, clouds, batch=batch, seconds=2 * seconds, threads=threads
            )
            encode, ratio, total = found.encode, found.encode.ratio, found.total.ratio
            assert encode.teacher is not None
            assert ratio is not None
            assert total is not None
            table.add_row(
                *(str(batch), str(threads), f"{encode.student.p50:.1f}", f"{encode.teacher.p50:.1f}"),
                *(f"{ratio.median:.3f}", f"{ratio.iqr:.3f}", f"{1 / ratio.median:.2f}"),
                *(f"{1 / total.median:.2f}", f"{encode.control.median:.2f}", str(encode.turns)),
            )
    console.print(table)
    console.print(f"wanted: {WANTED}")


if __name__ == "__main__":
    main()
