"""Write every report of a results folder."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from foundry_bench.storage import write_atomic
from foundry_bench.sweep.store import write_json

if TYPE_CHECKING:
    import pandas as pd

FILES = ("leaderboard.csv", "leaderboard.md", "summary.json")
FIGURES = ("accuracy-vs-flops.png", "accuracy-vs-flops.svg")


def outdated(folder: Path) -> bool:
    """Whether a report is missing or older than the plan or a record, as after an interruption."""
    reports = [folder / name for name in FILES] + [folder / "figures" / name for name in FIGURES]
    if not all(path.exists() for path in reports):
        return True
    sources = [path for path in (folder / "cells").rglob("*.json") if not path.name.endswith(".spec.json")]
    return max(path.stat().st_mtime for path in sources) > min(path.stat().st_mtime for path in reports)


def write_reports(folder: Path) -> pd.DataFrame:
    """Write leaderboard, summary and figures of a results folder and return the leaderboard.

    Raises UserError for a folder without results.
    """
    from foundry_bench.report import plots, tables

    frame, board = write_board(folder)
    write_json(folder / "summary.json", summary(frame, board, tables.failure_lines(frame)))
    plots.write(board, folder / "figures")
    _write_tables(folder, frame)
    return board


def write_board(folder: Path) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Write ``leaderboard.csv`` and ``.md`` of a results folder, and return its cells and the leaderboard.

    Where planned cells have no record yet, the page begins with how many. Raises UserError for a folder without results.
    """
    from foundry_bench.report import leaderboard, tables
    from foundry_bench.report.frame import MISSING, load_results

    frame = load_results(folder)
    board = leaderboard.build(frame)
    missing = int((frame["status"] == MISSING).sum())
    about = f"Not finished: {missing} of {len(frame)} cells have no record yet." if missing else ""
    write_atomic(folder / "leaderboard.csv", board.to_csv(index=False).encode())
    write_atomic(folder / "leaderboard.md", tables.markdown(board, folder.name, frame, about).encode())
    return frame, board


def _write_tables(folder: Path, frame: pd.DataFrame) -> None:
    """``tables/NAME.csv`` and ``.md`` of a sweep that makes several comparisons; no other sweep has them."""
    from foundry_bench.report import leaderboard, tables
    from foundry_bench.sweep import snapshot
    from foundry_bench.sweep.config import SweepConfig
    from foundry_bench.sweep.store import Store

    content = snapshot.read(Store(folder))
    if content is None or not content["tables"]:
        return
    about = {table.name: table.about for table in SweepConfig.from_plain(content["resolved"]).tables}
    for name, cells in content["tables"].items():
        part = frame[frame["cell_id"].isin(cells)]
        board = leaderboard.build(part)
        text = tables.markdown(board, name, part, about.get(name, ""))
        write_atomic(folder / "tables" / f"{name}.csv", board.to_csv(index=False).encode())
        write_atomic(folder / "tables" / f"{name}.md", text.encode())


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
