"""Area-weighted sampling of the surface that can be seen from outside.

CAD and furniture meshes hold surface that no scanner reaches (inner box walls, pins inside a housing). A
sample is kept only if it lies on the front-most surface in at least one of ``VIEWS`` orthographic depth
images of ``PIXELS`` pixels a side. The rasteriser is compiled by numba, which only the preparation of data
needs.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from foundry_bench.datasets.preparation.mesh import Mesh
from foundry_bench.errors import UserError

VIEWS = 50
PIXELS = 512
#: Depth tolerance, as a share of the object's bounding radius; about one pixel.
DEPTH_TOLERANCE = 0.004
#: Candidates drawn at a time; fixed, so that fewer points are a prefix of more points.
CANDIDATES = 4096
MAX_ROUNDS = 64


class SamplingError(ValueError):
    """The mesh has no area, or no surface that is visible from outside."""


@dataclass(frozen=True)
class SurfaceSample:
    """Points drawn from visible surface.

    Attributes:
        points: ``(P, 3)`` float64, source units, in random order.
        faces: ``(P,)`` int64, the triangle of each point.
        visible_fraction: share of the first ``CANDIDATES`` area-weighted draws that is visible.
    """

    points: np.ndarray
    faces: np.ndarray
    visible_fraction: float


def sample_visible(mesh: Mesh, count: int, seed: int) -> SurfaceSample:
    """Draws ``count`` points uniformly from the visible surface; a function of the arguments only.

    Raises:
        SamplingError: no area, or fewer than ``count`` visible points in ``MAX_ROUNDS`` rounds of candidates.
    """
    rng = np.random.default_rng(seed)
    areas = mesh.areas()
    if not np.isfinite(areas).all() or areas.sum() <= 0:
        raise SamplingError("the surface has no area")
    triangles = mesh.triangles
    points, faces, found, visible_fraction = [], [], 0, 0.0
    for round_number in range(MAX_ROUNDS):
        block_points, block_faces = sample_surface(triangles, areas, CANDIDATES, rng)
        visible = visible_mask(triangles, block_points)
        if round_number == 0:
            visible_fraction = float(visible.mean())
        points.append(block_points[visible])
        faces.append(block_faces[visible])
        found += int(visible.sum())
        if found >= count:
            break
    else:
        raise SamplingError(f"only {found} of {count} points are visible from outside")
    return SurfaceSample(np.concatenate(points)[:count], np.concatenate(faces)[:count], visible_fraction)


def sample_surface(
    triangles: np.ndarray, areas: np.ndarray, count: int, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Area-weighted points on triangles ``(F, 3, 3)``.

    Returns:
        ``(count, 3)`` points and the ``(count,)`` triangle of each.
    """
    draws = rng.random((count, 3))
    cumulative = np.cumsum(areas)
    faces = np.searchsorted(cumulative, draws[:, 0] * cumulative[-1], side="right")
    faces = np.minimum(faces, len(areas) - 1)
    root = np.sqrt(draws[:, 1:2])
    weight_b, weight_c = root * (1 - draws[:, 2:3]), root * draws[:, 2:3]
    corner_a, corner_b, corner_c = triangles[faces, 0], triangles[faces, 1], triangles[faces, 2]
    return (1 - root) * corner_a + weight_b * corner_b + weight_c * corner_c, faces


def visible_mask(triangles: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Which ``points (M, 3)`` are front-most in some view of ``triangles (F, 3, 3)``: ``(M,)`` bool."""
    corners = triangles.reshape(-1, 3)
    low, high = corners.min(axis=0), corners.max(axis=0)
    centre = (low + high) / 2
    radius = np.sqrt(((corners - centre) ** 2).sum(axis=1).max())
    visible = np.zeros(len(points), dtype=np.bool_)
    _mark_visible()(
        (triangles - centre) / radius,
        (points - centre) / radius,
        view_axes(VIEWS),
        PIXELS,
        DEPTH_TOLERANCE,
        visible,
    )
    return visible


def view_axes(count: int) -> np.ndarray:
    """Orthonormal frames ``(count, 3, 3)``: right, up and towards the viewer.

    The six axis directions come first, since only they see to the bottom of a hole in a CAD part; a Fibonacci
    sphere gives the rest.
    """
    height = 1 - (2 * np.arange(count - 6) + 1) / (count - 6)
    angle = np.pi * (3 - np.sqrt(5)) * np.arange(count - 6)
    ring = np.sqrt(1 - height**2)
    front = np.stack([ring * np.cos(angle), ring * np.sin(angle), height], axis=1)
    right = np.stack([-np.sin(angle), np.cos(angle), np.zeros(count - 6)], axis=1)
    axis_front = np.concatenate([np.eye(3), -np.eye(3)])
    axis_right = np.roll(axis_front, 1, axis=1)
    front, right = np.concatenate([axis_front, front]), np.concatenate([axis_right, right])
    return np.stack([right, np.cross(front, right), front], axis=1)


def _mark_visible() -> Callable[..., None]:
    try:
        from foundry_bench.datasets.preparation.rasteriser import mark_visible
    except ImportError as error:
        raise UserError("preparing data needs numba: pip install 'foundry-bench[prepare]'") from error
    return mark_visible
