"""What ``compare`` says of two results folders: causes, changes, and whether they are separable."""

from __future__ import annotations

import copy
import hashlib
import io
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import stats

from foundry_bench.errors import UserError
from foundry_bench.report.compare import Comparison, compare
from foundry_bench.report.compare_text import changes, to_markdown
from foundry_bench.sweep.identity import identity
from foundry_bench.sweep.store import SCHEMA_VERSION, Store

EPISODES = np.random.default_rng(0).normal(0, 0.1, 50)
"""Easy and hard episodes, the same for every row."""
ENVIRONMENT = {
    **{"python": "3.11.7", "platform": "Linux-x86_64", "packages": {"torch": "2.14.1", "numpy": "2.4.6"}},
    **{
        "git": {"sha": "a" * 40, "dirty": False},
        "cpu": "a processor",
        "command": "foundry-bench run",
        "threads": 1,
    },
    **{"start": "2026-01-02T03:04:05.000+00:00", "end": "2026-01-02T03:05:05.000+00:00", "seconds": 60.0},
}
COST = {"gmacs": 0.5, "params_m": 2.0, "latency_ratio": 0.6, "latency_ratio_iqr": 0.04, "peak_mem_mb": 100.0}


def noise(seed: int, size: float = 0.01) -> np.ndarray:
    """What one row scored otherwise in each episode; its mean is zero."""
    values = np.random.default_rng(seed).normal(0, size, len(EPISODES))
    return values - values.mean()


def add_row(folder: Path, method: str = "foundry", score: Any = 0.7, seed: int = 0, **told: Any) -> Path:
    """Write the student, profile and evaluate records of one row, and return the folder.

    ``told`` changes one thing about them; a score of None is a cell that failed.
    """
    environment = {**copy.deepcopy(ENVIRONMENT), **told.get("environment", {})}
    data = {"name": told.get("data", "kicad"), "sha256": told.get("data_hash", "d") * 64}
    budget = told.get("budget", "quick")
    base = {
        "pipeline": 1,
        "teacher": {"name": told.get("teacher", "small"), "sha256": told.get("teacher", "small") * 8},
        "method": {"name": method, "version": "1", "code_sha256": told.get("code", "c") * 64},
        **{
            "variant": told.get("variant", "off-the-shelf"),
            "params": told.get("params", {"s": 4}),
            "shown": told.get("shown", "s=4"),
            "seed": seed,
        },
        **dict.fromkeys(("task", "dataset", "protocol", "budget")),
    }
    student = {**base, "dataset": data, "budget": {"name": budget, "steps": 10}}
    parent = identity("student", student)
    measured = {**base, "student": parent, "dataset": data}
    task = {"name": "fewshot", "version": told.get("task_version", "1"), "shown": "", "code_sha256": "t" * 64}
    protocol = {"shots": 10, "budget": budget, **told.get("protocol", {})}
    evaluate = {**measured, "task": task, "protocol": protocol}
    fidelity = {"r2": told.get("r2", 0.9), "steps": 10, "samples": 10, "seconds": told.get("train_s", 100.0)}
    write(folder, "student", student, environment, fidelity=fidelity)
    write(folder, "profile", measured, environment, cost={**COST, **told.get("cost", {})})
    if score is None:
        write(folder, "evaluate", evaluate, environment, error="it broke")
    else:
        write(
            folder,
            "evaluate",
            evaluate,
            environment,
            outcomes=score + EPISODES,
            higher=told.get("higher", True),
        )
    return folder


def write(
    folder: Path,
    kind: str,
    inputs: dict[str, Any],
    environment: dict[str, Any],
    *,
    outcomes: np.ndarray | None = None,
    higher: bool = True,
    error: str | None = None,
    stage: str | None = None,
    **blocks: Any,
) -> None:
    """Write one record, and its outcomes (n,) if there are any."""
    cell = identity(kind, inputs)
    about = {
        "cell_id": cell,
        "kind": kind,
        "status": "failed" if error else "ok",
        "attempt": 1,
        "stage": stage,
    }
    about |= {"error_type": "ValueError" if error else None, "message": error, "traceback_file": None}
    record = {
        "schema_version": SCHEMA_VERSION,
        "identity": about,
        "inputs": inputs,
        "environment": environment,
    }
    store = Store(folder)
    if outcomes is not None:
        buffer = io.BytesIO()
        np.savez(buffer, acc=outcomes)
        file = store.beside(kind, cell, ".npz")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(buffer.getvalue())
        value = {"metric": "acc", "value": float(outcomes.mean()), "n": len(outcomes), "primary": True}
        value |= {"stderr": float(stats.sem(outcomes)), "ci_low": 0.0, "ci_high": 1.0, "ci_method": "t"}
        sealed = {
            "outcomes_file": file.name,
            "outcomes_sha256": hashlib.sha256(buffer.getvalue()).hexdigest(),
        }
        blocks["scores"] = {"values": [{**value, "higher_is_better": higher}], **sealed}
    store.write({**record, **dict.fromkeys(("fidelity", "scores", "cost")), **blocks})


def sides(tmp_path: Path, a: dict[str, Any], b: dict[str, Any]) -> Comparison:
    """The comparison of one row with itself, told differently on the two sides."""
    return compare(add_row(tmp_path / "a", **a), add_row(tmp_path / "b", **b))


def test_a_folder_and_its_copy_say_that_nothing_changed(tmp_path: Path) -> None:
    folder = add_row(add_row(tmp_path / "a"), "tome", score=0.6)
    shutil.copytree(folder, tmp_path / "b")
    found = compare(folder, tmp_path / "b")
    assert found.verdict == "nothing changed in 2 rows and 2 scores"
    assert not found.settings
    assert all(len(part) == 0 for part in (*found.listed(), found.environment, found.statuses))
    assert compare(folder, folder).verdict == "nothing changed: A and B are the same folder"


def test_the_verdict_counts_separable_changes_and_names_the_only_cause(tmp_path: Path) -> None:
    other = {"environment": {"packages": {"torch": "2.15.0", "numpy": "2.4.6"}}}
    for method, before, after in (
        ("worse", 0.7, 0.68 + noise(1)),
        ("better", 0.7, 0.72 + noise(2)),
        ("noisy", 0.7, 0.7 + noise(3, 0.1) + 0.001),
        ("same", 0.7, 0.7),
    ):
        add_row(tmp_path / "a", method, before)
        add_row(tmp_path / "b", method, after, **other)
    found = compare(tmp_path / "a", tmp_path / "b")
    assert found.verdict == (
        "2 of 4 rows changed their score separably, 1 got worse; nothing but torch 2.14.1 -> 2.15.0 differs"
    )
    assert [row.partition("[")[0] for row in found.scores["row"]] == ["worse", "better", "noisy", "same"]
    assert list(found.scores["equal"]) == [False, False, False, True]
    worse = found.scores.iloc[0]
    assert worse["difference"] == pytest.approx(-0.02)
    half = stats.t.ppf(0.975, 49) * stats.sem(noise(1))
    assert (worse["ci_low"], worse["ci_high"]) == (pytest.approx(-0.02 - half), pytest.approx(-0.02 + half))


def test_separable_is_corrected_for_all_comparisons_of_the_command(tmp_path: Path) -> None:
    faint = 0.7 + noise(1) + 2.3 * float(stats.sem(noise(1)))
    add_row(tmp_path / "a"), add_row(tmp_path / "b", score=faint)
    alone = compare(tmp_path / "a", tmp_path / "b").scores.iloc[0]
    assert 0.01 < alone["p"] < 0.05
    assert alone["separable"]
    for index in range(9):
        add_row(tmp_path / "a", f"other{index}"), add_row(tmp_path / "b", f"other{index}")
    assert not compare(tmp_path / "a", tmp_path / "b").scores["separable"].any()


@pytest.mark.parametrize(
    ("told", "paired"),
    [
        ({}, True),
        ({"budget": "standard"}, True),
        ({"protocol": {"mode": "svm"}}, True),
        ({"teacher": "large"}, True),
        ({"data_hash": "e"}, False),
        ({"task_version": "2"}, False),
        ({"protocol": {"shots": 5}}, False),
    ],
)
def test_scores_are_paired_only_over_the_same_items(
    tmp_path: Path, told: dict[str, Any], paired: bool
) -> None:
    score = sides(tmp_path, {}, {"score": 0.68 + noise(1), **told}).scores.iloc[0]
    assert score["paired"] == paired
    assert score["separable"] == paired, "0.02 is nothing beside the spread over episodes"


def test_rows_with_one_start_are_provisional_until_their_family_has_several(tmp_path: Path) -> None:
    trained = {"variant": "fmd"}
    found = sides(tmp_path, trained, {"score": 0.68 + noise(1), **trained}).scores.iloc[0]
    assert (found["provisional"], found["separable"], np.isnan(found["p"])) == (True, False, True)
    assert "| one start |" in to_markdown(compare(tmp_path / "a", tmp_path / "b"))
    for side in "ab":
        for seed, level in enumerate((0.6, 0.8)):
            add_row(tmp_path / side, score=level, seed=seed, params={"s": 9}, shown="s=9", **trained)
    again = compare(tmp_path / "a", tmp_path / "b").scores.set_index("row")
    score = again.loc["foundry[s=4]+fmd"]
    assert not score["provisional"]
    assert score["p"] > 0.5, "a start moves this family by 0.1"
    assert score["ci_high"] - score["ci_low"] > 10 * (found["ci_high"] - found["ci_low"])


def test_without_the_same_items_the_interval_is_that_of_welch(tmp_path: Path) -> None:
    score = sides(tmp_path, {}, {"score": 0.6 + noise(1, 0.2), "data_hash": "e"}).scores.iloc[0]
    test = stats.ttest_ind(0.6 + noise(1, 0.2) + EPISODES, 0.7 + EPISODES, equal_var=False)
    interval = test.confidence_interval(0.95)
    assert score["p"] == pytest.approx(test.pvalue)
    assert (score["ci_low"], score["ci_high"]) == (pytest.approx(interval.low), pytest.approx(interval.high))


def test_outcomes_of_another_length_are_not_paired(tmp_path: Path) -> None:
    found = sides(tmp_path, {}, {})
    assert found.scores["paired"].all()
    path = next((tmp_path / "b" / "cells" / "evaluate").glob("*.npz"))
    path.unlink()
    inputs = Store(tmp_path / "a").read("evaluate", path.stem)["inputs"]  # type: ignore[index]
    write(tmp_path / "b", "evaluate", inputs, ENVIRONMENT, outcomes=0.7 + EPISODES[:30])
    assert not compare(tmp_path / "a", tmp_path / "b").scores["paired"].any()


def test_a_rise_of_what_should_be_low_is_worse(tmp_path: Path) -> None:
    found = sides(tmp_path, {"higher": False}, {"score": 0.75, "higher": False})
    assert "1 of 1 rows changed their score separably, 1 got worse" in found.verdict
    assert found.scores["difference"].iloc[0] == pytest.approx(0.05)


@pytest.mark.parametrize(
    ("told", "sentence"),
    [
        ({"code": "e"}, "code of foundry changed"),
        ({"data_hash": "e"}, "data set kicad is another (dddddddddddd -> eeeeeeeeeeee)"),
        ({"budget": "standard"}, "budget: quick -> standard"),
        ({"teacher": "large"}, "teacher: small -> large"),
        ({"task_version": "2"}, "version of task fewshot: 1 -> 2"),
        ({"protocol": {"shots": 5}}, "shots of task fewshot: 10 -> 5"),
        ({"protocol": {"mode": "svm"}}, 'mode of task fewshot is stated only in B ("svm")'),
        ({"seed": 1}, "seeds: 0 -> 1"),
    ],
)
def test_settings_that_differ_are_said_in_words(tmp_path: Path, told: dict[str, Any], sentence: str) -> None:
    assert sides(tmp_path, {}, told).settings == [sentence]


def test_tasks_of_one_side_are_named_and_keep_nothing_else_from_being_compared(tmp_path: Path) -> None:
    add_row(tmp_path / "b", data="furniture", data_hash="f")
    found = sides(tmp_path, {}, {})
    assert "fewshot:furniture only in B" in found.settings
    assert list(found.scores["place"]) == ["fewshot:kicad"]


def test_a_folder_of_several_environments_says_so(tmp_path: Path) -> None:
    add_row(tmp_path / "a", "tome", environment={"gpu": "one", "git": {"sha": "b" * 40, "dirty": True}})
    found = sides(tmp_path, {"environment": {"gpu": "two"}}, {"environment": {"gpu": "two"}})
    table = found.environment.set_index("item")
    assert table.loc["gpu"].tolist() == ["one and two", "two"]
    assert table.loc["commit", "a"] == f"{'a' * 12} and {'b' * 12}"
    assert table.loc["uncommitted changes"].tolist() == ["no and yes", "no"]
    assert "A holds several environments, gpu: one in 3 cells and two in 3 cells" in found.mixed


@pytest.mark.parametrize(
    ("told", "quantity"),
    [
        ({"cost": {"gmacs": 0.5000001}}, "gmacs"),
        ({"cost": {"params_m": 2.000001}}, "params_m"),
        ({"cost": {"latency_ratio": 0.65}}, "latency_ratio"),
        ({"cost": {"latency_ratio": 0.63}}, None),
        ({"cost": {"latency_ratio": 0.65, "latency_ratio_iqr": 0.08}}, None),
        ({"cost": {"peak_mem_mb": 106.0}}, "peak_mem_mb"),
        ({"cost": {"peak_mem_mb": 104.0}}, None),
        ({"cost": {"peak_mem_mb": None}}, None),
        ({"train_s": 125.0}, "train_s"),
        ({"train_s": 115.0}, None),
        ({"r2": 0.91}, "r2"),
        ({"r2": 0.904}, None),
    ],
)
def test_costs_are_listed_beyond_their_threshold(
    tmp_path: Path, told: dict[str, Any], quantity: str | None
) -> None:
    found = sides(tmp_path, {}, told)
    assert found.listed()[1]["quantity"].tolist() == ([quantity] if quantity else [])
    assert ("nothing changed" in found.verdict) == (quantity is None)


def test_rows_of_one_side_are_listed(tmp_path: Path) -> None:
    add_row(tmp_path / "a", "old"), add_row(tmp_path / "b", "new")
    found = sides(tmp_path, {}, {})
    assert (found.only_a, found.only_b) == (["old[s=4]+off-the-shelf"], ["new[s=4]+off-the-shelf"])


def test_a_parameter_that_was_added_later_does_not_part_rows(tmp_path: Path) -> None:
    assert len(sides(tmp_path, {}, {"params": {"s": 4, "new": False}}).scores) == 1


def test_a_default_that_was_changed_parts_rows(tmp_path: Path) -> None:
    add_row(tmp_path / "a", "tome"), add_row(tmp_path / "b", "tome")
    found = sides(tmp_path, {"params": {"s": 4, "tau": 1}}, {"params": {"s": 4, "tau": 2}})
    assert found.only_a == found.only_b == ["foundry[s=4]+off-the-shelf"]


def test_a_cell_that_failed_on_one_side_is_named_with_its_error(tmp_path: Path) -> None:
    found = sides(tmp_path, {}, {"score": None})
    assert found.statuses.to_dict("records") == [
        {
            "cell": "evaluate foundry[s=4]+off-the-shelf on fewshot:kicad",
            "a": "ok",
            "b": "failed",
            "message": "it broke",
        }
    ]
    assert "1 cell ended in another way" in found.verdict
    assert compare(tmp_path / "b", tmp_path / "b").statuses.empty


def test_cells_without_a_student_are_not_named_beside_it(tmp_path: Path) -> None:
    add_row(tmp_path / "a"), add_row(tmp_path / "b")
    for kind in ("student", "evaluate"):
        cell = next(path.stem for path in (tmp_path / "b" / "cells" / kind).glob("*.json"))
        inputs = Store(tmp_path / "b").read(kind, cell)["inputs"]  # type: ignore[index]
        stage = "parent" if kind == "evaluate" else "distill"
        write(tmp_path / "b", kind, inputs, ENVIRONMENT, error="it broke", stage=stage)
    assert list(compare(tmp_path / "a", tmp_path / "b").statuses["cell"]) == [
        "student foundry[s=4]+off-the-shelf"
    ]


def test_folders_that_cannot_be_compared_are_one_line(tmp_path: Path) -> None:
    add_row(tmp_path / "a", "old"), add_row(tmp_path / "b", "new")
    with pytest.raises(UserError, match="no row in common"):
        compare(tmp_path / "a", tmp_path / "b")
    with pytest.raises(UserError, match="holds no results"):
        compare(tmp_path / "a", tmp_path / "nothing")


def test_seeds_are_averaged_before_they_are_compared(tmp_path: Path) -> None:
    add_row(tmp_path / "b", seed=1, score=0.66)
    score = sides(tmp_path, {}, {"score": 0.68 + noise(1)}).scores.iloc[0]
    assert score["b"] == pytest.approx(0.67 + EPISODES.mean())
    assert score["paired"]


def test_the_page_begins_with_the_verdict_and_counts_what_is_equal(tmp_path: Path) -> None:
    add_row(tmp_path / "a", "tome"), add_row(tmp_path / "b", "tome")
    found = sides(tmp_path, {}, {"score": 0.65 + noise(1)})
    page = to_markdown(found)
    assert page.startswith("1 of 2 rows changed their score separably, 1 got worse; ")
    assert "1 of 2 scores are exactly equal and not listed" in page
    assert "| foundry[s=4]+off-the-shelf | fewshot:kicad |" in page
    assert "tome" not in page
    assert "tome" in to_markdown(found, everything=True)


def test_the_long_form_holds_changed_scores_and_costs(tmp_path: Path) -> None:
    found = sides(tmp_path, {}, {"score": 0.65, "cost": {"gmacs": 0.4}})
    table = changes(found)
    assert table[["kind", "quantity"]].to_numpy().tolist() == [["score", "acc"], ["cost", "gmacs"]]
    assert table["difference"].tolist() == pytest.approx([-0.05, -0.1])
    assert len(changes(found, everything=True)) == 7
    assert list(changes(compare(tmp_path / "a", tmp_path / "a")).columns) == list(table.columns)


@pytest.mark.parametrize(
    ("a", "b", "said"),
    [
        ({}, {"onnxruntime": "1.32.0"}, "latency in onnxruntime only in B"),
        ({"executorch": "1.5.1"}, {"onnxruntime": "1.32.0"}, "latency in executorch only in A"),
        (
            {"onnxruntime": "1.31.0"},
            {"onnxruntime": "1.32.0"},
            "version of onnxruntime: 1.31.0 -> 1.32.0",
        ),
        ({"onnxruntime": "1.32.0"}, {"onnxruntime": "1.32.0"}, None),
    ],
)
def test_runtimes_that_differ_are_named(
    a: dict[str, str], b: dict[str, str], said: str | None, tmp_path: Path
) -> None:
    def told(runtimes: dict[str, str]) -> dict[str, Any]:
        return {"cost": {"runtimes": {name: {"version": version} for name, version in runtimes.items()}}}

    found = sides(tmp_path, told(a), told(b))
    assert (said in found.settings) if said else not found.settings


def test_a_row_that_another_runtime_runs_says_so(tmp_path: Path) -> None:
    """Older records have no runtime: what they hold was measured in PyTorch."""
    found = sides(tmp_path, {}, {"cost": {"runtime": "onnxruntime", "latency_ratio": 0.4}})
    assert found.settings == ["runtime of foundry: eager -> onnxruntime"]
    assert "nothing but runtime of foundry: eager -> onnxruntime differs" in found.verdict
    assert not sides(tmp_path / "same", {}, {"cost": {"runtime": "eager"}}).settings
