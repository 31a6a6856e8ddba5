"""What a task has to keep."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import numpy as np

from foundry_bench.encoder import Encoder
from foundry_bench.testing.rules import require, snapshot, unchanged

if TYPE_CHECKING:
    from foundry_bench.context import Context
    from foundry_bench.datasets import PointCloudDataset
    from foundry_bench.task import Task


def check_task(task: Task, encoder: Encoder, data: PointCloudDataset, ctx: Context) -> None:
    """Scores are a pure function of the arguments, in [0, 1], with an outcome per item; the encoder stays
    as it was."""
    require(sum(m.primary for m in task.metrics) == 1, f"{task.name}: exactly one metric must be primary")
    json.dumps(task.protocol())
    before = snapshot(encoder)
    first, second = (task.evaluate(encoder, data, ctx) for _ in range(2))
    names = [score.metric for score in first.values]
    require(
        names == [m.name for m in task.metrics_for(data)], f"{task.name}: scores must be those of metrics_for"
    )
    require(first.values == second.values, f"{task.name}: the same arguments must give the same scores")
    for score in first.values:
        require(0 <= score.value <= 1, f"{task.name}: {score.metric} = {score.value} is not in [0, 1]")
        outcomes = first.outcomes.get(score.metric)
        require(
            outcomes is not None and len(outcomes) == score.n,
            f"{task.name}: {score.metric} needs {score.n} outcomes",
        )
        same = np.array_equal(np.asarray(outcomes), np.asarray(second.outcomes[score.metric]))
        require(same, f"{task.name}: the outcomes of {score.metric} must come in a fixed order")
    require(unchanged(encoder, before), f"{task.name}: a task must leave the frozen encoder untouched")
