"""Students of students, and students of one task, in a sweep."""

from __future__ import annotations

import shutil
from pathlib import Path

import pandas as pd
import pytest
import torch
from safetensors.torch import load_file
from sweep_helpers import Sweep, config_of

from foundry_bench.errors import UserError
from foundry_bench.report.frame import load_results
from foundry_bench.report.leaderboard import build
from foundry_bench.report.writer import write_reports
from foundry_bench.sweep.plan import plan
from foundry_bench.sweep.store import Store
from foundry_bench.training.budget import BUDGETS, Budget


@pytest.fixture(autouse=True)
def short_training(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(BUDGETS, "quick", Budget("quick", steps=4, batch_size=8, views=2))


def weights(folder: Path, cell: str) -> dict[str, torch.Tensor]:
    return load_file(Store(folder).student_folder(cell) / "model.safetensors")


def test_a_stack_starts_from_the_trained_student_and_not_from_a_new_one(sweep: Sweep, tmp_path: Path) -> None:
    outcome, notes = sweep("distilled,distilled+halving")
    students = [cell for cell in outcome.todo if cell.kind == "student"]
    assert [cell.parent for cell in students] == [None, students[0].id]
    base, stacked = (weights(tmp_path / "out", cell.id) for cell in students)
    assert base.keys() == stacked.keys()
    assert all(torch.equal(stacked[name], base[name] / 2) for name in base if name.endswith("fc1.weight"))
    assert set(notes.statuses.values()) == {"ok"}
    assert notes.statuses.keys() >= {"evaluate distilled", "evaluate distilled+halving"}


def test_a_record_says_whether_another_seed_makes_another_student(sweep: Sweep, tmp_path: Path) -> None:
    sweep("teacher-copy,lucky,distilled,teacher-copy+halving,lucky+halving")
    students = load_results(tmp_path / "out").query("kind == 'student'")
    assert dict(zip(students["method"], students["seeded"], strict=True)) == {
        **{"teacher-copy": False, "lucky": True, "distilled": True},
        **{"teacher-copy+halving": False, "lucky+halving": True},
    }
    board = build(load_results(tmp_path / "out")).set_index("method")
    assert board["provisional"].to_dict() == {
        **{"teacher-copy": False, "lucky": True, "distilled": True},
        **{"teacher-copy+halving": False, "lucky+halving": True},
    }


def test_a_stack_alone_brings_its_base_but_no_row_for_it(sweep: Sweep, tmp_path: Path) -> None:
    sweep("distilled+halving")
    board: pd.DataFrame = build(load_results(tmp_path / "out"))
    assert list(board["method"]) == ["distilled+halving"]
    assert board["train_s"].iloc[0] > 0


def test_lost_weights_of_the_base_are_made_again_when_the_stack_needs_them(
    sweep: Sweep, tmp_path: Path
) -> None:
    first, _ = sweep("distilled+halving")
    store = Store(tmp_path / "out")
    shutil.rmtree(tmp_path / "out" / "students")
    assert sweep("distilled+halving")[0].todo == []
    evaluated = next(cell for cell in first.plan.cells if cell.kind == "evaluate")
    store.record_path("evaluate", evaluated.id).unlink()
    second, _ = sweep("distilled+halving")
    assert [cell.kind for cell in second.todo] == ["student", "student", "evaluate"]
    assert second.exit_code == 0


def test_a_stack_that_can_be_trained_is_trained_twice_for_half_the_steps(
    sweep: Sweep, tmp_path: Path
) -> None:
    outcome, notes = sweep("distilled+trimming+fmd")
    (student,) = (cell for cell in outcome.todo if cell.kind == "student")
    assert student.parent is None
    training = next(r["fidelity"] for r in notes.records if r["identity"]["kind"] == "student")
    assert (training["steps"], training["samples"]) == (4, 32)
    assert [point["step"] for point in training["curve"]] == [1, 2, 3, 4]
    board = build(load_results(tmp_path / "out"))
    assert list(board["method"]) == ["distilled+trimming"]


def test_of_an_untrained_first_method_nothing_is_trained(sweep: Sweep) -> None:
    outcome, _ = sweep("teacher-copy+trimming")
    students = [cell for cell in outcome.todo if cell.kind == "student"]
    assert [cell.parent for cell in students] == [None, students[0].id]


def test_a_method_that_needs_training_stands_first(sweep: Sweep) -> None:
    with pytest.raises(
        UserError, match=r"teacher-copy\+distilled: .* put it first, as in distilled\+teacher-copy"
    ):
        sweep("teacher-copy+distilled")


def test_a_failed_base_takes_its_stack_along_and_nothing_else(sweep: Sweep) -> None:
    outcome, notes = sweep("failing+halving,teacher-copy")
    assert outcome.exit_code == 1
    assert notes.statuses["evaluate teacher-copy"] == "ok"
    assert notes.statuses["student failing+halving"] == "failed"
    assert notes.statuses["evaluate failing+halving"] == "failed"


def test_all_includes_the_stacks_that_methods_ask_for(plugins: Path) -> None:
    names = {cell.inputs["method"]["name"] for cell in plan(config_of("all")).cells}
    assert "teacher-copy+halving" in names


def test_an_expert_is_trained_on_its_task_alone(sweep: Sweep) -> None:
    outcome, notes = sweep("schooled")
    student = next(cell for cell in outcome.plan.cells if cell.kind == "student")
    assert student.inputs["task"]["name"] == "spread"
    assert student.inputs["protocol"]["labels"]["name"] == "blobs"
    assert set(notes.statuses.values()) == {"ok"}


def test_an_expert_of_a_task_without_labels_says_so(sweep: Sweep) -> None:
    _, notes = sweep("schooled[dataset=bare]")
    record = next(r for r in notes.records if r["inputs"]["method"]["name"] == "schooled")
    assert "no labelled training objects in data set 'bare'" in record["identity"]["message"]


def test_an_expert_without_a_task_fails_alone(sweep: Sweep) -> None:
    outcome, notes = sweep("impostor,teacher-copy")
    assert outcome.exit_code == 1
    assert notes.statuses["evaluate teacher-copy"] == "ok"
    assert "has no task to be an expert of" in outcome.failed[0]["identity"]["message"]


def test_an_expert_is_not_scored_on_objects_whose_labels_it_was_trained_on(
    sweep: Sweep, tmp_path: Path
) -> None:
    outcome, notes = sweep("schooled,teacher-copy", tasks="spread,spread[strict=true]")
    skipped = [record for record in notes.records if record["identity"]["status"] == "skipped"]
    assert [record["inputs"]["method"]["name"] for record in skipped] == ["schooled"]
    assert "trained on labels of 10 objects of blobs that spread scores" in skipped[0]["identity"]["message"]
    assert outcome.exit_code == 0
    write_reports(tmp_path / "out")
    assert "## Skipped" in (tmp_path / "out" / "leaderboard.md").read_text()
