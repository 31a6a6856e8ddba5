"""Before any training: every method and task in small, the plan, the disk; errors show in seconds and cost nothing."""

from __future__ import annotations

from collections import namedtuple
from pathlib import Path

import pytest
from sweep_helpers import Notes, Sweep, config_of

from foundry_bench.errors import UserError
from foundry_bench.sweep import preflight, rehearsal
from foundry_bench.sweep.plan import STUDENT, plan
from foundry_bench.sweep.runner import prepare
from foundry_bench.sweep.store import Store

pytestmark = pytest.mark.usefixtures("short_budget")


def test_a_method_that_fails_is_named_before_the_others_are_trained(sweep: Sweep) -> None:
    outcome, notes = sweep("failing,distilled,teacher-copy", rehearse=True)
    warning = next(i for i, line in enumerate(notes.lines) if "this method always fails" in line)
    assert warning < notes.lines.index("6 to run")
    assert "its cells will fail, too" in notes.lines[warning]
    assert notes.statuses["evaluate distilled"] == "ok"
    assert outcome.exit_code == 1


def test_a_method_that_dies_in_its_rehearsal_takes_nothing_along(sweep: Sweep) -> None:
    _, notes = sweep("dying,teacher-copy", rehearse=True, engine="local")
    assert any("the process died twice" in line and "will fail, too" in line for line in notes.lines)
    assert notes.statuses["evaluate teacher-copy"] == "ok"


def test_a_rehearsal_that_does_not_end_says_where_it_is(
    sweep: Sweep, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rehearsal, "SECONDS", rehearsal.EARLIER + 2)
    _, notes = sweep("sleeping[seconds=20.0],teacher-copy", rehearse=True, timeout=1.0)
    (line,) = [line for line in notes.lines if "is given up" in line]
    assert "the rehearsal does not end within 2 seconds, in " in line
    assert "compress, " in line
    assert "fake_bench.py:" in line
    assert "its cells may take long" in line
    assert notes.statuses["evaluate teacher-copy"] == "ok"


def test_a_task_that_cannot_be_run_is_found_before_anything_is_trained(sweep: Sweep, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"nothing can be run: .*no labels at all"):
        sweep("distilled", tasks="picky", rehearse=True)
    assert not list((tmp_path / "out" / "cells").glob("student/*"))


def test_what_was_rehearsed_once_is_not_rehearsed_again(sweep: Sweep, tmp_path: Path) -> None:
    sweep("distilled", rehearse=True)
    store = Store(tmp_path / "out")
    for path in (tmp_path / "out" / "cells" / "evaluate").glob("*"):
        path.unlink()
    _, notes = sweep("distilled", rehearse=True)
    assert len(notes.records) == 1
    assert not any("rehearsing" in line for line in notes.lines)
    assert (store.cache / "rehearsal").is_dir()


def test_rehearsals_go_through_every_task_and_method_and_share_the_work(plugins: Path) -> None:
    cells = plan(config_of("teacher-copy[scale=1.0,2.0],distilled", tasks="spread,spread[clouds=10]")).cells
    made = preflight.rehearsals(cells, cells, "quick")
    assert sorted(cell.inputs["method"]["name"] for cell in made) == ["distilled", "teacher-copy"]
    assert [len(cell.inputs["places"]) for cell in made] == [1, 1]


def test_a_method_is_rehearsed_once_as_the_variant_that_trains(plugins: Path) -> None:
    cells = plan(config_of("trimming")).cells
    assert {cell.inputs["variant"] for cell in cells} == {"off-the-shelf", "fmd"}
    assert [cell.inputs["variant"] for cell in preflight.rehearsals(cells, cells, "quick")] == ["fmd"]


def test_only_what_is_left_to_do_is_rehearsed(plugins: Path) -> None:
    cells = plan(config_of("teacher-copy,distilled")).cells
    left = [cell for cell in cells if cell.inputs["method"]["name"] == "distilled" and cell.kind != STUDENT]
    made = preflight.rehearsals(left, cells, "quick")
    assert [cell.inputs["method"]["name"] for cell in made] == ["distilled"]
    assert made[0].inputs["dataset"]["name"] == "blobs", "students are made on the unlabelled data set"


def test_a_disk_that_is_too_small_is_named_before_the_sweep(
    sweep: Sweep, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr("shutil.disk_usage", lambda path: usage(10**6, 10**6, 1000))
    with pytest.raises(
        UserError, match=r"needs about .* GB for 2 cells and has 0.0 GB left; free some space"
    ):
        sweep("teacher-copy", rehearse=True)


def test_a_dry_run_writes_nothing(plugins: Path, tmp_path: Path) -> None:
    outcome = prepare(config_of("teacher-copy"), Store(tmp_path / "out"), Notes())
    assert len(outcome.todo) == 3
    assert not (tmp_path / "out").exists()


def test_a_rehearsal_asks_about_the_teacher_as_an_evaluation_does(sweep: Sweep, tmp_path: Path) -> None:
    asked = tmp_path / "asked"
    _, notes = sweep(f"choosy[note={asked}]", rehearse=True)
    assert asked.read_text().split() == ["PointTransformer", "PointTransformer"]
    assert notes.statuses["evaluate choosy"] == "ok"
