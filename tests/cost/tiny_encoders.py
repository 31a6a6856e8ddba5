"""Hand-made encoders whose multiply-adds can be counted on paper."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from foundry_bench.encoder import Encoder, EncoderConfig, Tokens
from foundry_bench.points.patches import Patches
from foundry_bench.teachers.transformer import make_blocks

CONFIG = EncoderConfig(dim=32, depth=2, heads=4, groups=16, group_size=8, points=128)
T, D, K = CONFIG.groups, CONFIG.dim, CONFIG.group_size
LIFT_MACS = T * 3 * D


def blank_clouds(count: int = 1, seed: int = 0) -> Tensor:
    """Random clouds (count, 128, 3)."""
    return torch.randn(count, CONFIG.points, 3, generator=torch.Generator().manual_seed(seed))


class Lift(Encoder):
    """Centres (B, T, 3) to D by one linear layer; subclasses add one operator to be counted."""

    def __init__(self) -> None:
        super().__init__()
        self.config = CONFIG
        self.tokenizer = nn.Linear(3, D)

    def work(self, x: Tensor) -> Tensor:
        """(B, T, D) -> (B, T, D)."""
        return x

    def forward(self, patches: Patches, levels: bool = False) -> Tokens:
        return Tokens(self.work(self.tokenizer(patches.centers)))

    @property
    def cost_parts(self) -> dict[str, nn.Module]:
        return {"tokenizer": self.tokenizer}


class Transformer(Lift):
    """Lift and ``depth`` timm blocks."""

    def __init__(self, depth: int = CONFIG.depth) -> None:
        super().__init__()
        self.blocks = make_blocks(CONFIG, depth)

    def work(self, x: Tensor) -> Tensor:
        for block in self.blocks:
            x = block(x)
        return x


class Decoding(Transformer):
    """A transformer with a linear decoder, and with a spare reference to its first block."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(D, D)
        self.ema = self.blocks[0]

    def work(self, x: Tensor) -> Tensor:
        return self.head(super().work(x))

    @property
    def cost_parts(self) -> dict[str, nn.Module]:
        return {"tokenizer": self.tokenizer, "decoder": self.head}


class Fused(Lift):
    """Calls the fused kernel whatever it is told."""

    def work(self, x: Tensor) -> Tensor:
        return F.scaled_dot_product_attention(x, x, x)


class Einsum(Lift):
    """Pairwise products over the latent axis, T x T x D, back to (B, T, D) by the first D columns."""

    def work(self, x: Tensor) -> Tensor:
        return x + torch.einsum("bid,bjd->bij", x, x).mean(-1, keepdim=True)


class Convolving(Lift):
    """A point-wise convolution, D x D per token."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv1d(D, D, 1)

    def work(self, x: Tensor) -> Tensor:
        return self.conv(x.transpose(1, 2)).transpose(1, 2)


class Integer(Lift):
    """An int8 product, D x D per token."""

    def work(self, x: Tensor) -> Tensor:
        weight = torch.ones(D, D, dtype=torch.int8)
        return torch._int_mm(x.flatten(0, 1).round().to(torch.int8), weight.t()).float().view_as(x)


class Quantised(Lift):
    """Its weight is an int8 buffer, half of it zeros."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("weight", torch.tensor([0, 1], dtype=torch.int8).repeat(D, D // 2))
        self.register_buffer("scale", torch.ones(D))


class Fourier(Lift):
    """Multiplies in a way that no handler knows."""

    def work(self, x: Tensor) -> Tensor:
        return torch.fft.fft(x, dim=1).real


class Hidden(torch.autograd.Function):
    """A Python operator that multiplies where no counter looks."""

    @staticmethod
    def forward(ctx: object, x: Tensor, weight: Tensor) -> Tensor:
        return x @ weight


class Custom(Lift):
    """Uses :class:`Hidden`."""

    def work(self, x: Tensor) -> Tensor:
        return Hidden.apply(x, self.tokenizer.weight @ self.tokenizer.weight.T)


class Gated(Lift):
    """Runs its linear layer only on tokens above the cloud's middle plane: work depends on the cloud."""

    data_dependent = True

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(D, D)

    def forward(self, patches: Patches, levels: bool = False) -> Tokens:
        x = self.tokenizer(patches.centers)
        rows = (patches.centers[..., 2] > 0).nonzero(as_tuple=True)
        return Tokens(x.index_put(rows, self.linear(x[rows])))


class Wasteful(Lift):
    """Computes a product and forgets it."""

    def work(self, x: Tensor) -> Tensor:
        x @ x.transpose(1, 2)
        return x


class Illustrated(Lift):
    """Computes a product for a figure."""

    def forward(self, patches: Patches, levels: bool = False) -> Tokens:
        x = self.tokenizer(patches.centers)
        return Tokens(x, aux={"similarity": x @ x.transpose(1, 2)})
