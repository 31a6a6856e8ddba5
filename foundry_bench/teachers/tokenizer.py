"""The mini-PointNet that turns a group of points into a token, factored exactly."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn


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
        batch, groups, size, _ = neighborhoods.shape
        local = self.first_conv(neighborhoods.reshape(-1, 3))
        expand, *rest = self.second_conv
        assert isinstance(expand, nn.Linear)
        width = local.shape[-1]
        pooled = local.unflatten(0, (batch * groups, size)).amax(dim=1)
        from_group = F.linear(pooled, expand.weight[:, :width], expand.bias)
        from_point = F.linear(local, expand.weight[:, width:])
        x = (from_point.unflatten(0, (batch * groups, size)) + from_group[:, None]).flatten(0, 1)
        for layer in rest:
            x = layer(x)
        return x.reshape(batch, groups, size, -1).amax(dim=2)
