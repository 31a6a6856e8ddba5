"""The triangle mesh that the two parsers produce and the sampler consumes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Mesh:
    """Triangles with one material each.

    Attributes:
        vertices: ``(V, 3)`` float64, in the unit of the source file, z up.
        faces: ``(F, 3)`` int64 indices into ``vertices``.
        face_material: ``(F,)`` int32 indices into ``materials``.
        materials: names of the materials that at least one face carries.
    """

    vertices: np.ndarray
    faces: np.ndarray
    face_material: np.ndarray
    materials: tuple[str, ...]

    @property
    def triangles(self) -> np.ndarray:
        """Corner coordinates ``(F, 3, 3)``."""
        return self.vertices[self.faces]

    def areas(self) -> np.ndarray:
        """Area of every triangle ``(F,)``, in squared source units."""
        corners = self.triangles
        return 0.5 * np.linalg.norm(
            np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]), axis=1
        )


def fan_triangles(polygons: np.ndarray) -> np.ndarray:
    """Triangulates polygons given as one index list in which -1 closes each polygon.

    Args:
        polygons: ``(L,)`` integers; a missing last -1 is allowed, polygons of two corners are ignored.

    Returns:
        ``(F, 3)`` int64 vertex indices; the fan of a polygon starts at its first corner.
    """
    if polygons.size and polygons[-1] != -1:
        polygons = np.append(polygons, -1)
    ends = np.flatnonzero(polygons == -1)
    sizes = np.diff(ends, prepend=-1) - 1
    if (sizes == 3).all():
        return polygons.reshape(-1, 4)[:, :3].astype(np.int64)
    starts = ends - sizes
    fans = np.maximum(sizes - 2, 0)
    first = np.repeat(starts, fans)
    step = np.arange(fans.sum()) - np.repeat(np.cumsum(fans) - fans, fans)
    corners = np.stack([first, first + step + 1, first + step + 2], axis=1)
    return polygons[corners].astype(np.int64)
