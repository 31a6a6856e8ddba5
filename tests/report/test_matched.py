"""Rows at the same cost, and rows against one of them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from board_helpers import cells, frame
from scipy import stats

from foundry_bench.errors import UserError
from foundry_bench.report.leaderboard import build, rows_of
from foundry_bench.report.matched import against, at_matched_cost
from foundry_bench.report.statistics.paired import Sample, mean_difference


def test_each_method_is_shown_once_at_each_cost_it_reaches(tmp_path: Path) -> None:
    board = build(
        frame(
            cells("teacher", tmp_path, level=0.9, gmacs=1.0),
            cells("tome", tmp_path, level=0.8, gmacs=0.63, params="r=8"),
            cells("tome", tmp_path, level=0.8, gmacs=0.58, params="r=10"),
            cells("tome", tmp_path, level=0.7, gmacs=0.41, params="r=32"),
            cells("kd", tmp_path, level=0.85, gmacs=0.38),
            cells("late", tmp_path, level=0.85, gmacs=0.70),
        )
    )
    table = at_matched_cost(board)
    found = list(zip(table["target"], table["method"], table["params"], strict=True))
    assert found == [(0.60, "tome", "r=10"), (0.40, "kd", ""), (0.40, "tome", "r=32")]


def test_the_interval_is_that_of_paired_clusters() -> None:
    rng = np.random.default_rng(0)
    hard = rng.normal(0.7, 0.1, 50)
    first, second = hard + rng.normal(0.02, 0.01, 50), hard
    mean, half, p = mean_difference(Sample({"a": first}), Sample({"a": second}))
    difference = first - second
    low, high = stats.t.interval(0.95, 49, difference.mean(), stats.sem(difference))
    assert (mean - half, mean + half) == pytest.approx((low, high))
    assert p == pytest.approx(stats.ttest_rel(first, second).pvalue)


def test_rows_are_told_apart_from_the_reference_by_what_they_share(tmp_path: Path) -> None:
    rows = rows_of(
        frame(
            cells("base", tmp_path, level=0.80),
            cells("better", tmp_path, level=0.84),
            cells("same", tmp_path, level=0.80),
            cells("partial", tmp_path, level=0.80, failed=("kicad",)),
        )
    )
    found = {d.row: d for d in against(rows, "base+fmd")}
    assert list(found) == ["better+fmd", "same+fmd"]
    assert found["better+fmd"].separable
    assert found["better+fmd"].mean == pytest.approx(0.04, abs=1e-9)
    assert not found["same+fmd"].separable
    with pytest.raises(UserError, match="no complete row 'bass'"):
        against(rows, "bass")
