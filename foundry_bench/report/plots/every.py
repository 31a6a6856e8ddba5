"""Every figure of a leaderboard, each with its data beside it as CSV."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from pathlib import Path

import pandas as pd

from foundry_bench.border import plain
from foundry_bench.figures.files import PLAIN, Style
from foundry_bench.report.leaderboard import Board
from foundry_bench.report.plots.bars import matched_cost
from foundry_bench.report.plots.curve import inference_curve
from foundry_bench.report.plots.heatmap import retained
from foundry_bench.report.plots.scatter import COSTS, FLOPS, RowKey, Score, accuracy_vs, points_of
from foundry_bench.report.shares import lower_places
from foundry_bench.storage import file_name


def write(
    frame: pd.DataFrame,
    board: Board,
    folder: Path,
    *,
    style: Style = PLAIN,
    asked: Collection[RowKey] = (),
) -> list[Path]:
    """All figures of a leaderboard ``board``, which was made of the cells ``frame``; one that has nothing to show is left out,
    but for accuracy over multiply-adds. Rows that are ``asked`` for get a label.

    Beside those of :func:`means`: every task over multiply-adds where there are several, rows at matched cost, shares of the
    teacher's scores, and the curves along one trained student.
    """
    table = board.table
    files = means(table, folder, style=style, asked=asked)
    scores = list(scores_of(frame, board))
    for score in scores if len(scores) > 1 else []:
        files += accuracy_vs(FLOPS, table, folder, score, style=style, asked=asked)
    files += matched_cost(table, folder, style=style)
    files += retained(board, folder, style=style)
    return files + inference_curve(frame, board, folder, style=style)


def means(
    table: pd.DataFrame, folder: Path, *, style: Style = PLAIN, asked: Collection[RowKey] = ()
) -> list[Path]:
    """The mean over tasks over multiply-adds, and over latency where a row has it."""
    known = [cost for cost in COSTS if cost is FLOPS or points_of(table, cost)]
    return [path for cost in known for path in accuracy_vs(cost, table, folder, style=style, asked=asked)]


def scores_of(frame: pd.DataFrame, board: Board) -> Iterator[Score]:
    """The primary scores of every task on every data set."""
    lower = lower_places(frame)
    columns = {place: column for row in board.rows for place, column in row.metrics.items()}
    for place, column in sorted(columns.items()):
        label = plain(f"{place.replace(':', ' ')}, {column.rpartition(':')[2]} [%]")
        yield Score(column, label, file_name(place.replace(":", "-")), place in lower)
