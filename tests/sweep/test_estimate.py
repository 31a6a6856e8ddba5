"""The order in which cells start."""

from __future__ import annotations

import pytest
from sweep_helpers import config_of

from foundry_bench.sweep.estimate import Estimate
from foundry_bench.sweep.plan import STUDENT, plan


@pytest.mark.usefixtures("plugins")
def test_the_teachers_cells_come_first_and_then_what_is_done_soonest() -> None:
    cells = plan(config_of("distilled,teacher-copy,teacher")).cells
    students = [c.inputs["method"]["name"] for c in Estimate({}).cheap_first(cells) if c.kind == STUDENT]
    assert students == ["teacher", "teacher-copy", "distilled"]
