"""Families of shapes: how random solids are put together. Each is a recipe with random proportions, of at most nine parts.

The first one is that of Point-MAE-Zero (arXiv 2411.17467): unions of solids at random places.
The others have what made things have: a vertical axis, symmetry, repetition, holes, thin walls and bent wires.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from foundry_bench.datasets.procedural.arithmetic import (
    Rotation,
    Stream,
    Vector,
    about_z,
    product,
    turned,
)
from foundry_bench.datasets.procedural.sampling import Part
from foundry_bench.datasets.procedural.solids import (
    Lathe,
    Polygon,
    Ring,
    Section,
    Solid,
    Superellipse,
    Tube,
    straight,
    superellipse_profile,
    tapered,
    turned_profile,
)

MOST = 9
"""Most parts of a shape."""
_QUARTERS = (4, 5, 6, 8, 8, 10, 12, 16, 24, 64)
"""Exponents of superellipses, in quarters: from rhombs by circles, the commonest, to squares."""
ALONG_X: Rotation = ((0.0, 0.0, 1.0), (0.0, 1.0, 0.0), (-1.0, 0.0, 0.0))
"""Turns z to x."""
ALONG_Y: Rotation = ((1.0, 0.0, 0.0), (0.0, 0.0, 1.0), (0.0, -1.0, 0.0))
"""Turns z to y."""
_CYLINDER = Lathe(Superellipse(8), straight())
_BOX = Lathe(Polygon(4), straight())


def superquadric(s: Stream) -> Lathe:
    """A superquadric, narrowed towards its top in half of the cases."""
    profile = superellipse_profile(s.choice(_QUARTERS))
    if s.chance(0.5):
        profile = tapered(profile, s.between(0.2, 1))
        profile = profile / profile.max()
    return Lathe(Superellipse(s.choice(_QUARTERS)), profile)


def section(s: Stream) -> Section:
    """A circle in half of the cases, else a square, another superellipse or a polygon."""
    if s.chance(0.5):
        return Superellipse(8)
    if s.chance(0.5):
        return Polygon(s.choice((3, 4, 4, 4, 5, 6, 6, 8)))
    return Superellipse(s.choice(_QUARTERS))


def prism(s: Stream) -> Lathe:
    """A prism, cylinder, frustum or cone."""
    return Lathe(section(s), tapered(straight(), s.between(0.1, 1) if s.chance(0.3) else 1.0))


def boxlike(s: Stream) -> Lathe:
    """A box, or one with rounded edges."""
    if s.chance(0.6):
        return _BOX
    return Lathe(Superellipse(s.choice((16, 24, 64))), superellipse_profile(s.choice((24, 64))))


def vase(s: Stream, least: float = 0.15) -> np.ndarray:
    """A turned profile, nowhere narrower than the share ``least`` of the widest control."""
    return turned_profile([s.between(least, 1) for _ in range(s.whole(3, 6))])


def ring(s: Stream, least: float = 0.3) -> Ring:
    """A ring, a frame or a band."""
    rounds: tuple[Superellipse | Polygon, ...] = (Superellipse(8), Superellipse(8), Superellipse(16))
    return Ring(s.choice((*rounds, Polygon(4), Polygon(6))), s.between(least, 0.9), s.choice((8, 8, 16, 64)))


def anything(s: Stream) -> Solid:
    """Any solid: superquadrics in most cases."""
    kind = s.between(0, 1)
    if kind < 0.6:
        return superquadric(s)
    if kind < 0.8:
        return prism(s)
    return ring(s) if kind < 0.9 else Lathe(section(s), vase(s))


def tube(controls: list[Vector], radius: float) -> Part:
    """A round tube about the Bezier curve of four ``controls``."""
    places = np.array(controls)
    low, high = places.min(axis=0) - radius, places.max(axis=0) + radius
    half = float((high - low).max()) / 2
    centre = (low + high) / 2
    x, y, z = centre.tolist()
    return Part(Tube((places - centre) / half, radius / half), (half, half, half), (x, y, z))


def _facing(s: Stream, free: float) -> Rotation | None:
    """A free rotation in the share ``free`` of cases, else one that keeps the axes, mostly none."""
    if s.chance(free):
        return s.rotation()
    return s.choice((None, None, None, ALONG_X, ALONG_Y))


def heap(s: Stream) -> list[Part]:
    """Up to nine solids, each centred near the surface of one before."""
    parts = [Part(anything(s), s.vector(0.4, 1), rotation=_facing(s, 0.4))]
    free = s.choice((0.0, 0.3, 1.0))
    for _ in range(s.whole(0, MOST - 1)):
        near = s.choice(parts)
        x, y, z = s.direction()
        off = (
            turned(near.rotation, (x * near.scale[0], y * near.scale[1], z * near.scale[2]))
            if near.rotation
            else (x * near.scale[0], y * near.scale[1], z * near.scale[2])
        )
        at = _plus(near.at, off)
        bend = s.between(-0.6, 0.6) if s.chance(0.2) else 0.0
        parts.append(Part(anything(s), s.vector(0.12, 0.7), at, _facing(s, free), bend))
    return parts


def pile(s: Stream) -> list[Part]:
    """Solids turned about one axis, on top of each other: bottles, lamps, columns, chess pieces; some lie, some are bored."""
    parts: list[Part] = []
    stretch, top = s.between(0.7, 1), 0.0
    for _ in range(s.whole(1, 7)):
        wide, high = s.between(0.1, 1), s.between(0.04, 0.6)
        solid: Solid = s.choice((Lathe(Superellipse(8), vase(s)), prism(s), superquadric(s)))
        parts.append(Part(solid, (wide, wide * stretch, high), (0.0, 0.0, top + high)))
        top += 2 * high * s.between(0.8, 0.97)
    if s.chance(0.25):
        wide = s.between(0.3, 0.8) * min(part.scale[0] for part in parts)
        parts.append(
            Part(_CYLINDER, (wide, wide * stretch, top), (0.0, 0.0, top * s.between(0.5, 1.2)), cut=True)
        )
    return _laid(s, parts) if s.chance(0.3) else parts


def wheel(s: Stream) -> list[Part]:
    """A hub with two to seven equal arms about it, with or without a rim: wheels, fans, stars, stools, tripods."""
    arms = s.whole(2, 7)
    hub = Part(s.choice((prism(s), superquadric(s))), (h := s.between(0.12, 0.45), h, s.between(0.08, 0.6)))
    arm, rise = anything(s), s.between(-0.5, 0.5) if s.chance(0.4) else 0.0
    length, scale = s.between(0.35, 0.7), (s.between(0.04, 0.3), s.between(0.03, 0.2))
    tilt = s.rotation() if s.chance(0.2) else ALONG_X if s.chance(0.7) else None
    out = 0.8 * h + 0.9 * _reach(tilt, (*scale, length))
    parts = [hub]
    for step in range(arms):
        spin = about_z(step, arms)
        at = turned(spin, (out, 0.0, rise))
        parts.append(Part(arm, (*scale, length), at, product(spin, tilt) if tilt else spin))
    if len(parts) < MOST and s.chance(0.4):
        reach = out * s.between(0.9, 1.7)
        parts.append(Part(ring(s, 0.75), (reach, reach, s.between(0.05, 0.3)), (0.0, 0.0, rise)))
    return _laid(s, parts) if s.chance(0.4) else parts


def table(s: Stream) -> list[Part]:
    """A plate on legs, with or without a back, arms, a shelf or drawers: seats, tables, beds, benches."""
    wide, deep, thick, high = (
        s.between(0.4, 1),
        s.between(0.3, 1),
        s.between(0.02, 0.12),
        s.between(0.15, 0.9),
    )
    plate = boxlike(s) if s.chance(0.7) else prism(s)
    parts = [Part(plate, (wide, deep, thick), (0.0, 0.0, thick))]
    leg, inset = s.between(0.02, 0.1), s.between(0.6, 0.95)
    foot = tapered(straight(), s.between(0.4, 1))[::-1]
    legs = Lathe(Superellipse(8) if s.chance(0.5) else Polygon(4), foot)
    across, along = 2 * (wide * inset - leg), 2 * (deep * inset - leg)
    if s.chance(0.8):
        parts.append(
            Part(legs, (leg, leg, high), (0.0, 0.0, -high * 0.98), None, 0.0, (2, 2, 1), (across, along, 1.0))
        )
    else:
        foot_wide = s.between(0.3, 0.9) * min(wide, deep)
        parts += [
            Part(legs, (leg, leg, high), (0.0, 0.0, -high * 0.98)),
            Part(prism(s), (foot_wide, foot_wide, leg), (0.0, 0.0, -2 * high * 0.98)),
        ]
    if s.chance(0.5):
        back, tall = s.between(0.02, 0.1), s.between(0.2, 0.9)
        at = (0.0, back - deep, tall + thick)
        if s.chance(0.5):
            parts.append(Part(boxlike(s), (wide * s.between(0.7, 1), back, tall), at))
        else:
            count = s.whole(2, 7)
            pitch = 2 * wide * 0.9 / (count - 1)
            bar = min(s.between(0.02, 0.08), pitch / 3)
            parts.append(Part(prism(s), (bar, back, tall), at, None, 0.0, (count, 1, 1), (pitch, 1.0, 1.0)))
            parts.append(
                Part(boxlike(s), (wide, back * 1.3, s.between(0.04, 0.15)), _plus(at, (0.0, 0.0, tall)))
            )
    if s.chance(0.3):
        arm, tall = s.between(0.03, 0.12), s.between(0.1, 0.35)
        parts.append(
            Part(
                boxlike(s),
                (arm, deep * s.between(0.6, 1), tall),
                (0.0, 0.0, tall + thick),
                None,
                0.0,
                (2, 1, 1),
                (2 * wide - arm, 1.0, 1.0),
            )
        )
    if s.chance(0.35):
        tall = s.between(0.02, 0.4) * high
        parts.append(
            Part(
                boxlike(s), (wide * inset, deep * inset, tall), (0.0, 0.0, -s.between(0.4, 1.4) * high + tall)
            )
        )
    return parts


def device(s: Stream) -> list[Part]:
    """A body with rows of pins, studs on top, holes and slots: connectors, chips, bricks, housings."""
    wide, deep, high = s.between(0.3, 1), s.between(0.2, 0.8), s.between(0.1, 0.6)
    body = boxlike(s) if s.chance(0.8) else prism(s)
    parts = [Part(body, (wide, deep, high))]
    if s.chance(0.7):
        parts.append(_grid(s, wide, deep, s.between(0.1, 0.5), -high))
    if s.chance(0.5):
        parts.append(_grid(s, wide, deep, s.between(0.02, 0.25), high))
    if s.chance(0.4):
        count = s.whole(1, 6)
        pitch = 2 * wide / count
        size = (pitch * s.between(0.2, 0.4), s.between(0.1, 0.4), s.between(0.2, 0.6) * high)
        at = (0.0, s.choice((-deep, deep)), s.between(-0.5, 0.5) * high)
        cut = s.chance(0.6)
        parts.append(
            Part(s.choice((_BOX, _CYLINDER)), size, at, None, 0.0, (count, 1, 1), (pitch, 1.0, 1.0), cut)
        )
    if s.chance(0.35):
        inner = (wide * s.between(0.5, 0.92), deep * s.between(0.5, 0.92), high)
        parts.append(Part(_BOX, inner, (0.0, 0.0, high * s.between(0.3, 1.6)), cut=True))
    for _ in range(s.whole(0, 3)):
        at = (s.between(-wide, wide), s.between(-deep, deep), s.choice((-high, high, 0.0)))
        parts.append(Part(anything(s), s.vector(0.05, 0.35), at, _facing(s, 0.0)))
    if s.chance(0.3):
        ear = (wide * s.between(1.05, 1.6), deep * s.between(0.5, 1), high * s.between(0.05, 0.2))
        parts.append(Part(boxlike(s), ear, (0.0, 0.0, s.choice((-1.0, 1.0)) * (high - ear[2]) * 0.99)))
    return _laid(s, parts) if s.chance(0.2) else parts


def _grid(s: Stream, wide: float, deep: float, long: float, level: float) -> Part:
    """Pins or studs in a grid on the face at ``level``."""
    columns, rows = s.whole(1, 8), s.whole(1, 4)
    pitch = (2 * wide / columns, 2 * deep / rows)
    size = s.between(0.15, 0.42) * min(pitch)
    options: tuple[Solid, ...] = (_BOX, _CYLINDER, prism(s), Ring(Superellipse(8), 0.6, 64))
    solid = s.choice(options)
    scale = (size, size, long)
    return Part(solid, scale, (0.0, 0.0, level), None, 0.0, (columns, rows, 1), (*pitch, 1.0))


def vessel(s: Stream) -> list[Part]:
    """An open body with a wall, and a handle, a foot, a spout or a lid: cups, bowls, boxes, pots, pipes."""
    around = section(s)
    profile = _wall(s)
    wide, deep, high = (w := s.between(0.4, 1)), w * s.between(0.6, 1), s.between(0.2, 1)
    wall = s.between(0.06, 0.2)
    inner = (wide * (1 - wall), deep * (1 - wall), high)
    floor = 2 * high * s.between(0.04, 0.2) if s.chance(0.85) else -0.05
    parts = [
        Part(Lathe(around, profile), (wide, deep, high)),
        Part(Lathe(around, profile), inner, (0.0, 0.0, floor if floor > 0 else 0.0), cut=True),
    ]
    if floor < 0:
        parts[1] = replace(parts[1], scale=(*inner[:2], high * 1.05))
    for side in (1.0, -1.0)[: s.choice((0, 1, 1, 2))]:
        parts.append(_handle(s, side * wide * float(profile[len(profile) // 2]) * (1 - wall / 2), high))
    if s.chance(0.3):
        foot = wide * s.between(0.3, 1.2)
        parts.append(Part(prism(s), (foot, foot, h := s.between(0.03, 0.2)), (0.0, 0.0, -high - h * 0.9)))
    if s.chance(0.2):
        parts.append(
            Part(superquadric(s), (wide * s.between(0.9, 1.1), deep, s.between(0.04, 0.2)), (0.0, 0.0, high))
        )
        parts.append(Part(anything(s), (k := s.between(0.06, 0.15), k, k), (0.0, 0.0, high + k + 0.05)))
    return parts


def _wall(s: Stream) -> np.ndarray:
    """The profile of an open body: turned, or straight and wider at either end."""
    if s.chance(0.4):
        return vase(s, 0.45)
    profile = tapered(straight(), s.between(0.5, 1))
    return profile[::-1] if s.chance(0.7) else profile


def _handle(s: Stream, x: float, high: float) -> Part:
    """A bow at the side ``x`` of a body."""
    out, low, top = (
        x + (1 if x > 0 else -1) * s.between(0.25, 0.8),
        -s.between(0.1, 0.7) * high,
        s.between(0.1, 0.8) * high,
    )
    return tube([(x, 0.0, low), (out, 0.0, low), (out, 0.0, top), (x, 0.0, top)], s.between(0.025, 0.08))


def frame(s: Stream) -> list[Part]:
    """Bars and boards that repeat along the axes: shelves, grilles, ladders, crates, towers."""
    half = s.vector(0.3, 1)
    counts = s.whole(2, 4), s.choice((2, 2, 3)), s.whole(2, 4)
    thick = s.between(0.02, 0.08)
    solid = s.choice((_BOX, _BOX, _CYLINDER, Lathe(Polygon(6), straight())))
    parts: list[Part] = []
    missing = s.whole(0, 4)
    for axis, facing in enumerate((ALONG_X, ALONG_Y, None)):
        if axis == missing:
            continue
        # Copies run along the bar's own axes, which the rotation exchanges with the shape's.
        order = {0: (2, 1, 0), 1: (0, 2, 1), 2: (0, 1, 2)}[axis]
        copies = [counts[k] if k != axis else 1 for k in order]
        pitch = [2 * half[k] / (counts[k] - 1) if k != axis else 1.0 for k in order]
        scale = [thick if k != axis else half[k] + thick * s.between(0.5, 2) for k in order]
        parts.append(
            Part(
                solid,
                _three(scale),
                (0.0, 0.0, 0.0),
                facing,
                0.0,
                (copies[0], copies[1], copies[2]),
                _three(pitch),
            )
        )
    if s.chance(0.45):
        boards = s.choice((2, 2, 3, 4))
        size = (half[0] + thick, half[1] + thick, thick * s.between(0.4, 1.5))
        parts.append(
            Part(
                _BOX, size, (0.0, 0.0, 0.0), None, 0.0, (1, 1, boards), (1.0, 1.0, 2 * half[2] / (boards - 1))
            )
        )
    if s.chance(0.3):
        parts.append(Part(_BOX, (half[0], thick * 0.6, half[2]), (0.0, -half[1], 0.0)))
    for _ in range(s.whole(0, 2)):
        at = (s.between(-1, 1) * half[0], s.between(-1, 1) * half[1], s.between(-1, 1) * half[2])
        parts.append(Part(anything(s), s.vector(0.1, 0.3), at))
    return parts


def wire(s: Stream) -> list[Part]:
    """Bent tubes from one place, with what hangs on their ends: plants, hooks, lamps, cables, pipes."""
    parts = [Part(anything(s), s.vector(0.15, 0.5), (0.0, 0.0, -0.1))]
    radius = s.between(0.03, 0.14)
    ends = s.chance(0.6)
    for _ in range(s.whole(1, 5)):
        end, bow = s.vector(-1, 1), s.vector(-1, 1)
        end = (end[0], end[1], s.between(0.2, 1.4))
        parts.append(tube([(0.0, 0.0, -0.1), (0.0, 0.0, s.between(0.2, 0.8)), bow, end], radius))
        if ends and len(parts) < MOST:
            parts.append(Part(anything(s), s.vector(0.08, 0.35), end, _facing(s, 0.3)))
    return parts[:MOST]


def carved(s: Stream) -> list[Part]:
    """A solid or two with bites, bores and steps cut out."""
    parts = [Part(s.choice((superquadric(s), boxlike(s), prism(s))), s.vector(0.4, 1))]
    if s.chance(0.5):
        x, y, z = s.direction()
        size = parts[0].scale
        parts.append(Part(superquadric(s), s.vector(0.3, 0.7), (x * size[0], y * size[1], z * size[2])))
    for _ in range(s.whole(1, 4)):
        size = parts[0].scale
        if s.chance(0.5):  # a bore right through
            bore = s.between(0.12, 0.5) * min(size)
            facing = s.choice((None, ALONG_X, ALONG_Y))
            at = (
                s.between(-0.6, 0.6) * size[0],
                s.between(-0.6, 0.6) * size[1],
                s.between(-0.6, 0.6) * size[2],
            )
            parts.append(Part(s.choice((_CYLINDER, _BOX, prism(s))), (bore, bore, 1.6), at, facing, cut=True))
        else:
            x, y, z = s.direction()
            at = (x * size[0] * 1.1, y * size[1] * 1.1, z * size[2] * 1.1)
            parts.append(
                Part(s.choice((_BOX, superquadric(s))), s.vector(0.2, 0.7), at, _facing(s, 0.2), cut=True)
            )
    return parts


def creature(s: Stream) -> list[Part]:
    """A body with pairs of parts on its left and right: animals, aircraft, vehicles."""
    length, wide, high = s.between(0.5, 1), s.between(0.12, 0.4), s.between(0.1, 0.4)
    lying = replace(Part(superquadric(s), (wide, high, length)), rotation=ALONG_Y)
    parts = [lying]
    while len(parts) < MOST - 2 and (len(parts) < 3 or s.chance(0.65)):
        if s.chance(0.35):  # on the plane of symmetry
            at = (0.0, s.between(-1.1, 1.1) * length, s.between(-0.2, 1.3) * high)
            parts.append(Part(anything(s), s.vector(0.06, 0.4), at, s.choice((None, ALONG_Y, ALONG_X))))
            continue
        scale = s.vector(0.05, 0.3)
        scale = _three([*scale[:2], s.between(0.1, 0.8)])
        solid, facing = anything(s), s.choice((None, ALONG_X, ALONG_X, ALONG_Y, s.rotation()))
        off = s.between(0.5, 0.9) * (wide + _reach(facing, scale))
        at = (off, s.between(-0.9, 0.9) * length, s.between(-0.9, 0.7) * high)
        if facing is None:
            at = (s.between(0.5, 1) * wide, at[1], -high - scale[2] * 0.6)
        for side in (1.0, -1.0):
            parts.append(
                Part(solid, scale, (side * at[0], at[1], at[2]), facing if side > 0 else _mirrored(facing))
            )
    return parts


def _mirrored(facing: Rotation | None) -> Rotation | None:
    """The rotation seen in a mirror across x; the solid's own mirror image across its x is itself."""
    if facing is None:
        return None
    (a, b, c), (d, e, f), (g, h, i) = facing
    return (a, -b, -c), (-d, e, f), (-g, h, i)


def _reach(facing: Rotation | None, scale: Vector) -> float:
    """How far an ellipsoid of this scale reaches along x."""
    along = facing[0] if facing else (1.0, 0.0, 0.0)
    squared = [share * size * share * size for share, size in zip(along, scale, strict=True)]
    return float(np.sqrt(squared[0] + squared[1] + squared[2]))


def _laid(s: Stream, parts: list[Part]) -> list[Part]:
    """The same parts with the axis z along x or y."""
    facing = s.choice((ALONG_X, ALONG_Y))
    return [
        replace(p, at=turned(facing, p.at), rotation=product(facing, p.rotation) if p.rotation else facing)
        for p in parts
    ]


def _plus(a: Vector, b: Vector) -> Vector:
    return a[0] + b[0], a[1] + b[1], a[2] + b[2]


def _three(values: list[float]) -> Vector:
    a, b, c = values
    return a, b, c


FAMILIES: tuple[tuple[float, Callable[[Stream], list[Part]]], ...] = (
    (0.25, heap),
    (0.09, pile),
    (0.09, wheel),
    (0.10, table),
    (0.12, device),
    (0.08, vessel),
    (0.07, frame),
    (0.06, wire),
    (0.07, carved),
    (0.07, creature),
)
"""Share of the shapes, and the recipe."""


def shape(s: Stream) -> tuple[str, list[Part]]:
    """The name of a family and the parts of one shape."""
    place = s.between(0, 1)
    for share, family in FAMILIES[:-1]:
        place -= share
        if place < 0:
            return family.__name__, family(s)[:MOST]
    last = FAMILIES[-1][1]
    return last.__name__, last(s)[:MOST]
