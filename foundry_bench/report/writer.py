"""Write every report of a results folder."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from foundry_bench.figures.files import PLAIN, Style
from foundry_bench.storage import file_name, write_atomic
from foundry_bench.sweep.store import write_json

if TYPE_CHECKING:
    import pandas as pd

    from foundry_bench.report.html import Comparison

PAGE = "report.html"
FILES = ("leaderboard.csv", "leaderboard.md", "summary.json", PAGE)
FIGURES = ("accuracy-vs-flops.png", "accuracy-vs-flops.svg")


@dataclass(frozen=True)
class Drawn:
    """Which figures a report draws and how. ``every``: all there are, for a paper, not the mean over tasks over costs alone;
    ``rows``: whose students, and ``labels``: which rows get a label first, both as
    :func:`~foundry_bench.report.chosen.chosen_rows` reads them."""

    every: bool = False
    rows: str | None = None
    labels: str | None = None
    style: Style = PLAIN


def outdated(folder: Path) -> bool:
    """Whether a report is missing or older than the plan or a record, as after an interruption."""
    reports = [folder / name for name in FILES] + [folder / "figures" / name for name in FIGURES]
    if not all(path.exists() for path in reports):
        return True
    sources = [path for path in (folder / "cells").rglob("*.json") if not path.name.endswith(".spec.json")]
    return max(path.stat().st_mtime for path in sources) > min(path.stat().st_mtime for path in reports)


def write_reports(
    folder: Path,
    drawn: Drawn = Drawn(),
    *,
    tell: Callable[[str], object] = str,
    warn: Callable[[str], object] = str,
) -> pd.DataFrame:
    """Write leaderboard, summary, figures and the page of a results folder and return the leaderboard.

    ``tell`` hears what is being drawn, ``warn`` what could not be. Raises UserError for a folder without results, and for rows
    that there are none of, after all else is written.
    """
    from foundry_bench.report import tables

    whole, parts = gathered(folder)
    _write_tables(folder, whole)
    write_json(
        folder / "summary.json",
        summary(whole.frame, whole.board.table, tables.failure_lines(whole.frame)),
    )
    for part in parts:
        stem = folder / "tables" / file_name(part.name)
        text = tables.markdown(part.board.table, part.name, part.frame, part.about)
        write_atomic(stem.with_name(f"{stem.name}.csv"), part.board.table.to_csv(index=False).encode())
        write_atomic(stem.with_name(f"{stem.name}.md"), text.encode())
    try:
        _draw(folder, whole, parts, drawn, tell, warn)
    finally:
        _write_page(folder, whole, parts, live=False)
    return whole.board.table


def _draw(
    folder: Path,
    whole: Comparison,
    parts: list[Comparison],
    drawn: Drawn,
    tell: Callable[[str], object],
    warn: Callable[[str], object],
) -> None:
    """The figures of a results folder: those of each table of a sweep that makes several in a folder of its own."""
    from foundry_bench.report import pictures
    from foundry_bench.report.chosen import chosen_rows
    from foundry_bench.report.plots import every
    from foundry_bench.report.served import Served

    place = folder / "figures"
    if not drawn.every:
        every.means(whole.board.table, place, style=drawn.style)
    else:
        rows = chosen_rows(drawn.labels, whole.board) if drawn.labels is not None else []
        asked = {(row.keys["method"], row.keys["variant"], row.keys["params"]) for row in rows}
        every.write(whole.frame, whole.board, place, style=drawn.style, asked=asked)
        for part in parts:
            every.write(part.frame, part.board, place / file_name(part.name), style=drawn.style, asked=asked)
    if drawn.rows is not None:
        chosen = chosen_rows(drawn.rows, whole.board)
        for line in pictures.draw_rows(folder, chosen, Served(whole.frame), style=drawn.style, tell=tell):
            warn(line)


def write_board(folder: Path, *, live: bool = False) -> tuple[Comparison, list[Comparison]]:
    """Write ``leaderboard.csv`` and ``.md`` and the page of a results folder, and return what they show, as :func:`gathered`.

    Where planned cells have no record yet, both pages begin with how many; ``live``: a sweep is at work on them. Raises
    UserError for a folder without results.
    """
    whole, parts = gathered(folder)
    _write_tables(folder, whole)
    _write_page(folder, whole, parts, live=live)
    return whole, parts


def gathered(folder: Path) -> tuple[Comparison, list[Comparison]]:
    """All cells of a results folder with their leaderboard, and each table of a sweep that makes several. Raises UserError for
    a folder without results."""
    from foundry_bench.report import html
    from foundry_bench.report.frame import load_results
    from foundry_bench.report.leaderboard import board_of

    frame = load_results(folder)
    return html.Comparison("all rows", "", frame, board_of(frame)), _tables(folder, frame)


def _write_tables(folder: Path, whole: Comparison) -> None:
    from foundry_bench.report import tables
    from foundry_bench.report.frame import MISSING

    frame, table = whole.frame, whole.board.table
    missing = int((frame["status"] == MISSING).sum())
    about = f"Not finished: {missing} of {len(frame)} cells have no record yet." if missing else ""
    write_atomic(folder / "leaderboard.csv", table.to_csv(index=False).encode())
    write_atomic(folder / "leaderboard.md", tables.markdown(table, folder.name, frame, about).encode())


def _write_page(folder: Path, whole: Comparison, parts: list[Comparison], *, live: bool) -> None:
    from foundry_bench.report import html

    html.write_page(folder, whole, parts, live=live)


def _tables(folder: Path, frame: pd.DataFrame) -> list[Comparison]:
    """The comparisons of a sweep that makes several; no other sweep has any."""
    from foundry_bench.report import leaderboard
    from foundry_bench.report.html import Comparison
    from foundry_bench.sweep import snapshot
    from foundry_bench.sweep.config import SweepConfig
    from foundry_bench.sweep.store import Store

    content = snapshot.read(Store(folder))
    if content is None or not content["tables"]:
        return []
    about = {table.name: table.about for table in SweepConfig.from_plain(content["resolved"]).tables}
    parts = [(name, frame[frame["cell_id"].isin(cells)]) for name, cells in content["tables"].items()]
    return [
        Comparison(name, about.get(name, ""), part, leaderboard.board_of(part))
        for name, part in parts
        if len(part)
    ]


def summary(frame: pd.DataFrame, board: pd.DataFrame, failures: list[str]) -> dict[str, Any]:
    """Counts and the few numbers that a script asks for first."""
    from foundry_bench.report import leaderboard

    ranked = board[board["rank"].notna()]
    rows = ranked[["rank", "method", "variant", "params", "mean_score", "retained", "gmacs_ratio", "pareto"]]
    return {
        "schema_version": 1,
        "teacher": sorted(frame["teacher"].unique()),
        "budget": leaderboard.one_budget(frame),
        "cells": {kind: part["status"].value_counts().to_dict() for kind, part in frame.groupby("kind")},
        "ranked": rows.astype(object).where(rows.notna(), None).to_dict("records"),
        "unfinished": failures,
    }
