"""Triangle meshes, as points on their surface; read by trimesh, of the extra ``meshes``."""

from __future__ import annotations

import io
import json
import re
import struct
from pathlib import Path
from typing import Any

import numpy as np

from foundry_bench.datasets.one_file import FileError, shown
from foundry_bench.datasets.readers.bounds import bounded_bytes, must_be_small, must_fit
from foundry_bench.datasets.readers.scale import squarable

POINTS = 2**14
"""Points drawn on the surface of a mesh."""
_SEED = 0
_STL_HEAD = 84
_STL_FACE = 50
_GLB_MAGIC = b"glTF"


def read_mesh(path: Path) -> np.ndarray:
    """Points (2**14, 3) float64, uniform over the surface and the same on every call.

    Only the file itself is read: materials and textures beside it are not.
    Coordinates whose squares have no float64 are scaled.
    """
    content = bounded_bytes(path)
    ending = path.suffix.lower().removeprefix(".")
    if check := _CHECKS.get(ending):
        check(content)
    from foundry_bench.datasets.preparation.sampling import sample_surface

    try:
        import trimesh
    except ImportError as error:
        raise FileError("needs trimesh: pip install 'foundry-bench[meshes]'") from error
    options: dict[str, Any] = {"process": False}
    if ending in ("obj", "glb"):
        options["skip_materials"] = True
    mesh = trimesh.load_scene(io.BytesIO(content), file_type=ending, **options).to_mesh()
    triangles = squarable(np.asarray(mesh.triangles, np.float64).reshape(-1, 3, 3))
    edges = triangles[:, 1:] - triangles[:, :1]
    areas = np.linalg.norm(np.cross(edges[:, 0], edges[:, 1]), axis=1) / 2
    if len(areas) == 0 or not np.isfinite(areas).all() or areas.sum() <= 0:
        raise FileError("is a mesh without a surface, or with corners that are no numbers")
    return sample_surface(triangles, areas, POINTS, np.random.default_rng(_SEED))[0]


def _check_off(content: bytes) -> None:
    """Hold the number of corners and faces against the size of the text."""
    bare = re.sub(rb"#[^\r\n]*", b"", content[: 2**16])
    found = re.match(rb"\s*(?:ST|C|N)*OFF\s*(\d{1,30})\s+(\d{1,30})", bare)
    if found is None:
        raise FileError("does not begin with OFF and the numbers of corners and faces")
    corners, faces = int(found[1]), int(found[2])
    must_fit(6 * corners + 2 * faces - 1, len(content), "corners and faces")
    rows = sum(line[:1] not in (b"", b"#") for line in map(bytes.strip, content.splitlines()))
    rows -= sum(map(bool, map(bytes.strip, found[0].splitlines())))
    if rows < corners + faces:
        raise FileError(f"announces {corners:,} corners and {faces:,} faces in {rows:,} lines: it is cut off")


def _check_stl(content: bytes) -> None:
    """Hold the number of triangles of a binary file against its size; a text has none."""
    if content[:5].lower() == b"solid" and b"facet" in content[:1000]:
        return
    if len(content) < _STL_HEAD:
        raise FileError("does not begin with an STL header")
    (faces,) = struct.unpack_from("<I", content, 80)
    must_fit(faces * _STL_FACE, len(content) - _STL_HEAD, "triangles")
    more = len(content) - _STL_HEAD - faces * _STL_FACE
    if more:
        raise FileError(f"announces {faces:,} triangles and holds {more:,} bytes more: export it again")


def _check_glb(content: bytes) -> None:
    """Hold the numbers of a scene against the file, and the triangles that its nodes repeat against memory."""
    if content[:4] != _GLB_MAGIC:
        raise FileError("does not begin with a glTF header")
    length, size = struct.unpack_from("<II", content, 8)
    must_fit(max(length - 12, size), len(content), "the scene")
    scene = json.loads(content[20 : 20 + size])
    if any(not buffer.get("uri", "data:").startswith("data:") for buffer in scene.get("buffers", [])):
        raise FileError("keeps its corners in another file: export it as one file")
    packed = [name for name in scene.get("extensionsRequired", []) if "compression" in name]
    if packed:
        raise FileError(f"packs its corners as {shown(packed[0])[:80]}: export it without compression")
    counts = [int(each["count"]) for each in scene.get("accessors", [])]
    if min(counts, default=0) < 0:
        raise FileError("announces fewer than no corners")
    for accessor, count in zip(scene.get("accessors", []), counts, strict=True):
        must_fit(count, len(content), "corners")
        if "bufferView" not in accessor:
            raise FileError("has corners without data")
    sizes = [
        sum(max([counts[i] for i in _numbers(part)], default=0) for part in mesh["primitives"])
        for mesh in scene.get("meshes", [])
    ]
    drawn = sum(sizes[node["mesh"]] for node in scene.get("nodes", []) if "mesh" in node)
    must_be_small(100 * drawn, "export its parts one by one")


def _numbers(part: dict[str, Any]) -> list[int]:
    """Numbers of the accessors that a part of a mesh is made of."""
    return [*part["attributes"].values(), *([part["indices"]] if "indices" in part else [])]


_CHECKS = {"off": _check_off, "stl": _check_stl, "glb": _check_glb}
