"""The numbers by which a teacher is chosen, for one or several: nothing that a task tests is read with its labels.

    python benchmarks/teacher_search.py small-v1 teachers/detail > results/teacher-search/table.md

KiCad objects that are on no test side of any split, split anew into three folds by series, turned about the up axis: a linear
SVM on pooled tokens, the class from one patch and parts from few labelled objects, each after so many blocks (0: tokens and
positions). The context index is of the clouds that ``foundry-bench info --context`` reads, without labels.
"""

from __future__ import annotations

import sys

import torch
from teacher_by_depth import Cut

from foundry_bench import registry
from foundry_bench.context import Context
from foundry_bench.datasets import PointCloudDataset, load_embedded
from foundry_bench.heads.context_index import context_index
from foundry_bench.heads.features import embed_clouds, turned
from foundry_bench.heads.probe import linear_probe, never_tested
from foundry_bench.teachers import PointTransformer, load_teacher

TASKS = ("onepatch", "densefewshot")
COLUMNS = ("teacher", "blocks", "linear", *TASKS, "context (query mean; self kept)", "rank")


def main() -> None:
    """Print a table with one row for every teacher and depth."""
    torch.set_num_threads(1)
    data = never_tested(load_embedded("kicad"))
    sys.stdout.write(f"| {' | '.join(COLUMNS)} |\n|{'---|' * len(COLUMNS)}\n")
    for name in sys.argv[1:]:
        teacher = load_teacher(name).eval()
        found = context_index(teacher)
        context = f"**{found.index:.3f}** ({found.query_mean:.3f}; {found.self_kept:.3f})"
        depth = len(teacher.blocks)
        for blocks in sorted({0, depth // 4, depth // 2, 3 * depth // 4, depth}):
            scores = " | ".join(f"{score:.1f}" for score in measured(teacher, blocks, data))
            whole = f"{context} | {found.effective_rank:.1f}" if blocks == depth else " | "
            sys.stdout.write(f"| {name} | {blocks} | {scores} | {whole} |\n")
            sys.stdout.flush()


def measured(teacher: PointTransformer, blocks: int, data: PointCloudDataset) -> list[float]:
    """Percentages after so many ``blocks``: the linear probe, and the primary metric of each of TASKS."""
    cut = Cut(teacher, blocks).eval()
    linear = linear_probe(embed_clouds(cut, turned(data.points[:], data.paths)), data)["mean"]
    tasks = (registry.load("tasks", name)() for name in TASKS)
    return [100 * linear, *(100 * task.evaluate(cut, data, Context()).values[0].value for task in tasks)]


if __name__ == "__main__":
    main()
