"""Labels at the points of a scatter plot that cover neither each other nor a marker nor an error bar."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Protocol

import numpy as np
from matplotlib.transforms import Bbox

from foundry_bench.figures.files import small
from foundry_bench.report.plots.colours import Colour

if TYPE_CHECKING:
    from matplotlib.axes import Axes

RINGS = (9, 15, 23, 33, 45, 60, 78, 100, 125)
"""Distances in points at which a label is tried; beyond the first a thin line leads to its point."""
ANGLES = (20, -20, 160, -160, 90, -90, 45, -45, 135, -135, 0, 180, 70, -70, 110, -110)
MARKER = 5.0
"""Half the size of a marker in points."""


class Labelled(Protocol):
    """What a point needs in order to be labelled: its place, the half height of its error bar, its text."""

    @property
    def cost(self) -> float: ...
    @property
    def score(self) -> float: ...
    @property
    def half(self) -> float: ...
    @property
    def label(self) -> str: ...


def place_labels(
    axes: Axes,
    points: Sequence[Labelled],
    colours: Sequence[Colour],
    line: Sequence[Labelled],
    others: Sequence[Labelled] = (),
    levels: Sequence[float] = (),
) -> list[Bbox]:
    """Write every point's label at the nearest free spot around it; return the boxes in pixels.

    Besides markers, error bars and other labels, labels keep off the ``line`` that joins some of the points and
    off ``others``, which get none, and the level lines at ``levels``.
    The axes must have their final size and limits. Where no spot is free within the last ring, the label
    stays there.
    """
    markers, lines = _obstacles(axes, [*points, *others]), (*_steps(axes, line), *_levels(axes, levels))
    taken = np.array([box.extents for box in (*markers, *lines)])
    placed: list[Bbox] = []
    for point, colour in zip(points, colours, strict=True):
        placed.append(_place(axes, point, colour, taken))
        taken = np.vstack([taken, placed[-1].extents])
    return placed


def _place(axes: Axes, point: Labelled, colour: Colour, taken: np.ndarray) -> Bbox:
    """Try the rings from the inside out, off the boxes ``taken`` (k, 4); a label outside the first gets a line to its point."""
    anchor, near = (point.cost, point.score), "offset points"
    text = axes.annotate(
        point.label,
        anchor,
        (RINGS[0], 0),
        textcoords=near,
        fontsize=small(),
        color=colour,
        zorder=4,
    )
    frame = axes.get_window_extent()
    box = Bbox.null()
    for distance, angle in ((ring, angle) for ring in RINGS for angle in ANGLES):
        x, y = distance * math.cos(math.radians(angle)), distance * math.sin(math.radians(angle))
        text.set_position((x, y))
        text.set_horizontalalignment("left" if x > 1 else "right" if x < -1 else "center")
        text.set_verticalalignment("center" if abs(y) < distance / 2 else "bottom" if y > 0 else "top")
        box = text.get_window_extent().padded(1.5)
        if _inside(box, frame) and not _overlaps(box, taken):
            if distance > RINGS[0]:
                arrow = {"arrowstyle": "-", "color": colour, "linewidth": 0.6, "shrinkA": 0, "shrinkB": 5}
                axes.annotate("", anchor, (x, y), textcoords=near, arrowprops=arrow, zorder=2)
            break
    return box


def _inside(box: Bbox, frame: Bbox) -> bool:
    return box.x0 >= frame.x0 and box.x1 <= frame.x1 and box.y0 >= frame.y0 and box.y1 <= frame.y1


def _overlaps(box: Bbox, others: np.ndarray) -> bool:
    """Whether a box touches any of ``others`` (k, 4): left, bottom, right, top. Thousands in microseconds."""
    left, bottom, right, top = others.T
    return bool(np.any((box.x0 <= right) & (left <= box.x1) & (box.y0 <= top) & (bottom <= box.y1)))


def _steps(axes: Axes, line: Sequence[Labelled]) -> Iterable[Bbox]:
    """Small pixel boxes along a broken line."""
    corners = [axes.transData.transform((point.cost, point.score)) for point in line]
    for start, end in pairwise(corners):
        for part in np.linspace(0, 1, 2 + int(np.hypot(*(end - start)) / 4)):
            x, y = start + part * (end - start)
            yield Bbox.from_extents(x - 1, y - 1, x + 1, y + 1)


def _levels(axes: Axes, levels: Sequence[float]) -> Iterable[Bbox]:
    """Pixel boxes of horizontal lines over the whole width."""
    frame = axes.get_window_extent()
    for level in levels:
        _, y = axes.transData.transform((0.0, level))
        yield Bbox.from_extents(frame.x0, y - 1, frame.x1, y + 1)


def _obstacles(axes: Axes, points: Sequence[Labelled]) -> Iterable[Bbox]:
    """Pixel boxes of the markers and error bars."""
    pixel = axes.get_figure(root=True).dpi / 72  # type: ignore[union-attr]
    half = MARKER * pixel
    for point in points:
        x, middle = axes.transData.transform((point.cost, point.score))
        _, low = axes.transData.transform((point.cost, point.score - point.half))
        _, high = axes.transData.transform((point.cost, point.score + point.half))
        yield Bbox.from_extents(x - half, middle - half, x + half, middle + half)
        yield Bbox.from_extents(x - pixel, low, x + pixel, high)
