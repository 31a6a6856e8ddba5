"""Rows at the same share of the teacher's multiply-adds as bars, a panel for each share."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from foundry_bench.border import plain
from foundry_bench.descriptions.known import families
from foundry_bench.figures.files import PLAIN, Style, blank, save_with, small, styled
from foundry_bench.report.matched import TOLERANCE, at_matched_cost
from foundry_bench.report.plots.colours import family_colour
from foundry_bench.report.plots.scatter import label_of
from foundry_bench.variants import BASELINE

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

NAME = "matched-cost"
MOST = 14
"""Most bars of a panel: the best."""
HATCHES = {"fmd": "", "off-the-shelf": "///", "expert": "..."}
"""Of variants."""


def matched_cost(board: pd.DataFrame, folder: Path, *, style: Style = PLAIN) -> list[Path]:
    """Draw the mean score of the ranked rows nearest to each share of the teacher's cost, one for each method and variant, with
    all of them as CSV. Nothing where no two rows are at one share."""
    found = at_matched_cost(board)
    panels: list[tuple[Any, pd.DataFrame]] = [
        (target, part.head(MOST)) for target, part in found.groupby("target", sort=False) if len(part) > 1
    ]
    if not panels:
        return []
    teacher = board.loc[board["rank"].notna() & (board["method"] == BASELINE), "mean_score"]
    longest = max(len(part) for _, part in panels)
    down = style.narrow and len(panels) > 1
    with styled(style):
        figure = blank(style.inches(2.2 + 3.4 * len(panels), 1.1 + 0.26 * longest))
        shape = (len(panels), 1) if down else (1, len(panels))
        axes = figure.subplots(*shape, sharex=True, squeeze=False).ravel()
        for place, (target, part) in zip(axes, panels, strict=True):
            _panel(place, part)
            place.set_ylim(len(part) - 0.4 - (len(part) if down else longest), len(part) - 0.4)
            for level in teacher[:1]:
                place.axvline(100 * level, color="0.5", linestyle="--", linewidth=0.9)
            share = f"{100 * target:.0f} ± {100 * TOLERANCE:.0f} %"
            place.set_title(f"at {share} of the GMACs", fontsize=small(), loc="left")
        _legend(figure, [variant for _, part in panels for variant in part["variant"]], bool(len(teacher)))
        figure.supxlabel("mean score over tasks [%], 95 % interval", fontsize=small())
        wanted = [
            "target",
            "method",
            "variant",
            "params",
            "gmacs_ratio",
            "mean_score",
            "mean_score_ci95",
            "rank",
        ]
        return save_with(found[wanted], figure, folder / NAME, pdf=style.pdf)


def _panel(axes: Axes, part: pd.DataFrame) -> None:
    """One bar for each row, the best on top; the colour is the family, the hatch the variant."""
    rows = part.to_dict("records")[::-1]
    known = families({row["method"] for row in rows})
    halves = part["mean_score_ci95"].astype(float).fillna(0.0).tolist()[::-1]
    bars = axes.barh(
        range(len(rows)),
        [100 * row["mean_score"] for row in rows],
        xerr=[100 * half for half in halves],
        color=[family_colour(known[row["method"]]) for row in rows],
        edgecolor="0.15",
        linewidth=0.6,
        error_kw={"elinewidth": 0.9, "capsize": 2, "ecolor": "0.15"},
    )
    for bar, row in zip(bars, rows, strict=True):
        bar.set_hatch(HATCHES.get(row["variant"], ""))
    axes.set_yticks(range(len(rows)), [label_of(row["method"], row["params"]) for row in rows])
    axes.tick_params(labelsize=small())
    axes.spines[["top", "right"]].set_visible(False)


def _legend(figure: Figure, variants: list[str], teacher: bool) -> None:
    """What hatches and the line mean."""
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    keys: list[Patch | Line2D] = [
        Patch(facecolor="white", edgecolor="0.15", hatch=HATCHES.get(variant, ""), label=plain(variant))
        for variant in dict.fromkeys(variants)
    ]
    if teacher:
        keys.append(Line2D([], [], color="0.5", linestyle="--", label="teacher"))
    figure.legend(handles=keys, loc="outside upper right", ncols=len(keys), frameon=False, fontsize=small())
