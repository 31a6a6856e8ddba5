"""``status`` tells from another shell how far a sweep is; ``clean`` removes what nothing needs, and no more."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from foundry_bench.cli import main
from foundry_bench.sweep.marks import SWEEP, Notice
from foundry_bench.sweep.store import Store

Run = Callable[..., tuple[int, str]]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    def call(*arguments: str) -> tuple[int, str]:
        with pytest.raises(SystemExit) as ended:
            main(list(arguments))
        out = capsys.readouterr()
        return int(ended.value.code or 0), out.out + out.err

    return call


@pytest.fixture
def out(sweep: Callable[..., object], tmp_path: Path) -> Path:
    sweep("teacher-copy,failing")
    return tmp_path / "out"


def test_status_counts_cells_and_lists_failures(run: Run, out: Path) -> None:
    code, said = run("status", str(out))
    assert code == 0
    assert "student       2  1 ok  1 failed" in said
    assert re.search(r"failed   student failing\+off-the-shelf: .*this method always fails", said)
    assert "all cells are recorded" in said


def test_status_shows_who_works_on_what(run: Run, out: Path) -> None:
    store = Store(out)
    next(p for p in (out / "cells" / "evaluate").glob("*.json") if ".spec." not in p.name).unlink()
    assert "1 cells are missing and nobody works on them" in run("status", str(out))[1]
    with (
        store.marks.held("sweep-1", Notice(SWEEP, "2 cells", engine="local")),
        store.marks.held("cell", Notice("student", "student foundry[supertokens=4]+fmd")),
    ):
        said = run("status", str(out))[1]
    assert "a sweep works here" in said
    assert "running  student foundry[supertokens=4]+fmd" in said
    assert "1 cells are left" in said


@pytest.mark.parametrize("command", ["status", "clean"])
def test_a_folder_without_a_sweep_gets_one_line(command: str, run: Run, tmp_path: Path) -> None:
    code, said = run(command, str(tmp_path))
    assert code == 2
    assert "holds no sweep" in said
    assert len(said.strip().splitlines()) == 1


def contents(out: Path) -> set[str]:
    return {str(path.relative_to(out)) for path in out.rglob("*") if path.is_file()}


def test_clean_removes_leftovers_only_and_a_dry_run_nothing(run: Run, out: Path) -> None:
    before = contents(out)
    for name in (".x.json.123.tmp", "cells/set-aside/student-1-1.json", ".cache/scratch/cell/file"):
        (out / name).parent.mkdir(parents=True, exist_ok=True)
        (out / name).write_text("x")
    littered = contents(out)
    code, said = run("clean", str(out), "--dry-run")
    assert (code, contents(out)) == (0, littered)
    assert "would remove" in said
    code, said = run("clean", str(out))
    assert (code, contents(out)) == (0, before)
    assert "3 files and folders" in said


def test_clean_removes_weights_and_cells_of_other_plans_when_asked(
    run: Run, out: Path, sweep: Callable[..., object]
) -> None:
    sweep("teacher-copy[scale=2.0]")
    planned = {path.name for path in (out / "cells" / "evaluate").glob("*.json")}
    run("clean", str(out))
    assert {path.name for path in (out / "cells" / "evaluate").glob("*.json")} == planned
    run("clean", str(out), "--others")
    left = {path.name for path in (out / "cells" / "evaluate").glob("*.json") if ".spec." not in path.name}
    assert len(left) == 1
    assert left < planned
    assert len(list((out / "students").iterdir())) == 1
    run("clean", str(out), "--students", "--cache")
    assert list((out / "students").iterdir()) == []
    assert "all cells are recorded" in run("status", str(out))[1]


def test_clean_waits_for_a_sweep_that_is_running(run: Run, out: Path) -> None:
    with Store(out).marks.held("sweep-1", Notice(SWEEP, "2 cells")):
        code, said = run("clean", str(out))
    assert code == 2
    assert "a sweep is running" in said
