"""What a gate lets through: its probability on the clouds, and what it keeps over the threshold r."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import torch

from foundry_bench.encoder import Encoder
from foundry_bench.figures import clouds
from foundry_bench.figures.seen import Made, Seen, colour_map, device_of, sheet

THRESHOLDS = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.01)
"""r of the gate's curve."""
PICTURED = (0.3, 0.5, 0.7)
"""r whose kept tokens are drawn on the clouds."""


def gate(found: Seen) -> Made | None:
    """The gate's probability, the tokens that it keeps at some thresholds, and how many rows the blocks run on over r."""
    probability = found.looked.aux.get("gate")
    if probability is None:
        return None
    figure, axes = sheet(len(found.shown), 1 + len(PICTURED), curve=True)
    map_ = colour_map("viridis")
    for row, cloud in enumerate(found.shown):
        points, centers = found.points(cloud)
        shown = probability[cloud].numpy()
        colours = clouds.mixed(points, centers, map_(shown)[:, :3])
        clouds.draw(axes[row, 0], points, colours, f"{found.title(cloud)}\nprobability, yellow is 1")
        for column, r in enumerate(PICTURED):
            kept = np.where((shown >= r)[:, None], np.array([(0.84, 0.37, 0.0)]), np.array([clouds.GREY]))
            title = f"r = {r}\n{int((shown >= r).sum())} of {len(shown)} tokens by themselves"
            clouds.draw(axes[row, 1 + column], points, clouds.of_nearest(points, centers, kept), title)
    numbers = over_thresholds(found, probability)
    line = figure.add_subplot(axes[0, 0].get_gridspec()[-1, :])
    line.plot(
        numbers["r"], numbers["share_alone"], "o-", color="#d55e00", label="share of tokens by themselves"
    )
    if numbers["rows"].notna().all():
        line.plot(
            numbers["r"],
            numbers["rows"] / probability.shape[1],
            "s--",
            color="0.3",
            label="rows that run / T",
        )
    line.set(xlabel="threshold r", ylim=(0, None))
    line.legend(frameon=False)
    figure.suptitle("Foundry-Gate: what runs by itself")
    return figure, numbers


def over_thresholds(found: Seen, probability: torch.Tensor) -> pd.DataFrame:
    """For every r the share of tokens whose probability reaches it, and the mean number of rows that the blocks run on."""
    rows = []
    for r in THRESHOLDS:
        with _threshold(found.student, r) as can, torch.inference_mode():
            kept = (
                found.student(found.looked.patches[:64].to(device_of(found.student))).aux["tokens_kept"]
                if can
                else None
            )
        rows.append(
            (
                r,
                float((probability >= r).float().mean()),
                None if kept is None else float(kept.float().mean()),
            )
        )
    return pd.DataFrame(rows, columns=["r", "share_alone", "rows"])


@contextmanager
def _threshold(student: Encoder, r: float) -> Iterator[bool]:
    """Inside, the student runs at threshold ``r``; whether it has one."""
    method: Any = None if student.origin is None else student.origin.method
    able = method is not None and "r" in method.inference
    if able:
        replace(method, r=r).configure(student)
    try:
        yield able
    finally:
        if able:
            method.configure(student)
