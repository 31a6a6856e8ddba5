"""Reader for the Wavefront models in SweetHome3D's ``.sh3f`` furniture libraries.

A library is a zip archive: ``PluginFurnitureCatalog.properties`` lists the models with their real size in cm
and, for some, a rotation; every model is an ``.obj`` file, y up. Models are turned to z up and to their
catalogue size.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from zipfile import ZipFile

import numpy as np

from foundry_bench.datasets.preparation.mesh import Mesh, fan_triangles

CATALOGUE = "PluginFurnitureCatalog.properties"

#: Rows map (x, y, z) of a y-up frame to z up: the model's front stays towards -y.
Y_UP_TO_Z_UP = np.array([[1.0, 0.0, 0.0], [0.0, 0.0, -1.0], [0.0, 1.0, 0.0]])

_ENTRY = re.compile(r"^(\w+)#(\d+)\s*[=:]\s*(.*?)\s*$", re.MULTILINE)
_ESCAPE = re.compile(r"\\u([0-9a-fA-F]{4})|\\(.)")
_VERTEX = re.compile(r"^v[ \t]+(\S+[ \t]+\S+[ \t]+\S+)", re.MULTILINE)
_MATERIAL = re.compile(r"^usemtl[ \t]+(\S+).*$", re.MULTILINE)
_FACE = re.compile(r"^f[ \t]+(.*)$", re.MULTILINE)
_AFTER_SLASH = re.compile(r"/\S*")


class ObjError(ValueError):
    """The model has no faces, or uses a feature that the furniture libraries do not."""


@dataclass(frozen=True)
class CatalogueEntry:
    """One model of a furniture library.

    Attributes:
        model: path of the ``.obj`` file inside the archive, without a leading slash.
        size_cm: width (x), depth (z of the y-up model) and height (y) in cm.
        rotation: ``(3, 3)`` matrix applied to the y-up model before it is scaled.
        name: title of the model.
        creator: author as the catalogue gives it.
    """

    model: str
    size_cm: tuple[float, float, float]
    rotation: np.ndarray
    name: str
    creator: str


def read_catalogue(archive: ZipFile) -> dict[str, CatalogueEntry]:
    """Entries of an ``.sh3f`` archive by model path."""
    return parse_catalogue(archive.read(CATALOGUE).decode("latin-1"))


def parse_catalogue(text: str) -> dict[str, CatalogueEntry]:
    """Parses the text of a catalogue (a Java properties file with ``key#number=value`` lines)."""
    fields: dict[str, dict[str, str]] = {}
    for key, number, value in _ENTRY.findall(text):
        fields.setdefault(number, {})[key] = _ESCAPE.sub(
            lambda found: chr(int(found[1], 16)) if found[1] else found[2], value
        )
    entries = {}
    for entry in fields.values():
        rotation = np.array(entry.get("modelRotation", "1 0 0 0 1 0 0 0 1").split(), dtype=np.float64)
        size = (float(entry["width"]), float(entry["depth"]), float(entry["height"]))
        model = entry["model"].lstrip("/")
        entries[model] = CatalogueEntry(
            model, size, rotation.reshape(3, 3), entry.get("name", ""), entry.get("creator", "")
        )
    return entries


def parse_obj(text: str) -> Mesh:
    """Parses Wavefront text into triangles, in the frame and unit of the file; polygons are fanned.

    Raises:
        ObjError: no faces, relative (negative) indices, or an index without a vertex.
    """
    vertices = _numbers(" ".join(_VERTEX.findall(text)), np.float64).reshape(-1, 3)
    faces, face_material = [], []
    names: dict[str, int] = {}
    chunks = _MATERIAL.split(text)
    for name, chunk in zip(["", *chunks[1::2]], chunks[::2], strict=True):
        polygons = _FACE.findall(chunk)
        if not polygons:
            continue
        # 0 is no valid index in the format: it marks the end of a polygon until 1 is subtracted.
        corners = _AFTER_SLASH.sub("", " 0 ".join(polygons))
        block = fan_triangles(_numbers(corners, np.int64) - 1)
        faces.append(block)
        face_material.append(np.full(len(block), names.setdefault(name, len(names)), dtype=np.int32))
    if not sum(map(len, faces)):
        raise ObjError("no faces")
    triangles = np.concatenate(faces)
    if triangles.min() < 0 or triangles.max() >= len(vertices):
        raise ObjError(f"face index outside 1 to {len(vertices)}")
    return Mesh(vertices, triangles, np.concatenate(face_material), tuple(names))


def place(mesh: Mesh, entry: CatalogueEntry) -> Mesh:
    """Rotates the model as the catalogue says, scales its box to the catalogue size (cm), turns it z up."""
    rotated = mesh.vertices @ entry.rotation.T
    used = rotated[np.unique(mesh.faces)]
    low, extent = used.min(axis=0), np.ptp(used, axis=0)
    width, depth, height = entry.size_cm
    scale = np.where(extent > 0, np.array([width, height, depth]) / np.where(extent > 0, extent, 1.0), 1.0)
    vertices = (rotated - (low + extent / 2)) * scale @ Y_UP_TO_Z_UP.T
    return Mesh(vertices, mesh.faces, mesh.face_material, mesh.materials)


def _numbers(text: str, dtype: type) -> np.ndarray:
    try:
        return np.array(text.split(), dtype=dtype)
    except ValueError as error:
        raise ObjError(f"not a number: {error}") from error
