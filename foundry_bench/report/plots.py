"""Figures. Accuracy against cost: every row a labelled point, the Pareto front a line, the teacher a level.

Colours are families of methods, marker shapes the methods of a family, a marker's filling is the variant.
"""

from __future__ import annotations

import io
import math
from dataclasses import dataclass, replace
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from foundry_bench.descriptions.known import families
from foundry_bench.report.labels import Colour, darker, family_colour, place_labels
from foundry_bench.storage import write_atomic
from foundry_bench.variants import BASELINE, EXPERT, FAMILIES, OFF_THE_SHELF, Family

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

CROWD = 30
"""Most rows that can all be labelled, and most labels along the front where there are more rows."""
SWARM = 300
"""Most rows that are drawn at full strength; beyond, those without a label are a background of small faint marks."""
ROWS = 24
"""Most methods that the legend beside the axes names."""
SHAPES = "osD^vP<X>ph*"
"""Markers of a family's methods, in the order of their names."""
FILLS: dict[str, dict[str, Any]] = {
    OFF_THE_SHELF: {"markerfacecolor": "white"},
    EXPERT: {"fillstyle": "left", "markerfacecoloralt": "white"},
}
"""How a variant fills its marker; distilled students are full."""


@dataclass(frozen=True)
class Look:
    """How a method is drawn: the colour of its family and a marker of its own in it."""

    family: Family | None
    colour: Colour
    shape: str


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
    """The leaderboard's ranked rows with a known cost, cheapest first."""
    spread = board["mean_score_ci95"].astype(float).fillna(0.0)
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
        looks = looks_of(points)
        figure = Figure(figsize=(11, 6.2), layout="constrained")
        FigureCanvasAgg(figure)  # by name: a figure must not need a display
        axes = figure.add_subplot()
        _draw(axes, points, looks)
        figure.draw_without_rendering()
        figure.set_layout_engine("none")  # labels are placed in pixels, so nothing may move from here on
        named, others = _split(points)
        dark = [darker(looks[point.method].colour) for point in named]
        if others:  # no room for more than the name
            named = [point if point.front else replace(point, params="") for point in named]
        bare = [replace(point, half=0.0) for point in others]
        place_labels(axes, named, dark, [point for point in points if point.front], bare)
        return save(figure, folder / "accuracy-vs-flops")


def _split(points: list[Point]) -> tuple[list[Point], list[Point]]:
    """Rows with and without a label."""
    named = named_points(points)
    chosen = set(named)
    return named, [point for point in points if point not in chosen]


def _draw(axes: Axes, points: list[Point], looks: dict[str, Look]) -> None:
    """Points, front, teacher level and frame; everything but the labels."""
    from seaborn import despine

    named, others = _split(points)
    _draw_unnamed(axes, others, looks)
    for point in named:
        look = looks[point.method]
        axes.errorbar(
            point.gflops,
            point.score,
            yerr=point.half,
            fmt=look.shape,
            markersize=10 if point.method == BASELINE else 7,
            color=look.colour,
            ecolor=(*look.colour, 0.45),
            markeredgewidth=1.6,
            elinewidth=0.9,
            capsize=2,
            zorder=3,
            **FILLS.get(point.variant, {}),
        )
    _lines(axes, points)
    _legend(axes, sorted({point.variant for point in points}))
    _methods_legend(axes, looks)
    axes.set_xlabel("cost of one cloud [GFLOPs = 2 x GMACs]")
    axes.set_ylabel("mean score over tasks [%], 95 % interval over objects and starts")
    axes.grid(color="0.93", zorder=0)
    axes.margins(x=0.12, y=0.12)
    despine(ax=axes)


def _draw_unnamed(axes: Axes, points: list[Point], looks: dict[str, Look]) -> None:
    """Rows without a label and an error bar, one artist for each method and variant: thousands would take minutes."""
    faint = len(points) > SWARM
    ordered = sorted(points, key=lambda point: (point.method, point.variant))
    for (method, variant), group in groupby(ordered, key=lambda point: (point.method, point.variant)):
        alike = list(group)
        axes.plot(
            [point.gflops for point in alike],
            [point.score for point in alike],
            looks[method].shape,
            color=looks[method].colour,
            markersize=2.5 if faint else 4,
            markeredgewidth=0.8 if faint else 1.6,
            alpha=0.45 if faint else 1.0,
            zorder=1.8 if faint else 3,
            **FILLS.get(variant, {}),
        )


def looks_of(points: list[Point]) -> dict[str, Look]:
    """Method -> look, in the order of families; the same for the same set of methods. Grey where the family is not known."""
    known = families({point.method for point in points})
    looks: dict[str, Look] = {}
    for family in (*FAMILIES, None):
        alike = sorted(method for method, its in known.items() if its == family)
        for number, method in enumerate(alike):
            looks[method] = Look(family, family_colour(family), SHAPES[number % len(SHAPES)])
    return looks


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
    """What lines and fillings mean."""
    for variant in variants:
        fill = FILLS.get(variant, {})
        axes.plot([], [], "o", color="0.3", markeredgewidth=1.6, label=variant, **fill)
    axes.legend(frameon=False, loc="upper center", bbox_to_anchor=(0.5, 1.09), ncols=5)


def _methods_legend(axes: Axes, looks: dict[str, Look]) -> None:
    """Colours and shapes beside the axes: methods under their family, or families alone where there are too many."""
    from matplotlib.lines import Line2D

    rows: list[Line2D] = []
    titles: dict[str, Colour] = {}
    for family, alike in groupby(looks.items(), key=lambda item: item[1].family):
        members = list(alike)
        colour, title = members[0][1].colour, family or "other"
        titles[title] = darker(colour)
        alone = len(looks) > ROWS
        rows.append(Line2D([], [], color=colour, marker="s" if alone else "", linestyle="", label=title))
        for method, look in [] if alone else members:
            rows.append(Line2D([], [], color=colour, marker=look.shape, linestyle="", label=f" {method}"))
    figure = axes.get_figure(root=True)
    if figure is None or not rows:
        return
    legend = figure.legend(
        handles=rows, loc="outside right upper", frameon=False, fontsize=8, labelspacing=0.3, markerscale=0.8
    )
    for text in legend.get_texts():
        if text.get_text() in titles:
            text.set(fontweight="bold", color=titles[text.get_text()])


def save(figure: Figure, stem: Path) -> list[Path]:
    """Write PNG and SVG without a date, so that the same results give the same files."""
    paths = []
    for ending, metadata in (("png", {"Software": None}), ("svg", {"Date": None})):
        buffer = io.BytesIO()
        figure.savefig(buffer, format=ending, dpi=150, metadata=metadata)
        path = stem.with_suffix(f".{ending}")
        write_atomic(path, buffer.getvalue())
        paths.append(path)
    return paths
