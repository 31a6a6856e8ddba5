"""The figure is readable: every point has its label, no label covers another, the file is reproducible."""

from __future__ import annotations

from itertools import combinations
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from board_helpers import cells, frame
from colorspacious import cspace_convert, deltaE
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from foundry_bench.report.leaderboard import build
from foundry_bench.report.plots import every
from foundry_bench.report.plots import scatter as plots
from foundry_bench.report.plots.colours import family_colour
from foundry_bench.report.plots.labels import place_labels
from foundry_bench.variants import FAMILIES


def crowded(folder: Path) -> pd.DataFrame:
    """Twenty rows, most of them in one corner."""
    rng = np.random.default_rng(0)
    rows = [cells("teacher", folder, level=0.75, variant="off-the-shelf", gmacs=0.4)]
    for method in ("foundry", "foundry-gate", "tome", "random-drop"):
        for value in (1, 4, 8, 16):
            level, gmacs = 0.7 + 0.02 * rng.random(), 0.16 + 0.02 * rng.random()
            rows.append(cells(method, folder, level=level, params=f"supertokens={value}", gmacs=gmacs))
    return build(frame(*rows))


def test_labels_cover_neither_each_other_nor_the_points(tmp_path: Path) -> None:
    points = plots.points_of(crowded(tmp_path))
    figure = Figure(figsize=(9.5, 6.2))
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    for point in points:
        axes.plot(point.cost, point.score, "o")
    axes.margins(0.15)
    figure.draw_without_rendering()
    boxes = place_labels(axes, points, [(0.0, 0.0, 0.0)] * len(points), [])
    assert len(boxes) == len(points) == 17
    assert not any(first.overlaps(second) for first, second in combinations(boxes, 2))
    centres = [axes.transData.transform((point.cost, point.score)) for point in points]
    assert not any(box.contains(*centre) for box in boxes for centre in centres)


def test_the_same_board_gives_the_same_figure(tmp_path: Path) -> None:
    board = crowded(tmp_path)
    first = [path.read_bytes() for path in plots.accuracy_vs(plots.FLOPS, board, tmp_path / "a")]
    second = [path.read_bytes() for path in plots.accuracy_vs(plots.FLOPS, board, tmp_path / "b")]
    assert first[1] == second[1]
    assert b"<dc:date>" not in first[1]
    assert first[0].startswith(b"\x89PNG")


def test_a_board_without_ranked_rows_still_gives_a_figure(tmp_path: Path) -> None:
    board = build(frame(cells("lost", tmp_path, level=0.7, failed=("kicad", "furniture"))))
    assert all(path.exists() for path in plots.accuracy_vs(plots.FLOPS, board, tmp_path))


@pytest.mark.parametrize(
    ("params", "label"),
    [
        ("", "foundry"),
        ("supertokens=16", "foundry 16"),
        ("a=1,b=2", "foundry a=1,b=2"),
        ("supertokens=16,assignment=slots", "foundry 16 slots"),
        ("supertokens=16,residual=False", "foundry 16 no residual"),
        ("a=1000000000,b=2000000000", "foundry"),
    ],
)
def test_points_are_named_briefly(params: str, label: str) -> None:
    assert plots.Point("foundry", "fmd", params, 1.0, 50.0, 1.0, False).label == label


def test_of_a_crowd_the_teacher_the_front_and_the_best_of_families_are_named(tmp_path: Path) -> None:
    rows = [cells("teacher", tmp_path, level=0.75, variant="off-the-shelf", gmacs=0.4)]
    for number, name in enumerate(
        ("foundry", "tome", "fps", "kd", "lowrank", "kmeans", *map(str, range(12)))
    ):
        for value in (1, 2, 3):
            level, gmacs = 0.6 + 0.01 * value, 0.1 * value + 0.01 * number
            rows.append(cells(name, tmp_path, level=level, params=f"r={value}", gmacs=gmacs))
    points = plots.points_of(build(frame(*rows)))
    named = plots.named_points(points)
    assert len(points) == 55
    assert len(named) == plots.LABELS
    assert all(point in named for point in points if point.front)
    assert {"teacher", "foundry", "tome", "fps", "kd", "lowrank", "kmeans"} <= {p.method for p in named}
    for path in plots.accuracy_vs(plots.FLOPS, build(frame(*rows)), tmp_path / "figures")[:2]:
        assert path.stat().st_size > 10_000


def test_each_cost_has_a_front_of_its_own_and_its_rows_as_csv(tmp_path: Path) -> None:
    board = crowded(tmp_path)
    board["latency_ratio"] = 1 / board["gflops"]
    every.means(board, tmp_path)
    flops, latency = (pd.read_csv(tmp_path / f"accuracy-vs-{cost}.csv") for cost in ("flops", "latency"))
    assert len(flops) == len(latency) == 17
    assert bool(flops[flops["method"] == "teacher"]["front"].item()) is True
    assert set(latency[latency["front"]]["method"]) == {"teacher"}  # the cheapest by this cost, and the best


def swarm(count: int) -> list[plots.Point]:
    """Rows of four methods that are all on the front."""
    return [
        plots.Point(f"method-{i % 4}", "fmd", f"r={i}", 0.1 + i / count, 50 + 40 * i / count, 1.0, True)
        for i in range(count)
    ]


def test_a_long_front_is_named_at_even_steps() -> None:
    points = swarm(1000)
    named = plots.named_points(points)
    assert len(named) <= plots.LABELS
    assert points[0] in named
    assert {point.method for point in named} == {point.method for point in points}


def test_rows_without_a_label_share_an_artist() -> None:
    axes = Figure().add_subplot()
    look = plots.Look(None, (0.0, 0.0, 0.0), "o")
    plots._draw_unnamed(axes, swarm(1000), dict.fromkeys([f"method-{i}" for i in range(4)], look), faint=True)
    assert len(axes.lines) == 4
    assert sum(len(line.get_xdata()) for line in axes.lines) == 1000


@pytest.mark.parametrize("sight", ["full", "protanomaly", "deuteranomaly", "tritanomaly"])
def test_colours_of_families_are_told_apart_by_everybody(sight: str) -> None:
    seen = {"name": "sRGB1"} if sight == "full" else {"name": "sRGB1+CVD", "cvd_type": sight, "severity": 100}
    colours = [cspace_convert(family_colour(family), seen, "sRGB1") for family in (*FAMILIES, None)]
    assert min(deltaE(one, other, input_space="sRGB1") for one, other in combinations(colours, 2)) > 10


def test_methods_of_a_family_share_its_colour_and_differ_in_shape() -> None:
    names = (
        "teacher",
        "tome",
        "pitome",
        "foundry",
        "foundry+int8",
        "int8",
        "of-a-plugin-that-is-gone",
        "gone+int8",
    )
    looks = plots.looks_of([plots.Point(name, "fmd", "", 1.0, 50.0, 1.0, False) for name in names])
    assert looks["tome"].colour == looks["pitome"].colour == family_colour("merge")
    assert looks["tome"].shape != looks["pitome"].shape
    assert looks["foundry+int8"].family == "foundry"
    assert looks["int8"].family == "quantise"
    gone = {looks[name].colour for name in names if "gone" in name}
    assert gone == {family_colour(None)}


def test_the_legends_are_inside_the_figure_and_name_every_method(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn: list[Figure] = []
    monkeypatch.setattr(plots, "save_with", lambda table, figure, stem, pdf: drawn.append(figure) or [])
    plots.accuracy_vs(plots.FLOPS, crowded(tmp_path), tmp_path)
    (figure,) = drawn
    (variants,), (methods,) = [axes.get_legend() for axes in figure.axes], figure.legends
    texts = {text.get_text().strip() for text in methods.get_texts()}
    assert {
        "teacher",
        "foundry",
        "foundry-gate",
        "tome",
        "random-drop",
        "reference",
        "merge",
        "drop",
    } <= texts
    assert {"Pareto front", "fmd", "off-the-shelf"} <= {text.get_text() for text in variants.get_texts()}
    for legend in (variants, methods):
        box = legend.get_window_extent()
        assert figure.bbox.x0 <= box.x0 < box.x1 <= figure.bbox.x1
        assert figure.bbox.y0 <= box.y0 < box.y1 <= figure.bbox.y1
    assert not methods.get_window_extent().overlaps(figure.axes[0].get_window_extent())
