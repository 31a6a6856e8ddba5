"""Contact sheets of a data set, to look at before trusting it.

One image per class (up to ``--per-class`` objects, coloured by depth) and one per part category (coloured by
part), and overviews of one class and of one part category a row, which may be all that is wanted, and small:

    python benchmarks/render_dataset.py kicad --out /tmp/sheets
    python benchmarks/render_dataset.py data/kicad --out /tmp/sheets --per-class 40
    python benchmarks/render_dataset.py bricks --out docs/bricks --overviews --inches 1.2 --colours 64
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
from PIL import Image

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


def sheet(
    dataset: PointCloudDataset,
    rows: Sequence[int],
    path: Path,
    title: str,
    by_part: bool,
    inches: float = 2.4,
    labels: Sequence[str] = (),
) -> None:
    """Writes one image with the objects ``rows``, ``inches`` wide each, coloured by part label or by depth; ``labels`` replace
    the names of their files."""
    height = -(-len(rows) // COLUMNS)
    size = (inches * COLUMNS, inches * height + 0.5)
    figure, axes = plt.subplots(height, COLUMNS, figsize=size, squeeze=False)
    for axis in axes.flat:
        axis.axis("off")
    names = labels or [Path(dataset.paths[row]).stem[:34] for row in rows]
    for axis, row, name in zip(axes.flat, rows, names, strict=False):
        seen = project(dataset.points[row])
        order = np.argsort(seen[:, 2])
        by_label = by_part and dataset.parts is not None
        colour = dataset.parts[row][order] if by_label else seen[order, 2]
        limits = {"cmap": "tab10", "vmin": -1, "vmax": 8} if by_label else {"cmap": "viridis"}
        axis.scatter(seen[order, 0], seen[order, 1], c=colour, s=(inches / 1.7) ** 2, linewidths=0, **limits)
        axis.set(xlim=(-1.05, 1.05), ylim=(-1.05, 1.05), aspect="equal")
        axis.set_title(name, fontsize=6, pad=2, loc="left" if labels else "center")
    figure.suptitle(title, fontsize=9)
    figure.tight_layout(rect=(0.0, 0.0, 1.0, 1.0 - 0.35 / figure.get_figheight()))
    figure.savefig(path, dpi=75)
    plt.close(figure)


def overview(
    dataset: PointCloudDataset, groups: dict[str, np.ndarray], path: Path, by_part: bool, inches: float
) -> None:
    """One image with a row of ``COLUMNS`` objects of every group, spread over its series."""
    rows = [row for members in groups.values() for row in _spread(members, COLUMNS, pad=True)]
    labels = [name if not column else "" for name in groups for column in range(COLUMNS)]
    what = "one part category a row" if by_part else "one class a row"
    sheet(dataset, rows, path, f"{dataset.name}: {what}", by_part, inches, labels)


def reduce_colours(path: Path, colours: int) -> None:
    """Writes an image again with a palette, at a third of its size."""
    Image.open(path).convert("RGB").quantize(colours, dither=Image.Dither.NONE).save(path, optimize=True)


def main() -> None:
    """Writes the sheets of one data set."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("dataset", help="embedded name or folder of a prepared data set")
    parser.add_argument("--out", type=Path, required=True, help="folder for the images")
    parser.add_argument("--per-class", type=int, default=32, help="objects on a sheet")
    parser.add_argument("--inches", type=float, default=2.4, help="width of an object in an overview")
    parser.add_argument("--overviews", action="store_true", help="no sheet per class")
    parser.add_argument("--colours", type=int, help="reduce overviews to a palette")
    options = parser.parse_args()
    embedded = options.dataset in EMBEDDED
    dataset = load_embedded(options.dataset) if embedded else load_prepared(Path(options.dataset))
    options.out.mkdir(parents=True, exist_ok=True)
    groups = {name: np.flatnonzero(dataset.labels == index) for index, name in enumerate(dataset.classes)}
    groups = groups or {"all": np.arange(len(dataset.points))}
    overviews = {f"{dataset.name}.png": (groups, False)}
    if dataset.part_names:
        overviews[f"{dataset.name}-parts.png"] = (_with_parts(dataset, groups), True)
    for file, (shown, parts) in overviews.items():
        overview(dataset, shown, options.out / file, parts, options.inches)
        if options.colours:
            reduce_colours(options.out / file, options.colours)
    if options.overviews:
        return
    for name, members in groups.items():
        by_part = name in dataset.part_names
        legend = ", ".join(f"{index} {part}" for index, part in enumerate(dataset.part_names.get(name, ())))
        rows = _spread(members, options.per_class)
        sheet(dataset, rows, options.out / f"{dataset.name}_{name}.png", f"{name}: {legend}", by_part)


def _with_parts(dataset: PointCloudDataset, groups: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The labelled objects of every part category, named with its parts."""
    labelled = (dataset.parts >= 0).any(axis=1)
    return {
        f"{name}: {', '.join(parts)}": groups[name][labelled[groups[name]]]
        for name, parts in dataset.part_names.items()
    }


def _spread(members: np.ndarray, count: int, pad: bool = False) -> list[int]:
    """``count`` members at equal distances in the list, which is sorted by path."""
    chosen = members[np.linspace(0, len(members) - 1, min(count, len(members))).astype(int)].tolist()
    return chosen + chosen[-1:] * (count - len(chosen)) if pad else chosen


if __name__ == "__main__":
    main()
