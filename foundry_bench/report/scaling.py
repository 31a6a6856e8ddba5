"""The table and figure of costs against the size of a cloud."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from foundry_bench.cost.scaling import COLUMNS, OK, ScaleRow, as_record
from foundry_bench.cost.scaling_child import FUSED
from foundry_bench.figures.files import save, styled
from foundry_bench.storage import write_atomic

if TYPE_CHECKING:
    from collections.abc import Callable

    from matplotlib.axes import Axes

NAME = "scaling"
PANELS: tuple[tuple[str, str, Callable[[ScaleRow], float | None]], ...] = (
    ("peak above base, MB", "groups", lambda row: _above(row)),
    ("CPU ms of the encoder", "groups", lambda row: row.encode_cpu_ms),
    ("CPU ms of grouping", "points", lambda row: row.grouping_cpu_ms),
)
"""Title, size along the axis, and figure."""


def write_scaling(rows: Sequence[ScaleRow], folder: Path, *, figure: bool = True) -> None:
    """Write ``scaling.csv`` into ``folder``, which is made, and ``scaling.png`` and ``.svg`` with ``figure``."""
    folder.mkdir(parents=True, exist_ok=True)
    text = io.StringIO()
    table = csv.DictWriter(text, COLUMNS, lineterminator="\n")
    table.writeheader()
    for row in rows:
        table.writerow({k: _short(v) for k, v in as_record(row).items()})
    write_atomic(folder / f"{NAME}.csv", text.getvalue().encode())
    if figure:
        _draw(rows, folder / NAME)


def _short(value: object) -> object:
    """A number with as many digits as it is worth."""
    return f"{value:.4g}" if isinstance(value, float) else value


def _above(row: ScaleRow) -> float | None:
    return None if row.peak_mb is None or row.base_mb is None else row.peak_mb - row.base_mb


def _draw(rows: Sequence[ScaleRow], stem: Path) -> None:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    most, least = max(row.points for row in rows), min(row.groups for row in rows)
    figure = Figure(figsize=(5 * len(PANELS), 4.2), layout="constrained")
    FigureCanvasAgg(figure)  # by name: a figure must not need a display
    all_axes = figure.subplots(1, len(PANELS))
    for axes, (title, size, value) in zip(all_axes, PANELS, strict=True):
        chosen = [row for row in rows if (row.points == most if size == "groups" else row.groups == least)]
        _panel(axes, chosen, size, value)
        where = f"{most:,} points" if size == "groups" else f"{least:,} groups"
        axes.set(xscale="log", yscale="log", xlabel=size, title=f"{title}, {where}")
        axes.grid(alpha=0.3)
    all_axes[0].legend(fontsize=7, handlelength=4)
    with styled():
        save(figure, stem)


def _panel(
    axes: Axes, rows: Sequence[ScaleRow], size: str, value: Callable[[ScaleRow], float | None]
) -> None:
    """One line for each student and attention; fused ones full, plain ones dashed, a cross where memory was short."""
    students = list(dict.fromkeys(row.student for row in rows))
    for number, student in enumerate(students):
        for attention in sorted({row.attention for row in rows}):
            own = [row for row in rows if (row.student, row.attention) == (student, attention)]
            able = [row for row in own if row.status == OK]
            places, heights = [getattr(row, size) for row in able], [value(row) or 0.0 for row in able]
            line, label = "-" if attention == FUSED else "--", f"{student}, {attention}"
            axes.plot(places, heights, line, marker="o", ms=3, color=f"C{number}", label=label)
            out = [getattr(row, size) for row in own if row.status != OK]
            axes.plot(out, [0.97] * len(out), "x", color=f"C{number}", transform=axes.get_xaxis_transform())
