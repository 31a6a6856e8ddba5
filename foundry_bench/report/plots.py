"""Figures. Accuracy against a cost: every row a point, the Pareto front of that cost a line, the teacher a level.

Colours are families of methods, marker shapes the methods of a family, a marker's filling is the variant. At most
:data:`LABELS` rows are named. What is drawn lies beside every figure as CSV.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, fields, replace
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from foundry_bench.descriptions.known import families
from foundry_bench.figures.files import save, styled
from foundry_bench.report.labels import Colour, darker, family_colour, place_labels
from foundry_bench.report.leaderboard import pareto
from foundry_bench.storage import write_atomic
from foundry_bench.variants import BASELINE, EXPERT, FAMILIES, OFF_THE_SHELF, Family

if TYPE_CHECKING:
    from matplotlib.axes import Axes

LABELS = 12
"""Most rows with a label and an error bar."""
FRONT = 8
"""Most of them that name the front."""
LONG = 24
"""Most characters of a label; a longer one is the name alone."""
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
class Cost:
    """What a figure has on its x axis: a ``column`` of the leaderboard, the axis ``label``, the ``name`` of the file."""

    column: str
    label: str
    name: str


FLOPS = Cost("gflops", "cost of one cloud [GFLOPs = 2 x GMACs]", "accuracy-vs-flops")
LATENCY = Cost(
    "latency_ratio", "latency of one cloud on this machine [of the teacher's]", "accuracy-vs-latency"
)
COSTS = (FLOPS, LATENCY)


@dataclass(frozen=True)
class Look:
    """How a method is drawn: the colour of its family and a marker of its own in it."""

    family: Family | None
    colour: Colour
    shape: str


@dataclass(frozen=True)
class Point:
    """One ranked row: its ``cost``, its ``score`` and the half width of its interval in percent; on the ``front`` or not."""

    method: str
    variant: str
    params: str
    cost: float
    score: float
    half: float
    front: bool

    @property
    def label(self) -> str:
        """The text at the point: ``foundry 16`` for one parameter, several with their names, none where they are long."""
        values = self.params if "," in self.params else self.params.partition("=")[2]
        text = f"{self.method} {values}".rstrip()
        return text if len(text) <= LONG else self.method


def points_of(board: pd.DataFrame, cost: Cost = FLOPS) -> list[Point]:
    """The leaderboard's ranked rows whose ``cost`` is known, cheapest first."""
    spread = board["mean_score_ci95"].astype(float).fillna(0.0)
    rows = board.assign(half=spread)[board["rank"].notna() & board[cost.column].notna()]
    front = pareto(rows[cost.column].tolist(), rows["mean_score"].tolist())
    points = [
        Point(
            *(row["method"], row["variant"], row["params"], row[cost.column]),
            *(100 * row["mean_score"], 100 * row["half"], best),
        )
        for row, best in zip(rows.to_dict("records"), front, strict=True)
    ]
    return sorted(points, key=lambda point: (point.cost, point.score))


def named_points(points: list[Point]) -> list[Point]:
    """The rows that get a label and an error bar, at most :data:`LABELS`: the teacher, :data:`FRONT` along the front at even
    steps, the best of each family, then the best of each method as far as there is room."""
    known = families({point.method for point in points})
    front = [point for point in points if point.front]
    chosen = dict.fromkeys(point for point in points if point.method == BASELINE)
    chosen |= dict.fromkeys(front[:: max(math.ceil(len(front) / FRONT), 1)])
    ranked = sorted(points, key=lambda point: (-point.score, point.cost))
    for kind in (known, {method: method for method in known}):
        best = {kind[point.method]: point for point in reversed(ranked)}
        chosen |= dict.fromkeys(sorted(best.values(), key=lambda point: -point.score))
    first = set(list(chosen)[:LABELS])
    return [point for point in points if point in first]


def write(board: pd.DataFrame, folder: Path) -> list[Path]:
    """All figures of a leaderboard; one of a cost that no row has is left out, but for that of multiply-adds."""
    known = [cost for cost in COSTS if cost is FLOPS or points_of(board, cost)]
    return [path for cost in known for path in accuracy_vs(cost, board, folder)]


def accuracy_vs(cost: Cost, board: pd.DataFrame, folder: Path) -> list[Path]:
    """Draw mean score over ``cost`` of the ranked rows as PNG and SVG, with the rows as CSV; the same board gives the same
    SVG, whose text is text."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    points = points_of(board, cost)
    with styled():
        looks = looks_of(points)
        figure = Figure(figsize=(11, 6.2), layout="constrained")
        FigureCanvasAgg(figure)  # by name: a figure must not need a display
        axes = figure.add_subplot()
        _draw(axes, points, looks)
        axes.set_xlabel(cost.label)
        figure.draw_without_rendering()
        figure.set_layout_engine("none")  # labels are placed in pixels, so nothing may move from here on
        named, others = _split(points)
        dark = [darker(looks[point.method].colour) for point in named]
        bare = [replace(point, half=0.0) for point in others]
        levels = [point.score for point in points if point.method == BASELINE]
        place_labels(axes, named, dark, [point for point in points if point.front], bare, levels[:1])
        table = pd.DataFrame([vars(point) for point in points], columns=[f.name for f in fields(Point)])
        write_atomic(folder / f"{cost.name}.csv", table.to_csv(index=False).encode())
        return save(figure, folder / cost.name)


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
            point.cost,
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
            [point.cost for point in alike],
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
        [point.cost for point in front],
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
