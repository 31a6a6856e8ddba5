"""The Wavefront parser and the catalogue of the furniture libraries."""

from __future__ import annotations

import numpy as np
import pytest
from meshes import obj_text

from foundry_bench.datasets.preparation.obj import ObjError, parse_catalogue, parse_obj, place

CATALOGUE = r"""# a comment
id=library
name#1=Fauteuil \u00e9lev\u00e9
model#1=/lib/a/a.obj
width#1=100
depth#1=50
height#1=200.5
creator#1=Ada
name#2=Turned
model#2=/lib/b/b.obj
modelRotation#2=1 0 0 0 0 1 0 -1 0
width#2=10
depth#2=20
height#2=30
"""


def test_box_has_its_closed_form_area_and_material() -> None:
    mesh = parse_obj(obj_text((2.0, 3.0, 5.0)))
    assert mesh.areas().sum() == pytest.approx(62.0)
    assert mesh.materials == ("wood",)


def test_groups_of_materials_are_kept_apart() -> None:
    text = "v 0 0 0\nv 1 0 0\nv 0 1 0\nv 0 0 2\nf 1 2 3\nusemtl red\nf 1//1 2//1 4//1\nusemtl blue\n"
    mesh = parse_obj(text)
    assert mesh.materials == ("", "red")
    assert mesh.areas().tolist() == pytest.approx([0.5, 1.0])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("v 0 0 0\nl 1 1\n", "no faces"),
        ("v 0 0 0\nv 1 0 0\nv 0 1 0\nf 1 2 4\n", "outside 1 to 3"),
        ("v 0 0 0\nv 1 0 0\nv 0 1 0\nf -3 -2 -1\n", "outside 1 to 3"),
        ("v 0 0 0\nv 1 0 0\nv 0 1 x\nf 1 2 3\n", "not a number"),
    ],
)
def test_broken_model_is_refused_with_the_reason(text: str, message: str) -> None:
    with pytest.raises(ObjError, match=message):
        parse_obj(text)


def test_catalogue_gives_size_rotation_title_and_author() -> None:
    entry = parse_catalogue(CATALOGUE)["lib/a/a.obj"]
    assert entry.size_cm == (100.0, 50.0, 200.5)
    assert (entry.name, entry.creator) == ("Fauteuil \u00e9lev\u00e9", "Ada")
    assert entry.rotation.tolist() == np.eye(3).tolist()


def test_model_is_scaled_to_the_catalogue_and_turned_to_z_up() -> None:
    entry = parse_catalogue(CATALOGUE)["lib/a/a.obj"]
    placed = place(parse_obj(obj_text((1.0, 2.0, 4.0), low=(3.0, 3.0, 3.0))), entry)
    np.testing.assert_allclose(np.ptp(placed.vertices, axis=0), [100.0, 50.0, 200.5])


def test_top_of_a_y_up_model_is_the_top_afterwards() -> None:
    roof = "v 0 0 0\nv 2 0 0\nv 0 0 2\nv 1 5 0\nf 1 2 4\nf 1 3 4\n"
    placed = place(parse_obj(roof), parse_catalogue(CATALOGUE)["lib/a/a.obj"])
    assert placed.vertices[:, 2].argmax() == 3
    # The front of a SweetHome3D model looks along +z (out of the screen), which becomes -y.
    assert placed.vertices[:, 1].argmin() == 2


def test_rotation_is_applied_before_the_size() -> None:
    # The matrix maps y to -z: the tall axis of the model becomes its depth.
    spike = "v 0 0 0\nv 1 0 0\nv 0 0 1\nv 0 9 0\nf 1 2 4\nf 1 3 4\n"
    placed = place(parse_obj(spike), parse_catalogue(CATALOGUE)["lib/b/b.obj"])
    np.testing.assert_allclose(np.ptp(placed.vertices, axis=0), [10.0, 20.0, 30.0])
    assert placed.vertices[:, 1].argmax() == 3


def test_flat_model_keeps_its_flat_side() -> None:
    flat = "v 0 0 0\nv 1 0 0\nv 0 0 1\nf 1 2 3\n"
    placed = place(parse_obj(flat), parse_catalogue(CATALOGUE)["lib/a/a.obj"])
    assert np.isfinite(placed.vertices).all()
    np.testing.assert_allclose(np.ptp(placed.vertices, axis=0), [100.0, 50.0, 0.0])
