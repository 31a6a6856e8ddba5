"""What happens to a cloud between an object and a sensor: parts are missing, noise, uneven density, another pose, few views.

Pure functions of one cloud (P, 3) in the unit sphere, z up, and a random generator. What is left stays where it was: neither
centred nor scaled anew. Points keep their order, so that a random order stays random.
"""

from __future__ import annotations

from typing import cast

import numpy as np
from scipy.spatial import ConvexHull, QhullError
from scipy.spatial.transform import Rotation

CLIP = 2.0
"""Noise is cut off at so many standard deviations."""
NEAR = 1.5
"""Distance from the centre of a sensor whose nearness decides the density of points, in radii."""
FAR = 3.0
"""Distance from the centre of a sensor that sees one side, in radii."""
ELEVATION = (10.0, 50.0)
"""Degrees above the horizon between which such a sensor stands."""
FLIP = 2.0
"""Exponent of the flipping sphere's radius, 100 times the distance of the farthest point. Katz et al. advise large radii for
dense clouds and smaller ones for sparse clouds; with 100, about 1,000 points show the near side and little that is hidden."""


def cut(cloud: np.ndarray, rng: np.random.Generator, share: float) -> np.ndarray:
    """The cloud without the ``share`` of its points that lies farthest along a random direction."""
    order = np.argsort(cloud @ _direction(rng), kind="stable")
    return cloud[np.sort(order[: len(cloud) - round(share * len(cloud))])]


def jitter(cloud: np.ndarray, rng: np.random.Generator, deviation: float) -> np.ndarray:
    """Gaussian noise of standard ``deviation`` in each coordinate, clipped at :data:`CLIP` deviations."""
    return cloud + deviation * np.clip(rng.normal(size=cloud.shape), -CLIP, CLIP)


def thin(cloud: np.ndarray, rng: np.random.Generator, keep: float) -> np.ndarray:
    """The share ``keep`` of the points, drawn with odds that fall with the square of the distance to a sensor close by."""
    distance = np.linalg.norm(cloud - NEAR * _direction(rng), axis=1)
    odds = 1 / np.square(distance)
    drawn = rng.choice(len(cloud), round(keep * len(cloud)), replace=False, p=odds / odds.sum())
    return cloud[np.sort(drawn)]


def tilt(cloud: np.ndarray, rng: np.random.Generator, degrees: float) -> np.ndarray:
    """The cloud tilted by ``degrees`` about a random horizontal axis."""
    heading = rng.uniform(0, 2 * np.pi)
    axis = np.array([np.cos(heading), np.sin(heading), 0.0])
    return Rotation.from_rotvec(np.deg2rad(degrees) * axis).apply(cloud)


def tumble(cloud: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """The cloud in a pose drawn uniformly from all rotations."""
    return Rotation.random(random_state=rng).apply(cloud)


def look(cloud: np.ndarray, rng: np.random.Generator, views: int) -> np.ndarray:
    """The points that are seen in at least one of ``views`` views from around, a right angle from one to the next."""
    heading, elevation = rng.uniform(0, 2 * np.pi), np.deg2rad(rng.uniform(*ELEVATION))
    seen = np.zeros(len(cloud), bool)
    for angle in heading + np.pi / 2 * np.arange(views):
        flat = np.cos(elevation)
        eye = FAR * np.array([flat * np.cos(angle), flat * np.sin(angle), np.sin(elevation)])
        seen[visible(cloud, eye)] = True
    return cloud[seen]


def visible(cloud: np.ndarray, eye: np.ndarray, flip: float = FLIP) -> np.ndarray:
    """Numbers of the points that are seen from ``eye`` (3,): hidden-point removal without a surface.

    Katz, Tal and Basri, Direct Visibility of Point Sets, SIGGRAPH 2007: points are flipped to the other side of a large
    sphere around the eye; those on the convex hull of the flipped points and the eye are visible. ``eye`` lies outside.
    A cloud without extent, such as copies of one point, hides nothing: all of it is visible.
    """
    towards = cloud.astype(np.float64) - eye
    distance = np.linalg.norm(towards, axis=1, keepdims=True)
    radius = distance.max() * 10.0**flip
    flipped = towards + 2 * (radius - distance) * towards / distance
    try:
        hull = ConvexHull(np.concatenate([flipped, np.zeros((1, 3))])).vertices
    except QhullError:
        return np.arange(len(cloud))
    return np.sort(hull[hull < len(cloud)])


def resample(cloud: np.ndarray, rng: np.random.Generator, count: int) -> np.ndarray:
    """``count`` points: a random subset of the cloud, or all of it and some of its points once more."""
    if len(cloud) >= count:
        return cloud[np.sort(rng.choice(len(cloud), count, replace=False))]
    return np.concatenate([cloud, cloud[rng.choice(len(cloud), count - len(cloud))]])


def _direction(rng: np.random.Generator) -> np.ndarray:
    """A unit vector (3,), uniform on the sphere."""
    vector = rng.normal(size=3)
    return cast(np.ndarray, vector / np.linalg.norm(vector))
