"""Drawing a cloud: its points seen from one side, in the colours of the patches that they are nearest to."""

from __future__ import annotations

import colorsys
from typing import TYPE_CHECKING

import numpy as np
from scipy.spatial import cKDTree

from foundry_bench.figures.files import small

if TYPE_CHECKING:
    from matplotlib.axes import Axes

AZIMUTH, ELEVATION = np.radians(40.0), np.radians(25.0)
"""From where a cloud is seen; z is up."""
NEAREST = 3
"""Centres that a point's colour is mixed of."""
GREY = (0.82, 0.82, 0.82)
GOLDEN = 0.618034
"""Steps of hue by the golden ratio keep colours apart, however many there are."""


def seen(points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Where points (P, 3) lie on the page, (P, 2), and how near they are, (P,), in parallel projection."""
    sin, cos = np.sin(AZIMUTH), np.cos(AZIMUTH)
    across = -sin * points[:, 0] + cos * points[:, 1]
    towards = cos * points[:, 0] + sin * points[:, 1]
    up = np.cos(ELEVATION) * points[:, 2] - np.sin(ELEVATION) * towards
    near = np.sin(ELEVATION) * points[:, 2] + np.cos(ELEVATION) * towards
    return np.stack([across, up], axis=1), near


def mixed(points: np.ndarray, centers: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Values (P, C) of ``points`` (P, 3), mixed of ``values`` (T, C) of the :data:`NEAREST` centres by their distance."""
    distance, index = cKDTree(centers).query(points, k=min(NEAREST, len(centers)))
    distance, index = distance.reshape(len(points), -1), index.reshape(len(points), -1)
    weight = 1 / (distance + 1e-3)
    return np.asarray((values[index] * (weight / weight.sum(axis=1, keepdims=True))[..., None]).sum(axis=1))


def of_nearest(points: np.ndarray, centers: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Values (P, C) of the centre nearest to each of ``points`` (P, 3)."""
    return np.asarray(values[cKDTree(centers).query(points)[1]])


def draw(axes: Axes, points: np.ndarray, colours: np.ndarray, title: str = "") -> None:
    """Points (P, 3) in ``colours`` (P, 3), the farthest first, filling ``axes``; an image within vector graphics."""
    place, near = seen(points)
    order = np.argsort(near)
    axes.scatter(
        place[order, 0], place[order, 1], c=np.clip(colours[order], 0, 1), s=5, linewidths=0, rasterized=True
    )
    middle, half = (place.max(axis=0) + place.min(axis=0)) / 2, 0.53 * np.ptp(place, axis=0).max()
    axes.set(
        xlim=(middle[0] - half, middle[0] + half), ylim=(middle[1] - half, middle[1] + half), aspect="equal"
    )
    axes.axis("off")
    if title:
        axes.set_title(title, fontsize=small(), pad=2)


def colours_of_groups(groups: np.ndarray) -> np.ndarray:
    """A colour (T, 3) for every token by its group (T,): the largest groups first, grey for those that are alone."""
    names, counts = np.unique(groups, return_counts=True)
    order = sorted(range(len(names)), key=lambda i: (-counts[i], names[i]))
    found = {
        names[i]: colorsys.hsv_to_rgb(
            (rank * GOLDEN) % 1, 0.55 + 0.3 * (rank % 2), 0.9 - 0.25 * (rank // 2 % 2)
        )
        if counts[i] > 1
        else GREY
        for rank, i in enumerate(order)
    }
    return np.array([found[group] for group in groups])
