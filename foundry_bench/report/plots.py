"""Figures. Accuracy against cost: every row a labelled point, the Pareto front a line, the teacher a
level.
"""

from __future__ import annotations

import io
import math
from dataclasses import dataclass, replace
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from foundry_bench.report.labels import Colour, place_labels
from foundry_bench.report.leaderboard import BASELINE
from foundry_bench.storage import write_atomic

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

OFF_THE_SHELF = "off-the-shelf"
CROWD = 30
"""Most rows that can all be labelled, and most labels along the front where there are more rows."""
SWARM = 300
"""Most rows that are drawn at full strength; beyond, those without a label are a background of small faint marks."""
MARKERS = {OFF_THE_SHELF: "o", "fmd": "s", "expert": "^"}


@dataclass(frozen=True)
class Point:
    """One ranked row: ``gflops`` of one cloud, ``score`` and the half width of its interval in percent."""

    method: str
    variant: str
    params: str
    gflops: float
    score: float
    half: float
    front: bool

    @property
    def label(self) -> str:
        """The text at the point: ``foundry 16`` for one parameter, all of them with names otherwise."""
        if not self.params:
            return self.method
        return f"{self.method} {self.params if ',' in self.params else self.params.partition('=')[2]}"


def points_of(board: pd.DataFrame) -> list[Point]:
    """The leaderboard's ranked rows with a known cost, cheapest first.

    The interval of a mean score takes the places' intervals as independent parts of a mean.
    """
    halves = board[[column for column in board.columns if str(column).endswith("_ci95")]].astype(float)
    spread = np.sqrt((halves**2).sum(axis=1)) / halves.notna().sum(axis=1).clip(lower=1)
    rows = board.assign(half=spread)[board["rank"].notna() & board["gflops"].notna()]
    points = [
        Point(
            *(row["method"], row["variant"], row["params"], row["gflops"]),
            *(100 * row["mean_score"], 100 * row["half"], row["pareto"]),
        )
        for row in rows.to_dict("records")
    ]
    return sorted(points, key=lambda point: (point.gflops, point.score))


def named_points(points: list[Point]) -> list[Point]:
    """The rows that get a label and an error bar: all where there is room, else the best of each method and the front, of
    which at most :data:`CROWD` evenly spaced ones."""
    if len(points) <= CROWD:
        return points
    best: dict[str, Point] = {}
    for point in points:
        if point.method not in best or point.score > best[point.method].score:
            best[point.method] = point
    front = [point for point in points if point.front]
    chosen = {*best.values(), *front[:: max(math.ceil(len(front) / CROWD), 1)]}
    return [point for point in points if point in chosen]


def accuracy_vs_flops(board: pd.DataFrame, folder: Path) -> list[Path]:
    """Draw mean score over GFLOPs of the ranked rows as PNG and SVG; the same board gives the same SVG."""
    import matplotlib
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    points = points_of(board)
    with matplotlib.rc_context({"svg.hashsalt": "foundry-bench", "svg.fonttype": "path", "font.size": 9}):
        figure = Figure(figsize=(9.5, 6.2), layout="constrained")
        FigureCanvasAgg(figure)  # by name: a figure must not need a display
        axes = figure.add_subplot()
        _draw(axes, points)
        figure.draw_without_rendering()
        figure.set_layout_engine("none")  # labels are placed in pixels, so nothing may move from here on
        colours = _colours(points)
        named, others = _split(points)
        dark = [_darker(colours[point.method]) for point in named]
        if others:  # no room for more than the name
            named = [point if point.front else replace(point, params="") for point in named]
        bare = [replace(point, half=0.0) for point in others]
        place_labels(axes, named, dark, [point for point in points if point.front], bare)
        return _save(figure, folder / "accuracy-vs-flops")


def _split(points: list[Point]) -> tuple[list[Point], list[Point]]:
    """Rows with and without a label."""
    named = named_points(points)
    chosen = set(named)
    return named, [point for point in points if point not in chosen]


def _draw(axes: Axes, points: list[Point]) -> None:
    """Points, front, teacher level and frame; everything but the labels."""
    from seaborn import despine

    colours = _colours(points)
    named, others = _split(points)
    _draw_unnamed(axes, others, colours)
    for point in named:
        colour = colours[point.method]
        axes.errorbar(
            point.gflops,
            point.score,
            yerr=point.half,
            fmt=MARKERS.get(point.variant, "D"),
            markersize=10 if point.method == BASELINE else 7,
            color=colour,
            ecolor=(*colour, 0.45),
            markerfacecolor="white" if point.variant == OFF_THE_SHELF else colour,
            markeredgewidth=1.6,
            elinewidth=0.9,
            capsize=2,
            zorder=3,
        )
    _lines(axes, points)
    _legend(axes, sorted({point.variant for point in points}))
    axes.set_xlabel("cost of one cloud [GFLOPs = 2 x GMACs]")
    axes.set_ylabel("mean score over tasks [%], 95 % interval over episodes")
    axes.grid(color="0.93", zorder=0)
    axes.margins(x=0.12, y=0.12)
    despine(ax=axes)


def _draw_unnamed(axes: Axes, points: list[Point], colours: dict[str, Colour]) -> None:
    """Rows without a label and an error bar, one artist for each method and variant: thousands would take minutes."""
    faint = len(points) > SWARM
    ordered = sorted(points, key=lambda point: (point.method, point.variant))
    for (method, variant), group in groupby(ordered, key=lambda point: (point.method, point.variant)):
        alike = list(group)
        axes.plot(
            [point.gflops for point in alike],
            [point.score for point in alike],
            MARKERS.get(variant, "D"),
            color=colours[method],
            markerfacecolor="white" if variant == OFF_THE_SHELF else colours[method],
            markersize=2.5 if faint else 4,
            markeredgewidth=0.8 if faint else 1.6,
            alpha=0.45 if faint else 1.0,
            zorder=1.8 if faint else 3,
        )


def _colours(points: list[Point]) -> dict[str, Colour]:
    """One colour per method, the same for the same set of methods."""
    from seaborn import color_palette, husl_palette

    methods = sorted({point.method for point in points})
    few = len(methods) <= 10
    palette = color_palette("colorblind") if few else husl_palette(len(methods), s=0.8, l=0.5)
    return {method: palette[index % len(palette)] for index, method in enumerate(methods)}


def _darker(colour: Colour) -> Colour:
    """The colour of text, which needs more contrast than a marker."""
    red, green, blue = (0.6 * channel for channel in colour)
    return red, green, blue


def _lines(axes: Axes, points: list[Point]) -> None:
    front = [point for point in points if point.front]
    axes.plot(
        [point.gflops for point in front],
        [point.score for point in front],
        color="0.35",
        linewidth=1.4,
        zorder=2,
        label="Pareto front",
    )
    for point in [point for point in points if point.method == BASELINE][:1]:
        text = f"teacher, {point.score:.1f} %"
        axes.axhline(point.score, color="0.5", linestyle="--", linewidth=0.9, zorder=1, label=text)


def _legend(axes: Axes, variants: list[str]) -> None:
    """What lines and markers mean; methods are named at their points."""
    for variant in variants:
        face = "white" if variant == OFF_THE_SHELF else "0.3"
        marker = MARKERS.get(variant, "D")
        axes.plot([], [], marker, color="0.3", markerfacecolor=face, markeredgewidth=1.6, label=variant)
    axes.legend(frameon=False, loc="upper center", bbox_to_anchor=(0.5, 1.09), ncols=5)


def _save(figure: Figure, stem: Path) -> list[Path]:
    """Write PNG and SVG without a date, so that the same results give the same files."""
    paths = []
    for ending, metadata in (("png", {"Software": None}), ("svg", {"Date": None})):
        buffer = io.BytesIO()
        figure.savefig(buffer, format=ending, dpi=150, metadata=metadata)
        path = stem.with_suffix(f".{ending}")
        write_atomic(path, buffer.getvalue())
        paths.append(path)
    return paths
