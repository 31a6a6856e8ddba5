"""All engines agree: the same six cells, of which most go wrong, leave the same records, and a second run does nothing."""

from __future__ import annotations

import json
import multiprocessing
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import psutil
import pytest
import yaml
from sweep_helpers import DRIVER, Sweep

METHODS = "teacher-copy,failing,dying[once={once}],dying,sleeping"
"""One cell works, one raises, one kills itself once, one always, one exceeds its time; each has one child."""


def command(out: Path, *options: str) -> list[str]:
    return [sys.executable, "-c", DRIVER, "run", "--out", str(out), "--no-rehearsal", *options]


def run_to_the_end(folder: Path, engine: str) -> Path:
    """Run the sweep until its process ends by itself: the serial engine dies with its cells."""
    once, config, out = folder / "died", folder / "sweep.yaml", folder / engine
    once.unlink(missing_ok=True)
    sweep = {"teacher": "tiny", "distill_on": "blobs", "tasks": "spread", "timeout": 8.0, "jobs": 2}
    config.write_text(yaml.safe_dump({**sweep, "methods": METHODS.format(once=once)}))
    for _ in range(6):
        done = subprocess.run(
            command(out, "--config", str(config), "--engine", engine), capture_output=True, text=True
        )
        if done.returncode != -signal.SIGKILL:
            assert done.returncode == 1, done.stdout + done.stderr
            return out
        assert engine == "serial", "only the serial engine may die with a cell"
    raise AssertionError("the sweep never came to its end")


def records(out: Path) -> dict[str, Any]:
    """Records by kind and method, apart from times."""
    found = {}
    for path in sorted((out / "cells").glob("*/*.json")):
        if not path.name.endswith(".spec.json"):
            record = json.loads(path.read_text())
            del record["digest"]  # of the times, too
            for time in ("start", "end", "seconds", "command"):
                record["environment"].pop(time)
            if record["fidelity"]:
                record["fidelity"].pop("seconds")
            once = "once" if record["inputs"]["shown"] else ""
            found[
                " ".join([record["identity"]["kind"], record["inputs"]["method"]["name"], once]).strip()
            ] = record
    return found


@pytest.fixture(scope="module")
def engines() -> list[str]:
    try:
        import ray  # noqa: F401
    except ImportError:
        return ["serial", "local"]
    return ["serial", "local", "ray"]


def test_all_engines_leave_the_same_records(plugins: Path, tmp_path: Path, engines: list[str]) -> None:
    runs = {engine: records(run_to_the_end(tmp_path, engine)) for engine in engines}
    reference = runs["serial"]
    statuses = {name: record["identity"]["status"] for name, record in reference.items()}
    assert statuses == {
        "student teacher-copy": "ok",
        "student failing": "failed",
        "student dying once": "ok",
        "student dying": "killed",
        "student sleeping": "timeout",
        "evaluate teacher-copy": "ok",
        "evaluate failing": "failed",
        "evaluate dying once": "ok",
        "evaluate dying": "failed",
        "evaluate sleeping": "failed",
    }
    assert reference["student dying once"]["identity"]["attempt"] == 2
    for engine, found in runs.items():
        for name in reference:
            assert found[name] == reference[name], (engine, name)
    for engine in engines:
        again = subprocess.run(
            command(tmp_path / engine, "--config", str(tmp_path / engine / "sweep.yaml")),
            capture_output=True,
            text=True,
        )
        assert "nothing is left to do: all 10 cells are recorded" in again.stdout, again.stdout + again.stderr
        assert again.returncode == 1, "cells that failed are still told of"


def test_a_cell_that_leaves_processes_behind_takes_them_along(sweep: Sweep, tmp_path: Path) -> None:
    note = tmp_path / "pid"
    sweep(f"littering[note={note}]", engine="local", timeout=10.0)
    started = int(note.read_text())
    assert not psutil.pid_exists(started) or psutil.Process(started).status() == psutil.STATUS_ZOMBIE


@pytest.mark.parametrize("end", ["return", "raise", "kill", "leave", "sleep"])
def test_no_process_of_a_cell_outlives_it_whatever_its_session(
    sweep: Sweep, tmp_path: Path, end: str
) -> None:
    note = tmp_path / "pids"
    sweep(f"straying[note={note},end={end}]", engine="local", timeout=10.0 if end == "sleep" else None)
    started = [int(number) for number in note.read_text().split()]
    assert len(started) >= 2
    assert [pid for pid in started if psutil.pid_exists(pid) and _runs(pid)] == []


def test_a_fork_server_that_the_program_uses_already_is_left_to_it(sweep: Sweep, tmp_path: Path) -> None:
    shared = multiprocessing.get_context("forkserver").Process(target=int)
    shared.start()
    server = psutil.Process(shared.pid).ppid()
    shared.join()
    note = tmp_path / "pids"
    sweep(f"straying[note={note},end=kill]", engine="local")
    assert not any(_runs(int(number)) for number in note.read_text().split())
    assert _runs(server)


def _runs(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def test_a_cell_whose_fork_server_is_killed_is_tried_again(sweep: Sweep, tmp_path: Path) -> None:
    once = tmp_path / "first"
    outcome, notes = sweep(f"orphaned[once={once}],teacher-copy", engine="local")
    assert outcome.exit_code == 0
    assert set(notes.statuses.values()) == {"ok"}
    attempts = {r["inputs"]["method"]["name"]: r["identity"]["attempt"] for r in notes.records[::-1]}
    assert attempts["orphaned"] in (1, 2)
    assert not _runs(int(once.read_text())), "the first try is not left running"


def test_a_cell_over_its_memory_runs_out_of_it_alone(sweep: Sweep) -> None:
    outcome, notes = sweep("greedy,teacher-copy", engine="local", memory=1.5)
    assert notes.statuses["student greedy"] == "oom"
    assert notes.statuses["evaluate teacher-copy"] == "ok"
    assert outcome.exit_code == 1


def test_cells_are_spread_over_gpus() -> None:
    from foundry_bench.sweep.engines.local import LocalEngine
    from foundry_bench.sweep.plan import Cell

    engine = LocalEngine(device="cuda")
    engine._gpus = 2
    cells = [Cell("student", {"teacher": {"sha256": "x"}, "number": i}) for i in range(4)]
    running: list[Cell] = []
    places = []
    for cell in cells[:3]:
        places.append(engine.device_for(cell, running))
        running.append(cell)
    assert (engine.slots, places) == (2, ["cuda:0", "cuda:1", "cuda:0"])
    assert engine.device_for(cells[3], [cells[0], cells[2]]) == "cuda:1", "the one that has become free"
    profile = Cell("profile", {"teacher": {"sha256": "x"}})
    assert engine.device_for(profile, []) == "cuda:0"


def test_engines_give_cells_the_same_number_of_threads() -> None:
    from foundry_bench.sweep.engines.local import LocalEngine
    from foundry_bench.sweep.engines.serial import SerialEngine
    from foundry_bench.sweep.plan import Cell

    cell = Cell("student", {"teacher": {"sha256": "x"}})
    assert LocalEngine().threads_for(cell) == SerialEngine().threads_for(cell)
    assert LocalEngine(threads=3).threads_for(cell) == SerialEngine(threads=3).threads_for(cell) == 3
