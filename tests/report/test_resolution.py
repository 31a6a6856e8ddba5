"""The resolution table: differences are paired, z knows of objects and starts, and the teacher is in it."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from board_helpers import cells, frame

from foundry_bench.errors import UserError


@pytest.fixture(scope="module")
def resolution() -> ModuleType:
    path = Path(__file__).parents[2] / "benchmarks" / "resolution.py"
    spec = importlib.util.spec_from_file_location("resolution", path)
    assert spec is not None
    assert spec.loader is not None
    module = sys.modules["resolution"] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def drawn(rng: np.random.Generator, starts: int, count: int) -> np.ndarray:
    """Outcomes with effects of starts, of outcomes and of both together."""
    return (
        rng.normal(0, 0.02, (starts, 1))
        + rng.normal(0, 0.2, (1, count))
        + rng.normal(0, 0.1, (starts, count))
    )


def test_the_error_is_the_spread_of_means_over_new_objects_and_new_starts(resolution: ModuleType) -> None:
    rng = np.random.default_rng(0)
    found = np.array([resolution.difference(drawn(rng, 5, 200), np.zeros((1, 200))) for _ in range(400)])
    assert np.sqrt(np.mean(found[:, 1] ** 2)) == pytest.approx(found[:, 0].std(), rel=0.1)


def test_one_start_is_the_paired_error(resolution: ModuleType) -> None:
    rng = np.random.default_rng(1)
    row, reference = rng.normal(size=(1, 50)), rng.normal(size=(1, 50))
    mean, error = resolution.difference(row, reference)
    gaps = (row - reference)[0]
    assert (mean, error) == pytest.approx((gaps.mean(), gaps.std(ddof=1) / np.sqrt(50)))


def test_rows_stand_beside_the_teacher_best_first(resolution: ModuleType, tmp_path: Path) -> None:
    table = frame(
        cells("low", tmp_path, level=0.70, seeds=3),
        cells("teacher", tmp_path, level=0.80, variant="off-the-shelf"),
        cells("partial", tmp_path, level=0.75, failed=("kicad",)),
    )
    head, _, *rows = resolution.lines(resolution.measured(table))
    assert head == "| row | starts | fewshot:kicad | fewshot:furniture |"
    assert [row.split("`")[1] for row in rows[:3]] == ["teacher+off-the-shelf", "partial+fmd", "low+fmd"]
    assert rows[2].split(" | ")[1] == "3"
    assert rows[2].count("; -10.0 (z = ") == 2
    assert rows[1].split(" | ")[2] == ""


def test_results_without_the_teacher_say_what_to_add(resolution: ModuleType, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="add 'teacher' to --methods"):
        resolution.lines(resolution.measured(frame(cells("low", tmp_path, level=0.7))))
