"""What a task has to keep."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

from foundry_bench.encoder import Encoder
from foundry_bench.errors import UserError
from foundry_bench.parameters.declared import check_declared
from foundry_bench.registry import code_of
from foundry_bench.task import Scores, Task, scores_of
from foundry_bench.testing.rules import ConformanceError, Rule, require, snapshot, unchanged

if TYPE_CHECKING:
    from foundry_bench.context import Context
    from foundry_bench.datasets import PointCloudDataset


def check_task(task: Task, encoder: Encoder, data: PointCloudDataset, ctx: Context) -> None:
    """Scores are a pure function of the arguments, in [0, 1], with an outcome per item; the encoder stays
    as it was."""
    for rule in task_rules(task, encoder, data, ctx):
        rule.check()


def task_rules(task: Task, encoder: Encoder, data: PointCloudDataset, ctx: Context) -> Iterator[Rule]:
    """The rules of :func:`check_task`, in the order in which they build on each other."""
    before = snapshot(encoder)
    where = code_of(task, "evaluate")
    found: list[Scores] = []

    def declare() -> None:
        try:
            check_declared.__wrapped__(type(task), "tasks", Task)
            json.dumps(task.protocol())
        except UserError as error:
            raise ConformanceError(str(error)) from error
        except TypeError as error:
            raise ConformanceError(f"{code_of(task, 'protocol')}: it must be JSON-able ({error})") from error

    def score() -> None:
        try:
            found.append(scores_of(task, task.evaluate(encoder, data, ctx), data))
        except UserError as error:
            raise ConformanceError(str(error)) from error

    def repeat() -> None:
        second = task.evaluate(encoder, data, ctx)
        rule = f"{where}: the same arguments must give the same scores; draw from ctx.generator('what for')"
        require(found[0].values == second.values, rule)
        for name, outcomes in found[0].outcomes.items():
            same = np.array_equal(np.asarray(outcomes), np.asarray(second.outcomes[name]))
            require(same, f"{where}: the outcomes of {name} must come in a fixed order")

    def keep_outcomes() -> None:
        for value in found[0].values:
            rule = f"{where}: {value.metric} needs its {value.n} outcomes, for tests between encoders: Scores(values, outcomes)"
            require(value.metric in found[0].outcomes, rule)

    def leave_encoder() -> None:
        rule = f"{where}: a task must leave the frozen encoder untouched; work on copy.deepcopy(encoder)"
        require(unchanged(encoder, before), rule)

    yield Rule("it declares what the registry and the records need", declare)
    yield Rule("it scores an encoder: each metric once, in [0, 1]", score)
    yield Rule("every score has an outcome per unit", keep_outcomes)
    yield Rule("the same arguments give the same scores", repeat)
    yield Rule("the encoder stays untouched", leave_encoder)
