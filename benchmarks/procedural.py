"""What a cloud of the data set ``procedural`` costs, and a contact sheet of its families, a row each, coloured by part.

python benchmarks/procedural.py
python benchmarks/procedural.py --sheet docs/procedural.png
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import numpy as np

from foundry_bench.datasets.lazy import unit_sphere
from foundry_bench.datasets.procedural.arithmetic import Stream
from foundry_bench.datasets.procedural.dataset import made
from foundry_bench.datasets.procedural.families import FAMILIES
from foundry_bench.datasets.procedural.sampling import sample

ACROSS = 12


def milliseconds(points: int, clouds: int) -> np.ndarray:
    """Processor time (clouds,) of making and normalising each of the first clouds of seed 0."""
    spent = []
    for number in range(clouds):
        began = time.process_time()
        unit_sphere(made(0, number, points)[0])
        spent.append(1e3 * (time.process_time() - began))
    return np.array(spent)


def sheet(path: Path) -> None:
    """Write a picture of ``ACROSS`` shapes of every family, seen from above right."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt
    from PIL import Image
    from render_dataset import project

    _, axes = plt.subplots(len(FAMILIES), ACROSS, figsize=(ACROSS, len(FAMILIES)), squeeze=False)
    for row, (share, family) in zip(axes, FAMILIES, strict=True):
        for number, axis in enumerate(row):
            stream = Stream((1, number))
            points, parts = sample(family(stream), 1500, stream)
            seen = project(unit_sphere(points))
            order = np.argsort(seen[:, 2])
            colours = {"c": parts[order], "cmap": "tab10", "vmin": 0, "vmax": 9}
            axis.scatter(seen[order, 0], seen[order, 1], s=0.7, linewidths=0, **colours)
            axis.set(xlim=(-1.02, 1.02), ylim=(-1.02, 1.02), aspect="equal")
            axis.axis("off")
        row[0].set_title(f"{family.__name__} {share:.0%}", fontsize=6, loc="left", pad=1)
    plt.subplots_adjust(0, 0, 1, 0.98, 0.02, 0.08)
    plt.savefig(path, dpi=75)
    Image.open(path).convert("RGB").quantize(24).save(path, optimize=True)


def main() -> None:
    """Print the cost of clouds of either size, or write the sheet."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--clouds", type=int, default=500, help="clouds that are timed")
    parser.add_argument("--sheet", type=Path, help="picture to write instead")
    options = parser.parse_args()
    if options.sheet:
        sheet(options.sheet)
        return
    milliseconds(1024, 20)
    for points in (1024, 2048):
        spent = milliseconds(points, options.clouds)
        low, middle, high = np.percentile(spent, (5, 50, 95))
        print(
            f"{points} points: {spent.mean():.2f} ms a cloud (5 % {low:.2f}, median {middle:.2f}, 95 % {high:.2f})"
        )


if __name__ == "__main__":
    main()
