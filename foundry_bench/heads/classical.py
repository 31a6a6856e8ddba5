"""Hand-made descriptors of point clouds: what a learned encoder has to beat.

Shape distributions after Osada et al., "Shape Distributions" (2002): D2 is the histogram of distances
between pairs of points, D1 of distances to the centroid.
"""

from __future__ import annotations

from typing import Literal

import numpy as np

ClassicalKind = Literal["voxels", "histograms"]
BATCH = 256
GRIDS = (10, 8)
SHIFTS = 8


def classical_features(points: np.ndarray, kind: ClassicalKind) -> np.ndarray:
    """Descriptors (N, F) of clouds ``points`` (N, P, 3) in the unit sphere, points in random order.

    ``voxels``: occupancy of a 10^3 and an 8^3 grid, with D2, D1 and height. ``histograms``: D2, D1,
    height, distance to the up axis and box, all of which stay the same when a cloud turns about that axis.
    """
    describe = {"voxels": _voxels, "histograms": _histograms}[kind]
    batches = [describe(points[i : i + BATCH].astype(np.float64)) for i in range(0, len(points), BATCH)]
    return np.concatenate(batches).astype(np.float32)


def _voxels(points: np.ndarray) -> np.ndarray:
    grids = [_occupancy(points, cells) for cells in GRIDS]
    return np.concatenate([*grids, _d2(points), _d1(points), _height(points)], axis=1)


def _histograms(points: np.ndarray) -> np.ndarray:
    parts = [_d2(points), _d1(points), _height(points), _axial(points), _box(points)]
    return np.concatenate(parts, axis=1)


def _occupancy(points: np.ndarray, cells: int) -> np.ndarray:
    """Whether each cell of the cube [-1, 1]^3 holds a point, (N, cells^3)."""
    cell = np.clip(((points + 1) * (cells / 2)).astype(int), 0, cells - 1)
    index = (cell[..., 0] * cells + cell[..., 1]) * cells + cell[..., 2]
    occupied = np.zeros((len(points), cells**3))
    np.put_along_axis(occupied, index, 1.0, axis=1)
    return occupied


def _d2(points: np.ndarray, bins: int = 48) -> np.ndarray:
    """Distances of each point to the next few in the (random) order of the cloud."""
    shifted = [np.roll(points, shift, axis=1) for shift in range(1, SHIFTS + 1)]
    distances = [np.linalg.norm(points - other, axis=2) for other in shifted]
    return _histogram(np.concatenate(distances, axis=1), 0, 2, bins)


def _d1(points: np.ndarray, bins: int = 24) -> np.ndarray:
    return _histogram(np.linalg.norm(points, axis=2), 0, 1, bins)


def _height(points: np.ndarray, bins: int = 24) -> np.ndarray:
    return _histogram(points[..., 2], -1, 1, bins)


def _axial(points: np.ndarray, bins: int = 24) -> np.ndarray:
    return _histogram(np.linalg.norm(points[..., :2], axis=2), 0, 1, bins)


def _box(points: np.ndarray) -> np.ndarray:
    """Height, largest distance to the axis, and the two horizontal standard deviations, large one first."""
    flat = points[..., :2] - points[..., :2].mean(axis=1, keepdims=True)
    spread = np.linalg.eigvalsh(np.einsum("npi,npj->nij", flat, flat) / points.shape[1])[:, ::-1]
    height = np.ptp(points[..., 2], axis=1)
    radius = np.linalg.norm(flat, axis=2).max(axis=1)
    return np.column_stack([height, radius, np.sqrt(np.clip(spread, 0, None))])


def _histogram(values: np.ndarray, low: float, high: float, bins: int) -> np.ndarray:
    """Share of the values (N, V) in each of ``bins`` equal bins, (N, bins); outliers go to the end bins."""
    cell = np.clip(((values - low) * (bins / (high - low))).astype(int), 0, bins - 1)
    flat = cell + bins * np.arange(len(values))[:, None]
    counts = np.bincount(flat.ravel(), minlength=bins * len(values))
    return counts.reshape(len(values), bins) / values.shape[1]
