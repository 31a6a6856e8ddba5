"""Before a search trains anything: its candidates with their multiply-adds, and its tasks on both halves of their objects."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from foundry_bench import registry, selectors
from foundry_bench.datasets.catalog import load_dataset
from foundry_bench.datasets.halves import Form, Half
from foundry_bench.errors import UserError
from foundry_bench.sweep.config import SweepConfig
from foundry_bench.sweep.plan import EVALUATE, plan, task_text
from foundry_bench.sweep.record import given
from foundry_bench.sweep.space import TEACHER, Choice, drawn

if TYPE_CHECKING:
    from foundry_bench.datasets import PointCloudDataset
    from foundry_bench.encoder import TokenEncoder
    from foundry_bench.task import Task

CLOUDS = 4
"""Clouds that the multiply-adds of students are counted on whose work depends on the cloud."""


@dataclass(frozen=True)
class Places:
    """The tasks on both halves of their objects, as ``--tasks`` takes them."""

    search: tuple[str, ...]
    confirm: tuple[str, ...]


def places_of(config: SweepConfig) -> Places:
    """The halves of the tasks of a sweep. Raises UserError for a task that does not tell whether it keeps them apart."""
    cells = plan(replace(config, methods=(TEACHER,), seeds=1)).cells
    halved: dict[str, list[str]] = {"search": [], "confirm": []}
    for inputs in (cell.inputs for cell in cells if cell.kind == EVALUATE):
        text, name = task_text(given(inputs["task"])), given(inputs["dataset"])["name"]
        task = selectors.expand_task(text)[0][0]
        form: Form = "tested" if "splits" in task.needs else "labelled"
        first, second = Half(name, form, "search"), Half(name, form, "confirm")
        _check_apart(task, load_dataset(name, Path(config.data_root)), first, second)
        for half in (first, second):
            halved[half.name].append(selectors.join_task(text, half.selector))
    return Places(tuple(halved["search"]), tuple(halved["confirm"]))


def _check_apart(task: Task, data: PointCloudDataset, *both: Half) -> None:
    """Raise UserError unless ``task`` scores objects of both halves, and none in both."""
    with registry.guard("tasks", task.name, "cannot be halved"):
        scored = [task.scored(half.of(data)) for half in both]
    rows = [np.asarray(found) for found in scored if found is not None and len(found)]
    if len(rows) < len(both):
        unknown = any(found is None for found in scored)
        why = "does not tell which objects it scores" if unknown else "has too few objects"
        raise UserError(f"{task.name} {why} in each half of {data.name}; leave it out of --tasks")
    if np.intersect1d(rows[0], rows[1]).size:
        raise UserError(
            f"{task.name} scores the same objects of {data.name} in both halves; leave it out of --tasks"
        )


class Costs:
    """Counts multiply-adds of students that nobody has trained, as shares of the teacher's."""

    def __init__(self, config: SweepConfig) -> None:
        from foundry_bench import cost
        from foundry_bench.teachers import load_teacher

        self.config = config
        self.teacher: TokenEncoder = load_teacher(config.teacher)
        self.data = load_dataset(config.distill_on, Path(config.data_root))
        self.clouds = cost.report.evaluation_clouds(self.data, self.teacher.config.points, CLOUDS)
        self.whole = cost.count_macs_over(self.teacher, self.clouds).mean.total

    def share(self, choice: Choice) -> float:
        """Of one student. Raises what its method raises."""
        from foundry_bench.context import Context
        from foundry_bench.cost import count_macs_over
        from foundry_bench.students.files import make_student

        ctx = Context(
            variant=choice.variant, budget=self.config.budget, data_root=Path(self.config.data_root)
        )
        with registry.guard("methods", choice.method.name, "cannot be counted"):
            student = make_student(choice.method, self.teacher, self.data, ctx)
            return count_macs_over(student, self.clouds, CLOUDS).mean.total / self.whole


def candidates(
    choices: list[Choice],
    costs: Callable[[Choice], float],
    count: int,
    *,
    seed: int,
    most: float,
    note: Callable[[str], None],
) -> dict[str, float]:
    """``count`` of ``choices`` whose share of the teacher's multiply-adds is at most ``most``, by selector with their shares.

    Those that cannot be made of this teacher are left out.
    """
    found: dict[str, float] = {}
    dropped: Counter[str] = Counter()
    for choice in drawn(choices, seed):
        if len(found) == count:
            break
        try:
            share = costs(choice)
        except (UserError, ValueError, RuntimeError, TypeError, IndexError):
            dropped["cannot be made"] += 1
            continue
        if share <= most:
            found[choice.selector] = share
        else:
            dropped["cost too much"] += 1
    left_out = "".join(f", {n} {why}" for why, n in sorted(dropped.items()))
    note(f"{len(found)} candidates of {len(choices)} that there are{left_out}")
    if not found:
        raise UserError(
            "no candidate is below the limit of multiply-adds; give a larger --macs or other --methods"
        )
    return found
