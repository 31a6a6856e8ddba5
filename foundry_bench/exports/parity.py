"""Whether a runtime gives what the student gives."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

TOLERANCE = 1e-3
"""Largest difference of a number, as a share of the root mean square of its array, that rounding may make. Single precision
leaves about 1e-5; a token that takes another way through the student leaves about 1."""
LEAST_R2 = 0.9
"""Least R2 of the tokens of an eight-bit graph against those of its float parent, that an export may have."""


@dataclass(frozen=True)
class Parity:
    """Over ``clouds`` clouds: the largest ``difference`` of any number of any output, and the largest as a ``share`` of the
    root mean square of its array; ``wrong``, how many clouds have a share beyond :data:`TOLERANCE`; ``r2``, the share of the
    variance of the student's tokens that the runtime's explain."""

    clouds: int
    difference: float
    share: float
    wrong: int
    r2: float

    @property
    def holds(self) -> bool:
        """Whether all of it is rounding."""
        return self.wrong == 0 and self.share <= TOLERANCE


def parity(got: Mapping[str, np.ndarray], wanted: Mapping[str, np.ndarray]) -> Parity:
    """How close the arrays ``got`` from a runtime are to those ``wanted``, of the same names, a cloud per row."""
    worst, shares = 0.0, np.zeros(len(wanted["tokens"]))
    for name, right in wanted.items():
        off = np.abs(got[name].astype(np.float64) - right).reshape(len(right), -1).max(axis=1)
        off = np.where(np.isfinite(off), off, np.inf)
        worst = max(worst, float(off.max()))
        shares = np.maximum(shares, off / max(float(np.sqrt(np.square(right).mean())), 1e-12))
    wrong = int((shares > TOLERANCE).sum())
    return Parity(len(shares), worst, float(shares.max()), wrong, r2(got["tokens"], wanted["tokens"]))


def r2(got: np.ndarray, wanted: np.ndarray) -> float:
    """Share of the variance of the tokens ``wanted`` (N, T, D), around their mean over clouds and patches, that ``got``
    explain."""
    right = wanted.astype(np.float64)
    rest = np.square(got - right).sum()
    return float(1 - rest / max(np.square(right - right.mean(axis=(0, 1))).sum(), 1e-12))
