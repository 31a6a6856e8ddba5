"""Paths that lead nowhere, to something else, or that no system takes, wherever a command takes one."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from door import assert_refused, tried, tried_call

LONG = "a" * 300
MISSING = {
    "./a.npy": "is a file, not a folder",
    "nowhere/": "does not exist",
    "no/where": "does not exist",
    "b.npy": "does not exist",
    "link": "is a link that leads nowhere",
    "loop": "is a link that leads nowhere",
}
"""A path -> what is said of it where a folder is meant."""
TAKES = {
    "verify": ("data", "verify"),
    "evaluate": ("evaluate",),
    "profile": ("profile",),
    "distill": ("distill", "--method", "foundry[supertokens=4]", "-o", "out", "--data"),
    "run": ("run", "--dry-run", "--out", "out", "--distill-on"),
}


@pytest.mark.parametrize("path", MISSING)
@pytest.mark.parametrize("command", TAKES)
def test_a_path_is_no_unknown_name(tmp_path: Path, command: str, path: str) -> None:
    seen = tried(*TAKES[command], path, cwd=_odd(tmp_path), seconds=60)
    assert_refused(seen, says=[repr(path), MISSING[path]])


@pytest.mark.parametrize("path", ["nowhere/", "loop", "b.ckpt"])
@pytest.mark.parametrize(
    "command", [("info",), ("run", "--dry-run", "--out", "out", "--teacher")], ids=" ".join
)
def test_a_path_of_a_teacher_is_no_unknown_name(tmp_path: Path, command: tuple[str, ...], path: str) -> None:
    seen = tried(*command, path, cwd=_odd(tmp_path))
    assert_refused(seen, says=[repr(path), "leads nowhere" if path == "loop" else "does not exist"])


RESULTS = ("report", "leaderboard", "choose", "status", "clean", "compare")


@pytest.mark.parametrize(
    "place", ["a.npy", "/dev/null", "empty", "loop", "nowhere", "a.npy/x", "/proc/self/fd"]
)
@pytest.mark.parametrize("command", RESULTS)
def test_what_holds_no_results_says_so(tmp_path: Path, command: str, place: str) -> None:
    places = (place, place) if command == "compare" else (place,)
    assert_refused(tried(command, *places, cwd=_odd(tmp_path)), says=place)


LONGEST = {
    **{command: (command, LONG) for command in RESULTS if command != "compare"},
    "compare": ("compare", LONG, LONG),
    "data-root": ("run", "--dry-run", "--out", "out", "--data-root", LONG),
    "config": ("run", "--config", LONG),
    "teacher": ("run", "--dry-run", "--out", "out", "--teacher", LONG),
    "root": ("data", "verify", "kicad", "--root", LONG),
    "evaluate": ("evaluate", "teacher", "--data-root", LONG),
}


@pytest.mark.parametrize("case", LONGEST)
def test_a_path_longer_than_the_system_takes_is_one_line(tmp_path: Path, case: str) -> None:
    assert_refused(tried(*LONGEST[case], cwd=tmp_path), says="longer than the system takes")


def test_the_results_to_choose_from_are_not_the_folder_one_is_in(tmp_path: Path) -> None:
    assert_refused(tried("choose", "", cwd=tmp_path), says="RESULTS must be the path")


@pytest.mark.parametrize("time", ["0s", "nans", "1e3s", "-1ms", "9" * 400 + "s"], ids=lambda time: time[:5])
def test_a_time_that_is_none_is_refused(tmp_path: Path, time: str) -> None:
    assert_refused(tried("choose", "empty", "--latency", time, cwd=_odd(tmp_path)), says="is no time")


@pytest.mark.parametrize("place", ["closed", "closed/inside"])
@pytest.mark.parametrize("command", ["report", "leaderboard", "choose", "status"])
def test_a_folder_that_is_closed_is_one_line(tmp_path: Path, command: str, place: str) -> None:
    tmp_path.chmod(0o755)
    (tmp_path / "closed").mkdir(mode=0)
    assert_refused(tried_call(_as_nobody, command, place, cwd=tmp_path), says=["closed", "ermission denied"])


def _as_nobody(*command: str) -> None:
    """A command of a user whom permissions hold."""
    from foundry_bench.cli import main

    if os.geteuid() == 0:
        os.seteuid(65534)
    main(command)


def _odd(folder: Path) -> Path:
    """A folder with a file, an empty folder, a link to nothing and one to itself."""
    (folder / "a.npy").write_bytes(b"x")
    (folder / "empty").mkdir()
    (folder / "link").symlink_to("nowhere")
    (folder / "loop").symlink_to("loop")
    return folder
