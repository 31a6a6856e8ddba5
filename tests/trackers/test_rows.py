"""Rows, and what trackers are told of records."""

from __future__ import annotations

import pytest

from foundry_bench.sweep.plan import STUDENT, Cell
from foundry_bench.trackers import rows


def test_rows_are_those_of_the_leaderboard(results) -> None:
    shown = [(row.config["method"], row.config["variant"]) for row in results.rows]
    board = list(zip(results.board["method"], results.board["variant"], strict=True))
    assert sorted(shown) == sorted(board)
    assert len({row.name for row in results.rows}) == len({row.id for row in results.rows}) == len(board)


def test_a_row_holds_the_student_and_everything_measured_on_it(results) -> None:
    kinds = {cell.id: cell.kind for cell in results.plan.cells}
    for row in results.rows:
        assert sorted(kinds[cell] for cell in row.cells) == ["evaluate", "evaluate", "profile", "student"]
        assert kinds[row.cells[0]] == "student"


def test_rows_that_differ_in_an_inference_time_parameter_share_their_student(results) -> None:
    students = [row.cells[0] for row in results.rows if row.config["method"] == "tome"]
    assert len(students) == 4
    assert len(set(students)) == 1


def test_a_student_without_anything_measured_is_a_row(results) -> None:
    inputs = {**results.plan.cells[0].inputs, "variant": None, "params": None, "seed": None, "shown": ""}
    broken = Cell(STUDENT, inputs, broken="cannot be imported")
    assert broken.id in [row.cells[0] for row in rows.rows_of([*results.plan.cells, broken])]


def test_ids_of_rows_do_not_depend_on_the_rest_of_the_plan(results) -> None:
    part = [cell for cell in results.plan.cells if cell.inputs["method"]["name"] == "kd"]
    assert {row.id for row in rows.rows_of(part)} < {row.id for row in results.rows}


def test_a_score_comes_with_its_interval(results) -> None:
    record = results.records("evaluate")[0]
    place = f"fewshot/{record['inputs']['dataset']['name']}"
    found = rows.metrics(record)
    for score in record["scores"]["values"]:
        name = f"{place}/{score['metric']}"
        assert found.pop(name) == score["value"]
        assert (found.pop(f"{name}_ci_low"), found.pop(f"{name}_ci_high")) == (
            score["ci_low"],
            score["ci_high"],
        )
    assert found == {}


def test_costs_in_other_runtimes_end_in_their_names(results) -> None:
    record = results.records("profile")[0]
    elsewhere = {"onnxruntime": {"version": "1", "reason": None, "latency_ratio": 0.25, "noisy": False}}
    found = rows.metrics({**record, "cost": {**record["cost"], "runtimes": elsewhere}})
    assert found["cost/latency_ratio_onnxruntime"] == 0.25
    assert found["cost/latency_ratio"] == record["cost"]["latency_ratio"]
    assert not [name for name in found if "version" in name or "noisy" in name]


def test_costs_keep_their_names_and_what_was_not_measured_is_left_out(results) -> None:
    record = results.records("profile")[0]
    found = rows.metrics(record)
    assert found["cost/gmacs"] == record["cost"]["gmacs"]
    assert found["cost/latency_ratio"] == record["cost"]["latency_ratio"]
    assert record["cost"]["peak_mem_mb"] is None
    assert "cost/peak_mem_mb" not in found
    assert not {"cost/dtype", "cost/device", "cost/threads"} & set(found)


def test_a_curve_has_its_steps(results) -> None:
    record = results.records("student")[0]
    assert [step for step, _ in rows.curve(record)] == [50, 100, 150, 200]
    assert rows.curve(record)[-1][1]["curve/r2"] == rows.metrics(record)["r2"]


def test_names_of_tasks_with_parameters_are_made_plain(results) -> None:
    record = results.records("evaluate")[0]
    record["inputs"]["task"] = {"name": "classification", "shown": "mode=finetune"}
    record["inputs"]["dataset"] = {"name": "modelnet40"}
    assert "classification.mode-finetune/modelnet40/acc_5w10s" in rows.metrics(record)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("small", "small"),
        ("foundry[supertokens=1,4]+fmd", "foundry[supertokens=1,4]+fmd"),
        ("fewshot:kicad", "fewshot:kicad"),
        ("org/model", "org/model"),
        ("/home/somebody/point_jepa.ckpt", "point_jepa.ckpt"),
        ("~/models/a.ckpt", "a.ckpt"),
        ("dying[once=/tmp/a/b,scale=2]", "dying[once=b,scale=2]"),
        ("No such file: '/home/somebody/x.txt'", "No such file: 'x.txt'"),
        ("classification:/home/somebody/chairs", "classification:chairs"),
        (r"C:\Users\somebody\x.ckpt", "x.ckpt"),
    ],
)
def test_folders_that_may_tell_a_name_are_cut_off(text, shown) -> None:
    assert rows.public(text) == shown


def test_the_sweep_is_told_without_what_belongs_to_this_machine(results) -> None:
    told = rows.sweep_config(results.plan.config)
    assert told["methods"] == "tome+fmd, kd+fmd"
    assert told["budget"] == "quick"
    assert "somebody" not in str(told)


def test_the_failure_of_a_row_is_its_first_one_in_one_line(results) -> None:
    results.fail(0, "it broke\nat line 3")
    assert rows.failure(results.records("student")) is None
    assert (
        rows.failure([*results.records("student"), *results.records("evaluate")])
        == "failed in evaluate: it broke"
    )
