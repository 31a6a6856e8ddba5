"""Latency in several runtimes: columns of tables, marks of what was disturbed, and records that know none of it."""

from __future__ import annotations

import json
import shutil
from io import StringIO
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from board_helpers import cells, frame

from foundry_bench.report.frame import load_results, load_together
from foundry_bench.report.leaderboard import build
from foundry_bench.report.tables import markdown, text_table
from foundry_bench.sweep.store import Store, digest

GOLDEN = Path(__file__).parents[1] / "golden" / "pipeline-3"
REFUSED = "it cannot be exported"


def profiles(folder: Path) -> list[Path]:
    return sorted((folder / "cells" / "profile").glob("*.json"))


def measured(folder: Path, elsewhere: dict[str, Any] | None, number: int = 0, **cost: Any) -> Path:
    """A results folder of an earlier version in which one profile cell knows more."""
    shutil.copytree(GOLDEN, folder)
    file = profiles(folder)[number]
    record = json.loads(file.read_bytes())
    record["cost"] |= cost if elsewhere is None else {**cost, "runtimes": elsewhere}
    file.write_text(json.dumps({**record, "digest": digest(record)}))
    return folder


FIGURES = {
    **{"version": "1.2", "reason": None, "latency_ms": 2.0, "latency_ratio": 0.25, "latency_ratio_iqr": 0.01},
    **{"latency_total_ratio": 0.5, "latency_cpu_ratio": 0.26, "noisy": False},
}


def test_older_records_leave_the_new_columns_empty(tmp_path: Path) -> None:
    table = load_results(measured(tmp_path / "old", None))
    assert not [column for column in table if "onnxruntime" in column]
    assert table[["noisy", "latency_cpu_ratio"]].isna().all(axis=None)
    board = build(table)
    assert board["noisy"].isna().all()
    assert not any("noisy" in text for text in text_table(board)["latency"])


def test_a_runtime_that_any_cell_was_measured_in_has_columns(tmp_path: Path) -> None:
    folder = measured(tmp_path / "new", {"onnxruntime": FIGURES}, noisy=True)
    board = build(load_results(folder))
    row = board[board["latency_ratio_onnxruntime"].notna()]
    assert row[["latency_ratio_onnxruntime", "latency_total_ratio_onnxruntime"]].to_numpy().tolist() == [
        [0.25, 0.5]
    ]
    assert (row["noisy"].tolist(), row["noisy_onnxruntime"].tolist()) == ([True], [False])
    place = list(board.columns).index
    assert place("noisy") < place("latency_ms_onnxruntime") < place("peak_mem_mb")
    text = text_table(board).loc[row.index]
    assert text["latency"].iloc[0].endswith(" noisy")
    assert text["latency onnxruntime"].iloc[0] == "0.25 (0.01)"
    assert set(text_table(board)["latency onnxruntime"]) == {"", "0.25 (0.01)"}


def test_a_disturbed_measurement_is_marked_in_every_table(tmp_path: Path) -> None:
    noisy = {**FIGURES, "noisy": True}
    table = load_results(measured(tmp_path / "new", {"onnxruntime": noisy}))
    board = build(table)
    assert "0.25 (0.01) noisy" in markdown(board, "title", table)
    read = pd.read_csv(StringIO(board.to_csv(index=False)))
    assert read["noisy_onnxruntime"].dropna().tolist() == [True]


def test_why_a_runtime_could_not_run_an_encoder_is_on_the_page(tmp_path: Path) -> None:
    reason = {"version": "1.2", "reason": REFUSED}
    table = load_results(measured(tmp_path / "new", {"onnxruntime": reason}))
    board = build(table)
    assert board["latency_ratio_onnxruntime"].isna().all()
    page = markdown(board, "title", table)
    assert "## Not measured" in page
    assert page.count(f"in onnxruntime: {REFUSED}") == 1


def test_folders_with_different_runtimes_make_one_table(tmp_path: Path) -> None:
    first = measured(tmp_path / "a", {"onnxruntime": FIGURES})
    second = measured(tmp_path / "b", {"executorch": FIGURES}, number=1)
    profiles(first)[1].unlink()
    board = build(load_together([first, second]))
    known = board[["latency_ratio_onnxruntime", "latency_ratio_executorch"]].notna()
    assert known.sum().tolist() == [1, 1]
    assert not known.all(axis=1).any(), "they are of two rows"


@pytest.mark.parametrize(
    "block",
    [{"latency_ratio": "[red]"}, {"latency_ratio": float("nan")}, {"noisy": 1}, [], {"reason": 5}, "x"],
    ids=repr,
)
def test_a_record_with_a_runtime_of_another_shape_counts_as_missing(tmp_path: Path, block: Any) -> None:
    folder = measured(tmp_path / "forged", {"onnxruntime": block})
    assert Store(folder).read("profile", profiles(folder)[0].stem) is None


@pytest.mark.parametrize("name", ["iqr", "[red]x", "a b", "x" * 50, ""])
def test_a_name_that_no_column_can_end_in_is_passed_over(tmp_path: Path, name: str) -> None:
    table = load_results(measured(tmp_path / "odd", {name: FIGURES}))
    assert list(table.columns) == list(load_results(measured(tmp_path / "old", None)).columns)


def test_starts_are_averaged_and_one_that_is_noisy_marks_the_row(tmp_path: Path) -> None:
    rows = cells("kd", tmp_path, level=0.7, seeds=3)
    profiles = [row for row in rows if row["kind"] == "profile"]
    for row, ratio, noisy in zip(profiles, (0.2, 0.3, 0.4), (False, True, None), strict=True):
        row.update(latency_ratio_onnxruntime=ratio, noisy_onnxruntime=noisy)
    board = build(frame(rows))
    assert board["latency_ratio_onnxruntime"].tolist() == pytest.approx([0.3])
    assert board["noisy_onnxruntime"].tolist() == [True]
    assert board["noisy"].isna().all()
