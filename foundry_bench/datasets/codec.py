"""How point clouds are stored: 12 bits a coordinate, sorted, as byte planes; shuffled again when read.

The points of a cloud are a set, so the order that compresses best is stored (by z, then y, then x) and a
pseudo-random order is made when they are read. That order is a pure function of the row and the point number,
free of any library's random generator, so it never changes: point 0 (where farthest point sampling starts) is
always the same point, and the first half of a cloud is a fair sample of the whole.
"""

from __future__ import annotations

import numpy as np

BITS = 12
#: Largest quantised magnitude; -1 to 1 becomes -LEVELS to LEVELS, with an exact 0.
LEVELS = 2 ** (BITS - 1) - 1
#: Step of a coordinate in units of the unit sphere's radius.
STEP = 1.0 / LEVELS
#: Byte planes of an encoded array: low and high byte of z (as differences), y and x.
PLANES = 6


def encode_clouds(points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Quantises clouds and sorts their points.

    Args:
        points: ``(N, P, 3)`` coordinates in [-1, 1].

    Returns:
        ``(PLANES, N, P)`` uint8 planes, and the ``(N, P)`` order that sorted the points, with which data per
        point must be sorted as well.

    Raises:
        ValueError: a coordinate outside [-1, 1] or not finite.
    """
    if not np.abs(points).max(initial=0.0) <= 1.0:
        raise ValueError("coordinates must lie in [-1, 1]")
    codes = (np.rint(points.astype(np.float64) * LEVELS) + LEVELS).astype(np.int64)
    x, y, z = codes[..., 0], codes[..., 1], codes[..., 2]
    order = np.argsort((z << 2 * BITS) | (y << BITS) | x, axis=1, kind="stable")
    x, y, z = (np.take_along_axis(axis, order, axis=1) for axis in (x, y, z))
    z = np.diff(z, axis=1, prepend=0)
    planes = [plane for axis in (z, y, x) for plane in (axis & 255, axis >> 8)]
    return np.stack(planes).astype(np.uint8), order


def decode_clouds(planes: np.ndarray) -> np.ndarray:
    """Coordinates ``(N, P, 3)`` float32 of planes ``(PLANES, N, P)``, shuffled by :func:`reading_order`."""
    low, high = planes[0::2].astype(np.int16), planes[1::2].astype(np.int16)
    z, y, x = low | (high << 8)
    z = np.cumsum(z, axis=1, dtype=np.int16)
    sorted_points = (np.stack([x, y, z], axis=-1) - np.int16(LEVELS)).astype(np.float32) * np.float32(STEP)
    order = reading_order(*planes.shape[1:])
    return np.take_along_axis(sorted_points, order[..., None], axis=1)


def reading_order(clouds: int, points: int) -> np.ndarray:
    """Pseudo-random order of the points of every cloud: ``(clouds, points)`` indices into the stored order.

    The keys are the SplitMix64 hash of (row, point); source: Steele, Lea & Flood, OOPSLA 2014.
    """
    row = np.arange(clouds, dtype=np.uint64)[:, None] << np.uint64(32)
    keys: np.ndarray = row + np.arange(points, dtype=np.uint64)
    keys = (keys + np.uint64(1)) * np.uint64(0x9E3779B97F4A7C15)
    keys = (keys ^ (keys >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    keys = (keys ^ (keys >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return np.argsort(keys ^ (keys >> np.uint64(31)), axis=1, kind="stable")
