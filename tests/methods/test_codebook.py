"""The benchmark on how Foundry's SuperTokens are used."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from foundry_bench.context import Context
from foundry_bench.datasets import PointCloudDataset
from foundry_bench.selectors import expand, parse_selector
from foundry_bench.teachers.transformer import PointTransformer
from foundry_bench.training.budget import BUDGETS, REHEARSED

FILE = Path(__file__).parents[2] / "benchmarks" / "codebook.py"


@pytest.fixture
def benchmark(monkeypatch: pytest.MonkeyPatch) -> Any:
    spec = importlib.util.spec_from_file_location(FILE.stem, FILE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, FILE.stem, module)  # where its dataclass looks up annotations
    spec.loader.exec_module(module)
    return module


def test_a_token_counts_for_the_supertoken_it_gives_most_to(benchmark: Any) -> None:
    hard = torch.eye(4)[[0, 0, 0, 3, 3, 1]]
    soft = torch.full((6, 4), 0.25)
    soft[:, 2] += 0.1
    used = benchmark.usage(torch.stack([hard, soft]))
    assert used.non_empty.tolist() == [3, 1]
    assert used.largest.tolist() == [0.5, 1.0]


def test_its_rows_are_the_two_forms_and_what_is_tried_for_the_codebook(benchmark: Any) -> None:
    methods = [
        expand(
            parse_selector(selector),
            grid=None,
        )[0][0]
        for selector in benchmark.ROWS
    ]
    assert {(m.published, m.assignment, m.balance > 0) for m in methods} == {
        (True, "hard", False),
        (True, "hard", True),
        (False, "soft", False),
        (False, "soft", True),
        (False, "slots", False),
    }
    assert {m.supertokens for m in methods} == {16}


def test_a_row_trains_and_measures_a_student(
    benchmark: Any,
    tiny_teacher: PointTransformer,
    clouds: PointCloudDataset,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(BUDGETS, "quick", REHEARSED)
    ctx = Context(budget="quick", cache=tmp_path)
    line = benchmark.row("foundry[assignment=slots,supertokens=4]", tiny_teacher, clouds, ctx)
    cells = [cell.strip() for cell in line.strip("|\n").split("|")]
    assert cells[0] == "`foundry[assignment=slots,supertokens=4]`"
    assert float(cells[1]) < 1
    assert 1 <= int(cells[4]) <= float(cells[3]) <= 4
    assert 25 <= int(cells[5].rstrip(" %")) <= 100
