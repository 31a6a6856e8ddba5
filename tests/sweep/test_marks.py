"""Marks show what is being run, by whom, and vanish with the process that held them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from foundry_bench.progress import SHARED
from foundry_bench.sweep.marks import Marks, Notice

HOLDER = """
import sys, time
from pathlib import Path
from foundry_bench.sweep.marks import Marks, Notice
with Marks(Path(sys.argv[1])).held("cell", Notice("student", "student foundry", 3, "local")):
    print("held", flush=True)
    time.sleep(float(sys.argv[2]))
"""


def holder(folder: Path, seconds: float) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(folder), str(seconds)], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    return process


@pytest.fixture
def marks(tmp_path: Path) -> Marks:
    return Marks(tmp_path / "running")


def test_a_mark_tells_who_works_on_what_until_the_work_ends(marks: Marks) -> None:
    assert marks.names() == []
    with marks.held("cell", Notice("student", "student foundry", 2, "local")):
        notice = marks.alive("cell")
        assert notice is not None
        assert (notice.title, notice.attempt, notice.pid) == ("student foundry", 2, os.getpid())
        assert marks.left("cell") is None
    assert marks.names() == []


def test_a_mark_tells_the_phase_and_how_far_it_is(marks: Marks, monkeypatch: pytest.MonkeyPatch) -> None:
    def seen() -> tuple[str, int, int]:
        notice = marks.alive("cell")
        assert notice is not None
        assert notice.title == "student foundry"
        return notice.phase, notice.done, notice.total

    with marks.held("cell", Notice("student", "student foundry")) as tell:
        assert seen() == ("", 0, 0)
        tell(f"{SHARED}, 340 MB", 10, 10_000)
        assert seen() == (f"{SHARED}, 340 MB", 10, 10_000)
        tell(f"{SHARED}, 340 MB", 11, 10_000)
        assert seen() == (f"{SHARED}, 340 MB", 10, 10_000), "told a moment ago"
        tell("x", 1, 2)
        assert seen() == ("x", 1, 2), "shorter than what was there, and a new phase"
        monkeypatch.setattr("foundry_bench.sweep.marks.TELL", 0.0)
        tell("x", 2, 2)
        assert seen() == ("x", 2, 2)
    assert marks.names() == []


def test_seconds_in_phases_for_all_are_counted_apart(marks: Marks, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [0.0]
    monkeypatch.setattr("foundry_bench.sweep.marks.time.monotonic", lambda: clock[0])
    with marks.held("cell", Notice("student", "x")) as tell:
        for phase in ("load", f"{SHARED}: a", f"{SHARED}: b", "distill"):
            tell(phase, 0, 0)
            clock[0] += 10
        notice = marks.alive("cell")
    assert notice is not None
    assert notice.shared == 20


def test_an_error_releases_the_mark(marks: Marks) -> None:
    with pytest.raises(ValueError, match="oops"), marks.held("cell", Notice("student", "x")):
        raise ValueError("oops")
    assert marks.names() == []


def test_a_killed_process_leaves_a_mark_that_nobody_holds(marks: Marks) -> None:
    process = holder(marks.folder, 600)
    assert marks.alive("cell") is not None
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert marks.alive("cell") is None
    left = marks.left("cell")
    assert left is not None
    assert (left.attempt, left.engine) == (3, "local")
    marks.remove("cell")
    assert marks.names() == []


def test_a_live_mark_cannot_be_removed(marks: Marks) -> None:
    with marks.held("cell", Notice("student", "x")):
        marks.remove("cell")
        assert marks.names() == ["cell"]


def test_a_second_process_waits_for_the_first(marks: Marks) -> None:
    process = holder(marks.folder, 1.0)
    began = time.monotonic()
    with marks.held("cell", Notice("student", "mine")):
        waited = time.monotonic() - began
        notice = marks.alive("cell")
        assert notice is not None
        assert notice.title == "mine"
    process.wait()
    assert waited > 0.5
    assert marks.names() == []
