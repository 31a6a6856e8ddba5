"""Score over cost along one trained student, whose inference-time parameter is changed: a gate's threshold, a merger's r."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from foundry_bench.border import plain
from foundry_bench.figures.files import PLAIN, Style, blank, save_with, small, styled
from foundry_bench.report.leaderboard import Board, Row
from foundry_bench.report.plots.scatter import SHAPES
from foundry_bench.report.served import Served
from foundry_bench.report.tables import selector
from foundry_bench.selectors import read_values, selector_text
from foundry_bench.variants import BASELINE

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Along = list[tuple[Any, Row]]
"""Values of a parameter with their rows."""
NAME = "inference-curve"
COLOURS = ("#d55e00", "#0072b2", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")
"""Of one curve after the other."""
MOST = 6
"""Most curves: of the students with the best scores."""


def inference_curve(frame: pd.DataFrame, board: Board, folder: Path, *, style: Style = PLAIN) -> list[Path]:
    """Draw the mean score over the share of the teacher's multiply-adds along every student that serves several ranked rows,
    with the rows as CSV. Nothing where no student does."""
    rows = [row for row in board.rows if row.complete and row.values["gmacs_ratio"] is not None]
    known = sorted(Served(frame).series(rows), key=lambda found: -max(_score(row) for _, row in found[1]))
    if not known:
        return []
    with styled(style):
        figure = blank(style.inches(6.4, 4.2))
        axes = figure.add_subplot()
        for number, (name, along) in enumerate(known[:MOST]):
            _draw(axes, name, along, COLOURS[number], SHAPES[number])
        for row in [row for row in rows if row.keys["method"] == BASELINE][:1]:
            axes.axhline(
                _score(row), color="0.5", linestyle="--", linewidth=0.9, label=f"teacher, {_score(row):.1f} %"
            )
        axes.set(xlabel="share of the teacher's GMACs", ylabel="mean score over tasks [%], 95 % interval")
        axes.grid(color="0.93")
        axes.spines[["top", "right"]].set_visible(False)
        axes.legend(frameon=False, fontsize=small())
        return save_with(_numbers(known), figure, folder / NAME, pdf=style.pdf)


def _draw(axes: Axes, name: str, along: Along, colour: str, shape: str) -> None:
    along = sorted(along, key=lambda pair: (pair[1].values["gmacs_ratio"], _score(pair[1])))
    rows = [row for _, row in along]
    costs, scores = [row.values["gmacs_ratio"] for row in rows], [_score(row) for row in rows]
    halves = [100 * (row.values.get("mean_score_ci95") or 0.0) for row in rows]
    label = plain(f"{_student(rows[0], name)} over {name}")
    axes.errorbar(
        costs, scores, yerr=halves, fmt=f"{shape}-", color=colour, capsize=2, elinewidth=0.8, label=label
    )
    for (value, _), cost, score in zip(along, costs, scores, strict=True):
        text = plain(str(value))
        axes.annotate(text, (cost, score), (4, 5), textcoords="offset points", fontsize=small(), color=colour)


def _student(row: Row, name: str) -> str:
    """The selector of the student, which has no value of the parameter ``name``."""
    values = {key: value for key, value in read_values(row.keys["params"]).items() if key != name}
    return selector_text(row.keys["method"], values, row.keys["variant"])


def _score(row: Row) -> float:
    return 100 * row.values["mean_score"]


def _numbers(known: list[tuple[str, Along]]) -> pd.DataFrame:
    values = ("gmacs_ratio", "gmacs", "mean_score", "mean_score_ci95", "r2")
    lines = [
        {
            **{"curve": number, "parameter": name, "value": value, "row": selector(row.keys)},
            **{key: row.values.get(key) for key in values},
        }
        for number, (name, along) in enumerate(known)
        for value, row in along
    ]
    return pd.DataFrame(lines)
