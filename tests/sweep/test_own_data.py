"""A folder of clouds in a sweep: checked before any training, said in a line, and part of every id."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from foundry_bench.api import run_sweep
from foundry_bench.errors import UserError
from foundry_bench.report.frame import load_results
from foundry_bench.sweep.config import SweepConfig
from foundry_bench.sweep.identity import identity
from foundry_bench.sweep.plan import EVALUATE, PROFILE, Plan, plan
from foundry_bench.sweep.record import given

CHECKPOINT = Path(__file__).parents[1] / "golden" / "point_jepa.ckpt"
TEACHER = f"{CHECKPOINT}?heads=4&groups=16&group_size=8&points=256"


def _cloud(rng: np.random.Generator, wide: float) -> np.ndarray:
    return rng.normal(size=(80, 3)) * (1.0, wide, 1.0)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Five classes of 13 clouds, wider and wider, with parts in the first two."""
    rng = np.random.default_rng(0)
    for number in range(5):
        place = tmp_path / "mine" / f"class {number}"
        place.mkdir(parents=True)
        for i in range(13):
            points = _cloud(rng, 1.0 + number)
            np.save(place / f"{i}.npy", points)
            if number < 2:
                np.save(place / f"{i}.parts.npy", (points[:, 1] > 0).astype(int))
    return tmp_path / "mine"


def planned(*tasks: str, **values: object) -> Plan:
    asked = {"methods": "teacher", "tasks": ",".join(tasks), "teacher": TEACHER, **values}
    return plan(SweepConfig.from_sources(None, asked))


def ids(found: Plan, kind: str = EVALUATE) -> list[str]:
    return [cell.id for cell in found.cells if cell.kind == kind]


def test_every_task_scores_a_folder(folder: Path, tmp_path: Path) -> None:
    tasks = [
        "classification",
        "partseg",
        "fewshot[min_queries=3,episodes_per_way=2]",
        "onepatch",
        "densefewshot",
    ]
    named = [f"{task}:{folder}?points=256" for task in tasks]
    chosen = {"methods": "teacher", "teacher": TEACHER, "engine": "serial"}
    board = run_sweep(tmp_path / "out", tasks=named, rehearse=False, **chosen)
    cells = load_results(tmp_path / "out")
    scored = cells[cells["kind"] == EVALUATE]
    assert set(scored["status"]) == {"ok"}, scored["message"].tolist()
    assert board["tasks_done"].tolist() == [len(tasks)]
    assert f"classification:{folder}?points=256:oa" in board.columns
    drawn = "45 train, 20 test, by class from hashes of the paths, as none was given"
    named = {row["task"].partition("[")[0]: row["split"] for row in scored.to_dict("records")}
    assert {task for task, split in named.items() if split == drawn} == set(named) - {"fewshot"}
    assert cells[cells["kind"] != EVALUATE]["split"].isna().all()
    assert (
        f"Split of {folder}?points=256, drawn: {drawn}." in (tmp_path / "out" / "leaderboard.md").read_text()
    )
    assert f"drawn: {drawn}." in (tmp_path / "out" / "report.html").read_text()


def test_a_split_that_was_drawn_is_named_and_changes_no_id(folder: Path, tmp_path: Path) -> None:
    inputs = [cell.inputs for cell in planned(f"classification:{folder}").cells if cell.kind == EVALUATE]
    content = given(inputs[0]["dataset"])
    assert content["split"].startswith("45 train, 20 test, by class")
    older: Any = {**inputs[0], "dataset": {key: content[key] for key in ("name", "sha256")}}
    assert identity(EVALUATE, older) == identity(EVALUATE, inputs[0])
    for number in range(5):
        for side in ("train", "test"):
            (tmp_path / "sides" / side).mkdir(parents=True, exist_ok=True)
        (folder / f"class {number}").rename(tmp_path / "sides" / "train" / f"class {number}")
        place = tmp_path / "sides" / "test" / f"class {number}"
        place.mkdir()
        np.save(place / "new.npy", _cloud(np.random.default_rng(number), 1.0))
    told = planned(f"classification:{tmp_path / 'sides'}").cells
    assert all("split" not in given(cell.inputs["dataset"]) for cell in told)


def test_a_plan_says_what_a_folder_was_understood_as(folder: Path) -> None:
    found = planned(f"classification:{folder}", distill_on=f"{folder}?up=y")
    assert len(found.notes) == 2
    assert all("65 clouds in 5 classes; split 'drawn'" in line for line in found.notes)
    assert [("turned" in line) for line in found.notes] == [True, False]


def test_a_changed_file_option_or_label_makes_cells_anew(folder: Path) -> None:
    task = f"classification:{folder}"
    seen = [ids(planned(task)), ids(planned(f"{task}?up=y"))]
    np.save(folder / "class 0" / "0.npy", _cloud(np.random.default_rng(9), 1.0))
    seen.append(ids(planned(task)))
    assert ids(planned(task)) == seen[-1]
    (folder / "class 4" / "1.npy").rename(folder / "class 3" / "moved.npy")
    seen.append(ids(planned(task)))
    assert len({id for (id,) in seen}) == 4


def test_a_folder_elsewhere_has_the_same_cells(folder: Path, tmp_path: Path) -> None:
    before = ids(planned(f"partseg:{folder}"))
    folder.rename(tmp_path / "other")
    assert ids(planned(f"partseg:{tmp_path / 'other'}")) == before


@pytest.mark.parametrize(
    ("task", "line"),
    [
        (
            "fewshot",
            "too few objects a class for 5-way 10-shot episodes: 5 classes must have 20, .* 0 of 5 have; class 0 has 13",
        ),
        ("fewshot", r"add objects, or ask for fewer queries, as in 'fewshot\[min_queries=3\]'"),
        ("robustness", "5 classes must have 20"),
    ],
)
def test_the_true_cause_is_told_before_any_training(task: str, line: str, folder: Path) -> None:
    with pytest.raises(UserError, match=line):
        planned(f"{task}:{folder}")


def test_too_few_classes_are_too_few_classes(folder: Path) -> None:
    for number in (3, 4):
        (folder / f"class {number}").rename(folder.parent / str(number))
    with pytest.raises(
        UserError, match="too few classes for 5-way 10-shot episodes, 3 of 5: add 2 more of at least 20"
    ):
        planned(f"fewshot:{folder}")


@pytest.mark.parametrize(
    ("task", "need", "fix"),
    [
        ("classification", "labels", "a sub-folder for each class"),
        ("partseg", "parts", r"SCAN.parts.npy.*parts.yaml"),
    ],
)
def test_what_is_lacking_is_told_with_what_to_add(task: str, need: str, fix: str, tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", _cloud(np.random.default_rng(0), 1.0))
    with pytest.raises(UserError, match=rf"has no .*{need}.*which task '{task}' needs: .*{fix}"):
        planned(f"{task}:{tmp_path}")


def test_a_class_that_is_tested_and_not_trained_is_told(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for place in ("train/a", "train/b", "test/a", "test/c"):
        (tmp_path / place).mkdir(parents=True)
        np.save(tmp_path / place / "x.npy", _cloud(rng, 1.0))
    with pytest.raises(
        UserError, match=r"split 'given' of data set '.*' tests c and has nothing of it to train on"
    ):
        planned(f"classification:{tmp_path}")


def test_tasks_that_nobody_named_are_left_out_where_they_cannot_be(folder: Path) -> None:
    found = planned("all", dataset=f"{folder}?parts=none")
    tasks = [cell.inputs["task"]["name"] for cell in found.cells if cell.kind == EVALUATE]
    assert sorted(tasks) == ["classification", "onepatch"]
    left = [line.partition(" ")[0] for line in found.warnings if "is left out" in line]
    assert sorted(left) == ["densefewshot", "fewshot", "partseg", "robustness"]
    assert len(ids(found, PROFILE)) == 1


def test_nothing_is_trained_where_no_task_can_be(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", _cloud(np.random.default_rng(0), 1.0))
    with pytest.raises(UserError, match="has no labels"):
        planned("default", dataset=str(tmp_path))
