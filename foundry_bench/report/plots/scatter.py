"""Accuracy against a cost: every row a point, the Pareto front of that cost a line, the teacher a level.

Colours are families of methods, marker shapes the methods of a family, a marker's filling is the variant. At most
:data:`LABELS` rows are named. What is drawn lies beside every figure as CSV.
"""

from __future__ import annotations

import math
from collections.abc import Collection
from dataclasses import dataclass, fields, replace
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from foundry_bench.border import plain
from foundry_bench.descriptions.known import families
from foundry_bench.figures.files import PLAIN, Style, blank, save_with, small, styled
from foundry_bench.report.leaderboard import pareto
from foundry_bench.report.plots.colours import Colour, darker, family_colour
from foundry_bench.report.plots.labels import place_labels
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


@dataclass(frozen=True)
class Score:
    """What a figure has on its y axis: a ``column`` of the leaderboard, the axis ``label``, and where it is not the mean over
    all tasks the end of the file's ``name``. ``lower``: whether less is better."""

    column: str = "mean_score"
    label: str = "mean score over tasks [%]"
    name: str = ""
    lower: bool = False


MEAN = Score()
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


RowKey = tuple[str, str, str]
"""Method, variant and parameters of a row."""


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
        """The text at the point."""
        return label_of(self.method, self.params)

    @property
    def key(self) -> RowKey:
        """By what a row is found that somebody names."""
        return self.method, self.variant, self.params


def label_of(method: str, params: str) -> str:
    """A row's short name: ``foundry 16`` for one parameter; several with their names, where that is long their values alone,
    and where that is still long the method alone."""
    values = params if "," in params else params.partition("=")[2]
    short = " ".join(map(_short, params.split(",")))
    texts = [plain(f"{method} {end}".rstrip()) for end in (values, short)]
    return next((text for text in texts if len(text) <= LONG), plain(method))


def _short(parameter: str) -> str:
    """``16`` of ``supertokens=16``, ``early`` of ``early=True``, ``no early`` of ``early=False``."""
    name, _, value = parameter.partition("=")
    return {"True": name, "False": f"no {name}"}.get(value, value)


def points_of(board: pd.DataFrame, cost: Cost = FLOPS, score: Score = MEAN) -> list[Point]:
    """The leaderboard's ranked rows whose ``cost`` is known, cheapest first."""
    spread = board[f"{score.column}_ci95"].astype(float).fillna(0.0)
    known = board["rank"].notna() & board[cost.column].notna() & board[score.column].notna()
    rows = board.assign(half=spread)[known]
    sign = -1 if score.lower else 1
    front = pareto(rows[cost.column].tolist(), (sign * rows[score.column]).tolist())
    points = [
        Point(
            *(row["method"], row["variant"], row["params"], row[cost.column]),
            *(100 * row[score.column], 100 * row["half"], best),
        )
        for row, best in zip(rows.to_dict("records"), front, strict=True)
    ]
    return sorted(points, key=lambda point: (point.cost, point.score))


def named_points(points: list[Point], asked: Collection[RowKey] = (), *, lower: bool = False) -> list[Point]:
    """The rows that get a label and an error bar, at most :data:`LABELS`: those ``asked`` for, the teacher, :data:`FRONT` along
    the front at even steps, the best of each family, then the best of each method as far as there is room."""
    known = families({point.method for point in points})
    front = [point for point in points if point.front]
    chosen = dict.fromkeys(point for point in points if point.key in asked)
    chosen |= dict.fromkeys(point for point in points if point.method == BASELINE)
    chosen |= dict.fromkeys(front[:: max(math.ceil(len(front) / FRONT), 1)])
    sign = 1 if lower else -1
    ranked = sorted(points, key=lambda point: (sign * point.score, point.cost))
    for kind in (known, {method: method for method in known}):
        best = {kind[point.method]: point for point in reversed(ranked)}
        chosen |= dict.fromkeys(sorted(best.values(), key=lambda point: sign * point.score))
    first = set(list(chosen)[:LABELS])
    return [point for point in points if point in first]


def accuracy_vs(
    cost: Cost,
    board: pd.DataFrame,
    folder: Path,
    score: Score = MEAN,
    *,
    style: Style = PLAIN,
    asked: Collection[RowKey] = (),
) -> list[Path]:
    """Draw ``score`` over ``cost`` of the ranked rows, with the rows as CSV; the same board gives the same files."""
    points = points_of(board, cost, score)
    named = named_points(points, asked, lower=score.lower)
    chosen = set(named)
    others = [point for point in points if point not in chosen]
    with styled(style):
        looks = looks_of(points)
        figure = blank(style.inches(11, 6.2))
        axes = figure.add_subplot()
        _draw(axes, points, named, others, looks, narrow=style.narrow)
        axes.set(xlabel=cost.label, ylabel=f"{score.label}, 95 % interval")
        figure.draw_without_rendering()
        figure.set_layout_engine("none")  # labels are placed in pixels, so nothing may move from here on
        dark = [darker(looks[point.method].colour) for point in named]
        bare = [replace(point, half=0.0) for point in others]
        levels = [point.score for point in points if point.method == BASELINE]
        place_labels(axes, named, dark, [point for point in points if point.front], bare, levels[:1])
        table = pd.DataFrame([vars(point) for point in points], columns=[f.name for f in fields(Point)])
        ending = f"-{score.name}" if score.name else ""
        return save_with(table, figure, folder / f"{cost.name}{ending}", pdf=style.pdf)


def _draw(
    axes: Axes,
    points: list[Point],
    named: list[Point],
    others: list[Point],
    looks: dict[str, Look],
    *,
    narrow: bool,
) -> None:
    """Points, front, teacher level and frame; everything but the labels."""
    from seaborn import despine

    _draw_unnamed(axes, others, looks, faint=len(points) > SWARM)
    size = 4.5 if narrow else 7.0
    for point in named:
        look = looks[point.method]
        axes.errorbar(
            point.cost,
            point.score,
            yerr=point.half,
            fmt=look.shape,
            markersize=size * (1.4 if point.method == BASELINE else 1.0),
            color=look.colour,
            ecolor=(*look.colour, 0.45),
            markeredgewidth=0.9 if narrow else 1.6,
            elinewidth=0.9,
            capsize=2,
            zorder=3,
            **FILLS.get(point.variant, {}),
        )
    _lines(axes, points)
    _legend(axes, sorted({point.variant for point in points}), narrow=narrow)
    _methods_legend(axes, looks, narrow=narrow)
    axes.grid(color="0.93", zorder=0)
    axes.margins(x=0.12, y=0.12)
    despine(ax=axes)


def _draw_unnamed(axes: Axes, points: list[Point], looks: dict[str, Look], *, faint: bool) -> None:
    """Rows without a label and an error bar, one artist for each method and variant: thousands would take minutes."""
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


def _legend(axes: Axes, variants: list[str], *, narrow: bool) -> None:
    """What lines and fillings mean."""
    for variant in variants:
        fill = FILLS.get(variant, {})
        axes.plot([], [], "o", color="0.3", markeredgewidth=1.6, label=plain(variant), **fill)
    axes.legend(
        frameon=False,
        loc="lower center",
        bbox_to_anchor=(0.5, 1.0),
        ncols=2 if narrow else 5,
        fontsize=small(),
        borderaxespad=0.1,
    )


def _methods_legend(axes: Axes, looks: dict[str, Look], *, narrow: bool) -> None:
    """Colours and shapes beside the axes, below them where it is ``narrow``: methods under their family, or families alone
    where there are too many."""
    from matplotlib.lines import Line2D

    rows: list[Line2D] = []
    titles: dict[str, Colour] = {}
    for family, alike in groupby(looks.items(), key=lambda item: item[1].family):
        members = list(alike)
        colour, title = members[0][1].colour, family or "other"
        titles[title] = darker(colour)
        alone = narrow or len(looks) > ROWS
        rows.append(Line2D([], [], color=colour, marker="s" if alone else "", linestyle="", label=title))
        for method, look in [] if alone else members:
            rows.append(
                Line2D([], [], color=colour, marker=look.shape, linestyle="", label=f" {plain(method)}")
            )
    figure = axes.get_figure(root=True)
    if figure is None or not rows:
        return
    legend = figure.legend(
        handles=rows,
        loc="outside lower center" if narrow else "outside right upper",
        ncols=3 if narrow else 1,
        frameon=False,
        fontsize=small(),
        labelspacing=0.3,
        markerscale=0.8,
    )
    for text in legend.get_texts():
        if text.get_text() in titles:
            text.set(fontweight="bold", color=titles[text.get_text()])
