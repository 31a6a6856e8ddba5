"""The command that the page gives for a row alone makes the cells of that row, and no others."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path

import pytest
from sweep_helpers import Sweep

from foundry_bench.report import writer
from foundry_bench.report.page_tables import key_of
from foundry_bench.sweep.config import SweepConfig
from foundry_bench.sweep.plan import EVALUATE, plan


def commands(page: Path) -> dict[str, list[str]]:
    """What the page tells for each row, in words as a shell splits them."""
    found = re.search(r'id="data">(.*?)</script>', page.read_text(), re.DOTALL)
    assert found
    data = json.loads(found[1])
    told = {}
    for row in data["tables"][-1]["rows"]:
        selector, rest = data["details"][row["detail"]]["command"]
        told[row["id"]] = shlex.split(f"foundry-bench run --methods {selector} {data['asked'][rest]}")
    return told


@pytest.mark.parametrize("seeds", [1, 2])
def test_it_plans_the_cells_of_the_row(sweep: Sweep, tmp_path: Path, seeds: int) -> None:
    sweep("teacher-copy[width=1,2,scale=1.0,2.0],halving", tasks="spread[clouds=10],spread:bare", seeds=seeds)
    whole, _ = writer.write_board(tmp_path / "out")
    told = commands(tmp_path / "out" / writer.PAGE)
    assert len(told) == len(whole.board.rows) >= 4
    evaluated = whole.frame[whole.frame["kind"] == EVALUATE]
    for row, words in zip(whole.board.rows, told.values(), strict=True):
        given = dict(zip(words[2::2], words[3::2], strict=True))
        assert given.pop("--out")
        options = {name[2:].replace("-", "_"): value for name, value in given.items()}
        options["seeds"] = int(options.get("seeds", 1))
        planned = {
            cell.id for cell in plan(SweepConfig.from_sources(None, options)).cells if cell.kind == EVALUATE
        }
        own = {c["cell_id"] for c in evaluated.to_dict("records") if key_of(c) == key_of(row.keys)}
        assert planned == own
