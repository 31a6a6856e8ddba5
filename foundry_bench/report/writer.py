"""Write every report of a results folder."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from foundry_bench.storage import write_atomic
from foundry_bench.sweep.store import write_json

if TYPE_CHECKING:
    import pandas as pd

    from foundry_bench.report.html import Comparison

PAGE = "report.html"
FILES = ("leaderboard.csv", "leaderboard.md", "summary.json", PAGE)
FIGURES = ("accuracy-vs-flops.png", "accuracy-vs-flops.svg")


def outdated(folder: Path) -> bool:
    """Whether a report is missing or older than the plan or a record, as after an interruption."""
    reports = [folder / name for name in FILES] + [folder / "figures" / name for name in FIGURES]
    if not all(path.exists() for path in reports):
        return True
    sources = [path for path in (folder / "cells").rglob("*.json") if not path.name.endswith(".spec.json")]
    return max(path.stat().st_mtime for path in sources) > min(path.stat().st_mtime for path in reports)


def write_reports(folder: Path) -> pd.DataFrame:
    """Write leaderboard, summary, figures and the page of a results folder and return the leaderboard.

    Raises UserError for a folder without results.
    """
    from foundry_bench.report import plots, tables

    whole, parts = write_board(folder)
    write_json(
        folder / "summary.json",
        summary(whole.frame, whole.board.table, tables.failure_lines(whole.frame)),
    )
    plots.write(whole.board.table, folder / "figures")
    for part in parts:
        text = tables.markdown(part.board.table, part.name, part.frame, part.about)
        write_atomic(folder / "tables" / f"{part.name}.csv", part.board.table.to_csv(index=False).encode())
        write_atomic(folder / "tables" / f"{part.name}.md", text.encode())
    return whole.board.table


def write_board(folder: Path, *, live: bool = False) -> tuple[Comparison, list[Comparison]]:
    """Write ``leaderboard.csv`` and ``.md`` and the page of a results folder, and return what they show: all cells, and each
    table of a sweep that makes several.

    Where planned cells have no record yet, both pages begin with how many; ``live``: a sweep is at work on them. Raises
    UserError for a folder without results.
    """
    from foundry_bench.report import html, tables
    from foundry_bench.report.frame import MISSING, load_results
    from foundry_bench.report.leaderboard import board_of

    frame = load_results(folder)
    board = board_of(frame)
    missing = int((frame["status"] == MISSING).sum())
    about = f"Not finished: {missing} of {len(frame)} cells have no record yet." if missing else ""
    write_atomic(folder / "leaderboard.csv", board.table.to_csv(index=False).encode())
    write_atomic(folder / "leaderboard.md", tables.markdown(board.table, folder.name, frame, about).encode())
    whole, parts = html.Comparison("all rows", "", frame, board), _tables(folder, frame)
    html.write_page(folder, whole, parts, live=live)
    return whole, parts


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
