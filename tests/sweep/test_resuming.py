"""Disk is the scheduler's memory: nothing finished is lost, a second run does only what is missing."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from sweep_helpers import Notes, Sweep, config_of

from foundry_bench.errors import UserError
from foundry_bench.sweep import runner, snapshot
from foundry_bench.sweep.engines.local import LocalEngine
from foundry_bench.sweep.plan import plan
from foundry_bench.sweep.record import given
from foundry_bench.sweep.reporting import InterruptedSweepError
from foundry_bench.sweep.runner import prepare
from foundry_bench.sweep.store import Store

PUBLISHED = Path(__file__).parents[2] / "results" / "reference-teacher"


def test_a_second_run_has_nothing_to_do(sweep: Sweep) -> None:
    first, _ = sweep("teacher-copy")
    second, notes = sweep("teacher-copy")
    assert (len(first.todo), len(second.todo), notes.records) == (2, 0, [])


def test_a_wider_sweep_reuses_what_is_there(sweep: Sweep) -> None:
    sweep("teacher-copy")
    outcome, _ = sweep("teacher-copy[scale=1.0,2.0]", seeds=2)
    assert [cell.kind for cell in outcome.todo] == ["student", "evaluate", "evaluate", "evaluate"]


def test_a_truncated_record_is_named_and_made_again(sweep: Sweep, tmp_path: Path) -> None:
    first, _ = sweep("teacher-copy")
    path = Store(tmp_path / "out").record_path("evaluate", first.plan.cells[1].id)
    path.write_text(path.read_text()[:100])
    second, notes = sweep("teacher-copy")
    assert [cell.kind for cell in second.todo] == ["evaluate"]
    assert any(str(path) in line for line in notes.lines)
    assert sweep("teacher-copy")[0].todo == []


def test_lost_outcomes_and_lost_weights_are_made_again(sweep: Sweep, tmp_path: Path) -> None:
    import shutil

    first, _ = sweep("teacher-copy")
    shutil.rmtree(tmp_path / "out" / "students")
    assert sweep("teacher-copy")[0].todo == []
    Store(tmp_path / "out").beside("evaluate", first.plan.cells[1].id, ".npz").unlink()
    assert [cell.kind for cell in sweep("teacher-copy")[0].todo] == ["student", "evaluate"]


def test_a_folder_of_another_sweep_is_left_alone(sweep: Sweep) -> None:
    sweep("teacher-copy")
    with pytest.raises(UserError, match=r"another budget .* choose another --out"):
        sweep("teacher-copy", budget="standard")


def test_a_folder_of_something_else_is_left_alone(sweep: Sweep, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "thesis.tex").write_text("")
    with pytest.raises(UserError, match=r"holds 'thesis\.tex' but no sweep\.yaml"):
        sweep("teacher-copy")
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["thesis.tex"]


def test_an_unchanged_sweep_is_not_even_planned_again(
    sweep: Sweep, plugins: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = {"teacher": str(plugins / "tiny"), "dataset": "furniture", "distill_on": "furniture"}
    first, _ = sweep("teacher-copy", **own)
    planner = runner.plan
    monkeypatch.setattr(runner, "plan", lambda *asked: pytest.fail("planned again, which imports torch"))
    second, _ = sweep("teacher-copy", **own)
    assert second.todo == []
    assert [cell.id for cell in second.plan.cells] == [cell.id for cell in first.plan.cells]
    monkeypatch.setattr(runner, "plan", planner)
    monkeypatch.delitem(sys.modules, "fake_bench")
    with (plugins / "fake_bench.py").open("a") as file:
        file.write("# edited\n")
    assert len(sweep("teacher-copy", **own)[0].todo) == len(first.todo)


def test_a_teacher_or_data_set_from_elsewhere_is_always_planned_again(plugins: Path) -> None:
    config = config_of("teacher-copy")
    assert snapshot.fingerprint(config, [], []) is None, "a plugin's teacher may change unseen"


def test_a_sweep_without_tasks_measures_on_the_clouds_that_a_folder_was_measured_on(
    plugins: Path, tmp_path: Path
) -> None:
    own = {"teacher": str(plugins / "tiny"), "distill_on": "blobs", "engine": "serial"}
    scored = config_of("teacher-copy", tasks="fewshot:furniture", **own)
    store = Store(tmp_path / "out")
    made = plan(scored)
    store.claim(scored)
    snapshot.save(store, scored, made)
    unscored = prepare(replace(scored, tasks=("none",)), store, Notes()).plan
    kept = {cell.id for cell in made.cells if cell.kind != "evaluate"}
    assert {cell.id for cell in unscored.cells} == kept
    elsewhere = prepare(replace(scored, tasks=("none",)), Store(tmp_path / "new"), Notes()).plan
    assert {given(cell.inputs["dataset"])["name"] for cell in elsewhere.cells} == {"blobs"}
    gone = plan(replace(scored, tasks=("none",)), measured_on="no-such-data")
    assert [cell.id for cell in gone.cells] == [cell.id for cell in elsewhere.cells]


def test_so_does_one_in_a_published_folder_which_has_no_plan() -> None:
    assert runner._measured_on(Store(PUBLISHED)) == "kicad"


def start_sweep(out: Path, log: Path) -> subprocess.Popen[bytes]:
    """The real command in a process group of its own, with a cell that would take ten minutes."""
    config = out.parent / "sweep.yaml"
    config.write_text(
        "teacher: tiny\ndistill_on: blobs\ntasks: [spread]\nmethods: [teacher-copy, sleeping]\n"
    )
    command = [
        sys.executable,
        "-c",
        "from foundry_bench.cli import main; main()",
        "run",
        "--config",
        str(config),
    ]
    with log.open("wb") as file:
        return subprocess.Popen(
            [*command, "--out", str(out), "--jobs", "2", "--no-rehearsal"],
            stdout=file,
            stderr=file,
            start_new_session=True,
        )


def wait_for_record(out: Path, process: subprocess.Popen[bytes], log: Path) -> None:
    """Until the evaluation has finished, while another cell still sleeps."""
    limit = time.monotonic() + 300
    while not [path for path in (out / "cells" / "evaluate").glob("*.json") if "spec" not in path.name]:
        assert process.poll() is None, log.read_text()
        assert time.monotonic() < limit, log.read_text()
        time.sleep(0.1)


def children_of(group: int) -> list[int]:
    """Live processes of a process group."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[2]) == group and fields[0] != "Z":
            found.append(int(stat.parent.name))
    return found


@pytest.mark.parametrize("stop", [signal.SIGINT, signal.SIGKILL])
def test_a_stopped_sweep_keeps_what_is_finished_and_leaves_no_process(
    sweep: Sweep, tmp_path: Path, stop: signal.Signals
) -> None:
    out, log = tmp_path / "out", tmp_path / "log"
    process = start_sweep(out, log)
    try:
        wait_for_record(out, process, log)
        os.kill(process.pid, stop)
        code = process.wait(timeout=60)
    finally:
        process.kill()
    if stop == signal.SIGKILL:
        assert code == -signal.SIGKILL
    else:
        assert code == 130
        assert "interrupted; 2 cells finished are kept, run the same command again" in log.read_text()
    limit = time.monotonic() + 20
    while children_of(process.pid) and time.monotonic() < limit:
        time.sleep(0.1)
    assert children_of(process.pid) == []
    assert sweep("teacher-copy")[0].todo == [], "what was finished before the signal is not run again"


@pytest.mark.parametrize("pause", [0.05, 0.15, 0.5])
def test_a_second_interrupt_says_nothing_more(sweep: Sweep, tmp_path: Path, pause: float) -> None:
    out, log = tmp_path / "out", tmp_path / "log"
    process = start_sweep(out, log)
    try:
        wait_for_record(out, process, log)
        os.kill(process.pid, signal.SIGINT)
        time.sleep(pause)
        os.kill(process.pid, signal.SIGINT)
        code = process.wait(timeout=60)
    finally:
        process.kill()
    assert code == 130
    assert "Traceback" not in log.read_text()
    assert log.read_text().count("interrupted") == 1


@pytest.mark.parametrize("stop", [signal.SIGINT, signal.SIGTERM])
def test_a_cell_that_is_just_starting_is_stopped_too(
    sweep: Sweep, monkeypatch: pytest.MonkeyPatch, stop: signal.Signals
) -> None:
    started: list[Any] = []
    launch = LocalEngine.launch

    def launch_and_stop(*args: Any) -> Any:
        started.append(launch(*args))
        signal.raise_signal(stop)
        return started[-1]

    monkeypatch.setattr(LocalEngine, "launch", launch_and_stop)
    with pytest.raises(InterruptedSweepError):
        sweep("sleeping", engine="local")
    assert [process.is_alive() for process in started] == [False]


@pytest.mark.parametrize("engine", ["serial", "local"])
def test_a_row_that_this_machine_cannot_run_is_skipped_until_it_can(
    sweep: Sweep, tmp_path: Path, engine: str
) -> None:
    needed = tmp_path / "needed"
    methods = f"lacking[needed={needed}],teacher-copy+lacking[needed={needed}]"
    outcome, notes = sweep(methods, engine=engine, rehearse=True)
    skipped = {name: status for name, status in notes.statuses.items() if "lacking" in name}
    assert set(skipped.values()) == {"skipped"}
    assert len(skipped) == 4, "students and evaluations, alone and in a stack"
    messages = {r["identity"]["message"] for r in notes.records if r["identity"]["status"] == "skipped"}
    assert messages == {"lacking needs a file: touch it"}
    assert outcome.exit_code == 0
    assert not any("fail" in line for line in notes.lines)
    assert sweep(methods, engine=engine)[1].records == []
    needed.touch()
    _, notes = sweep(methods, engine=engine)
    assert set(notes.statuses.values()) == {"ok"}
    assert len(notes.statuses) == 4
    assert "4 cells are computed again: skipped before (4)" in notes.lines
