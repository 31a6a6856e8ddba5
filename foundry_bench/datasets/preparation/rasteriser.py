"""Numba kernels of the visibility test. Imported lazily: numba is needed to prepare data, not to use it."""

from __future__ import annotations

import numpy as np
from numba import njit

#: Slack in pixels of a row's span, so that two triangles that share an edge leave no gap between them.
_SLACK = 1e-9
_EMPTY = -1e30


@njit(cache=True)
def mark_visible(
    triangles: np.ndarray,
    points: np.ndarray,
    axes: np.ndarray,
    size: int,
    tolerance: float,
    visible: np.ndarray,
) -> None:
    """Sets ``visible[m]`` where point ``m`` is front-most in a view; entries that are already true are kept.

    Args:
        triangles: ``(F, 3, 3)`` float64 in the unit sphere.
        points: ``(M, 3)`` float64 in the same frame.
        axes: ``(V, 3, 3)`` rows right, up and towards the viewer of every view.
        size: pixels on a side of the depth image, which covers [-1, 1].
        tolerance: how far behind the front-most surface a point still counts as visible.
        visible: ``(M,)`` bool, changed in place.
    """
    half = 0.5 * size
    depth = np.empty((size, size))
    corners = np.empty((3, 3))
    for view in range(len(axes)):
        if visible.all():
            return
        frame = axes[view]
        depth[:] = _EMPTY
        for face in range(len(triangles)):
            for corner in range(3):
                _project(triangles[face, corner], frame, half, corners[corner])
            _fill(depth, corners)
        for index in range(len(points)):
            if not visible[index]:
                _project(points[index], frame, half, corners[0])
                column = min(max(int(corners[0, 0]), 0), size - 1)
                row = min(max(int(corners[0, 1]), 0), size - 1)
                visible[index] = corners[0, 2] >= depth[row, column] - tolerance


@njit(cache=True)
def _project(point: np.ndarray, frame: np.ndarray, half: float, out: np.ndarray) -> None:
    for axis in range(3):
        out[axis] = point[0] * frame[axis, 0] + point[1] * frame[axis, 1] + point[2] * frame[axis, 2]
    out[0] = (out[0] + 1.0) * half
    out[1] = (out[1] + 1.0) * half


@njit(cache=True)
def _fill(depth: np.ndarray, corners: np.ndarray) -> None:
    """Writes the largest depth of one projected triangle ``(3, 3)`` to the pixels whose centres it covers."""
    ax, ay, az = corners[0, 0], corners[0, 1], corners[0, 2]
    bx, by, bz = corners[1, 0], corners[1, 1], corners[1, 2]
    cx, cy, cz = corners[2, 0], corners[2, 1], corners[2, 2]
    twice_area = (bx - ax) * (cy - ay) - (cx - ax) * (by - ay)
    if abs(twice_area) < 1e-12:
        return
    slope_x = ((bz - az) * (cy - ay) - (cz - az) * (by - ay)) / twice_area
    slope_y = ((cz - az) * (bx - ax) - (bz - az) * (cx - ax)) / twice_area
    nearest, farthest = max(az, bz, cz), min(az, bz, cz)
    size = depth.shape[0]
    first_row = max(int(np.ceil(min(ay, by, cy) - 0.5)), 0)
    last_row = min(int(np.floor(max(ay, by, cy) - 0.5)), size - 1)
    for row in range(first_row, last_row + 1):
        low, high = _span(corners, row + 0.5)
        first = max(int(np.ceil(low - 0.5 - _SLACK)), 0)
        last = min(int(np.floor(high - 0.5 + _SLACK)), size - 1)
        for column in range(first, last + 1):
            value = az + slope_x * (column + 0.5 - ax) + slope_y * (row + 0.5 - ay)
            value = min(max(value, farthest), nearest)
            if value > depth[row, column]:
                depth[row, column] = value


@njit(cache=True)
def _span(corners: np.ndarray, y: float) -> tuple[float, float]:
    """Interval of x in which the line at ``y`` crosses the triangle; empty (low > high) if it does not."""
    low, high = 1e30, -1e30
    for edge in range(3):
        ax, ay = corners[edge, 0], corners[edge, 1]
        bx, by = corners[(edge + 1) % 3, 0], corners[(edge + 1) % 3, 1]
        if (ay <= y <= by or by <= y <= ay) and ay != by:
            x = ax + (bx - ax) * (y - ay) / (by - ay)
            low, high = min(low, x), max(high, x)
    return low, high
