"""A search ends with a student that is confirmed on objects by which nothing was chosen, however often it was stopped."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from sweep_helpers import Notes, config_of

from foundry_bench import cost
from foundry_bench.cli import main
from foundry_bench.errors import UserError
from foundry_bench.report.frame import load_results
from foundry_bench.report.tables import selector
from foundry_bench.students.files import load_student
from foundry_bench.sweep import snapshot
from foundry_bench.sweep.candidates import Costs, Places, candidates, places_of
from foundry_bench.sweep.halving import Verdict
from foundry_bench.sweep.plan import Cell
from foundry_bench.sweep.reporting import InterruptedSweepError
from foundry_bench.sweep.search import Searcher
from foundry_bench.sweep.search_plan import Search
from foundry_bench.sweep.search_state import SearchState
from foundry_bench.sweep.space import space
from foundry_bench.sweep.store import Store
from foundry_bench.training.budget import get_budget, resolve

METHODS = ("kd[depth=1,width=0.5,0.75]", "lowrank[keep=0.3,0.6]+off-the-shelf", "distilled")
FIRST = [
    "kd[depth=1,width=0.5]+fmd",
    "kd[depth=1,width=0.75]+fmd",
    "lowrank[keep=0.3]+off-the-shelf",
    "lowrank[keep=0.6]+off-the-shelf",
]
FEW = FIRST[1:3]


@pytest.fixture
def quick_profiles(monkeypatch: pytest.MonkeyPatch) -> None:
    """Times are not looked at here."""
    monkeypatch.setattr(cost, "profile", partial(cost.profile, seconds=0.01))


pytestmark = pytest.mark.usefixtures("plugins", "short_budget", "quick_profiles")


def asked(**values: Any) -> Search:
    settings = {"tasks": "onepatch:blobs", "engine": "serial", "threads": 1}
    given = {"keep": 0.99, "worst": 0.97, "hours": 1.0, "methods": METHODS, **values}
    return Search(config_of("teacher", **settings), **given)


def able(*names: str) -> Callable[[Path], list[Verdict]]:
    """A judge who finds every row that was put to tasks short of what is asked for, but those of ``names``."""

    def judge(folder: Path) -> list[Verdict]:
        frame = load_results(folder)
        done = frame[(frame["kind"] == "evaluate") & (frame["method"] != "teacher")]
        texts = {selector(row) for row in done.to_dict("records")}
        return [Verdict(text, 0.995, text.startswith(names)) for text in sorted(texts)]

    return judge


def run(
    folder: Path, judge: Any = None, reporter: Notes | None = None, first: Sequence[str] = FEW, **values: Any
) -> tuple[str | None, Notes]:
    search, notes = asked(**values), reporter or Notes()
    searcher = Searcher(search, places_of(search.sweep), folder, notes)
    return searcher.run(lambda: list(first), judge or able("kd")), notes


def state(folder: Path) -> SearchState:
    found = SearchState.read(folder)
    assert found is not None
    return found


def test_a_search_narrows_down_tries_in_full_and_confirms_one(tmp_path: Path) -> None:
    winner, notes = run(tmp_path / "out", first=FIRST)
    found = state(tmp_path / "out")
    assert found.rungs[0] == FIRST
    assert any("+lowrank[" in name and name.startswith("kd") for name in found.rungs[1]), "stacks join"
    assert len(found.rungs) == 3
    assert set(found.rungs[2]) <= set(found.rungs[1])
    assert winner in found.tried
    assert winner == found.winner
    assert sum("rung" in line for line in notes.lines) == 2
    rung = load_results(tmp_path / "out" / "rungs" / "1")
    assert set(rung["budget"].dropna()) == {"quick/9"}
    assert set(rung["kind"]) == {"student", "profile"}
    last, confirm = load_results(tmp_path / "out"), load_results(tmp_path / "out" / "confirm")
    assert set(last["budget"].dropna()) == {"quick"}
    assert set(last["dataset"][last["kind"] == "evaluate"]) == {"blobs[tested=search]"}
    assert set(confirm["dataset"][confirm["kind"] == "evaluate"]) == {"blobs[tested=confirm]"}
    assert len(set(confirm["method"])) == 2, "the teacher and the one that was chosen"
    check_same_students(tmp_path / "out")


def check_same_students(out: Path) -> None:
    """The confirmation is of the students that were chosen, and none is trained for it."""
    cells = snapshot.cells_of(snapshot.read(Store(out / "confirm")) or pytest.fail("no plan"))
    students = [cell for cell in cells if cell.kind == "student"]
    assert len(students) == 2
    for cell in students:
        ours, theirs = (Store(f).record_path("student", cell.id).read_bytes() for f in (out, out / "confirm"))
        assert ours == theirs
        assert Store(out / "confirm").has_student(cell.id)


def test_a_finished_search_has_nothing_left_to_do(tmp_path: Path) -> None:
    first, _ = run(tmp_path / "out")
    second, notes = run(tmp_path / "out", judge=able())
    assert (second, notes.records) == (first, []), "who was confirmed is settled"


class Stopping(Notes):
    """Stops the search at the cell of this number, as Ctrl-C does."""

    def __init__(self, number: int) -> None:
        super().__init__()
        self.left = number

    def started(self, cell: Cell) -> None:
        super().started(cell)
        self.left -= 1
        if self.left < 0:
            raise KeyboardInterrupt


def test_a_search_that_is_stopped_again_and_again_comes_to_the_same_end(tmp_path: Path) -> None:
    whole, notes = run(tmp_path / "whole")
    launched: list[str] = []
    for _ in range(20):
        stopping = Stopping(4)
        try:
            winner, _ = run(tmp_path / "parts", reporter=stopping)
        except InterruptedSweepError:
            launched += stopping.launched[:-1]
            continue
        launched += stopping.launched
        break
    assert winner == whole
    assert state(tmp_path / "parts").tried == state(tmp_path / "whole").tried
    assert sorted(launched) == sorted(notes.launched), "nothing is done twice"


def test_where_nothing_keeps_enough_nobody_is_confirmed_and_more_time_goes_on(tmp_path: Path) -> None:
    winner, _ = run(tmp_path / "out", judge=able())
    assert winner is None
    assert not (tmp_path / "out" / "confirm").exists()
    winner, _ = run(tmp_path / "out", judge=able("kd", "lowrank"), hours=2.0)
    assert winner is not None


def test_who_keeps_too_little_with_one_start_gets_no_other(tmp_path: Path) -> None:
    def judge(folder: Path) -> list[Verdict]:
        return [replace(verdict, kept=0.5) for verdict in able()(folder)]

    search, notes = asked(), Notes()
    search = replace(search, sweep=replace(search.sweep, seeds=2))
    searcher = Searcher(search, places_of(search.sweep), tmp_path / "out", notes)
    assert searcher.run(lambda: list(FEW), judge) is None
    found = state(tmp_path / "out")
    assert found.tried == []
    assert set(found.dropped.values()) == {0.5}
    students = [
        line for line in notes.launched if "tested=search" in line and not line.startswith("evaluate teacher")
    ]
    assert len(students) == len(found.dropped), "one start of each"
    assert set(load_results(tmp_path / "out")["method"]) == {"teacher"}, "the folder shows who was tried"
    assert any("its first start keeps 50.0 %" in line for line in notes.lines)


def test_time_that_is_up_ends_every_rung_after_what_runs(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"only 1 of 2 students .* of rung 1; run again with more --hours"):
        run(tmp_path / "out", hours=1e-6)
    assert state(tmp_path / "out").rungs == [FEW]
    winner, notes = run(tmp_path / "out")
    assert winner is not None
    assert not any(line.startswith("student teacher") for line in notes.launched), "what was done is kept"


def begun(folder: Path) -> None:
    """A search that was stopped before it did anything."""
    search = asked()
    Store(folder).claim(search.sweep)
    SearchState(search.described()).save(folder)


@pytest.mark.parametrize(
    ("values", "key"),
    [({"keep": 0.9}, "keep"), ({"seed": 3}, "seed"), ({"limits": (("mb", 2.0),)}, "limits")],
)
def test_a_folder_of_another_search_is_left_alone(values: dict[str, Any], key: str, tmp_path: Path) -> None:
    begun(tmp_path / "out")
    with pytest.raises(UserError, match=f"a search with another {key}; choose another --out"):
        run(tmp_path / "out", **values)


def test_a_folder_of_a_sweep_and_a_state_that_was_edited_are_refused(tmp_path: Path) -> None:
    search = asked()
    Store(tmp_path / "sweep").claim(search.sweep)
    with pytest.raises(UserError, match="a sweep that is no search"):
        SearchState.open(tmp_path / "sweep", search.sweep, search.described())
    begun(tmp_path / "out")
    file = tmp_path / "out" / "search.json"
    file.write_text(file.read_text().replace('"winner":null', '"winner":"kd"'))
    with pytest.raises(UserError, match="is not as it was written"):
        SearchState.open(tmp_path / "out", search.sweep, search.described())


def test_a_task_that_cannot_keep_halves_apart_is_told_before_anything_runs() -> None:
    assert places_of(asked().sweep) == Places(
        ("onepatch:blobs[tested=search]",), ("onepatch:blobs[tested=confirm]",)
    )
    with pytest.raises(UserError, match="spread does not tell which objects it scores"):
        places_of(replace(asked().sweep, tasks=("spread",)))
    with pytest.raises(UserError, match=r"spread scores the same objects of blobs in both halves"):
        places_of(replace(asked().sweep, tasks=("spread[strict=true]",)))
    with pytest.raises(UserError, match="fewshot has too few objects in each half of blobs"):
        places_of(replace(asked().sweep, tasks=("fewshot:blobs",)))


def test_a_task_that_fails_for_the_teacher_is_told_before_anything_is_trained(tmp_path: Path) -> None:
    search, notes = asked(), Notes()
    failing = Places(("picky:blobs[labelled=search]",), ("picky:blobs[labelled=confirm]",))
    with pytest.raises(
        UserError, match=r"teacher\+off-the-shelf on picky.* failed: .*no labels at all.*leave"
    ):
        Searcher(search, failing, tmp_path / "out", notes).run(lambda: FIRST, able())
    assert {record["inputs"]["method"]["name"] for record in notes.records} == {"teacher"}


def test_candidates_are_cheaper_than_the_limit_and_can_be_made() -> None:
    costs, notes = Costs(asked().sweep), Notes()
    choices = space(("kd[depth=1,width=0.25,0.5]", "lowrank[keep=0.3]", "distilled", "truncate[blocks=30]"))
    found = candidates(choices, costs.share, 10, seed=0, most=0.999, note=notes.note)
    assert {name.partition("[")[0] for name in found} == {"kd", "lowrank"}, (
        "a copy costs as much as its teacher"
    )
    assert all(0 < share < 1 for share in found.values())
    assert "2 cannot be made" in notes.lines[0]
    assert "1 cost too much" in notes.lines[0]
    assert found["kd[depth=1,width=0.25]+fmd"] < found["kd[depth=1,width=0.5]+fmd"]
    assert len(candidates(choices, costs.share, 2, seed=0, most=0.999, note=notes.note)) == 2
    with pytest.raises(UserError, match="larger --macs"):
        candidates(choices, costs.share, 10, seed=0, most=1e-9, note=notes.note)


def test_part_of_a_budget_has_its_steps_and_all_else() -> None:
    whole, part = get_budget("standard"), get_budget("standard/9")
    assert (part.name, part.steps) == ("standard/9", 134)
    assert replace(part, name="standard", steps=1200, curve=6) == whole
    data: Any = type("Data", (), {"points": range(51200)})
    assert resolve(get_budget("paper/3"), data).steps * 3 == resolve(get_budget("paper"), data).steps
    for name in ("standard/0", "standard/", "quick/1.5", "fast/3", "quick/3/3"):
        with pytest.raises(UserError, match="unknown budget"):
            get_budget(name)


def test_the_command_prints_what_was_promised_and_what_came_of_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def call(*further: str) -> tuple[Any, str]:
        places = [
            "--teacher",
            "tiny",
            "--tasks",
            "onepatch:blobs",
            "--distill-on",
            "blobs",
            "--engine",
            "serial",
        ]
        methods = ["--methods", "kd[depth=1,width=0.5],lowrank[keep=0.5]", "--threads", "1", "--seeds", "2"]
        with pytest.raises(SystemExit) as left:
            main(["search", *places, *methods, "--out", str(tmp_path / "out"), *further])
        return left.value.code, capsys.readouterr().out

    code, out = call("--dry-run")
    assert code == 0
    assert "of the teacher's multiply-adds  kd[depth=1,width=0.5]+fmd" in out
    assert "rung 2: 1/3 of the steps of quick" in out
    assert not (tmp_path / "out").exists()
    code, out = call("--keep", "1", "--worst", "1")
    assert "searched by" in out
    assert "of the confirmation" in out
    assert ("NOT CONFIRMED" in out) == bool(code)
    assert "to make it: " in out
    title, made = out.partition("to make it")[0], out.partition("with the first start: ")[2].strip()
    assert ("kd[depth=1,width=0.5]+fmd" in title) or ("lowrank[keep=0.5]" in title)
    assert load_student(Path(made)).origin is not None
    assert (tmp_path / "out" / "leaderboard.csv").exists()
    assert json.loads((tmp_path / "out" / "search.json").read_text())["content"]["winner"] is not None
    assert call("--keep", "1", "--worst", "1")[0] == code
    assert call("--keep", "2", "--worst", "1")[0] == 2
