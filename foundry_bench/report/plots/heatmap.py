"""Rows by tasks: the share of the teacher's score that each keeps."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from foundry_bench.border import plain
from foundry_bench.figures.files import PLAIN, Style, blank, save_with, small, styled
from foundry_bench.report.leaderboard import Board
from foundry_bench.report.plots.scatter import label_of
from foundry_bench.report.shares import shares_of
from foundry_bench.report.tables import selector

NAME = "retained"
MOST = 40
"""Most rows that are drawn: the best. The CSV has all."""
SPAN = 25.0
"""Percent below and above the teacher at which the colour is full."""


TOP, LINE = 1.9, 0.024
"""Inches of a figure above and below its rows, and of a row for each point of its text."""


def retained(board: Board, folder: Path, *, style: Style = PLAIN) -> list[Path]:
    """Draw the share of the same teacher's score that the first :data:`MOST` rows keep on every task, in percent, with all rows
    as CSV. Nothing where no row has a score beside its teacher's."""
    from seaborn import heatmap

    shares = [{place: 100 * share for place, share in found.items()} for found in shares_of(board)]
    table = pd.DataFrame(shares, index=[selector(row.keys) for row in board.rows]).dropna(how="all")
    if table.empty:
        return []
    table = table[sorted(table.columns)]
    with styled(style):
        shown = table.head(_room(style))
        names = [label_of(row.keys["method"], row.keys["params"]) for row in board.rows]
        short = [name for name, kept in zip(names, shares, strict=True) if kept]
        size = style.inches(4.2 + 0.75 * shown.shape[1], TOP + LINE * style.points * min(len(table), MOST))
        figure = blank(size)
        axes = figure.add_subplot()
        heatmap(
            shown.to_numpy(),
            ax=axes,
            cmap="PuOr",
            center=100,
            vmin=100 - SPAN,
            vmax=100 + SPAN,
            annot=True,
            fmt=".1f",
            annot_kws={"fontsize": small()},
            linewidths=0.5,
            xticklabels=[plain(name.replace(":", " ")) for name in shown.columns],
            yticklabels=short[: len(shown)] if style.narrow else [plain(name) for name in shown.index],
            cbar_kws={"label": "% of the teacher's score", "extend": "both", "shrink": 0.8},
        )
        axes.tick_params(axis="both", labelsize=small(), length=0)
        axes.set_xticklabels(axes.get_xticklabels(), rotation=35, ha="right", rotation_mode="anchor")
        axes.tick_params(axis="y", rotation=0)
        if len(shown) < len(table):
            axes.set_title(f"the first {len(shown)} of {len(table)} rows", fontsize=small())
        numbers = table.rename_axis("row").reset_index()
        return save_with(numbers, figure, folder / NAME, pdf=style.pdf)


def _room(style: Style) -> int:
    """How many rows a figure holds whose text can be read."""
    return MOST if style.size is None else max(int((style.size[1] - TOP) / (LINE * style.points)), 2)
