"""Grouping before and after: the plain loop and one matrix of all distances, beside what the package does now.

    taskset -c 0 python benchmarks/grouping.py

On one thread. Times are CPU time in turns in a fresh process; memory is the peak of a fresh process above what it held
after it had grouped a small cloud. Large clouds are points of KiCad with jitter. First it says how the patches of all of
KiCad, and of a large cloud, compare.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from statistics import median
from typing import Any

import numpy as np
import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor

from foundry_bench.cost.memory import peak_resident_bytes
from foundry_bench.cost.scaling_child import RESET_PEAK
from foundry_bench.datasets import load_kicad
from foundry_bench.points import gather, group
from foundry_bench.points.patches import Patches

SIZES = ((1, 1024, 64), (32, 1024, 64), (1, 8192, 256), (1, 100_000, 1024), (1, 300_000, 2048))
"""Clouds, points, groups."""
GROUP_SIZE = 32


def plain_group(points: Tensor, groups: int, group_size: int) -> Patches:
    """Grouping as it was: every distance of every round, and of every centre to every point at once."""
    chosen = torch.zeros(len(points), groups, dtype=torch.long)
    distance = torch.full(points.shape[:2], torch.inf)
    x, y, z = points.unbind(-1)
    rows = torch.arange(len(points))
    for i in range(1, groups):
        dx, dy, dz = (c - c[rows, chosen[:, i - 1], None] for c in (x, y, z))
        distance = torch.minimum(distance, dx.square_().add_(dy.square_()).add_(dz.square_()))
        chosen[:, i] = distance.argmax(dim=1)
    centers = gather(points, chosen)
    squared = points.square().sum(-1)[:, None] - 2 * centers @ points.transpose(1, 2)
    neighbors = gather(points, squared.topk(group_size, dim=-1, largest=False, sorted=False).indices)
    return Patches(neighbors - centers[:, :, None], centers)


WAYS = {"before": plain_group, "after": group}


def clouds_of(batch: int, points: int) -> Tensor:
    """``batch`` clouds of ``points`` points: those of KiCad, or drawn from them with a jitter of 0.005."""
    rng, real = np.random.default_rng(0), load_kicad().points
    chosen = real[np.linspace(0, len(real) - 1, batch).astype(int)].astype(np.float32)
    if points <= chosen.shape[1]:
        return torch.from_numpy(chosen[:, :points].copy())
    drawn = chosen[:, rng.integers(0, chosen.shape[1], points)]
    return torch.from_numpy(drawn + 0.005 * rng.standard_normal(drawn.shape, dtype=np.float32))


def seconds(batch: int, points: int, groups: int) -> list[float]:
    """CPU seconds of both ways in this process, in turns: medians over a second of each, or one run."""
    clouds = clouds_of(batch, points)
    times: dict[str, list[float]] = {way: [] for way in WAYS}
    for run in WAYS.values():
        run(clouds_of(1, 512), 64, GROUP_SIZE)
    while sum(times["before"]) < 1 and len(times["before"]) < 200:
        for way in list(WAYS)[:: 1 if len(times["before"]) % 2 else -1]:
            began = time.process_time()
            WAYS[way](clouds, groups, GROUP_SIZE)
            times[way].append(time.process_time() - began)
    return [median(values) for values in times.values()]


def memory(way: str, batch: int, points: int, groups: int) -> int:
    """Bytes at the peak of one way in this process, above those after a small cloud."""
    clouds, run = clouds_of(batch, points), WAYS[way]
    run(clouds_of(1, 512), 64, GROUP_SIZE)
    RESET_PEAK.write_text("5")
    before = peak_resident_bytes()
    run(clouds, groups, GROUP_SIZE)
    return peak_resident_bytes() - before


def in_a_process(what: str, *size: int) -> Any:
    """Seconds or memory from a fresh process."""
    command = [sys.executable, __file__, "--one", what, *map(str, size)]
    return json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


def compare(console: Console) -> None:
    """Whether patches are the same, to the bit and as sets of points."""
    kicad = torch.from_numpy(load_kicad().points[:, :1024].astype(np.float32))
    pairs = [(plain_group(c, 64, GROUP_SIZE), group(c, 64, GROUP_SIZE)) for c in kicad.split(64)]
    equal = all(
        torch.equal(a.centers, b.centers) and torch.equal(a.neighborhoods, b.neighborhoods) for a, b in pairs
    )
    console.print(f"{len(kicad)} clouds of KiCad, 1,024 points, 64 groups: equal to the bit: {equal}")
    large = clouds_of(1, 300_000)
    before, after = plain_group(large, 2048, GROUP_SIZE), group(large, 2048, GROUP_SIZE)
    console.print(
        f"300,000 points, 2,048 groups: equal centres: {torch.equal(before.centers, after.centers)}"
    )
    sets = [
        (np.unique(a, axis=0), np.unique(b, axis=0))
        for a, b in zip(*map(_rows, (before, after)), strict=True)
    ]
    same = sum(np.array_equal(a, b) for a, b in sets)
    reach = [float(p.neighborhoods.double().square().sum(-1).amax(-1).sum()) for p in (before, after)]
    console.print(
        f"  groups of the same points: {same} of 2048; squared radii, summed: {reach[0]:.9f}, {reach[1]:.9f}"
    )


def _rows(patches: Patches) -> np.ndarray:
    return patches.neighborhoods[0].numpy()


def main() -> None:
    """Print the comparison and the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--one", nargs=4, metavar=("WHAT", "CLOUDS", "POINTS", "GROUPS"), help="for itself")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    if asked.one:
        what, *size = asked.one[0], *map(int, asked.one[1:])
        print(json.dumps(seconds(*size) if what == "seconds" else memory(what, *size)))
        return
    console = Console()
    compare(console)
    table = Table(
        "clouds", "points", "groups", "CPU ms before", "after", "MB before", "after", pad_edge=False
    )
    for size in SIZES:
        times = [f"{1e3 * value:.2f}" for value in in_a_process("seconds", *size)]
        peaks = [f"{in_a_process(way, *size) / 1e6:.0f}" for way in WAYS]
        table.add_row(*(f"{n:,}" for n in size), *times, *peaks)
    console.print(table)


if __name__ == "__main__":
    main()
