"""A sweep that measures latency in another runtime too: the record, the table, and what a second run finds left to do."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from sweep_helpers import Notes, config_of

from foundry_bench.report.frame import load_results
from foundry_bench.report.leaderboard import build
from foundry_bench.sweep.plan import PROFILE
from foundry_bench.sweep.runner import run_sweep
from foundry_bench.sweep.store import Store

pytest.importorskip("onnxruntime")


@pytest.mark.usefixtures("plugins")
def test_a_sweep_measures_in_another_runtime_and_keeps_what_was_measured_without(tmp_path: Path) -> None:
    plain = replace(config_of("teacher-copy[scale=1.0]", engine="serial"), tasks=("none",))
    with_onnx = replace(plain, runtime=("eager", "onnxruntime"))
    folder = tmp_path / "out"
    first = run_sweep(plain, folder, Notes(), rehearse=False)
    second = run_sweep(with_onnx, folder, Notes(), rehearse=False)
    assert [cell.kind for cell in second.todo] == [PROFILE], "the student is the same"
    assert not second.failed
    record = Store(folder).read(PROFILE, second.todo[0].id)
    assert record is not None
    cost = record["cost"]
    assert cost is not None
    elsewhere = cost["runtimes"]["onnxruntime"]
    assert elsewhere["reason"] is None
    assert elsewhere["latency_ratio"] > 0
    assert len(list((folder / ".cache" / "runtimes").iterdir())) == 1, "the teacher, for the students to come"
    board = build(load_results(folder))
    assert board["latency_ratio_onnxruntime"].notna().all()
    assert board["noisy_onnxruntime"].notna().all()
    assert run_sweep(plain, folder, Notes(), rehearse=False).todo == []
    assert {cell.id for cell in first.plan.cells} & {cell.id for cell in second.plan.cells}
