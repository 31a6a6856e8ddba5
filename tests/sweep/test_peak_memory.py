"""Peak memory is measured in a sweep, reaches the leaderboard and the page, and its absence makes no cell again."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from sweep_helpers import Notes, config_of

from foundry_bench.report import html
from foundry_bench.report.frame import load_results
from foundry_bench.report.leaderboard import board_of
from foundry_bench.sweep.plan import PROFILE
from foundry_bench.sweep.runner import run_sweep
from foundry_bench.sweep.store import Store


@pytest.mark.usefixtures("plugins")
def test_a_sweep_measures_peak_memory_unless_it_is_left_out(tmp_path: Path) -> None:
    without = replace(config_of("teacher-copy[scale=1.0]", engine="local"), no_memory=True)
    folder = tmp_path / "out"
    first = run_sweep(without, folder, Notes(), rehearse=False)
    costs = [Store(folder).read(PROFILE, cell.id) for cell in first.plan.cells if cell.kind == PROFILE]
    assert [record["cost"]["peak_mem_mb"] for record in costs if record and record["cost"]] == [None]
    assert run_sweep(replace(without, no_memory=False), folder, Notes(), rehearse=False).todo == []

    wider = config_of("teacher-copy[scale=1.0],halving", engine="local")
    run_sweep(wider, folder, Notes(), rehearse=False)
    frame = load_results(folder)
    board = board_of(frame)
    known = board.table.set_index("method")["peak_mem_mb"]
    assert known.isna().to_dict() == {"teacher-copy": True, "halving": False}
    assert 0 < known["halving"] < 50, "megabytes of a tiny student and not of the libraries"
    assert not list((folder / "cells").rglob("*.log")), "the spare process says nothing"
    page = html.table_data("", "", frame, board)
    (column,) = (c for c in page["columns"] if c["key"] == "peak_mem_mb")
    assert column["axis"] == "x"
