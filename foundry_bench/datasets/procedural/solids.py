"""Solids with a surface that can be sampled and an inside that can be asked for, each in the cube from -1 to 1.

A :class:`Lathe` is a cross-section that a profile widens and narrows along z; with superellipses for both it is a superquadric
(Barr, 1981), with others a prism, a cone, a vase. A :class:`Ring` is its cousin with a hole, the supertoroid; a :class:`Tube`
follows a curve.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Protocol

import numpy as np

from foundry_bench.datasets.procedural.arithmetic import Vector, circle, power, rounded

HALF = 8
"""Rows of a surface between the middle of a profile and either end."""
_ROUND = 32
"""Steps round a superellipse."""
_SEGMENTS, _SIDES = 12, 10
"""Pieces of a tube's curve, and steps round it."""


class Solid(Protocol):
    """A body in the cube from -1 to 1."""

    def surface(self) -> np.ndarray:
        """Corners (R, C, 3) of quadrilaterals; the last column is followed by the first."""

    def contains(self, x: np.ndarray, y: np.ndarray, z: np.ndarray) -> np.ndarray:
        """Which points (n,) of the cube lie inside."""


class Section(Protocol):
    """A closed curve round the z axis, in the square from -1 to 1."""

    def curve(self) -> np.ndarray:
        """Its corners (C, 2)."""

    def gauge(self, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        """How often the curve must be enlarged to reach a point, to a power that :meth:`raised` raises to as well."""

    def raised(self, factor: np.ndarray) -> np.ndarray:
        """The gauge of the points of the curve enlarged by ``factor``."""


@dataclass(frozen=True)
class Superellipse:
    """``|x| ** p + |y| ** p = 1`` with ``p = quarters / 4``: 1 a rhomb, 2 a circle, 16 nearly a square."""

    quarters: int

    def curve(self) -> np.ndarray:
        return _superellipse(self.quarters)

    def gauge(self, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        return power(np.abs(x), self.quarters) + power(np.abs(y), self.quarters)

    def raised(self, factor: np.ndarray) -> np.ndarray:
        return power(factor, self.quarters)


@dataclass(frozen=True)
class Polygon:
    """A regular polygon with one side below, mirror-symmetric in x; with four sides a square along the axes."""

    sides: int

    def curve(self) -> np.ndarray:
        return _polygon(self.sides)

    def gauge(self, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        if self.sides == 4:
            return np.maximum(np.abs(x), np.abs(y))
        made = np.full(np.shape(x), -np.inf)
        for across, along in _normals(self.sides).tolist():
            made = np.maximum(made, across * x + along * y)
        return made

    def raised(self, factor: np.ndarray) -> np.ndarray:
        return factor


@cache
def _superellipse(quarters: int) -> np.ndarray:
    directions = circle(_ROUND)
    length = (np.abs(directions) ** (quarters / 4)).sum(axis=1) ** (4 / quarters)
    return rounded(directions / length[:, None])


@cache
def _normals(sides: int) -> np.ndarray:
    """Normals (sides, 2) over the distance of the sides, so that corners lie in the square from -1 to 1."""
    angles = 2 * np.pi * np.arange(sides) / sides - np.pi / 2
    normals = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    return rounded(normals if sides == 4 else normals / np.cos(np.pi / sides))


@cache
def _polygon(sides: int) -> np.ndarray:
    angles = 2 * np.pi * (np.arange(sides) + 0.5) / sides - np.pi / 2
    corners = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    return rounded(corners * np.sqrt(2) if sides == 4 else corners)


@cache
def heights() -> np.ndarray:
    """z (2 * HALF + 1,) of a profile's rows, ever closer towards the ends, where round bodies close."""
    steps = np.arange(-HALF, HALF + 1) / HALF
    made: np.ndarray = np.sign(steps) * (1 - (1 - np.abs(steps)) ** 2)
    made.flags.writeable = False
    return made


@cache
def superellipse_profile(quarters: int) -> np.ndarray:
    """Widths (2 * HALF + 1,) with which a :class:`Lathe` of height 1 closes as ``|r| ** p + |z| ** p = 1``."""
    return rounded((1 - np.abs(heights()) ** (quarters / 4)) ** (4 / quarters))


def straight() -> np.ndarray:
    """The profile of a prism."""
    return np.ones(2 * HALF + 1)


def tapered(profile: np.ndarray, top: float) -> np.ndarray:
    """A profile narrowed linearly to the share ``top`` of its width at z = 1."""
    return profile * (1 - (1 - top) * (heights() + 1) / 2)


def turned_profile(radii: list[float]) -> np.ndarray:
    """A profile that follows ``radii`` at equal steps from below to above (a uniform quadratic B-spline)."""
    control = np.array([radii[0], *radii, radii[-1]])
    place = (heights() + 1) / 2 * len(radii)
    left = np.minimum(place.astype(int), len(radii) - 1)
    part = place - left
    before, here, after = control[left], control[left + 1], control[left + 2]
    # The blend of three control points over each whole step, from one midpoint between controls to the next.
    middle = 0.5 * (before + here), 0.5 * (here + after)
    joined = middle[0] * (1 - part) ** 2 + 2 * here * part * (1 - part) + middle[1] * part * part
    return joined / joined.max()


@dataclass(frozen=True, eq=False)
class Lathe:
    """A cross-section that ``profile`` (2 * HALF + 1,), at most 1, widens along z."""

    section: Section
    profile: np.ndarray

    def surface(self) -> np.ndarray:
        curve = self.section.curve()
        radii = np.concatenate([[0.0], self.profile, [0.0]])
        made = np.empty((len(radii), len(curve), 3))
        made[..., :2] = radii[:, None, None] * curve
        made[..., 2] = np.concatenate([[-1.0], heights(), [1.0]])[:, None]
        return made

    def contains(self, x: np.ndarray, y: np.ndarray, z: np.ndarray) -> np.ndarray:
        reached = 1 - np.sqrt(1 - np.minimum(np.abs(z), 1.0))
        place = HALF * (1 + np.where(z < 0, -reached, reached))
        below = np.minimum(place.astype(np.int64), 2 * HALF - 1)
        low, high = self.profile[below], self.profile[below + 1]
        inside: np.ndarray = self.section.gauge(x, y) < self.section.raised(
            low + (place - below) * (high - low)
        )
        return inside


@dataclass(frozen=True)
class Ring:
    """A band round z between a cross-section and its copy ``hole`` times as wide; cut across it is a superellipse.

    ``section`` is a polygon or the superellipse of exponent 2 or 4.
    """

    section: Polygon | Superellipse
    hole: float
    quarters: int

    def surface(self) -> np.ndarray:
        across = _superellipse(self.quarters)[::2]
        middle, half = (1 + self.hole) / 2, (1 - self.hole) / 2
        # The loop across is closed by repeating its first row, the one round z by the sampler.
        radii = middle + half * np.append(across[:, 0], across[0, 0])
        made = np.empty((len(radii), len(self.section.curve()), 3))
        made[..., :2] = radii[:, None, None] * self.section.curve()
        made[..., 2] = np.append(across[:, 1], across[0, 1])[:, None]
        return made

    def contains(self, x: np.ndarray, y: np.ndarray, z: np.ndarray) -> np.ndarray:
        radius = self.section.gauge(x, y)
        if isinstance(self.section, Superellipse):
            radius = np.sqrt(radius) if self.section.quarters == 8 else np.sqrt(np.sqrt(radius))
        off = np.abs(radius - (1 + self.hole) / 2) * (2 / (1 - self.hole))
        inside: np.ndarray = power(off, self.quarters) + power(np.abs(z), self.quarters) < 1
        return inside


@dataclass(frozen=True, eq=False)
class Tube:
    """A round tube of ``radius`` about a cubic Bezier curve of four ``controls`` (4, 3)."""

    controls: np.ndarray
    radius: float

    def line(self) -> np.ndarray:
        """Points (segments + 1, 3) of the curve."""
        t = (np.arange(_SEGMENTS + 1) / _SEGMENTS)[:, None]
        u = 1 - t
        a, b, c, d = self.controls
        made: np.ndarray = u * u * u * a + 3 * u * u * t * b + 3 * u * t * t * c + t * t * t * d
        return made

    def surface(self) -> np.ndarray:
        line = self.line()
        first, second = _frames(line)
        turn = circle(_SIDES) * self.radius
        rings = line[:, None] + turn[:, :1] * first[:, None] + turn[:, 1:] * second[:, None]
        ends = np.broadcast_to(line[[0, -1], None], (2, _SIDES, 3))
        return np.concatenate([ends[:1], rings, ends[1:]])

    def contains(self, x: np.ndarray, y: np.ndarray, z: np.ndarray) -> np.ndarray:
        line = self.line()
        inside = np.zeros(len(x), bool)
        for start, step in zip(line[:-1].tolist(), (line[1:] - line[:-1]).tolist(), strict=True):
            dx, dy, dz = x - start[0], y - start[1], z - start[2]
            length = step[0] * step[0] + step[1] * step[1] + step[2] * step[2]
            along = np.clip((dx * step[0] + dy * step[1] + dz * step[2]) / length, 0.0, 1.0)
            dx, dy, dz = dx - along * step[0], dy - along * step[1], dz - along * step[2]
            inside |= dx * dx + dy * dy + dz * dz < self.radius * self.radius
        return inside


def _frames(line: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Two directions across a line (n, 3) at each of its points, carried along it without turning."""
    steps = line[1:] - line[:-1]
    tangents = np.concatenate([steps[:1], steps[1:] + steps[:-1], steps[-1:]]).tolist()
    across: Vector = (1.0, 0.0, 0.0) if abs(tangents[0][0]) < abs(tangents[0][2]) else (0.0, 0.0, 1.0)
    first, second = [], []
    for tangent in tangents:
        t = _unit(tangent)
        dot = t[0] * across[0] + t[1] * across[1] + t[2] * across[2]
        across = _unit([a - dot * b for a, b in zip(across, t, strict=True)])
        first.append(across)
        second.append(
            (
                t[1] * across[2] - t[2] * across[1],
                t[2] * across[0] - t[0] * across[2],
                t[0] * across[1] - t[1] * across[0],
            )
        )
    return np.array(first), np.array(second)


def _unit(vector: list[float]) -> Vector:
    x, y, z = vector
    length = float(np.sqrt(x * x + y * y + z * z)) or 1.0
    return x / length, y / length, z / length
