"""How good are the shipped teacher's frozen features? The table of the README, over the three series splits.

    python benchmarks/teacher_probe.py [TEACHER]

Linear and RBF SVM on 26 KiCad classes: random initialisation, voxels, rotation-invariant histograms, teacher.
"""

from __future__ import annotations

import sys

import numpy as np
import torch
from rich.console import Console
from rich.table import Table

from foundry_bench.datasets import PointCloudDataset, load_kicad
from foundry_bench.heads.classical import classical_features
from foundry_bench.heads.features import embed_clouds, turned
from foundry_bench.heads.probe import probe
from foundry_bench.teachers import PointTransformer, load_teacher


def descriptors(name: str, data: PointCloudDataset) -> dict[str, np.ndarray]:
    """Row of the table -> features (N, F) of the turned clouds."""
    teacher = load_teacher(name)
    torch.manual_seed(0)
    untrained = PointTransformer(teacher.config)
    clouds = turned(data.points[:, : teacher.config.points], data.paths)
    return {
        "random initialisation": embed_clouds(untrained, clouds),
        "voxels + D2": classical_features(clouds, "voxels"),
        "rotation-invariant histograms": classical_features(clouds, "histograms"),
        f"teacher {name}": embed_clouds(teacher, clouds),
    }


def main() -> None:
    """Print the table for the teacher named on the command line (default: small)."""
    name = sys.argv[1] if len(sys.argv) > 1 else "small"
    data = load_kicad()
    table = Table(
        title=f"Accuracy in % on {len(data.classes)} classes, series-wise splits, clouds turned about up"
    )
    table.add_column("features", no_wrap=True)
    for kind in ("linear", "rbf"):
        for column in (*data.splits, "mean"):
            table.add_column(f"{kind} {column}", justify="right")
    for row, features in descriptors(name, data).items():
        scores = [score for kind in ("linear", "rbf") for score in probe(features, data, kind=kind).values()]
        table.add_row(row, *(f"{100 * score:.1f}" for score in scores))
    Console(width=140).print(table)


if __name__ == "__main__":
    main()
