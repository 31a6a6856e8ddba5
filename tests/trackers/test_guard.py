"""Whatever a tracker does, the sweep goes on; and nothing is shown twice."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from foundry_bench.errors import UserError
from foundry_bench.trackers import Sweep, guard, select
from foundry_bench.trackers.base import local_folder
from foundry_bench.trackers.memory import Memory


def oops() -> None:
    raise RuntimeError("the server\nis gone")


@pytest.mark.parametrize("call", ["open", "cell", "row", "close", "all"])
def test_a_tracker_that_raises_is_switched_off_with_one_warning(results, fake, told, call) -> None:
    results.log(fake=fake(call, oops))
    (warning,) = results.warnings
    assert warning == (
        "tracker fake is switched off: RuntimeError: the server is gone; the sweep is not affected"
    )
    assert told(call) == []
    assert call == "close" or told("close") == []


def test_one_that_leaves_the_process_is_switched_off_too(results, fake) -> None:
    results.log(fake=fake("row", sys.exit))
    assert len(results.warnings) == 1


def test_a_tracker_in_trouble_does_not_touch_another(results, fake, told) -> None:
    results.log(bad=fake("all", oops), good=fake())
    assert len(results.warnings) == 1
    assert len(told("row")) == len(results.rows)


@pytest.mark.parametrize("call", ["open", "cell", "row", "close"])
def test_a_tracker_that_hangs_does_not_stall_the_sweep(results, fake, call) -> None:
    gone = threading.Event()
    clock = time.monotonic()
    trackers = results.trackers(0.3, fake=fake(call, gone.wait))
    for cell in results.plan.cells:
        trackers.cell(cell, results.store.read(cell.kind, cell.id))
    assert time.monotonic() - clock < 0.25
    trackers.close(results.board)
    assert time.monotonic() - clock < 2.0
    assert results.warnings == [
        "tracker fake is switched off: it did not answer within 0.3 s; the sweep is not affected"
    ]
    gone.set()


def test_a_slow_tracker_may_take_longer_in_all_than_one_call_may(results, fake, told) -> None:
    trackers = results.trackers(0.3, fake=fake("cell", lambda: time.sleep(0.02)))
    trackers.close(results.board)
    assert results.warnings == []
    assert len(told("cell")) * 0.02 > 0.3
    assert told("close") == [f"close {len(results.board)} lines"]


def test_a_tracker_that_falls_too_far_behind_is_switched_off(results, fake, monkeypatch) -> None:
    monkeypatch.setattr(guard, "QUEUE", 2)
    gone = threading.Event()
    trackers = results.trackers(fake=fake("open", gone.wait))
    for cell in results.plan.cells:
        trackers.cell(cell, results.store.read(cell.kind, cell.id))
    trackers.close(results.board)
    gone.set()
    assert results.warnings == [
        "tracker fake is switched off: it is 2 cells behind; the sweep is not affected"
    ]


def test_every_row_is_told_all_its_cells_and_then_that_it_is_complete(results, fake, told) -> None:
    results.log(fake=fake())
    assert sorted(told("cell")) == sorted(f"cell {r.id} {c} 1" for r in results.rows for c in r.cells)
    assert sorted(told("row")) == sorted(f"row {row.id} 4" for row in results.rows)


def test_cells_are_told_as_they_come(results, fake, told) -> None:
    cell = next(cell for cell in results.plan.cells if cell.kind == "profile")
    path = results.store.record_path(cell.kind, cell.id)
    away = path.rename(path.with_suffix(".away"))
    trackers = results.trackers(fake=fake())
    away.rename(path)
    trackers.cell(cell, results.store.read(cell.kind, cell.id))
    limit = time.monotonic() + 10
    while not any(cell.id in line for line in told("cell")) and time.monotonic() < limit:
        time.sleep(0.01)
    assert told("close") == []
    assert sum(cell.id in line for line in told("cell")) == 1
    trackers.close(results.board)


def test_a_cell_that_is_on_disk_and_comes_again_is_told_once(results, fake, told) -> None:
    results.fail(0, "it broke")
    trackers = results.trackers(fake=fake())
    for cell in results.plan.cells:
        trackers.cell(cell, results.store.read(cell.kind, cell.id))
    trackers.close(results.board)
    assert sorted(told("cell")) == sorted(f"cell {r.id} {c} 1" for r in results.rows for c in r.cells)


def test_a_resumed_sweep_is_the_same_and_tells_no_cell_twice(results, fake, told) -> None:
    results.log(fake=fake())
    cells = told("cell")
    results.log(fake=fake())
    assert told("cell") == cells
    first, second = (line.split() for line in told("open"))
    assert first[1] == second[1]
    assert (first[2], second[2]) == ("1", "2")


def test_a_mended_cell_is_told_again_and_its_row_too(results, fake, told) -> None:
    cell = results.fail(0, "it broke")
    results.log(fake=fake())
    before = len(told("cell")), len(told("row"))
    results.mend(cell)
    results.log(fake=fake())
    assert (len(told("cell")), len(told("row"))) == (before[0] + 1, before[1] + 1)


def test_a_cell_that_was_made_again_though_nothing_was_wrong_is_not_told_again(results, fake, told) -> None:
    results.log(fake=fake())
    before = told("cell")
    results.mend(results.plan.cells[0])
    results.log(fake=fake())
    assert told("cell") == before


def test_what_an_interrupted_sweep_left_to_tell_is_told_by_the_next_one(results, fake, told) -> None:
    results.trackers(fake=fake("cell", lambda: time.sleep(0.02))).close(interrupted=True)
    assert told("close") == ["close interrupted"]
    assert len(told("row")) < len(results.rows)
    results.log(fake=fake())
    assert sorted(told("cell")) == sorted(f"cell {r.id} {c} 1" for r in results.rows for c in r.cells)
    assert results.warnings == []


def test_a_sweep_that_ends_with_an_error_is_closed_as_interrupted(results, fake, told) -> None:
    with pytest.raises(OSError, match="disk"), results.trackers(fake=fake()):
        raise OSError("the disk is full")
    assert told("close") == ["close interrupted"]


KILLED = """
import os, sys
sys.path[:0] = sys.argv[1:2]
from pathlib import Path
from conftest import CONFIG, Fake, committed
from foundry_bench.sweep.plan import Plan
from foundry_bench.sweep.store import Store
from foundry_bench.trackers import Trackers
file = Path(sys.argv[3])
def die():
    if file.exists() and len(file.read_text().splitlines()) > 8:
        os._exit(9)
trackers = Trackers({"fake": Fake(file, "cell", die)}, print)
trackers.open(Plan(CONFIG, [cell for cell, _ in committed()]), Store(Path(sys.argv[2])))
trackers.close()
"""


def test_a_driver_that_is_killed_loses_no_cell_and_repeats_no_finished_one(
    results, fake, told, tmp_path, request
) -> None:
    paths = [str(request.path.parent), str(results.store.folder), str(tmp_path / "fake.txt")]
    assert subprocess.run([sys.executable, "-c", KILLED, *paths], check=False).returncode == 9
    assert 0 < len(told("cell")) < sum(len(row.cells) for row in results.rows)
    results.log(fake=fake())
    wanted = sorted(f"cell {r.id} {c} 1" for r in results.rows for c in r.cells)
    assert sorted(set(told("cell"))) == wanted
    assert len(told("cell")) - len(wanted) <= 4  # the rows of the one cell that was being told


def test_another_destination_is_told_everything(results, fake, told, monkeypatch) -> None:
    results.log(fake=fake())
    monkeypatch.setattr(type(fake()), "destination", lambda self, folder: "https://user:secret@elsewhere")
    before = len(told("cell"))
    results.log(fake=fake())
    assert len(told("cell")) == 2 * before
    assert "secret" not in (results.store.cache / "trackers.json").read_text()


def test_two_processes_on_one_folder_are_one_sweep_and_keep_what_each_has_told(tmp_path) -> None:
    def record(cell: str) -> dict[str, Any]:
        return {"identity": {"cell_id": cell, "attempt": 1, "status": "ok"}}

    file = tmp_path / "trackers.json"
    first, second = Memory(file), Memory(file)
    assert first.sweep == second.sweep
    pages = first.page("fake", "there"), second.page("fake", "there")
    pages[0].add(record("a"))
    pages[1].add(record("b"))
    pages[0].save()
    after = Memory(file).page("fake", "there")
    assert after.has(record("a"))
    assert after.has(record("b"))


@pytest.mark.parametrize("content", ["", "{}", "[1]", '{"version": 1, "sweep": "a", "pages": 3}'])
def test_a_damaged_memory_means_that_nothing_was_told(results, fake, told, content) -> None:
    (results.store.cache / "trackers.json").write_text(content)
    results.log(fake=fake())
    assert results.warnings == []
    assert len(told("row")) == len(results.rows)
    assert json.loads((results.store.cache / "trackers.json").read_text())["pages"]


def test_without_trackers_nothing_is_written(results) -> None:
    results.log()
    assert not (results.store.cache / "trackers.json").exists()


@pytest.mark.usefixtures("installed")
class TestSelecting:
    """Selectors after ``--track``."""

    def test_parameters_are_the_fields_of_the_tracker(self) -> None:
        pytest.importorskip("tensorboard")
        chosen = select(("tensorboard[folder=somewhere]",))
        assert chosen["tensorboard[folder=somewhere]"].folder == "somewhere"

    @pytest.mark.parametrize(
        ("text", "part"),
        [
            ("wandbb", "did you mean 'wandb'"),
            ("tensorboard[foldr=x]", "did you mean 'folder'"),
            ("tensorboard[folder=a,b]", "several values"),
            ("tensorboard+fmd", "did you mean 'tensorboard'"),
            ("wandb[mode=sometimes]", "offline, online, disabled"),
        ],
    )
    def test_what_nobody_knows_is_an_error_before_the_sweep(self, text, part) -> None:
        with pytest.raises(UserError, match=r".") as error:
            select((text,))
        assert part in str(error.value)

    @pytest.mark.parametrize(
        ("name", "module"), [("mlflow", "mlflow"), ("wandb", "wandb"), ("tensorboard", "tensorboard")]
    )
    def test_a_missing_package_is_an_error_that_names_the_extra(self, name, module, monkeypatch) -> None:
        monkeypatch.setitem(sys.modules, module, None)
        with pytest.raises(UserError, match=rf"foundry-bench\[{name}\]") as error:
            select((name,))
        assert "\n" not in str(error.value)


def test_trackers_may_make_their_folders_at_the_same_time(results) -> None:
    sweep = Sweep("abc", results.plan.config, results.store.folder, ())
    for attempt in range(20):
        together = threading.Barrier(4)

        def make(number: int, together: threading.Barrier = together) -> None:
            together.wait()
            local_folder(sweep, f"fake-{number}")

        with ThreadPoolExecutor(4) as pool:
            assert len(list(pool.map(make, range(4)))) == 4, attempt
        shutil.rmtree(sweep.folder / "trackers")
