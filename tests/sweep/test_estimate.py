"""The order in which cells start, and the time that is said to be left."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from typing import Any, cast

import pytest
from sweep_helpers import config_of

from foundry_bench.progress import SHARED
from foundry_bench.sweep.estimate import AtWork, Estimate
from foundry_bench.sweep.marks import Notice
from foundry_bench.sweep.plan import PROFILE, STUDENT, Cell, plan

NOW = datetime(2026, 1, 1, tzinfo=timezone.utc)


def cell(method: str, kind: str = STUDENT, steps: int = 200) -> Cell:
    """A cell as far as an estimate looks at it; a student is guessed to take 20 seconds."""
    inputs: dict[str, Any] = {"method": {"name": method}, "variant": "fmd", "task": None}
    return Cell(kind, cast(Any, {**inputs, "budget": {"steps": steps}}))


@pytest.mark.usefixtures("plugins")
def test_the_teachers_cells_come_first_and_then_what_is_done_soonest() -> None:
    cells = plan(config_of("distilled,teacher-copy,teacher")).cells
    students = [c.inputs["method"]["name"] for c in Estimate({}).cheap_first(cells) if c.kind == STUDENT]
    assert students == ["teacher", "teacher-copy", "distilled"]


def test_what_is_done_corrects_the_guess_of_the_others() -> None:
    estimate, others = Estimate({}), [cell(f"m{number}") for number in range(10)]
    assert estimate.total(others, 2) == pytest.approx(100)
    for done in others[:3]:
        estimate.learn(done, 10.0)
    assert estimate.total(others[3:], 2) == pytest.approx(35)
    assert estimate.seconds(cell("profiled", PROFILE)) == 30, "other kinds are guessed as before"


def test_a_cell_of_the_same_method_counts_more_than_the_guess() -> None:
    estimate = Estimate({})
    estimate.learn(cell("slow"), 200.0)
    estimate.learn(cell("quick"), 2.0)
    assert estimate.seconds(cell("slow")) == 200
    assert estimate.seconds(cell("quick")) == 2


def test_a_cell_that_has_stalled_for_minutes_makes_the_rest_longer() -> None:
    stalled, waiting = AtWork(cell("first"), 360.0), [cell("second"), cell("third")]
    left = Estimate({}).left(waiting, [stalled], 1)
    assert left == pytest.approx(360 + 2 * 360)


def test_a_phase_tells_what_it_leaves() -> None:
    start = (NOW - timedelta(seconds=30)).isoformat()
    notice = Notice(STUDENT, "x", phase="distill x", done=50, total=200, phase_start=start)
    at_work = AtWork.of(cell("x"), 60.0, notice, NOW)
    assert at_work.left == pytest.approx(90)
    assert Estimate({}).left([], [at_work], 2) == pytest.approx(90)


def test_work_that_serves_all_cells_is_not_expected_again() -> None:
    start = (NOW - timedelta(seconds=300)).isoformat()
    caching = Notice(
        STUDENT, "x", phase=f"{SHARED}, 340 MB", done=100, total=200, phase_start=start, shared=20
    )
    at_work = AtWork.of(cell("x"), 325.0, caching, NOW)
    assert (at_work.seconds, at_work.left) == (pytest.approx(5), pytest.approx(300))
    left = Estimate({}).left([cell("y")], [at_work], 1)
    assert left == pytest.approx(300 + 20), "the caching now, and the guess for the other"


def test_profiles_run_one_at_a_time() -> None:
    cells = [cell("a", PROFILE), cell("b", PROFILE), cell("c")]
    assert Estimate({}).total(cells, 4) == pytest.approx(30 + 30 + 20 / 4)
