"""The VRML parser on snippets whose area and materials are known."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from meshes import LEAD, vrml_shape, vrml_text

from foundry_bench.datasets.preparation.mesh import fan_triangles
from foundry_bench.datasets.preparation.selection import rules
from foundry_bench.datasets.preparation.vrml import (
    NO_MATERIAL,
    VrmlError,
    copyright_holder,
    palette_name,
    parse_vrml,
    read_vrml,
)

PALETTE = {"PIN-01": (0.824, 0.82, 0.781), "MET-SILVER": (0.50754, 0.50754, 0.50754)}


def area_by_material(text: str) -> dict[str, float]:
    """Total area of the faces of every material."""
    mesh = parse_vrml(text, PALETTE)
    areas = mesh.areas()
    return {
        name: float(areas[mesh.face_material == number].sum()) for number, name in enumerate(mesh.materials)
    }


def test_box_of_quadrilaterals_has_its_closed_form_area() -> None:
    text = vrml_text(vrml_shape((2.0, 3.0, 5.0), (-1, 0, 4), LEAD))
    mesh = parse_vrml(text, PALETTE)
    assert mesh.faces.shape == (12, 3)
    assert mesh.areas().sum() == pytest.approx(2 * (6 + 10 + 15))
    np.testing.assert_allclose(mesh.vertices.min(axis=0), [-1, 0, 4])


def test_faces_keep_the_material_of_their_shape() -> None:
    text = vrml_text(
        vrml_shape((1, 1, 1), (0, 0, 0), LEAD),
        vrml_shape((2, 2, 2), (0, 0, 0), "material USE BODY"),
        vrml_shape((1, 1, 1), (5, 0, 0), "material USE PIN-01"),
    )
    assert area_by_material(text) == pytest.approx({"PIN-01": 12.0, "BODY": 24.0})


@pytest.mark.parametrize(
    ("colour", "name"),
    [
        ("0.823529 0.819608 0.780392", "PIN-01"),
        ("0.505882 0.505882 0.505882", "MET-SILVER"),
        ("0.4 0.27451 0.0", "RGB-664600"),
        ("0.83 0.82 0.781", "RGB-d4d1c7"),
    ],
)
def test_inline_material_takes_the_name_of_the_palette_within_tolerance(colour: str, name: str) -> None:
    material = f"material Material{{diffuseColor {colour}\ntransparency 0}}"
    assert set(area_by_material(vrml_text(vrml_shape((1, 1, 1), (0, 0, 0), material)))) == {name}


def test_every_colour_of_the_shipped_palette_finds_a_name_of_that_colour() -> None:
    palette = rules().palette
    assert len(palette) == 37
    for colour in palette.values():
        assert np.allclose(palette[palette_name(colour, palette)], colour, atol=0.003)


def test_face_without_material_is_named_so() -> None:
    assert area_by_material(vrml_shape((1, 1, 1), (0, 0, 0), "")) == pytest.approx({NO_MATERIAL: 6.0})


def test_white_space_separators_and_appearance_first_are_read_alike() -> None:
    text = """Shape {
      appearance Appearance { material USE BODY }
      geometry IndexedFaceSet {
        coord Coordinate { point [ 0 0 0, 2 0 0,
          0 2 0 ] }
        coordIndex [ 0 1 2 ]
      } }"""
    assert area_by_material(text) == pytest.approx({"BODY": 2.0})


def test_fan_of_mixed_polygons_skips_degenerate_ones() -> None:
    polygons = np.array([0, 1, 2, -1, 0, 1, -1, 3, 4, 5, 6, 7])
    assert fan_triangles(polygons).tolist() == [[0, 1, 2], [3, 4, 5], [3, 5, 6], [3, 6, 7]]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("Transform { children [ Shape { } ] }", "Transform"),
        ("#VRML V2.0 utf8\n", "no faces"),
        (vrml_shape((1, 1, 1), (0, 0, 0), LEAD).replace("[0,1", "[8,1"), "8 for 8 points"),
        (vrml_shape((1, 1, 1), (0, 0, 0), LEAD).replace("[0,1", "[-7,1"), "coordIndex"),
        (vrml_shape((1, 1, 1), (0, 0, 0), LEAD).replace("[0,1", "[zero,1"), "number list"),
        (vrml_shape((1, 1, 1), (0, 0, 0), LEAD).replace("point [0.0000 ", "point ["), "whole points"),
    ],
)
def test_broken_file_is_refused_with_the_reason(text: str, message: str) -> None:
    with pytest.raises(VrmlError, match=message):
        parse_vrml(text, PALETTE)


def test_author_comes_from_the_header(tmp_path: Path) -> None:
    path = tmp_path / "part.wrl"
    path.write_text(vrml_text(vrml_shape((1, 1, 1), (0, 0, 0), LEAD)))
    assert copyright_holder(path) == "Ada Lovelace"
    assert read_vrml(path, PALETTE).areas().sum() == pytest.approx(6.0)
    path.write_text("# Copyright (C) 2017, your name\n")
    assert copyright_holder(path) == ""
