"""Cells are identified by what determines them, and by nothing else."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import pytest
from sweep_helpers import Notes, config_of

from foundry_bench import registry
from foundry_bench.errors import UserError
from foundry_bench.sweep.config import SweepConfig
from foundry_bench.sweep.plan import EVALUATE, PROFILE, STUDENT, Plan, plan
from foundry_bench.sweep.runner import prepare
from foundry_bench.sweep.store import Store
from foundry_bench.training.budget import BUDGETS

pytestmark = pytest.mark.usefixtures("plugins")


def ids(planned: Plan, kind: str) -> list[str]:
    return [cell.id for cell in planned.cells if cell.kind == kind]


def test_one_student_serves_all_inference_time_parameters() -> None:
    planned = plan(config_of("teacher-copy[scale=1.0,2.0,3.0]"))
    assert [len(ids(planned, kind)) for kind in (STUDENT, EVALUATE, PROFILE)] == [1, 3, 3]
    assert {cell.parent for cell in planned.cells if cell.kind != STUDENT} == set(ids(planned, STUDENT))


def test_training_parameters_and_seeds_make_new_students() -> None:
    assert len(ids(plan(config_of("teacher-copy[width=1,2]", seeds=3)), STUDENT)) == 6


def test_a_bare_name_stands_for_few_rows_unless_the_full_grid_is_asked_for() -> None:
    few, full = (plan(replace(config_of("kd,teacher-copy"), grid=grid)) for grid in ("default", "full"))
    assert [len(ids(planned, STUDENT)) for planned in (few, full)] == [2, 5]
    assert SweepConfig.from_plain(full.config.to_plain()).grid == "full"


def test_overlapping_selectors_share_their_cells() -> None:
    assert len(plan(config_of("teacher-copy,teacher-copy[scale=1.0]")).cells) == 3


def test_of_the_budget_only_the_views_matter_to_students_that_are_not_trained(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def students(method: str, budget: str) -> list[str]:
        return ids(plan(config_of(method, budget=budget)), STUDENT)

    longer = replace(BUDGETS["quick"], name="standard", steps=1000)
    monkeypatch.setitem(BUDGETS, "standard", longer)
    assert students("teacher-copy", "quick") == students("teacher-copy", "standard")
    assert students("distilled", "quick") != students("distilled", "standard")
    monkeypatch.setitem(BUDGETS, "standard", replace(longer, views=9))
    assert students("teacher-copy", "quick") != students("teacher-copy", "standard")


def test_the_budget_matters_to_every_evaluation_because_tasks_may_train_a_head() -> None:
    quick, standard = (plan(config_of("teacher-copy", budget=name)) for name in ("quick", "standard"))
    assert set(ids(quick, EVALUATE)).isdisjoint(ids(standard, EVALUATE))


def test_editing_the_source_of_a_method_makes_new_cells(
    plugins: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = plan(config_of("teacher-copy"))
    monkeypatch.delitem(sys.modules, "fake_bench")
    with (plugins / "fake_bench.py").open("a") as file:
        file.write("\n# edited\n")
    after = plan(config_of("teacher-copy"))
    assert {cell.id for cell in before.cells}.isdisjoint(cell.id for cell in after.cells)


def test_without_tasks_the_default_ones_are_planned(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of the task of this throw-away distribution and the built-in ones."""

    def planned(tasks: str | None) -> set[str]:
        options = {"methods": "teacher-copy", "tasks": tasks, "teacher": "tiny", "distill_on": "blobs"}
        cells = plan(SweepConfig.from_sources(None, options)).cells
        return {cell.inputs["task"]["name"] for cell in cells if cell.inputs["task"]}

    built_in = {"densefewshot", "onepatch"}
    assert built_in <= planned(None)
    assert planned(None) == planned("default")
    assert not planned(None) & {"classification", "fewshot", "partseg", "robustness", "spread"}
    assert planned("default,spread") == planned(None) | {"spread"}
    assert planned("all") > planned(None) | {"classification", "fewshot", "partseg", "spread"}
    monkeypatch.setattr(registry.load("tasks", "spread"), "default", True)
    assert "spread" in planned(None)


def test_a_sweep_of_default_tasks_is_called_so() -> None:
    assert str(SweepConfig().default_out) == "results/default-quick"


def test_jobs_engine_and_time_out_do_not_matter() -> None:
    first = plan(config_of("teacher-copy", jobs=1, engine="serial", timeout=5.0))
    second = plan(config_of("teacher-copy", jobs=2, engine="local"))
    assert [cell.id for cell in first.cells] == [cell.id for cell in second.cells]


def test_a_plugin_that_cannot_be_imported_is_one_failing_cell_and_a_warning() -> None:
    planned = plan(config_of("broken,teacher-copy"))
    broken = [cell for cell in planned.cells if cell.broken]
    assert [cell.inputs["method"]["name"] for cell in broken] == ["broken"]
    assert "fake_bench_that_does_not_exist" in planned.warnings[0]
    assert len(planned.cells) == 4


@pytest.mark.parametrize(
    ("values", "hint"),
    [
        ({"methods": "teacher-kopy"}, "unknown method 'teacher-kopy'; did you mean 'teacher-copy'?"),
        ({"methods": "teacher-copy[scal=2]"}, "did you mean 'scale'?"),
        ({"methods": "teacher-copy+fmdd"}, "unknown method or variant 'fmdd'; did you mean 'fmd'?"),
        ({"tasks": "spreat"}, "unknown task 'spreat'; did you mean 'spread'?"),
        ({"dataset": "blob"}, "unknown dataset 'blob'; did you mean 'blobs'?"),
        ({"budget": "quik"}, "unknown budget 'quik'; did you mean 'quick'?"),
    ],
)
def test_unknown_names_are_answered_with_the_nearest_known_one(values: dict[str, str], hint: str) -> None:
    with pytest.raises(UserError) as caught:
        plan(config_of(**{"methods": "teacher-copy", **values}))
    assert hint in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_teacher_that_cannot_be_read_is_told_when_the_sweep_is_planned(tmp_path: Path) -> None:
    (tmp_path / "teacher.pth").write_bytes(b"no checkpoint" * 300)
    with pytest.raises(UserError, match="no checkpoint, or damaged"):
        plan(config_of("distilled", teacher=str(tmp_path / "teacher.pth")))


def test_options_win_over_the_file_and_the_file_over_defaults(tmp_path: Path) -> None:
    file = tmp_path / "sweep.yaml"
    file.write_text("methods: 'a,b[x=1,2]'\nseeds: 3\nbudget: standard\n")
    config = SweepConfig.from_sources(file, {"seeds": 5, "budget": None})
    assert (config.methods, config.seeds, config.budget) == (("a", "b[x=1,2]"), 5, "standard")
    assert config.engine == "local"
    file.write_text(config.to_yaml())
    assert SweepConfig.from_sources(file, {}) == config


def test_an_unknown_key_in_the_file_is_answered_with_the_nearest_known_one(tmp_path: Path) -> None:
    file = tmp_path / "sweep.yaml"
    file.write_text("metods: all\n")
    with pytest.raises(UserError, match="did you mean 'methods'"):
        SweepConfig.from_sources(file, {})


def test_runtimes_are_in_the_id_of_a_profile_and_of_nothing_else_and_only_where_asked_for() -> None:
    plain, eager, more, again = (
        plan(replace(config_of("distilled"), runtime=names))
        for names in (("eager",), (), ("onnxruntime",), ("eager", "onnxruntime", "onnxruntime"))
    )
    assert plain.config.runtime == ("eager",)
    assert ids(plain, PROFILE) == ids(eager, PROFILE)
    assert ids(more, PROFILE) == ids(again, PROFILE) != ids(plain, PROFILE)
    for kind in (STUDENT, EVALUATE):
        assert ids(plain, kind) == ids(more, kind)
    (cell,) = [cell for cell in plain.cells if cell.kind == PROFILE]
    assert "runtimes" not in (cell.inputs["protocol"] or {})


@pytest.mark.parametrize("names", [("onnx",), ("eager", "tensorflow")])
def test_an_unknown_runtime_is_refused_before_anything_is_planned(
    names: tuple[str, ...], tmp_path: Path
) -> None:
    config = replace(config_of("distilled"), runtime=names)
    with pytest.raises(UserError, match="unknown runtime"):
        prepare(config, Store(tmp_path / "out"), Notes())
    assert not (tmp_path / "out").exists()
