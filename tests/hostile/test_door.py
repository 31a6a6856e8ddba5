"""The door itself: a case that executes, writes outside, runs on or holds too much is seen, each kind by one that does it."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
import time
from pathlib import Path

import pytest
from door import Executes, assert_harmless, assert_refused, payload, plugin_folder, tried, tried_call


def test_a_mistake_is_refused_in_one_line(tmp_path: Path) -> None:
    assert_refused(tried("info", "no-such-name", cwd=tmp_path), says="no-such-name")


def test_what_is_well_is_not_refused(tmp_path: Path) -> None:
    seen = tried("info", "tome", cwd=tmp_path)
    assert_harmless(seen)
    assert seen.code == 0
    assert "tome (method)" in seen.out


def _unpickles(path: Path) -> object:
    return pickle.loads(path.read_bytes())


def test_a_payload_that_runs_is_seen(tmp_path: Path) -> None:
    (tmp_path / "x.pkl").write_bytes(pickle.dumps(Executes()))
    assert tried_call(_unpickles, tmp_path / "x.pkl", cwd=tmp_path).executed == ("unpickled",)


def test_a_payload_in_a_process_that_the_case_starts_is_seen(tmp_path: Path) -> None:
    seen = tried_call(subprocess.check_call, [sys.executable, "-c", payload("far")], cwd=tmp_path)
    assert seen.executed == ("far",)


def test_a_foreign_program_is_seen(tmp_path: Path) -> None:
    assert tried_call(os.system, "true", cwd=tmp_path).executed == ("'true'",)


def test_writing_outside_is_seen_and_inside_is_not(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    outside = tried_call(Path.write_text, tmp_path / "out.txt", "x", cwd=tmp_path / "in")
    assert outside.wrote_outside == (repr(str(tmp_path / "out.txt")),)
    assert not tried_call(Path.write_text, tmp_path / "in" / "x.txt", "x", cwd=tmp_path / "in").wrote_outside
    assert not tried_call(Path.read_text, tmp_path / "out.txt", cwd=tmp_path / "in").wrote_outside


def test_a_case_that_does_not_end_is_killed(tmp_path: Path) -> None:
    seen = tried_call(time.sleep, 60, cwd=tmp_path, seconds=0.5)
    assert seen.code == -9
    with pytest.raises(AssertionError, match="did not end"):
        assert_harmless(seen)


def test_memory_is_bounded(tmp_path: Path) -> None:
    seen = tried_call(bytearray, 10**9, cwd=tmp_path, megabytes=100)
    assert "MemoryError" in seen.err
    assert tried_call(bytearray, 10**7, cwd=tmp_path, megabytes=100).code == 0


def _leaves_one_behind() -> None:
    subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"], start_new_session=True)


def test_processes_that_are_left_are_seen(tmp_path: Path) -> None:
    assert tried_call(_leaves_one_behind, cwd=tmp_path).left == 1


def test_a_traceback_is_no_refusal(tmp_path: Path) -> None:
    with pytest.raises(AssertionError, match="a traceback"):
        assert_refused(tried_call(int, "x", cwd=tmp_path), code=1)


def test_a_plugin_folder_is_an_installation(tmp_path: Path) -> None:
    entry = "[foundry_bench.tasks]\nodd = odd:Odd\n"
    plugin = plugin_folder(tmp_path / "plugin", entry, {"odd": "class Odd:\n    'An odd task.'\n"})
    seen = tried("info", "odd", cwd=tmp_path, plugins=[plugin])
    assert "An odd task." in seen.out
