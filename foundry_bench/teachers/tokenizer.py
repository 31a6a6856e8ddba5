"""The mini-PointNet that turns a group of points into a token, factored exactly."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

CHUNK = 1024
"""Number of points that a CPU works on at a time, so that the values between two layers stay in its cache. The outputs do not
depend on it."""


class PointNetTokenizer(nn.Module):
    """3-w0-w1 | 2*w1-w2-D PointNet with two max-pools (Point-BERT, Point-MAE, Point-JEPA).

    The second half's first layer sees ``[global | local]``. Its global half is the same for all points of a group, so it
    is computed once per group: the same outputs to rounding, about a quarter fewer multiply-adds at ViT-S sizes. Point-wise
    convolutions are kept as linear layers on the last axis. Args: ``widths`` (w0, w1, w2), ``dim`` D.
    """

    def __init__(self, widths: tuple[int, int, int], dim: int) -> None:
        super().__init__()
        w0, w1, w2 = widths
        self.first_conv = nn.Sequential(
            nn.Linear(3, w0), nn.BatchNorm1d(w0), nn.ReLU(inplace=True), nn.Linear(w0, w1)
        )
        self.second_conv = nn.Sequential(
            nn.Linear(2 * w1, w2), nn.BatchNorm1d(w2), nn.ReLU(inplace=True), nn.Linear(w2, dim)
        )

    def forward(self, neighborhoods: Tensor) -> Tensor:
        """(B, T, K, 3) -> (B, T, D)."""
        groups = neighborhoods.flatten(0, 1)
        # In training, a batch norm needs the statistics of all points at once; an exported graph runs on any batch.
        if self.training or not groups.is_cpu or torch.compiler.is_compiling():
            tokens = self.tokens(groups)
        else:
            tokens = torch.cat([self.tokens(part) for part in groups.split(max(1, CHUNK // groups.shape[1]))])
        return tokens.unflatten(0, neighborhoods.shape[:2])

    def tokens(self, groups: Tensor) -> Tensor:
        """Groups (G, K, 3) -> (G, D)."""
        count, size, _ = groups.shape
        local = self.first_conv(groups.reshape(-1, 3))
        expand, *rest = self.second_conv
        assert isinstance(expand, nn.Linear)
        width = local.shape[-1]
        pooled = local.unflatten(0, (count, size)).amax(dim=1)
        from_group = F.linear(pooled, expand.weight[:, :width], expand.bias)
        from_point = F.linear(local, expand.weight[:, width:])
        x = (from_point.unflatten(0, (count, size)) + from_group[:, None]).flatten(0, 1)
        for layer in rest:
            x = layer(x)
        return x.unflatten(0, (count, size)).amax(dim=1)


class ReducedTokenizer(nn.Module):
    """A PointNet of ``width`` channels and a linear layer to D, as Point-BERT has it (``reduce_dim``, 256 to 384).

    The layer follows the last max-pool, so it cannot be merged with the linear layer before the max-pool.
    """

    pointnet: nn.Module

    def __init__(self, widths: tuple[int, int, int], width: int, dim: int) -> None:
        super().__init__()
        self.pointnet = PointNetTokenizer(widths, width)
        self.reduce = nn.Linear(width, dim)

    def forward(self, neighborhoods: Tensor) -> Tensor:
        """(B, T, K, 3) -> (B, T, D)."""
        return self.reduce(self.pointnet(neighborhoods))


def make_tokenizer(widths: Sequence[int], dim: int) -> PointNetTokenizer | ReducedTokenizer:
    """The tokenizer of ``widths``: three for a PointNet whose output has D channels, or
    four for one whose output has as many channels as the fourth says, reduced to D by a linear layer."""
    w0, w1, w2, *narrow = widths
    return ReducedTokenizer((w0, w1, w2), narrow[0], dim) if narrow else PointNetTokenizer((w0, w1, w2), dim)
