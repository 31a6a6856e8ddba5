"""Coordinates whose squares are numbers."""

from __future__ import annotations

import numpy as np

_SQUARABLE = 1e100
"""Coordinates above it, or all below its inverse, are scaled: their squares have no float64."""


def squarable(points: np.ndarray) -> np.ndarray:
    """Coordinates (..., 3), where their squares would overflow or vanish times a power of two, which keeps every digit."""
    largest = float(np.abs(points).max(initial=0.0))
    if not np.isfinite(largest) or not largest or 1 / _SQUARABLE < largest < _SQUARABLE:
        return points
    scaled: np.ndarray = np.ldexp(points.astype(np.float64), -int(np.frexp(largest)[1]))
    return scaled
