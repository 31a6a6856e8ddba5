"""The figure is readable: every point has its label, no label covers another, the file is reproducible."""

from __future__ import annotations

from itertools import combinations
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from board_helpers import cells, frame
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from foundry_bench.report import plots
from foundry_bench.report.labels import place_labels
from foundry_bench.report.leaderboard import build


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
        axes.plot(point.gflops, point.score, "o")
    axes.margins(0.15)
    figure.draw_without_rendering()
    boxes = place_labels(axes, points, [(0.0, 0.0, 0.0)] * len(points), [])
    assert len(boxes) == len(points) == 17
    assert not any(first.overlaps(second) for first, second in combinations(boxes, 2))
    centres = [axes.transData.transform((point.gflops, point.score)) for point in points]
    assert not any(box.contains(*centre) for box in boxes for centre in centres)


def test_the_same_board_gives_the_same_figure(tmp_path: Path) -> None:
    board = crowded(tmp_path)
    first = [path.read_bytes() for path in plots.accuracy_vs_flops(board, tmp_path / "a")]
    second = [path.read_bytes() for path in plots.accuracy_vs_flops(board, tmp_path / "b")]
    assert first[1] == second[1]
    assert b"<dc:date>" not in first[1]
    assert first[0].startswith(b"\x89PNG")


def test_a_board_without_ranked_rows_still_gives_a_figure(tmp_path: Path) -> None:
    board = build(frame(cells("lost", tmp_path, level=0.7, failed=("kicad", "furniture"))))
    assert all(path.exists() for path in plots.accuracy_vs_flops(board, tmp_path))


@pytest.mark.parametrize(
    ("params", "label"), [("", "foundry"), ("supertokens=16", "foundry 16"), ("a=1,b=2", "foundry a=1,b=2")]
)
def test_points_are_named_briefly(params: str, label: str) -> None:
    assert plots.Point("foundry", "fmd", params, 1.0, 50.0, 1.0, False).label == label


def test_a_crowd_is_named_once_a_method_beside_the_front(tmp_path: Path) -> None:
    rows = [cells("teacher", tmp_path, level=0.75, variant="off-the-shelf", gmacs=0.4)]
    for number in range(12):
        for value in (1, 2, 3):
            level, gmacs = 0.6 + 0.01 * value, 0.1 * value + 0.01 * number
            rows.append(cells(f"method-{number}", tmp_path, level=level, params=f"r={value}", gmacs=gmacs))
    points = plots.points_of(build(frame(*rows)))
    named = plots.named_points(points)
    assert len(points) == 37
    assert {point.method for point in named} == {point.method for point in points}
    assert all(point in named for point in points if point.front)
    assert len(named) < 20
    for path in plots.accuracy_vs_flops(build(frame(*rows)), tmp_path / "figures"):
        assert path.stat().st_size > 10_000


def swarm(count: int) -> list[plots.Point]:
    """Rows of four methods that are all on the front."""
    return [
        plots.Point(f"method-{i % 4}", "fmd", f"r={i}", 0.1 + i / count, 50 + 40 * i / count, 1.0, True)
        for i in range(count)
    ]


def test_a_long_front_is_named_at_even_steps() -> None:
    points = swarm(1000)
    named = plots.named_points(points)
    assert len(named) < 2 * plots.CROWD
    assert points[0] in named
    assert {point.method for point in named} == {point.method for point in points}


def test_rows_without_a_label_share_an_artist() -> None:
    axes = Figure().add_subplot()
    plots._draw_unnamed(axes, swarm(1000), dict.fromkeys([f"method-{i}" for i in range(4)], (0.0, 0.0, 0.0)))
    assert len(axes.lines) == 4
    assert sum(len(line.get_xdata()) for line in axes.lines) == 1000
