"""Sampling: area-weighted, visible from outside, and a function of the seed only."""

from __future__ import annotations

import sys

import numpy as np
import pytest
from meshes import LEAD, box, vrml_shape, vrml_text

from foundry_bench.datasets.preparation.mesh import Mesh, fan_triangles
from foundry_bench.datasets.preparation.sampling import (
    SamplingError,
    sample_surface,
    sample_visible,
    view_axes,
    visible_mask,
)
from foundry_bench.datasets.preparation.vrml import parse_vrml
from foundry_bench.errors import UserError

pytest.importorskip("numba")


def boxes(*sizes_and_lows: tuple[tuple[float, ...], tuple[float, ...]]) -> Mesh:
    """A mesh of axis-aligned boxes."""
    shapes = [vrml_shape(size, low, LEAD) for size, low in sizes_and_lows]
    return parse_vrml(vrml_text(*shapes), {})


def tube(width: float, depth: float) -> Mesh:
    """A square tube along z that is closed at the bottom (z = 0) and open at the top."""
    corners, sides = box((width, width, depth), (0, 0, 0))
    vertices = np.array(corners)
    open_sides = [side for side in sides if not all(vertices[corner, 2] == depth for corner in side)]
    polygons = np.array([index for side in open_sides for index in (*side, -1)])
    faces = fan_triangles(polygons)
    return Mesh(vertices, faces, np.zeros(len(faces), dtype=np.int32), ("steel",))


def test_hidden_inner_box_is_not_sampled() -> None:
    mesh = boxes(((2, 2, 2), (0, 0, 0)), ((1, 1, 1), (0.5, 0.5, 0.5)))
    sample = sample_visible(mesh, 4000, seed=3)
    assert (
        np.isclose(sample.points, 0).any(axis=1).sum() + np.isclose(sample.points, 2).any(axis=1).sum()
        == 4000
    )
    assert (sample.faces < 12).all()
    assert sample.visible_fraction == pytest.approx(24 / 30, abs=0.02)


def test_box_beside_a_box_is_sampled_by_area() -> None:
    mesh = boxes(((1, 1, 1), (0, 0, 0)), ((2, 2, 2), (3, 0, 0)))
    sample = sample_visible(mesh, 8192, seed=1)
    assert sample.visible_fraction == pytest.approx(1.0, abs=0.002)
    assert (sample.faces < 12).mean() == pytest.approx(6 / 30, abs=0.02)


def test_bottom_of_a_deep_hole_is_seen_by_the_views_along_the_axes() -> None:
    bottom = np.array([[0.5, 0.5, 0.0], [0.2, 0.7, 0.0]])
    assert visible_mask(tube(1.0, 12.0).triangles, bottom).all()


def test_points_of_a_square_are_uniform() -> None:
    square = np.array([[[0, 0, 0], [1, 0, 0], [1, 1, 0]], [[0, 0, 0], [1, 1, 0], [0, 1, 0]]], dtype=float)
    points, faces = sample_surface(square, np.array([0.5, 0.5]), 40_000, np.random.default_rng(0))
    counts = np.histogram2d(points[:, 0], points[:, 1], bins=4, range=[[0, 1], [0, 1]])[0]
    np.testing.assert_allclose(counts / 2500, 1.0, atol=0.1)
    assert faces.mean() == pytest.approx(0.5, abs=0.02)


def test_fewer_points_are_a_prefix_of_more() -> None:
    mesh = boxes(((2, 1, 1), (0, 0, 0)))
    few, many = sample_visible(mesh, 100, seed=7), sample_visible(mesh, 5000, seed=7)
    np.testing.assert_array_equal(few.points, many.points[:100])
    assert not np.array_equal(few.points, sample_visible(mesh, 100, seed=8).points)


def test_visibility_does_not_depend_on_position_or_size() -> None:
    mesh = boxes(((2, 2, 2), (0, 0, 0)), ((1, 1, 1), (0.5, 0.5, 0.5)))
    far = Mesh(mesh.vertices * 1000 + 5e4, mesh.faces, mesh.face_material, mesh.materials)
    near, moved = sample_visible(mesh, 500, seed=2), sample_visible(far, 500, seed=2)
    np.testing.assert_array_equal(near.faces, moved.faces)


def test_views_are_distinct_right_handed_frames() -> None:
    axes = view_axes(50)
    np.testing.assert_allclose(
        axes @ axes.transpose(0, 2, 1), np.broadcast_to(np.eye(3), (50, 3, 3)), atol=1e-12
    )
    np.testing.assert_allclose(np.linalg.det(axes), 1.0)
    closest = (axes[:, 2] @ axes[:, 2].T - 2 * np.eye(50)).max()
    assert closest < np.cos(np.radians(5))


def test_mesh_without_area_is_refused() -> None:
    line = Mesh(
        np.array([[0.0, 0, 0], [1, 0, 0], [2, 0, 0]]), np.array([[0, 1, 2]]), np.zeros(1, np.int32), ("x",)
    )
    with pytest.raises(SamplingError, match="no area"):
        sample_visible(line, 10, seed=0)


def test_missing_numba_names_the_extra_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "numba", None)
    monkeypatch.delitem(sys.modules, "foundry_bench.datasets.preparation.rasteriser", raising=False)
    with pytest.raises(UserError, match=r"pip install 'foundry-bench\[prepare\]'"):
        sample_visible(boxes(((1, 1, 1), (0, 0, 0))), 10, seed=0)
