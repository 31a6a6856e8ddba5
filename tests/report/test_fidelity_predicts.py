"""The benchmark on fidelity and scores, and the columns it reads."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import stats

from foundry_bench.report.frame import BY_BAND, _fidelity
from foundry_bench.report.leaderboard import build, rows_of
from foundry_bench.sweep.record import Fidelity
from tests.report.board_helpers import cells, frame

FILE = Path(__file__).parents[2] / "benchmarks" / "fidelity_predicts.py"
LEVELS = (0.3, 0.4, 0.5, 0.6, 0.7, 0.8)


@pytest.fixture
def benchmark() -> Any:
    spec = importlib.util.spec_from_file_location(FILE.stem, FILE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def made_up(folder: Path) -> list[list[dict[str, object]]]:
    """Rows whose linear R2 is in the order of their scores, whose R2 within is in the reverse one, and whose R2 is the same."""
    found = [cells("tome", folder, level=level, params=f"r={i}") for i, level in enumerate(LEVELS)]
    for level, row in zip(LEVELS, found, strict=True):
        for cell in row:
            if cell["kind"] == "profile":
                cell.update(r2_linear=level**2, r2_within=1 - level, r2_within_pc5_16=level)
    return found


def test_it_tells_which_fidelity_has_the_order_of_the_scores(benchmark: Any, tmp_path: Path) -> None:
    rows = rows_of(frame(*made_up(tmp_path)))
    lines = {line.split("`")[1]: line for line in benchmark.table(rows)[2:]}
    assert lines["r2_linear"].count("1.00 [1.00, 1.00] n=6") == 2
    assert lines["r2_within"].count("-1.00 [-1.00, -1.00] n=6") == 2
    assert lines["r2_within_pc5_16"].count("1.00 [1.00, 1.00] n=6") == 2
    assert lines["r2"].count("- n=6") == 2, "all the same"
    assert lines["r2_linear_pc1_4"].count("- n=0") == 2


def test_its_correlation_is_that_of_scipy(benchmark: Any) -> None:
    x, y = np.random.default_rng(0).integers(0, 6, (2, 30)).astype(float)
    assert benchmark.spearman(x, y) == pytest.approx(stats.spearmanr(x, y).statistic)
    low, high = benchmark.interval(x, y)
    assert low < benchmark.spearman(x, y) < high


def test_the_board_has_the_fidelity_of_the_measured_parameters(tmp_path: Path) -> None:
    board = build(frame(*made_up(tmp_path))).set_index("params")
    assert board["r2_linear"].to_dict() == pytest.approx({f"r={i}": x**2 for i, x in enumerate(LEVELS)})
    assert not set(BY_BAND) & set(board.columns)


def test_bands_of_a_record_become_columns() -> None:
    bands: Any = [
        {"first": 1, "last": 4, "share": 0.9, "r2_linear": 0.8, "r2_within": 0.7},
        {"first": 17, "last": 32, "share": 0.1, "r2_linear": None, "r2_within": 0.1},
    ]
    block: Fidelity = {"r2": 0.5, "r2_linear": 0.6, "r2_within": 0.4, "bands": bands}
    assert _fidelity(block) == {
        **{"r2": 0.5, "r2_linear": 0.6, "r2_within": 0.4},
        **{
            "r2_linear_pc1_4": 0.8,
            "r2_within_pc1_4": 0.7,
            "r2_linear_pc17_64": None,
            "r2_within_pc17_64": 0.1,
        },
    }
    assert _fidelity({"r2": 0.5}) == {"r2": 0.5, "r2_linear": None, "r2_within": None}
