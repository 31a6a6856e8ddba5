"""Small models in closed form, written the way the two libraries write theirs."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from pathlib import Path
from zipfile import ZipFile

#: Corners of the unit cube, number = 4 x + 2 y + z, and its six sides as polygons.
_CORNERS = tuple(itertools.product((0.0, 1.0), repeat=3))
_SIDES = ((0, 1, 3, 2), (4, 6, 7, 5), (0, 4, 5, 1), (2, 3, 7, 6), (0, 2, 6, 4), (1, 5, 7, 3))

LEAD = "material DEF PIN-01 Material { diffuseColor 0.824 0.82 0.781 }"


def box(size: Sequence[float], low: Sequence[float]) -> tuple[list[tuple[float, ...]], list[tuple[int, ...]]]:
    """Corners and quadrilateral sides of a box of the given size with its lowest corner at ``low``."""
    corners = [tuple(a + b * s for a, b, s in zip(low, corner, size, strict=True)) for corner in _CORNERS]
    return corners, list(_SIDES)


def vrml_shape(size: Sequence[float], low: Sequence[float], material: str) -> str:
    """One VRML shape: a box with the given ``material ...`` clause."""
    corners, sides = box(size, low)
    points = ",".join(" ".join(f"{value:.4f}" for value in corner) for corner in corners)
    index = ",".join(",".join(map(str, side)) + ",-1" for side in sides)
    return (
        f"Shape {{ geometry IndexedFaceSet\n{{ creaseAngle 0.50 coordIndex [{index}]\n"
        f"coord Coordinate {{ point [{points}]\n}}}}\nappearance Appearance{{{material} }}\n}}\n"
    )


def vrml_text(*shapes: str) -> str:
    """A whole VRML file."""
    header = "#VRML V2.0 utf8\n# Copyright (C) 2017, Ada Lovelace\n# Shape { in a comment\n"
    return header + "".join(shapes)


def obj_text(size: Sequence[float], low: Sequence[float] = (0.0, 0.0, 0.0)) -> str:
    """A box as Wavefront text, with texture and normal indices on its corners."""
    corners, sides = box(size, low)
    lines = [f"v {x} {y} {z}" for x, y, z in corners] + ["vt 0 0", "vn 0 0 1", "usemtl wood"]
    lines += ["f " + " ".join(f"{corner + 1}/1/1" for corner in side) for side in sides]
    return "\n".join(lines) + "\n"


def kicad_tree(root: Path, paths: Sequence[str]) -> Path:
    """An unpacked KiCad package with a two-material box, of a different height each, at every path."""
    for number, path in enumerate(paths):
        file = root / "usr/share/kicad/3dmodels" / path
        file.parent.mkdir(parents=True, exist_ok=True)
        body = vrml_shape((2.0, 1.0, 1.0 + number), (0, 0, 1), "material USE IC-BODY-EPOXY-04")
        file.write_text(vrml_text(vrml_shape((1.0, 0.2, 1.0), (0, 0, 0), LEAD), body))
    return root


def furniture_tree(root: Path, paths: Sequence[str]) -> Path:
    """An unpacked furniture package with a box of 100 x 50 x 80 cm for every path."""
    folder = root / "usr/share/sweethome3d/furniture"
    folder.mkdir(parents=True, exist_ok=True)
    libraries = {path.split("/")[0] for path in paths}
    for library in sorted(libraries):
        models = [path.split("/", 1)[1] for path in paths if path.startswith(library + "/")]
        with ZipFile(folder / f"{library}.sh3f", "w") as archive:
            archive.writestr(
                "PluginFurnitureCatalog.properties", "".join(map(_entry, range(len(models)), models))
            )
            for number, model in enumerate(models):
                archive.writestr(model, obj_text((1.0, 2.0 + number, 1.0)))
    return root


def _entry(number: int, model: str) -> str:
    fields = {"name": "Box", "model": f"/{model}", "width": 100, "depth": 50, "height": 80}
    return "".join(f"{key}#{number}={value}\n" for key, value in fields.items())
