"""Points on the outside of solids that are joined, and cut out of each other."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import cast

import numpy as np

from foundry_bench.datasets.procedural.arithmetic import Rotation, Stream, Vector
from foundry_bench.datasets.procedural.solids import Solid

_ROUNDS = 24
"""Times that candidates are drawn before the points found are repeated; hardly ever more than three."""


@dataclass(frozen=True, eq=False)
class Part:
    """A solid at its place: scaled, bent, repeated, rotated and moved, in this order.

    Attributes:
        solid: in the cube from -1 to 1.
        scale: half its extent along each of its own axes.
        at: where its centre, or the centre of all its copies, is.
        rotation: of its own axes; None leaves them along those of the shape.
        bend: how far its ends are moved along its own x, in half extents.
        copies: how often it is repeated along each of its own axes, ``pitch`` apart.
        cut: it is taken away from all that is not cut.
    """

    solid: Solid
    scale: Vector
    at: Vector = (0.0, 0.0, 0.0)
    rotation: Rotation | None = None
    bend: float = 0.0
    copies: tuple[int, int, int] = (1, 1, 1)
    pitch: Vector = (0.0, 0.0, 0.0)
    cut: bool = False

    @cached_property
    def faces(self) -> Faces:
        """The triangles of the first copy, in the shape's coordinates but without the offsets of the copies."""
        return Faces.of(self._placed(self.solid.surface()))

    def contains(self, x: np.ndarray, y: np.ndarray, z: np.ndarray) -> np.ndarray:
        """Which points (n,) lie inside any copy."""
        own = self._own(x, y, z)
        near = np.flatnonzero(np.maximum(np.maximum(np.abs(own[0]), np.abs(own[1])), np.abs(own[2])) < 1)
        inside = np.zeros(len(x), bool)
        inside[near] = self.solid.contains(*(axis[near] for axis in own))
        return inside

    def offsets(self, draws: np.ndarray) -> np.ndarray:
        """From the first copy to the copies (n, 3) that ``draws`` (n,) in [0, 1) pick."""
        count = self.copies[0] * self.copies[1] * self.copies[2]
        number = (draws * count).astype(np.int64)
        steps = []
        for copies, pitch in zip(self.copies, self.pitch, strict=True):
            number, place = np.divmod(number, copies)
            steps.append((place - (copies - 1) / 2) * pitch)
        return np.stack(_turn(self.rotation, *steps), axis=1)

    def _placed(self, surface: np.ndarray) -> np.ndarray:
        x, y, z = (surface[..., axis] for axis in range(3))
        if self.bend:
            x = x + self.bend * (z * z)
        turned = _turn(self.rotation, x * self.scale[0], y * self.scale[1], z * self.scale[2])
        return np.stack([axis + at for axis, at in zip(turned, self.at, strict=True)], axis=-1)

    def _own(self, x: np.ndarray, y: np.ndarray, z: np.ndarray) -> list[np.ndarray]:
        """Coordinates of points in the cube of the nearest copy's solid."""
        moved = x - self.at[0], y - self.at[1], z - self.at[2]
        if self.rotation is not None:
            moved = _turn(cast(Rotation, tuple(zip(*self.rotation, strict=True))), *moved)
        own = []
        for axis, scale, copies, pitch in zip(moved, self.scale, self.copies, self.pitch, strict=True):
            if copies > 1:
                half = (copies - 1) / 2
                axis = axis - pitch * (np.clip(np.rint(axis / pitch + half), 0, copies - 1) - half)
            own.append(axis / scale)
        if self.bend:
            own[0] = own[0] - self.bend * (own[2] * own[2])
        return own


def _turn(
    rotation: Rotation | None, x: np.ndarray, y: np.ndarray, z: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    # Written out: a matrix product may add in another order on another machine.
    if rotation is None:
        return x, y, z
    a, b, c = (row[0] * x + row[1] * y + row[2] * z for row in rotation)
    return a, b, c


@dataclass(frozen=True, eq=False)
class Faces:
    """Triangles: a corner and the two edges from there (n, 9), and their areas (n,), doubled."""

    triangles: np.ndarray
    areas: np.ndarray

    @classmethod
    def of(cls, surface: np.ndarray) -> Faces:
        """Both triangles of every quadrilateral of a ``surface`` (R, C, 3)."""
        closed = np.concatenate([surface, surface[:, :1]], axis=1)
        across, along = closed[:, 1:] - closed[:, :-1], closed[1:] - closed[:-1]
        made = np.empty((2, len(along), across.shape[1], 9))
        made[0, ..., :3], made[0, ..., 3:6], made[0, ..., 6:] = closed[:-1, :-1], across[:-1], along[:, :-1]
        made[1, ..., :3], made[1, ..., 3:6], made[1, ..., 6:] = closed[1:, 1:], -across[1:], -along[:, 1:]
        ux, uy, uz, vx, vy, vz = (made[..., axis] for axis in range(3, 9))
        nx, ny, nz = uy * vz - uz * vy, uz * vx - ux * vz, ux * vy - uy * vx
        return cls(made.reshape(-1, 9), np.sqrt(nx * nx + ny * ny + nz * nz).reshape(-1))


def sample(parts: list[Part], count: int, stream: Stream) -> tuple[np.ndarray, np.ndarray]:
    """Points (count, 3), uniform over what is outside of the shape and in random order, and their parts (count,) int8.

    Candidates are drawn over the whole surface of every part, in an order that does not depend on ``count``; those inside
    another part are dropped. Of a part that is cut out, the points inside the rest are kept: the wall of a hole.
    """
    faces = [part.faces for part in parts]
    copies = [part.copies[0] * part.copies[1] * part.copies[2] for part in parts]
    ends = np.cumsum(np.concatenate([face.areas * n for face, n in zip(faces, copies, strict=True)]))
    owners = np.repeat(np.arange(len(parts)), [len(face.areas) for face in faces])
    triangles = np.concatenate([face.triangles for face in faces])
    kept: list[np.ndarray] = []
    labels: list[np.ndarray] = []
    missing = count
    for _ in range(_ROUNDS):
        draws = stream.uniforms(max(256, missing * 3 // 2), 4)
        face = np.minimum(np.searchsorted(ends, draws[:, 0] * ends[-1], side="right"), len(ends) - 1)
        points = _on_triangles(triangles[face], draws[:, 1:3])
        owner = owners[face]
        for number, part in enumerate(parts):
            if copies[number] > 1:
                own = np.flatnonzero(owner == number)
                points[own] += part.offsets(draws[own, 3])
        outside = _outside(parts, points, owner)[:missing]
        kept.append(points[outside])
        labels.append(owner[outside])
        missing -= len(outside)
        if missing == 0:
            break
    found = np.concatenate(kept)
    if len(found) == 0:
        raise ValueError("every point of the shape lies inside another part")
    again = np.arange(count) % len(found)
    return found[again], np.concatenate(labels)[again].astype(np.int8)


def _on_triangles(triangles: np.ndarray, draws: np.ndarray) -> np.ndarray:
    """Points (n, 3), uniform over triangles (n, 9), from ``draws`` (n, 2); beyond the diagonal they are folded back."""
    first, second = draws[:, :1], draws[:, 1:]
    beyond = first + second > 1
    first, second = np.where(beyond, 1 - first, first), np.where(beyond, 1 - second, second)
    made: np.ndarray = triangles[:, :3] + first * triangles[:, 3:6] + second * triangles[:, 6:]
    return made


def _outside(parts: list[Part], points: np.ndarray, owner: np.ndarray) -> np.ndarray:
    """Which points, in increasing order, lie on the outside of the shape."""
    x, y, z = np.ascontiguousarray(points.T)
    solid, gone = np.zeros(len(points), bool), np.zeros(len(points), bool)
    for number, part in enumerate(parts):
        if len(parts) > 1:
            inside = part.contains(x, y, z) & (owner != number)
            (gone if part.cut else solid)[inside] = True
    cutting = np.array([part.cut for part in parts])[owner]
    return np.flatnonzero((solid == cutting) & ~gone)
