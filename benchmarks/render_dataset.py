"""Contact sheets of a data set, to look at before trusting it.

One image per class (up to ``--per-class`` objects, coloured by depth) and one per part category (coloured by
part):

    python benchmarks/render_dataset.py kicad --out /tmp/sheets
    python benchmarks/render_dataset.py data/kicad --out /tmp/sheets --per-class 40
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np

from foundry_bench.datasets import EMBEDDED, PointCloudDataset, load_embedded, load_prepared

AZIMUTH, ELEVATION = np.radians(-60.0), np.radians(25.0)
COLUMNS = 8


def project(points: np.ndarray) -> np.ndarray:
    """Orthographic view of ``(P, 3)`` points from above right: ``(P, 3)`` right, up, towards the viewer."""
    cos_a, sin_a, cos_e, sin_e = np.cos(AZIMUTH), np.sin(AZIMUTH), np.cos(ELEVATION), np.sin(ELEVATION)
    right = np.array([-sin_a, cos_a, 0.0])
    up = np.array([-cos_a * sin_e, -sin_a * sin_e, cos_e])
    front = np.array([cos_a * cos_e, sin_a * cos_e, sin_e])
    return points @ np.stack([right, up, front], axis=1)


def sheet(dataset: PointCloudDataset, rows: Sequence[int], path: Path, title: str, by_part: bool) -> None:
    """Writes one image with the objects ``rows``, coloured by part label or by depth."""
    height = -(-len(rows) // COLUMNS)
    figure, axes = plt.subplots(height, COLUMNS, figsize=(2.4 * COLUMNS, 2.4 * height + 0.5), squeeze=False)
    for axis in axes.flat:
        axis.axis("off")
    for axis, row in zip(axes.flat, rows, strict=False):
        seen = project(dataset.points[row])
        order = np.argsort(seen[:, 2])
        by_label = by_part and dataset.parts is not None
        colour = dataset.parts[row][order] if by_label else seen[order, 2]
        limits = {"cmap": "tab10", "vmin": -1, "vmax": 8} if by_label else {"cmap": "viridis"}
        axis.scatter(seen[order, 0], seen[order, 1], c=colour, s=2.0, linewidths=0, **limits)
        axis.set(xlim=(-1.05, 1.05), ylim=(-1.05, 1.05), aspect="equal")
        axis.set_title(Path(dataset.paths[row]).stem[:34], fontsize=6)
    figure.suptitle(title, fontsize=9)
    figure.tight_layout(rect=(0.0, 0.0, 1.0, 1.0 - 0.35 / figure.get_figheight()))
    figure.savefig(path, dpi=75)
    plt.close(figure)


def overview(dataset: PointCloudDataset, groups: dict[str, np.ndarray], path: Path, by_part: bool) -> None:
    """One image with a row of ``COLUMNS`` objects of every group, spread over its series."""
    rows = [row for members in groups.values() for row in _spread(members, COLUMNS, pad=True)]
    sheet(dataset, rows, path, f"{dataset.name}: one class a row", by_part)


def main() -> None:
    """Writes the sheets of one data set."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("dataset", help="embedded name or folder of a prepared data set")
    parser.add_argument("--out", type=Path, required=True, help="folder for the images")
    parser.add_argument("--per-class", type=int, default=32, help="objects on a sheet")
    options = parser.parse_args()
    embedded = options.dataset in EMBEDDED
    dataset = load_embedded(options.dataset) if embedded else load_prepared(Path(options.dataset))
    options.out.mkdir(parents=True, exist_ok=True)
    groups = {name: np.flatnonzero(dataset.labels == index) for index, name in enumerate(dataset.classes)}
    groups = groups or {"all": np.arange(len(dataset.points))}
    overview(dataset, groups, options.out / f"{dataset.name}.png", by_part=False)
    for name, members in groups.items():
        by_part = name in dataset.part_names
        legend = ", ".join(f"{index} {part}" for index, part in enumerate(dataset.part_names.get(name, ())))
        rows = _spread(members, options.per_class)
        sheet(dataset, rows, options.out / f"{dataset.name}_{name}.png", f"{name}: {legend}", by_part)


def _spread(members: np.ndarray, count: int, pad: bool = False) -> list[int]:
    """``count`` members at equal distances in the list, which is sorted by path."""
    chosen = members[np.linspace(0, len(members) - 1, min(count, len(members))).astype(int)].tolist()
    return chosen + chosen[-1:] * (count - len(chosen)) if pad else chosen


if __name__ == "__main__":
    main()
