"""The LDraw reader on small libraries in the official layout, whose areas and functions are known."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from ldraw_files import box_lines, library, place, write

from foundry_bench.datasets.preparation.ldraw import BODY, LdrawError, Library, function_of
from foundry_bench.datasets.preparation.mesh import Mesh


def area_by_function(mesh: Mesh) -> dict[str, float]:
    """Total area of the faces of every function."""
    areas = mesh.areas()
    return {
        name: float(areas[mesh.face_material == number].sum()) for number, name in enumerate(mesh.materials)
    }


def read(root: Path, lines: list[str], name: str = "1.dat") -> Mesh:
    """A part of these lines, beside the primitives of :func:`library`."""
    library(root)
    write(root, f"parts/{name}", lines)
    return Library(root).read(name)


def bore(radius: float, low: float, high: float, sides: int = 16) -> list[str]:
    """The inside of a cylinder around y, as lines of type 4."""
    angles = 2 * np.pi * np.arange(sides + 1) / sides
    ring = radius * np.stack([np.cos(angles), np.sin(angles)], axis=1)
    return [
        f"4 16 {a[0]} {low} {a[1]} {b[0]} {low} {b[1]} {b[0]} {high} {b[1]} {a[0]} {high} {a[1]}"
        for a, b in pairwise(ring)
    ]


def test_z_is_up_where_the_file_says_y_down_and_nothing_is_mirrored(tmp_path: Path) -> None:
    mesh = read(tmp_path, ["3 16 1 2 3 4 5 6 7 8 10"])
    np.testing.assert_allclose(mesh.triangles[0], [[1, 3, -2], [4, 6, -5], [7, 10, -8]])
    assert np.linalg.det(mesh.triangles[0]) == pytest.approx(
        np.linalg.det([[1, 2, 3], [4, 5, 6], [7, 8, 10]])
    )


def test_studs_are_on_top_and_tubes_below(tmp_path: Path) -> None:
    mesh = read(
        tmp_path, [*box_lines((20, 8, 20)), place("stud.dat", (10, 0, 10)), place("stud4.dat", (10, 8, 10))]
    )
    height = {
        name: mesh.triangles[mesh.face_material == number][..., 2].mean()
        for number, name in enumerate(mesh.materials)
    }
    assert height["stud"] > height[BODY] > height["tube"]


def test_quadrilaterals_are_split_and_other_lines_have_no_surface(tmp_path: Path) -> None:
    lines = [
        "2 24 0 0 0 1 1 1",
        "5 24 0 0 0 1 1 1 2 2 2 3 3 3",
        "0 BFC CERTIFY CCW",
        "",
        "  4\t16 0 0 0 2 0 0 2 3 0 0 3 0",
    ]
    mesh = read(tmp_path, lines)
    assert mesh.faces.shape == (2, 3)
    assert mesh.areas().sum() == pytest.approx(6.0)


def test_names_ignore_case_and_slashes_and_parts_come_before_primitives(tmp_path: Path) -> None:
    library(tmp_path)
    write(tmp_path, "parts/s/Inner One.dat", box_lines((1, 1, 1)))
    write(tmp_path, "p/both.dat", box_lines((5, 5, 5)))
    write(tmp_path, "parts/BOTH.DAT", box_lines((2, 2, 2)))
    write(tmp_path, "parts/1.dat", [place("S\\INNER one.DAT"), place("both.dat")])
    assert Library(tmp_path).read("1.DAT").areas().sum() == pytest.approx(6 + 24)


def test_placements_nest_with_their_matrices(tmp_path: Path) -> None:
    library(tmp_path)
    write(tmp_path, "parts/s/turned.dat", [place("box.dat", (0, 0, 5), "1 0 0 0 2 0 0 0 3")])
    write(tmp_path, "parts/1.dat", [place("s\\turned.dat", (10, 0, 0), "0 0 1 0 1 0 -1 0 0")])
    mesh = Library(tmp_path).read("1.dat")
    corners = mesh.vertices.reshape(-1, 3)
    # The inner box spans (+-1, +-2, 5 +- 3); turned about y its x is the inner z, its z the inner -x.
    np.testing.assert_allclose(corners.min(axis=0), [10 + 2, -1, -2])
    np.testing.assert_allclose(corners.max(axis=0), [10 + 8, 1, 2])


def test_a_face_serves_what_the_innermost_named_primitive_is_for(tmp_path: Path) -> None:
    library(tmp_path)
    write(tmp_path, "p/stug-1x2.dat", [place("stud.dat"), place("stud4.dat", (20, 0, 0))])
    write(tmp_path, "parts/1.dat", [*box_lines((1, 1, 1), (50, 0, 0)), place("stug-1x2.dat")])
    areas = area_by_function(Library(tmp_path).read("1.dat"))
    assert areas == pytest.approx({BODY: 6.0, "stud": 168.0, "tube": 2 * 64 + 4 * 8 * 16})


@pytest.mark.parametrize(
    ("name", "function"),
    [
        ("stud.dat", "stud"),
        ("8/stud2a.dat", "stud"),
        ("stud26.dat", "stud"),
        ("stud3a.dat", "tube"),
        ("8/stud4.dat", "tube"),
        ("stud4f1w.dat", "tube"),
        ("2-4stud4.dat", "tube"),
        ("axle.dat", "axle"),
        ("axlehol8.dat", "axle"),
        ("axlehole.dat", "axle_hole"),
        ("axl2hole.dat", "axle_hole"),
        ("peghole.dat", "pin_hole"),
        ("npeghol7.dat", BODY),
        ("connhole.dat", "pin_hole"),
        ("connect2.dat", "pin"),
        ("confric3.dat", "pin"),
        ("clip11.dat", "clip"),
        ("tooth8.dat", "tooth"),
        ("4-4cyli.dat", None),
        ("s/3001s01.dat", None),
        ("box5.dat", None),
    ],
)
def test_functions_follow_the_names_of_primitives(name: str, function: str | None) -> None:
    assert function_of(name) == function


def test_the_bore_between_two_rims_is_of_the_pin_hole_and_other_cylinders_are_not(tmp_path: Path) -> None:
    rims = [place("peghole.dat"), place("peghole.dat", (0, 20, 0), "1 0 0 0 -1 0 0 0 1")]
    wall, pipe = bore(6.0, 2, 18), bore(9.0, 2, 18)
    areas = area_by_function(read(tmp_path, [*rims, *wall, *pipe]))
    perimeter = 2 * 16 * np.sin(np.pi / 16)
    assert areas[BODY] == pytest.approx(9 * perimeter * 16)
    assert areas["pin_hole"] > 6 * perimeter * 16


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("3 16 0 0 0 1 0 0 0 x 0", r"1\.dat line 5: not a number in .*x"),
        ("3 16 0 0 0 1 0 0", r"1\.dat line 5: 6 numbers, expected 9"),
        ("4 16 0 0 0 1 0 0 0 1 0 0 0 nan", r"line 5: 12 numbers, expected 12 finite"),
        ("1 16 0 0 0 1 0 0 0 1 0 0 0 1", "line 5: no file is named"),
        ("1 16 0 0 0 1 0 0 0 1 0 0 0 stud.dat", r"line 5: not a number"),
        (place("gone.dat"), r"sub-file gone\.dat of 1\.dat is missing"),
        (place("1.DAT"), r"1\.dat refers to itself"),
        ("0 nothing", "no faces"),
    ],
)
def test_a_bad_file_gives_one_line_that_names_it(line: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(LdrawError, match=message) as error:
        read(tmp_path, [line])
    assert "\n" not in str(error.value)
    assert str(tmp_path) not in str(error.value)


def test_an_unknown_part_is_named(tmp_path: Path) -> None:
    with pytest.raises(LdrawError, match=r"9999\.dat is missing"):
        Library(library(tmp_path)).read("9999.dat")
