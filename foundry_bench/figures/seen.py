"""What the figures of a student are drawn from, and the sheets that they are drawn on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import torch

from foundry_bench.encoder import Encoder
from foundry_bench.figures.files import blank
from foundry_bench.figures.looked import Looked

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

SIDE = 2.0
"""Inches of a cloud."""


@dataclass(frozen=True)
class Seen:
    """What the figures are drawn from: all that was ``looked`` at, the clouds that are ``shown``, and both encoders."""

    looked: Looked
    shown: list[int]
    student: Encoder
    teacher: Encoder

    def title(self, cloud: int) -> str:
        """Which of the clouds it is, and how well its tokens are kept."""
        rank = self.shown.index(cloud)
        ends = {0: "best", len(self.shown) - 1: "worst", (len(self.shown) - 1) / 2: "median"}
        place = "median" if len(self.shown) == 1 else ends.get(rank, "")
        label = self.looked.labels[cloud]
        return ", ".join(filter(None, (place, label, f"R2 {self.looked.r2[cloud]:.2f}")))

    def points(self, cloud: int) -> tuple[np.ndarray, np.ndarray]:
        """Points (P, 3) and centres (T, 3) of a cloud."""
        return self.looked.clouds[cloud].numpy(), self.looked.centers[cloud].numpy()


Made = tuple["Figure", pd.DataFrame]
"""A figure and the numbers that are drawn."""


def objects_table(found: Seen) -> pd.DataFrame:
    """R2 of every cloud that was looked at, and which are shown."""
    looked = found.looked
    shown = [cloud in found.shown for cloud in range(len(looked.names))]
    table = {"object": looked.names, "class": looked.labels, "r2": looked.r2, "shown": shown}
    return pd.DataFrame(table).sort_values("r2", ascending=False, kind="stable")


def sheet(
    objects: int, panels: int, *, wide: bool = False, curve: bool = False
) -> tuple[Figure, np.ndarray[Any, np.dtype[np.object_]]]:
    """A figure with a row for every object, or with all of them in one row if ``wide``; with room for a ``curve`` below."""
    rows, columns = (1, objects) if wide else (objects, panels)
    size = (max(SIDE * 1.35 * columns, 5.5), SIDE * (rows + curve) + 0.4)
    figure = blank(size)
    grid = figure.add_gridspec(rows + curve, columns)
    axes = np.empty((rows, columns), dtype=object)
    for row, column in np.ndindex(rows, columns):
        axes[row, column] = figure.add_subplot(grid[row, column])
    return figure, axes


def colour_bar(figure: Figure, axes: np.ndarray[Any, np.dtype[np.object_]], map_: Any, most: float) -> None:
    """A colour bar from 0 to ``most``."""
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import Normalize

    all_axes: list[Axes] = list(axes.ravel())
    figure.colorbar(ScalarMappable(Normalize(0, most), map_), ax=all_axes, shrink=0.7, extend="max")


def colour_map(name: str) -> Any:
    import matplotlib

    return matplotlib.colormaps[name]


def device_of(encoder: Encoder) -> torch.device:
    return next(encoder.parameters()).device
