"""A ridge classifier in closed form: what it needs of its data are sums, so tokens can be streamed and sums be added up.

One-hot targets are regressed on standardised features; the highest answer wins. The one free parameter is relative to the
variance of the features, so that it can be the same for every encoder.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

CONSTANT = 1e-10
"""A feature whose variance is a smaller share of its mean square than this is constant but for rounding."""


@dataclass(frozen=True)
class Moments:
    """Sums over labelled rows, in float64: ``counts`` (C,) of each class, ``sums`` (C, D) of its rows, and of all rows the
    outer products ``outer`` (D, D)."""

    counts: Tensor
    sums: Tensor
    outer: Tensor

    @classmethod
    def zero(cls, dim: int, classes: int) -> Moments:
        """The sums over nothing."""
        return cls(
            *(torch.zeros(shape, dtype=torch.float64) for shape in ((classes,), (classes, dim), (dim, dim)))
        )

    @classmethod
    def of(cls, rows: Tensor, labels: Tensor, classes: int) -> Moments:
        """The sums over ``rows`` (n, D), whose ``labels`` (n,) int64 are below ``classes``."""
        wide = rows.double()
        sums = wide.new_zeros(classes, rows.shape[1]).index_add_(0, labels, wide)
        return cls(torch.bincount(labels, minlength=classes).double(), sums, wide.T @ wide)

    def __add__(self, other: Moments) -> Moments:
        return Moments(self.counts + other.counts, self.sums + other.sums, self.outer + other.outer)


@dataclass(frozen=True)
class Linear:
    """A linear classifier in float32: ``weight`` (D, C), ``bias`` (C,)."""

    weight: Tensor
    bias: Tensor

    def __call__(self, rows: Tensor) -> Tensor:
        """Classes (n,) of ``rows`` (n, D)."""
        return (rows @ self.weight + self.bias).argmax(dim=-1)


def ridge(moments: Moments, strength: float) -> Linear:
    """The ridge classifier of some rows, ``strength`` being a share of the variance of a standardised feature; a class without
    any row is never answered.

    With standardised features Z (n, D) and one-hot targets Y: ``W = (Z'Z / n + strength I)^-1 Z'(Y - mean) / n``. Constant
    features do not count.
    """
    count, share = moments.counts.sum(), moments.counts / moments.counts.sum()
    mean, square = moments.sums.sum(dim=0) / count, moments.outer.diagonal() / count
    variance = square - mean.square()
    scale = torch.where(variance > CONSTANT * square, variance, torch.inf).sqrt()
    correlation = (moments.outer / count - torch.outer(mean, mean)) / torch.outer(scale, scale)
    target = (moments.sums / count - torch.outer(share, mean)).T / scale[:, None]
    inverted = torch.linalg.solve(correlation + strength * torch.eye(len(mean), dtype=mean.dtype), target)
    weight = inverted / scale[:, None]
    bias = torch.where(share > 0, share - mean @ weight, -torch.inf)
    return Linear(weight.float(), bias.float())
