"""A change makes new ids for exactly the cells that depend on it, and the run says in one line what it was."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from sweep_helpers import Sweep, config_of

from foundry_bench.sweep.plan import Plan, plan

SWEEP = "teacher-copy[scale=1.0,2.0],distilled,teacher-copy+halving"
TASKS = "spread,spread[clouds=10]:bare"
EVERY = {"student", "evaluate spread:blobs", "evaluate spread:bare", "profile"}
"""What a method has cells of."""

Change = Callable[[Path], dict[str, str]]
"""Edits the fake distribution below a folder and returns options of the sweep that differ."""


def edit(site: Path, before: str, after: str) -> None:
    file = site / "fake_bench.py"
    text = file.read_text()
    assert before in text
    file.write_text(text.replace(before, after, 1))


def other_weights(site: Path) -> dict[str, str]:
    from foundry_bench.teachers import load_teacher, save_teacher

    teacher = load_teacher(site / "tiny")
    for weight in teacher.parameters():
        weight.mul_(0.5)
    save_teacher(teacher, site / "tiny", {})
    return {}


def method_version(site: Path) -> dict[str, str]:
    edit(site, 'name: ClassVar[str] = "distilled"', 'name: ClassVar[str] = "distilled"; version = "2"')
    return {}


def task_version(site: Path) -> dict[str, str]:
    edit(site, 'name: ClassVar[str] = "spread"', 'name: ClassVar[str] = "spread"; version = "2"')
    return {}


def evaluated_data(site: Path) -> dict[str, str]:
    edit(site, '"c" * 64', '"d" * 64')
    return {}


def longer_budget(site: Path) -> dict[str, str]:
    return {"budget": "standard"}


def more_scale(site: Path) -> dict[str, str]:
    return {"methods": SWEEP.replace("scale=1.0,2.0", "scale=1.0,3.0")}


def same_data_elsewhere(site: Path) -> dict[str, str]:
    return {"tasks": TASKS.replace("bare", "naked")}


def cells(planned: Plan) -> dict[str, set[str]]:
    """Ids by method and what the cell is of it."""
    found: dict[str, set[str]] = {}
    for cell in planned.cells:
        place = (
            f" {cell.inputs['task']['name']}:{cell.inputs['dataset']['name']}" if cell.inputs["task"] else ""
        )
        found.setdefault(f"{cell.inputs['method']['name']}: {cell.kind}{place}", set()).add(cell.id)
    return found


METHODS = ("teacher-copy", "distilled", "teacher-copy+halving")


@pytest.fixture
def one_file_per_plugin(plugins: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The code hash is that of a plugin's file: here all share one, so it is left out and versions stand for it."""
    monkeypatch.setattr("foundry_bench.sweep.plan.code_sha256", lambda classes: "the same")
    return plugins


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (other_weights, {f"{method}: {cell}" for method in METHODS for cell in EVERY}),
        (method_version, {f"distilled: {cell}" for cell in EVERY}),
        (task_version, {f"{m}: {c}" for m in METHODS for c in EVERY if c.startswith("evaluate")}),
        (evaluated_data, {f"{method}: evaluate spread:bare" for method in METHODS}),
        (longer_budget, {f"{method}: {cell}" for method in METHODS for cell in EVERY}),
        (more_scale, {f"teacher-copy: {cell}" for cell in EVERY - {"student"}}),
        (same_data_elsewhere, set()),
    ],
)
def test_a_change_makes_new_cells_where_it_matters_and_nowhere_else(
    change: Change, expected: set[str], one_file_per_plugin: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = {"methods": SWEEP, "tasks": TASKS}
    before = cells(plan(config_of(**options)))
    changed = change(one_file_per_plugin)
    monkeypatch.delitem(sys.modules, "fake_bench")
    after = cells(plan(config_of(**{**options, **changed})))
    new = {name.replace("naked", "bare"): ids for name, ids in after.items()}
    assert {name for name in before if before[name] != new[name]} == expected


def test_the_code_of_a_base_class_belongs_to_a_method(plugins: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = cells(plan(config_of("distilled")))
    monkeypatch.delitem(sys.modules, "fake_bench")
    edit(plugins, "Starts from noise and is trained.", "Starts from noise.")
    after = cells(plan(config_of("distilled")))
    assert all(before[name].isdisjoint(after[name]) for name in before)


@pytest.mark.parametrize(
    ("change", "line"),
    [
        (method_version, r"2 cells are computed again: (version|code) of distilled changed \(2\)"),
        (other_weights, r"4 cells are computed again: weights of the teacher changed \(4\)"),
    ],
)
def test_a_run_says_why_it_computes_again(
    change: Change,
    line: str,
    sweep: Sweep,
    one_file_per_plugin: Path,
    monkeypatch: pytest.MonkeyPatch,
    short_budget: None,
) -> None:
    sweep("teacher-copy,distilled")
    change(one_file_per_plugin)
    monkeypatch.delitem(sys.modules, "fake_bench")
    _, notes = sweep("teacher-copy,distilled")
    assert any(re.fullmatch(line, said) for said in notes.lines), notes.lines
    _, notes = sweep("teacher-copy,distilled")
    assert not any("computed again" in said for said in notes.lines)


def test_a_retry_says_so(sweep: Sweep) -> None:
    sweep("failing")
    _, notes = sweep("failing", retry=True)
    assert "2 cells are computed again: failed before (2)" in notes.lines


def test_inference_time_parameters_never_train_again(sweep: Sweep) -> None:
    sweep("teacher-copy[scale=1.0]")
    outcome, _ = sweep("teacher-copy[scale=5.0]")
    assert [cell.kind for cell in outcome.todo] == ["evaluate"]


def test_an_edit_of_the_code_does_not_move_a_random_start(
    sweep: Sweep, plugins: Path, monkeypatch: pytest.MonkeyPatch, short_budget: None, tmp_path: Path
) -> None:
    sweep("distilled")
    monkeypatch.delitem(sys.modules, "fake_bench")
    edit(plugins, "Starts from noise and is trained.", "Starts from noise.")
    sweep("distilled")
    weights = [file.read_bytes() for file in tmp_path.rglob("students/*/model.safetensors")]
    assert len(weights) == 2
    assert weights[0] == weights[1]
