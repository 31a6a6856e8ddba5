"""Reader for the parts of the LDraw library, https://www.ldraw.org/article/218.html.

A part is a text file of lines: type 1 places another file by an offset and a 3 x 3 matrix, types 3 and 4 are a
triangle and a quadrilateral, the others (comments, edges) have no surface. Names ignore case and write ``\\`` for
``/``; they are looked up in ``parts`` and in ``p``, the named primitives. The unit is 0.4 mm and y points down.

Primitives say what a surface is for: a face inside ``stud.dat`` belongs to a stud, wherever it is placed.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from foundry_bench.datasets.preparation.mesh import Mesh

#: Length of the unit in mm.
UNIT_MM = 0.4
#: Where a name is looked up, in this order.
FOLDERS = ("parts", "p")
#: What a face serves that lies in no named primitive.
BODY = "body"

#: Rows map (x, y, z) of a file, y down, to z up: (x, z, -y), a proper rotation.
Y_DOWN_TO_Z_UP = np.array([[1.0, 0.0, 0.0], [0.0, 0.0, 1.0], [0.0, -1.0, 0.0]])

#: What the faces of a primitive are for, by its name without folder and ending; the first that matches counts.
FUNCTIONS = tuple(
    (re.compile(pattern), function)
    for pattern, function in (
        (r"npeghol\w+", BODY),  # "peg hole negative": the outside of the wall around a hole
        (r"(\d+-\d+)?stud(3|4|8|11|12|16|18|21|22|23|25)(\D\w*)?", "tube"),
        (r"(stud|hipstud|zstud|clikitsstud)\w*", "stud"),
        (r"(d?axlehol[04567e]|axl[2345](hol|end|ho1))\w*", "axle_hole"),
        (r"d?axle\w*", "axle"),
        (r"(peghol|beamhol|d?connhol|wpinhol|duplohol)\w*", "pin_hole"),
        (r"(connect|confric|wpin|duplopin)\w*", "pin"),
        (r"clip\d+", "clip"),
        (r"d?toot[hb]\w*", "tooth"),
    )
)
#: Radius of a pin hole's bore and the length of it that one rim accounts for, in the unit of its primitive.
BORE, BORE_DEPTH = 6.0, 40.0
#: Slack of the radius: a bore of 16 sides keeps its corners on the circle, others are a little off.
BORE_SLACK = 0.3

_MAX_DEPTH = 40


class LdrawError(ValueError):
    """A file that is missing, has a line that is no LDraw, refers to itself, or holds no face."""


@dataclass(frozen=True)
class Faces:
    """The surface of one file with all that it places.

    Attributes:
        triangles: ``(F, 3, 3)`` corners in the frame of the file.
        functions: ``(F,)`` int8 numbers of ``NAMES``; -1 where only the file around can tell.
        rims: ``(R, 4, 3)`` origin and matrix columns of every end of a pin hole.
    """

    triangles: np.ndarray
    functions: np.ndarray
    rims: np.ndarray


#: All functions of faces, ``BODY`` first.
NAMES = tuple(dict.fromkeys([BODY, *(function for _, function in FUNCTIONS)]))
_UNTOLD = -1


@dataclass
class Library:
    """The files of an unpacked library; primitives are read once.

    Attributes:
        root: folder that holds ``parts`` and ``p``.
    """

    root: Path
    _paths: dict[str, Path] = field(default_factory=dict)
    _primitives: dict[str, Faces] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for folder in reversed(FOLDERS):
            below = self.root / folder
            for path in below.rglob("*"):
                self._paths[path.relative_to(below).as_posix().lower()] = path

    def read(self, name: str) -> Mesh:
        """One part as a mesh, z up; the materials of its faces are what they are for (``NAMES``).

        Raises:
            LdrawError: see there.
        """
        faces = self._faces(_clean(name), ())
        if not len(faces.triangles):
            raise LdrawError("no faces")
        numbers = _with_bores(faces)
        used, material = np.unique(numbers, return_inverse=True)
        corners = faces.triangles.reshape(-1, 3) @ Y_DOWN_TO_Z_UP.T
        names = tuple(NAMES[number] for number in used)
        index = np.arange(len(corners)).reshape(-1, 3)
        return Mesh(corners, index, material.reshape(-1).astype(np.int32), names)

    def _faces(self, name: str, around: tuple[str, ...]) -> Faces:
        if name in self._primitives:
            return self._primitives[name]
        if name in around or len(around) > _MAX_DEPTH:
            raise LdrawError(f"{name} refers to itself through {around[-1]}")
        if name not in self._paths:
            raise LdrawError(
                f"sub-file {name} of {around[-1]} is missing" if around else f"{name} is missing"
            )
        faces = _labelled(self._assemble(name, around), name)
        if self._paths[name].is_relative_to(self.root / FOLDERS[1]):
            self._primitives[name] = faces
        return faces

    def _assemble(self, name: str, around: tuple[str, ...]) -> Faces:
        """Own faces of a file, then those of the files that it places."""
        own, placements = _parse(self._paths[name].read_text(encoding="utf-8", errors="replace"), name)
        pieces = [Faces(own, np.full(len(own), _UNTOLD, dtype=np.int8), np.zeros((0, 4, 3)))]
        for child, offset, matrix in placements:
            pieces.append(_placed(self._faces(child, (*around, name)), offset, matrix))
        return Faces(
            np.concatenate([piece.triangles for piece in pieces]),
            np.concatenate([piece.functions for piece in pieces]),
            np.concatenate([piece.rims for piece in pieces]),
        )


def function_of(name: str) -> str | None:
    """What the primitive ``name`` is for, None if its name does not tell."""
    stem = name.rsplit("/", 1)[-1].removesuffix(".dat")
    return next((function for pattern, function in FUNCTIONS if pattern.fullmatch(stem)), None)


def _labelled(faces: Faces, name: str) -> Faces:
    """Faces that no inner file named take the function of this one: the innermost name counts."""
    function = function_of(name)
    if function is None:
        return faces
    numbers = np.where(faces.functions == _UNTOLD, np.int8(NAMES.index(function)), faces.functions)
    rims = faces.rims
    if name.startswith("peghole"):
        rims = np.concatenate([rims, np.concatenate([np.zeros((1, 3)), np.eye(3)])[None]])
    return Faces(faces.triangles, numbers, rims)


def _placed(faces: Faces, offset: np.ndarray, matrix: np.ndarray) -> Faces:
    """Faces in the frame of the file that places them; ``matrix`` is the 3 x 3 of the line, row by row."""
    rims = faces.rims @ matrix.T
    rims[:, 0] += offset
    return Faces(faces.triangles @ matrix.T + offset, faces.functions, rims)


def _with_bores(faces: Faces) -> np.ndarray:
    """Function numbers ``(F,)`` with the bores of pin holes, which parts draw as plain cylinders between two rims.

    A face is of a bore if all its corners lie on the circle of ``BORE`` around the axis of a rim, on its inner side.
    """
    numbers = np.where(faces.functions == _UNTOLD, np.int8(NAMES.index(BODY)), faces.functions)
    body = np.flatnonzero(numbers == NAMES.index(BODY))
    for origin, across, axis, _ in faces.rims:
        scale, length = np.linalg.norm(across), np.linalg.norm(axis)
        if not scale or not length:
            continue
        relative = faces.triangles[body] - origin
        depth = relative @ (axis / length)
        radius = np.sqrt(np.maximum((relative**2).sum(axis=-1) - depth**2, 0.0))
        on_bore = (np.abs(radius - BORE * scale) < BORE_SLACK * scale).all(axis=1)
        inside = ((depth > -BORE_SLACK) & (depth < BORE_DEPTH * scale)).all(axis=1)
        numbers[body[on_bore & inside]] = NAMES.index("pin_hole")
    return numbers


def _parse(text: str, name: str) -> tuple[np.ndarray, list[tuple[str, np.ndarray, np.ndarray]]]:
    """Own triangles ``(F, 3, 3)`` of a file, and for every placed file its name, offset (3,) and matrix (3, 3)."""
    triangles: list[np.ndarray] = []
    placements = []
    for number, line in enumerate(text.splitlines(), start=1):
        fields = line.split()
        kind = fields[0] if fields else ""
        if kind == "1":
            child = line.split(maxsplit=14)
            values = _numbers(child[2:14], 12, name, number)
            if len(child) < 15:
                raise LdrawError(f"{name} line {number}: no file is named")
            placements.append((_clean(child[14]), values[:3], values[3:].reshape(3, 3)))
        elif kind in ("3", "4"):
            corners = _numbers(fields[2:], 3 * int(kind), name, number).reshape(-1, 3)
            triangles.extend(corners[[0, step, step + 1]] for step in range(1, len(corners) - 1))
    return np.array(triangles).reshape(-1, 3, 3), placements


def _numbers(fields: list[str], count: int, name: str, line: int) -> np.ndarray:
    try:
        values = np.array(fields, dtype=np.float64)
    except ValueError as error:
        raise LdrawError(f"{name} line {line}: not a number in {' '.join(fields)[:40]!r}") from error
    if len(values) != count or not np.isfinite(values).all():
        raise LdrawError(f"{name} line {line}: {len(values)} numbers, expected {count} finite ones")
    return values


def _clean(name: str) -> str:
    return name.strip().lower().replace("\\", "/")
