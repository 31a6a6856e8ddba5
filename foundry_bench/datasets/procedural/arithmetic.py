"""Numbers that come out the same, to the last bit, on every machine.

Only operations that IEEE 754 rounds correctly are used from here on: ``+ - * /``, square roots and comparisons. Powers are
built from them, and the few tables of sines and roots are rounded far above the last bit. What is drawn comes from Philox, a
counter-based generator whose stream NumPy keeps (NEP 19); source: Salmon et al., SC 2011.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import TypeVar

import numpy as np

Choice = TypeVar("Choice")
Vector = tuple[float, float, float]
Rotation = tuple[Vector, Vector, Vector]

_AHEAD = 64
"""Numbers drawn at a time for the choices of one shape."""
_GRID = 2.0**30
"""Tables are multiples of its inverse: coarse beside the last bit of a sine, fine beside a point of single precision."""


class Stream:
    """Random numbers of one cloud: a pure function of ``key``, two whole numbers below 2**64."""

    def __init__(self, key: tuple[int, int]) -> None:
        self._bits = np.random.Philox(key=np.array(key, np.uint64))
        self._ahead: list[float] = []

    def uniforms(self, rows: int, columns: int) -> np.ndarray:
        """Numbers (rows, columns) in [0, 1), those of a row in succession."""
        raw = self._bits.random_raw(rows * columns)
        made: np.ndarray = (raw >> np.uint64(11)).astype(np.float64) * 2.0**-53
        return made.reshape(rows, columns)

    def between(self, low: float, high: float) -> float:
        """A number in [low, high)."""
        if not self._ahead:
            self._ahead = self.uniforms(1, _AHEAD)[0].tolist()
        return low + (high - low) * self._ahead.pop()

    def chance(self, share: float) -> bool:
        """True in a ``share`` of cases."""
        return self.between(0, 1) < share

    def whole(self, low: int, high: int) -> int:
        """A whole number from ``low`` to ``high``, both included."""
        return int(self.between(low, high + 1))

    def choice(self, options: Sequence[Choice]) -> Choice:
        """One of ``options``."""
        return options[self.whole(0, len(options) - 1)]

    def vector(self, low: float, high: float) -> Vector:
        """Three numbers in [low, high)."""
        return self.between(low, high), self.between(low, high), self.between(low, high)

    def direction(self) -> Vector:
        """A unit vector, uniform over the sphere."""
        while True:
            x, y, z = self.vector(-1, 1)
            squared = x * x + y * y + z * z
            if 0.01 < squared < 1:
                length = float(np.sqrt(squared))
                return x / length, y / length, z / length

    def rotation(self) -> Rotation:
        """Rows of a rotation matrix, from a quaternion that is uniform over its sphere."""
        while True:
            w, x, y, z = self.between(-1, 1), *self.vector(-1, 1)
            squared = w * w + x * x + y * y + z * z
            if 0.01 < squared < 1:
                break
        two = 2 / squared
        return (
            (1 - two * (y * y + z * z), two * (x * y - w * z), two * (x * z + w * y)),
            (two * (x * y + w * z), 1 - two * (x * x + z * z), two * (y * z - w * x)),
            (two * (x * z - w * y), two * (y * z + w * x), 1 - two * (x * x + y * y)),
        )


def power(base: np.ndarray, quarters: int) -> np.ndarray:
    """``base ** (quarters / 4)`` of numbers that are not negative, by square roots and products."""
    whole, rest = divmod(quarters, 4)
    factors = []
    if rest:
        root = np.sqrt(base)
        factors += [root] if rest == 2 else [np.sqrt(root)] if rest == 1 else [root, np.sqrt(root)]
    square = base
    while whole:
        if whole & 1:
            factors.append(square)
        whole >>= 1
        square = square * square if whole else square
    made = factors[0]
    for factor in factors[1:]:
        made = made * factor
    return made


def rounded(table: np.ndarray) -> np.ndarray:
    """A table of values whose last bits depend on the machine, without these; it cannot be written to."""
    table = np.rint(table * _GRID) / _GRID
    table.flags.writeable = False
    return table


@cache
def circle(count: int) -> np.ndarray:
    """Cosine and sine (count, 2) of equal steps round a circle."""
    angles = np.arange(count) * (2 * np.pi / count)
    return rounded(np.stack([np.cos(angles), np.sin(angles)], axis=1))


def about_z(step: int, steps: int) -> Rotation:
    """The rotation about z by ``step`` of ``steps`` to a full turn."""
    cos, sin = circle(steps)[step % steps].tolist()
    return (cos, -sin, 0.0), (sin, cos, 0.0), (0.0, 0.0, 1.0)


def product(first: Rotation, second: Rotation) -> Rotation:
    """The rotation ``second`` followed by ``first``."""
    a, b, c = (
        tuple(row[0] * second[0][k] + row[1] * second[1][k] + row[2] * second[2][k] for k in range(3))
        for row in first
    )
    return a, b, c  # type: ignore[return-value]


def turned(rotation: Rotation, vector: Vector) -> Vector:
    """``vector`` after ``rotation``."""
    x, y, z = (row[0] * vector[0] + row[1] * vector[1] + row[2] * vector[2] for row in rotation)
    return x, y, z
