"""Several sweeps in one folder share its cells; a disk that is full or read-only costs nothing that was finished."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import threading
from pathlib import Path
from typing import Any

import pytest
import yaml
from sweep_helpers import Sweep, config_of
from test_engine_conformance import command

from foundry_bench.errors import UserError
from foundry_bench.sweep import cell as cell_module
from foundry_bench.sweep import runner
from foundry_bench.sweep.marks import Notice
from foundry_bench.sweep.store import Store


def test_two_sweeps_in_one_folder_run_each_cell_once(plugins: Path, tmp_path: Path) -> None:
    note, out = tmp_path / "note", tmp_path / "out"
    methods = f"counting[number=1,2,3,4,5,6,7,8,note={note}]"
    sweep = {"teacher": "tiny", "distill_on": "blobs", "tasks": "spread", "methods": methods, "jobs": 1}
    (tmp_path / "sweep.yaml").write_text(yaml.safe_dump(sweep))
    both = [
        subprocess.Popen(
            command(out, "--config", str(tmp_path / "sweep.yaml")),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for _ in range(2)
    ]
    said = [process.communicate(timeout=300)[0] for process in both]
    assert [process.returncode for process in both] == [0, 0], said
    made_tried_loaded = [str(number) for number in range(1, 9) for _ in range(3)]
    assert sorted(note.read_text().split()) == made_tried_loaded, (
        "a student is made once, once more with another seed, and rebuilt for its one task"
    )
    records = [json.loads(p.read_text()) for p in (out / "cells").glob("*/*.json") if ".spec." not in p.name]
    assert {record["identity"]["status"] for record in records} == {"ok"}
    assert len(records) == 16
    assert Store(out).marks.names() == []
    assert (out / "leaderboard.csv").read_text().count("counting") == 8


def test_a_cell_that_another_sweep_runs_is_waited_for(sweep: Sweep, tmp_path: Path) -> None:
    first, _ = sweep("teacher-copy")
    store = Store(tmp_path / "out")
    evaluated = first.plan.cells[1]
    record = store.read("evaluate", evaluated.id)
    store.record_path("evaluate", evaluated.id).unlink()
    assert record is not None
    held = threading.Event()

    def other_sweep() -> None:
        with store.marks.held(evaluated.id, Notice("evaluate", evaluated.title, engine="local")):
            held.set()
            threading.Event().wait(1.0)
            store.write(record)

    other = threading.Thread(target=other_sweep)
    other.start()
    held.wait()
    outcome, notes = sweep("teacher-copy")
    other.join()
    assert len(outcome.todo) == 1
    assert notes.launched == [], "its record was taken from the other sweep"
    assert [r["environment"]["start"] for r in notes.records] == [record["environment"]["start"]]


def test_times_are_not_measured_beside_another_sweep(
    plugins: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from foundry_bench.sweep.plan import PROFILE, plan
    from foundry_bench.sweep.schedule import Schedule, Settings

    store = Store(tmp_path / "out")
    cells = [cell for cell in plan(config_of("teacher-copy")).cells if cell.kind == PROFILE]
    monkeypatch.setattr(Store, "finished", lambda self, kind, cell_id: kind == "student")
    schedule = Schedule(
        cells, store, {}, Settings("quick", "cpu", "data", "local"), started=print, done=print
    )
    with store.marks.held("other", Notice("evaluate", "of another sweep", engine="local")):
        assert schedule.next() is None
    assert schedule.next() is cells[0]


@pytest.fixture
def small_disk(tmp_path: Path) -> Any:
    """A file system of a few megabytes; only root can make one."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = shutil.which("mount")
    if os.geteuid() != 0 or mount is None:
        pytest.skip("making a small file system needs root")
    options = "size=400k,nr_inodes=2000"
    done = subprocess.run([mount, "-t", "tmpfs", "-o", options, "tmpfs", str(folder)], capture_output=True)
    if done.returncode != 0:
        pytest.skip("file systems cannot be mounted here")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def test_a_full_disk_stops_the_sweep_with_one_line_and_keeps_what_is_finished(
    plugins: Path, tmp_path: Path, small_disk: Path
) -> None:
    out = small_disk / "out"
    sweep = {"teacher": "tiny", "distill_on": "blobs", "tasks": "spread"}
    widths = ",".join(str(width) for width in range(1, 25))
    (tmp_path / "sweep.yaml").write_text(
        yaml.safe_dump({**sweep, "methods": f"teacher-copy[width={widths}]"})
    )
    run = command(out, "--config", str(tmp_path / "sweep.yaml"))
    full = subprocess.run(run, capture_output=True, text=True)
    assert full.returncode == 2, full.stdout + full.stderr
    (line,) = full.stderr.strip().splitlines()
    assert line.startswith(f"error: cannot write to {out}")
    assert "No space left on device" in line
    assert "free some space" in line
    kept = {p: p.read_bytes() for p in (out / "cells").glob("*/*.json") if ".spec." not in p.name}
    assert kept, "some cells fitted"
    assert all(json.loads(content)["identity"]["status"] == "ok" for content in kept.values())
    subprocess.run(["mount", "-o", "remount,size=64m", str(small_disk)], check=True)
    done = subprocess.run(run, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert all(path.read_bytes() == content for path, content in kept.items())


def test_a_read_only_folder_is_named_before_anything_runs(
    plugins: Path, tmp_path: Path, small_disk: Path
) -> None:
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    sweep = {"teacher": "tiny", "distill_on": "blobs", "tasks": "spread", "methods": "teacher-copy"}
    (tmp_path / "sweep.yaml").write_text(yaml.safe_dump(sweep))
    done = subprocess.run(
        command(small_disk / "out", "--config", str(tmp_path / "sweep.yaml")), capture_output=True, text=True
    )
    assert done.returncode == 2, done.stdout + done.stderr
    (line,) = done.stderr.strip().splitlines()
    assert "Read-only file system; choose another --out" in line


@pytest.mark.parametrize("engine", ["serial", "local"])
def test_a_full_disk_is_nobodys_failure(
    engine: str, sweep: Sweep, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if engine == "local":
        monkeypatch.setattr("foundry_bench.sweep.engines.local.run_logged", lambda *_: None)
        monkeypatch.setattr("foundry_bench.sweep.engines.local._child", _full)
    else:

        def refuse(*_: Any) -> None:
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(cell_module, "_plain", refuse)
    with pytest.raises(
        UserError, match=r"cannot write to .*; free some space and run the same command again"
    ):
        sweep("teacher-copy", engine=engine)
    assert not [p for p in (tmp_path / "out" / "cells").glob("*/*.json") if ".spec." not in p.name]
    assert runner.READ_ONLY


def _full(spec: str, log: str) -> None:
    raise SystemExit(74)
