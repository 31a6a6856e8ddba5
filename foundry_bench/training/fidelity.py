"""How alike a student's tokens are to its teacher's, seen four ways, from sums of products alone.

Plain R2 punishes a wrong scale, which a linear probe undoes, and is mostly about what differs between objects. Beside it stand
``r2_linear``, after the best linear map from student to teacher tokens that *other* objects tell, and ``r2_within``, of what
differs between the patches of one cloud, both also by band of the teacher's principal components (:data:`BANDS`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from foundry_bench.context import derive_seed
from foundry_bench.encoder import Band, Fidelity

BANDS = (1, 5, 17, 65)
"""First principal components of the bands: 1 to 4, 5 to 16, 17 to 64, and the rest."""
FOLDS = 8
"""Parts of the held-out objects: each is scored with the linear map that the others tell."""
RIDGE = 0.001
"""Strength of the ridge in standardised student dimensions, as a share of their variance."""


@dataclass
class Moments:
    """Sums over tokens of products of ``z = (1, student, teacher)``, in float64: ``every`` (1 + 2D, 1 + 2D), and ``within``, of
    the differences of z from its mean over the cloud."""

    every: Tensor
    within: Tensor

    @classmethod
    def zero(cls, width: int) -> Moments:
        """Of no tokens with D = ``width``."""
        size = 1 + 2 * width
        return cls(torch.zeros(size, size, dtype=torch.double), torch.zeros(size, size, dtype=torch.double))

    def add(self, student: Tensor, teacher: Tensor) -> None:
        """Count the tokens (B, T, D) of some clouds, both float64."""
        z = torch.cat([torch.ones_like(teacher[..., :1]), student, teacher], dim=-1)
        every, sums = z.flatten(0, 1), z.sum(dim=1)
        products = every.T @ every
        self.every += products
        self.within += products - sums.T @ sums / z.shape[1]

    def __add__(self, other: Moments) -> Moments:
        return Moments(self.every + other.every, self.within + other.within)

    def __sub__(self, other: Moments) -> Moments:
        return Moments(self.every - other.every, self.within - other.within)

    @property
    def width(self) -> int:
        """D."""
        return (len(self.every) - 1) // 2

    @property
    def count(self) -> float:
        """Tokens."""
        return float(self.every[0, 0])

    def centred(self) -> Tensor:
        """Sums of products (2D, 2D) of student and teacher around their means."""
        means = self.every[0, 1:]
        return self.every[1:, 1:] - torch.outer(means, means) / self.count


def folds(series: Iterable[str], count: int = FOLDS) -> np.ndarray:
    """Fold from 0 (N,) of each object: whole ``series`` go to one fold, in an order that their names' hashes tell, each to the
    fold with the fewest objects so far."""
    names = [str(name) for name in series]
    sizes, members = [0] * count, Counter(names)
    fold: dict[str, int] = {}
    for name in sorted(members, key=lambda name: (derive_seed(0, "fold", name), name)):
        fold[name] = sizes.index(min(sizes))
        sizes[fold[name]] += members[name]
    return np.array([fold[name] for name in names], dtype=np.int64)


def linear_map(moments: Moments, ridge: float = RIDGE) -> Tensor:
    """Teacher minus linearly mapped student as coefficients (1 + 2D, D) of z: closed-form ridge on standardised dimensions,
    shrunk toward the map that changes nothing, for a student's tokens are meant to be its teacher's."""
    d, products = moments.width, moments.centred()
    own, cross = products[:d, :d], products[:d, d:]
    penalty = torch.diag(ridge * own.diagonal().clamp_min(1e-12 * moments.count))
    weight = torch.eye(d).double() + torch.linalg.solve(own + penalty, cross - own)
    mean = moments.every[0, 1:] / moments.count
    return torch.cat([(mean[:d] @ weight - mean[d:])[None], -weight, torch.eye(d).double()])


def unmapped(width: int) -> Tensor:
    """Teacher minus student as coefficients (1 + 2D, D) of z."""
    eye = torch.eye(width, dtype=torch.double)
    return torch.cat([torch.zeros(1, width, dtype=torch.double), -eye, eye])


def squares(products: Tensor, coefficients: Tensor) -> Tensor:
    """Sum of squares (K,) of the columns that ``coefficients`` (1 + 2D, K) make of z with these ``products``."""
    return (products @ coefficients * coefficients).sum(dim=0)


def from_moments(r2: float, parts: Sequence[Moments]) -> Fidelity:
    """The whole fidelity, given plain ``r2`` and the moments of each fold of the objects.

    The map that all other folds tell is scored on each fold; the squares of all are summed and compared with the variance
    around the mean token of all. No linear R2 where only one fold has objects.
    """
    whole, d = sum(parts[1:], parts[0]), parts[0].width
    total, axes = _by_component(whole.centred()[d:, d:])
    within = squares(whole.within, _teacher_only(axes))
    left = squares(whole.within, unmapped(d) @ axes)
    scored = [part for part in parts if part.count]
    mapped = None
    if len(scored) > 1:
        mapped = torch.stack([squares(p.every, linear_map(whole - p) @ axes) for p in scored]).sum(dim=0)
    bands = [
        Band(
            first,
            last,
            float(total[first - 1 : last].sum() / total.sum()),
            _explained(mapped, total, first, last),
            _explained(left, within, first, last),
        )
        for first, last in band_limits(d)
    ]
    return Fidelity(r2, _explained(mapped, total, 1, d), _explained(left, within, 1, d), bands)


def band_limits(width: int) -> list[tuple[int, int]]:
    """First and last component of each band in D = ``width`` dimensions."""
    known = [first for first in BANDS if first <= width]
    return list(zip(known, [*(first - 1 for first in known[1:]), width], strict=True))


def _by_component(products: Tensor) -> tuple[Tensor, Tensor]:
    """Principal components of centred ``products`` (D, D), largest first: their sums of squares (D,) and axes (D, D)."""
    values, axes = torch.linalg.eigh(products)
    return values.flip(0).clamp_min(0), axes.flip(1)


def _teacher_only(axes: Tensor) -> Tensor:
    """``axes`` (D, D) of the teacher as coefficients (1 + 2D, D) of z."""
    return torch.cat([torch.zeros(1 + len(axes), axes.shape[1], dtype=axes.dtype), axes])


def _explained(left: Tensor | None, total: Tensor, first: int, last: int) -> float | None:
    here = slice(first - 1, last)
    if left is None or not total[here].sum() > 1e-9 * total.sum():  # nothing varies there
        return None
    return 1 - float(left[here].sum() / total[here].sum())
