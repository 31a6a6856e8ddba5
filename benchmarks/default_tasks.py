"""Which tasks ask for context? The teacher against a control without any, on KiCad objects of no split's test side.

    foundry-bench distill --teacher small --method 'foundry[supertokens=0]' -o students/no-context
    python benchmarks/default_tasks.py students/no-context

Tasks in which the teacher stands at least four standard errors (z) above the control are run by default. Few-shot episodes and
corrupted queries are drawn from the base classes here, not from those that are scored otherwise.
"""

from __future__ import annotations

import sys
from dataclasses import replace

import torch
from scipy import stats

from foundry_bench import registry
from foundry_bench.context import Context
from foundry_bench.datasets.dataset import PointCloudDataset
from foundry_bench.datasets.embedded_reader import load_kicad
from foundry_bench.heads.probe import never_tested
from foundry_bench.students.files import load_student
from foundry_bench.teachers import load_teacher

TASKS = ("fewshot", "classification", "onepatch", "densefewshot", "robustness")


def development() -> PointCloudDataset:
    """The objects of no test side, in new folds; the classes that few-shot draws otherwise are not among the novel ones."""
    data = never_tested(load_kicad())
    return replace(data, novel_classes=tuple(c for c in data.classes if c not in data.novel_classes))


def main() -> None:
    """Print both scores, their difference and z for every task."""
    torch.set_num_threads(1)
    rows = [load_teacher("small"), load_student(sys.argv[1])]
    data = development()
    sys.stdout.write(
        "| task | metric | teacher | control | difference | z | outcomes |\n|---|---|---|---|---|---|---|\n"
    )
    for name in TASKS:
        scores = [registry.load("tasks", name)().evaluate(row.eval(), data, Context()) for row in rows]
        metric = next(value.metric for value in scores[0].values if value.primary)
        first, second = (found.outcomes[metric] for found in scores)
        z = stats.ttest_rel(first, second).statistic
        shown = (*(100 * x.mean() for x in (first, second, first - second)), z)
        sys.stdout.write(f"| {name} | {metric} | {' | '.join(f'{x:.1f}' for x in shown)} | {len(first)} |\n")


if __name__ == "__main__":
    main()
