"""Reader for the VRML97 files that KiCad StepUp exports.

The files hold one ``Shape`` per CAD face: an ``IndexedFaceSet`` and a material that is either one of the
StepUp palette (``USE PIN-01``) or an anonymous inline ``Material``. Coordinates are in 0.1 inch, z up.
Anything with a scene graph (``Transform``, ``Group``) is refused: three files of the library are such
exports.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from foundry_bench.datasets.preparation.mesh import Mesh, fan_triangles

#: Largest difference of a colour channel at which an inline material is taken for the palette's.
PALETTE_TOLERANCE = 0.003

#: Name of the material of a face that states none.
NO_MATERIAL = "NONE"

_SHAPE = re.compile(r"\bShape\s*\{")
_SCENE = re.compile(
    r"^\s*(?:DEF\s+\S+\s+)?(Transform|Group|Inline|Switch|LOD)\s*\{|\b(IndexedLineSet)\b", re.MULTILINE
)
_INDEX = re.compile(r"\bcoordIndex\s*\[([^\]]*)\]")
_POINT = re.compile(r"\bCoordinate\s*\{\s*point\s*\[([^\]]*)\]")
_MATERIAL = re.compile(r"\bmaterial\s+(?:USE\s+([^\s}]+)|(?:DEF\s+(\S+)\s+)?Material\s*\{([^}]*)\})")
_DIFFUSE = re.compile(r"\bdiffuseColor\s+(\S+)\s+(\S+)\s+(\S+)")
_COMMENT = re.compile(r"^\s*#.*$", re.MULTILINE)
_COPYRIGHT = re.compile(r"^#.*Copyright\s*\(C\)\s*[\d\s,-]*,?\s*([^\n]*?)\s*$", re.MULTILINE | re.IGNORECASE)
#: What a template left where the author's name should be.
_PLACEHOLDERS = ("your name",)


class VrmlError(ValueError):
    """The file is not a plain list of indexed face sets."""


def read_vrml(path: Path, palette: Mapping[str, tuple[float, float, float]]) -> Mesh:
    """Reads one ``.wrl`` file; see :func:`parse_vrml`."""
    return parse_vrml(path.read_text(encoding="latin-1"), palette)


def parse_vrml(text: str, palette: Mapping[str, tuple[float, float, float]]) -> Mesh:
    """Parses VRML97 text into triangles with a material name each.

    Args:
        text: the whole file.
        palette: diffuse colours (0 to 1) of the named materials; an inline material within
            ``PALETTE_TOLERANCE`` of one takes its name, any other is called ``RGB-rrggbb``.

    Raises:
        VrmlError: the file is a scene export, has no faces, or an index without a vertex.
    """
    text = _COMMENT.sub("", text)
    scene = _SCENE.search(text)
    if scene:
        raise VrmlError(f"scene export: {scene[1] or scene[2]} nodes are not supported")
    vertices, faces, face_material = [], [], []
    names: dict[str, int] = {}
    offset = 0
    for shape in _SHAPE.split(text)[1:]:
        index, point = _INDEX.search(shape), _POINT.search(shape)
        if index is None or point is None:
            continue
        block_vertices = _coordinates(point[1])
        block_faces = fan_triangles(_numbers(index[1], np.int64))
        if block_faces.size and not 0 <= block_faces.min() <= block_faces.max() < len(block_vertices):
            raise VrmlError(f"coordIndex up to {block_faces.max()} for {len(block_vertices)} points")
        vertices.append(block_vertices)
        faces.append(block_faces + offset)
        offset += len(block_vertices)
        number = names.setdefault(_material_name(shape, palette), len(names))
        face_material.append(np.full(len(block_faces), number, dtype=np.int32))
    if not sum(map(len, faces)):
        raise VrmlError("no faces")
    return Mesh(np.concatenate(vertices), np.concatenate(faces), np.concatenate(face_material), tuple(names))


def palette_name(
    colour: tuple[float, float, float], palette: Mapping[str, tuple[float, float, float]]
) -> str:
    """Name of an anonymous diffuse colour: the first palette entry within tolerance, else ``RGB-rrggbb``."""
    for name, reference in palette.items():
        if max(abs(a - b) for a, b in zip(colour, reference, strict=True)) <= PALETTE_TOLERANCE:
            return name
    return "RGB-" + "".join(f"{round(255 * channel):02x}" for channel in colour)


def copyright_holder(path: Path) -> str:
    """Author named in the ``Copyright (C) year, name`` line of the file's header; empty if there is none."""
    with path.open(encoding="latin-1") as stream:
        found = _COPYRIGHT.search(stream.read(2000))
    return found[1] if found and found[1] not in _PLACEHOLDERS else ""


def _material_name(shape: str, palette: Mapping[str, tuple[float, float, float]]) -> str:
    found = _MATERIAL.search(shape)
    if found is None:
        return NO_MATERIAL
    used, defined, body = found.groups()
    if used or defined:
        return used or defined
    colour = _DIFFUSE.search(body)
    red, green, blue = (float(channel) for channel in colour.groups()) if colour else (0.8, 0.8, 0.8)
    return palette_name((red, green, blue), palette)


def _coordinates(text: str) -> np.ndarray:
    values = _numbers(text, np.float64)
    if values.size % 3:
        raise VrmlError(f"{values.size} numbers are no whole points")
    return values.reshape(-1, 3)


def _numbers(text: str, dtype: type) -> np.ndarray:
    """Numbers of a VRML list; commas are white space there."""
    try:
        return np.array(text.replace(",", " ").split(), dtype=dtype)
    except ValueError as error:
        raise VrmlError(f"not a number list: {text[:40]!r}") from error
