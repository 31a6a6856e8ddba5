"""What does an encoder add to part segmentation? The shipped teacher against three controls, on frozen features.

    python benchmarks/partseg_baseline.py [TEACHER] [--budget quick]
    python benchmarks/partseg_baseline.py [TEACHER] --choose

Controls: the part that most training points of a category have; the same head with tokens that say nothing, so that it sees
coordinates and category only; an encoder with random weights. ``--choose`` compares epochs and learning rates for the teacher
on objects that no split tests, with three splits of their own by series: how the quick budget was set.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import dataclass

import numpy as np
import torch
from rich.console import Console
from rich.table import Table

from foundry_bench.context import Context
from foundry_bench.datasets import PointCloudDataset, load_kicad
from foundry_bench.encoder import Encoder, EncoderConfig, Tokens
from foundry_bench.heads.probe import never_tested
from foundry_bench.heads.probing import level_weights
from foundry_bench.heads.segmentation import PartObjects, instance_iou
from foundry_bench.points.patches import Patches
from foundry_bench.tasks.partseg import PartSegmentation, PartTraining
from foundry_bench.teachers import PointTransformer, load_teacher
from foundry_bench.training.finetuning import Recipe

TRIALS = ((4, 64), (8, 64), (8, 128), (16, 64), (16, 32), (32, 32), (32, 16))
"""Epochs and points per object and step."""
RATES = (1e-3, 2e-3, 4e-3, 8e-3)


class Blind(Encoder):
    """An encoder whose tokens say nothing."""

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__()
        self.config = config

    def forward(self, patches: Patches, levels: bool = False) -> Tokens:
        nothing = patches.centers.new_zeros((*patches.centers.shape[:2], self.config.dim))
        return Tokens(nothing, (nothing,) * 3)


@dataclass(frozen=True)
class Trial(PartSegmentation):
    """The task with a training of its own."""

    epochs: int = 8
    lr: float = 1e-3
    points: int = 16

    def training(self, budget: str) -> PartTraining:
        return PartTraining(Recipe(self.epochs, lr=self.lr), self.points)


def majority(data: PointCloudDataset) -> tuple[float, float]:
    """Instance and category mIoU of the part that most training points of a category have."""
    task = PartSegmentation()
    objects = PartObjects.of(data, task.rotate)
    ious, categories = [], []
    for name in task.used(data):
        train, test = objects.sides(name)
        for category in np.unique(objects.category[test]):
            labels, tested = (
                objects.batch(rows[objects.category[rows] == category])[1].numpy() for rows in (train, test)
            )
            guess = np.full(tested.shape[1], np.bincount(labels[labels >= 0]).argmax())
            parts = objects.parts_of(int(category))
            ious += [instance_iou(guess, true, parts) for true in tested]
            categories += [category] * len(tested)
    return float(np.mean(ious)), float(level_weights(np.array(categories))[0] @ np.array(ious))


def controls(name: str) -> dict[str, Encoder]:
    """Row of the table -> encoder."""
    teacher = load_teacher(name)
    torch.manual_seed(0)
    return {
        "coordinates only": Blind(teacher.config),
        "random initialisation": PointTransformer(teacher.config),
        f"teacher {name}": teacher,
    }


def compare(name: str, budget: str) -> Table:
    """The table of the controls."""
    data, task = load_kicad(), PartSegmentation()
    table = Table(title=f"mIoU in % on KiCad parts, {task.splits} series-wise splits, budget {budget}")
    for column in ("features", "instance mIoU", "95 %", "category mIoU", "95 %", "CPU seconds"):
        table.add_column(column, justify="left" if column == "features" else "right", no_wrap=True)
    first, second = majority(data)
    table.add_row("majority part", f"{100 * first:.1f}", "", f"{100 * second:.1f}", "", "")
    for row, encoder in controls(name).items():
        began = time.process_time()
        scores = task.evaluate(encoder, data, Context(budget=budget)).values
        cells = []
        for score in scores:
            assert score.ci_low is not None
            assert score.ci_high is not None
            cells += [
                f"{100 * score.value:.1f}",
                f"{100 * score.ci_low:.1f} to {100 * score.ci_high:.1f}",
            ]
        table.add_row(row, *cells, f"{time.process_time() - began:.0f}")
    return table


def choose(name: str) -> Table:
    """Category mIoU of the teacher over epochs, points and learning rates, on objects that no split tests."""
    teacher, data = load_teacher(name), never_tested(load_kicad())
    table = Table(title=f"Category mIoU in % over {len(data.splits)} splits of objects that are never tested")
    table.add_column("epochs", justify="right")
    table.add_column("points", justify="right")
    for rate in RATES:
        table.add_column(f"lr {rate:g}", justify="right")
    for epochs, points in TRIALS:
        trials = [Trial(epochs=epochs, lr=rate, points=points) for rate in RATES]
        scores = [trial.evaluate(teacher, data, Context()).values for trial in trials]
        cells = (f"{100 * by_category.value:.1f}" for _, by_category in scores)
        table.add_row(str(epochs), str(points), *cells)
    return table


def main() -> None:
    """Print the table that was asked for."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("teacher", nargs="?", default="small")
    parser.add_argument("--budget", default="quick")
    parser.add_argument("--choose", action="store_true")
    options = parser.parse_args()
    table = choose(options.teacher) if options.choose else compare(options.teacher, options.budget)
    Console(width=140).print(table)


if __name__ == "__main__":
    main()
