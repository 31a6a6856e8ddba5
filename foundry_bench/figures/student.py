"""The figures of one student on real clouds: what of its teacher it kept, what it grouped, where it errs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import torch
from sklearn.decomposition import PCA

from foundry_bench.encoder import Encoder
from foundry_bench.figures import clouds
from foundry_bench.figures.entropy import assignment_entropy, attention_entropy
from foundry_bench.figures.files import save, styled
from foundry_bench.figures.looked import Looked, chosen, look
from foundry_bench.storage import write_atomic

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from foundry_bench.context import Context
    from foundry_bench.datasets import PointCloudDataset

THRESHOLDS = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.01)
"""r of the gate's curve."""
PICTURED = (0.3, 0.5, 0.7)
"""r whose kept tokens are drawn on the clouds."""
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


def visualize(
    student: Encoder,
    teacher: Encoder,
    data: PointCloudDataset,
    folder: Path,
    ctx: Context,
    *,
    objects: int = 3,
) -> list[Path]:
    """Write the figures in which ``student`` has anything to show as PNG and SVG, their numbers as CSV, and return the files.

    ``objects`` clouds of ``data`` are shown, from the one whose tokens the student keeps best to the one it keeps worst. Raises
    UserError for a student and a teacher that do not belong together.
    """
    looked = look(student, teacher, data, ctx)
    found = Seen(looked, chosen(looked.r2, objects), student, teacher)
    files: list[Path] = []
    with styled():
        for done, (name, drawn) in enumerate(FIGURES.items()):
            ctx.progress("drawing", done, len(FIGURES))
            made = drawn(found)
            if made is not None:
                figure, numbers = made
                files += save(figure, folder / name, dpi=200)
                write_atomic(folder / f"{name}.csv", numbers.to_csv(index=False).encode())
                files.append(folder / f"{name}.csv")
    ctx.progress("drawing", len(FIGURES), len(FIGURES))
    return files


Made = tuple["Figure", pd.DataFrame]


def pca(found: Seen) -> Made:
    """Tokens of teacher and student in the first three principal components of the teacher's, as red, green and blue."""
    looked = found.looked
    fitted = PCA(3, svd_solver="covariance_eigh").fit(looked.teacher.flatten(0, 1).numpy())
    low, high = np.percentile(fitted.transform(looked.teacher.flatten(0, 1).numpy()), [2, 98], axis=0)
    figure, axes = _sheet(len(found.shown), 3)
    for row, cloud in enumerate(found.shown):
        points, centers = found.points(cloud)
        panels = [np.full_like(points, 0.6)]
        for tokens in (looked.teacher[cloud], looked.student[cloud]):
            colours = (fitted.transform(tokens.numpy()) - low) / (high - low)
            panels.append(clouds.mixed(points, centers, np.clip(colours, 0, 1)))
        titles = (found.title(cloud), "teacher", "student")
        for column, (colours, title) in enumerate(zip(panels, titles, strict=True)):
            clouds.draw(axes[row, column], points, colours, title)
    shares = fitted.explained_variance_ratio_
    figure.suptitle(
        f"tokens in the teacher's first three components ({100 * shares.sum():.0f} % of its variance)"
    )
    return figure, _objects(found)


def groups(found: Seen) -> Made | None:
    """Tokens by the SuperToken or the merged row that stands for them; None for a student that groups nothing."""
    index = groups_of(found.looked)
    if index is None:
        return None
    figure, axes = _sheet(len(found.shown), 1, wide=True)
    rows = []
    for row, cloud in enumerate(found.shown):
        points, centers = found.points(cloud)
        of_tokens = index[cloud].numpy()
        used, sizes = np.unique(of_tokens, return_counts=True)
        title = f"{found.title(cloud)}\n{len(used)} groups of {len(of_tokens)} tokens, {int((sizes == 1).sum())} alone"
        colours = clouds.of_nearest(points, centers, clouds.colours_of_groups(of_tokens))
        clouds.draw(axes[0, row], points, colours, title)
        rows += [(found.looked.names[cloud], int(g), int(n)) for g, n in zip(used, sizes, strict=True)]
    figure.suptitle("tokens by the SuperToken or merged row that stands for them; grey stands alone")
    return figure, pd.DataFrame(rows, columns=["object", "group", "tokens"])


def groups_of(looked: Looked) -> torch.Tensor | None:
    """The group (n, T) of every token, or None: the SuperToken that has most of it, or the row that it reads."""
    if "assignment" in looked.aux:
        return looked.aux["assignment"].argmax(dim=-1)
    source = looked.aux.get("source")
    return None if source is None or _each_for_itself(source) else source.long()


def _each_for_itself(source: torch.Tensor) -> bool:
    return all(len(row.unique()) == len(row) for row in source)


def gate(found: Seen) -> Made | None:
    """The gate's probability, the tokens that it keeps at some thresholds, and how many rows the blocks run on over r."""
    probability = found.looked.aux.get("gate")
    if probability is None:
        return None
    figure, axes = _sheet(len(found.shown), 1 + len(PICTURED), curve=True)
    map_ = _colour_map("viridis")
    for row, cloud in enumerate(found.shown):
        points, centers = found.points(cloud)
        shown = probability[cloud].numpy()
        colours = clouds.mixed(points, centers, map_(shown)[:, :3])
        clouds.draw(axes[row, 0], points, colours, f"{found.title(cloud)}\nprobability, yellow is 1")
        for column, r in enumerate(PICTURED):
            kept = np.where((shown >= r)[:, None], np.array([(0.84, 0.37, 0.0)]), np.array([clouds.GREY]))
            title = f"r = {r}\n{int((shown >= r).sum())} tokens run by themselves"
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
                found.student(found.looked.patches[:64].to(_device(found.student))).aux["tokens_kept"]
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


def errors(found: Seen) -> Made:
    """The squared error of every token as a share of the tokens' variance, one scale for all clouds."""
    every = found.looked.errors
    most = max(float(np.percentile(every.numpy(), 99)), 1e-9)
    map_ = _colour_map("magma")
    figure, axes = _sheet(len(found.shown), 1, wide=True)
    for row, cloud in enumerate(found.shown):
        points, centers = found.points(cloud)
        colours = map_(np.clip(every[cloud].numpy() / most, 0, 1))[:, :3]
        clouds.draw(axes[0, row], points, clouds.mixed(points, centers, colours), found.title(cloud))
    _bar(figure, axes, map_, most)
    figure.suptitle("squared error of a token / variance of the teacher's tokens")
    return figure, _objects(found)


def entropy(found: Seen) -> Made | None:
    """Entropy of the attention maps by block, of the student beside its teacher, and of the assignment where there is one."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    patches = found.looked.patches[:64]
    named = {"teacher": found.teacher, "student": found.student}
    values = {name: attention_entropy(e, patches.to(_device(e))) for name, e in named.items()}
    assignment = found.looked.aux.get("assignment")
    if not values["teacher"] and not values["student"] and assignment is None:
        return None
    figure = Figure(figsize=(6, 3.4), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    looks = {"teacher": ("o-", "0.15"), "student": ("s--", "#0072b2")}
    for name, layers in values.items():
        style, colour = looks[name]
        axes.plot(range(1, len(layers) + 1), layers, style, color=colour, label=f"attention of the {name}")
    rows = [(name, i + 1, value) for name, layers in values.items() for i, value in enumerate(layers)]
    if assignment is not None:
        value = assignment_entropy(assignment)
        axes.axhline(value, color="#d55e00", linewidth=1, label="assignment to SuperTokens")
        rows.append(("assignment", 0, value))
    axes.set(xlabel="attention layer", ylabel="entropy / log(keys)", ylim=(0, 1.02))
    axes.legend(frameon=False)
    return figure, pd.DataFrame(rows, columns=["of", "layer", "entropy"])


FIGURES: dict[str, Callable[[Seen], Made | None]] = {
    "pca": pca,
    "groups": groups,
    "gate": gate,
    "errors": errors,
    "entropy": entropy,
}
"""Name of the file -> figure; one that has nothing to show is left out."""


def _objects(found: Seen) -> pd.DataFrame:
    """R2 of every cloud that was looked at, and which are shown."""
    looked = found.looked
    shown = [cloud in found.shown for cloud in range(len(looked.names))]
    table = {"object": looked.names, "class": looked.labels, "r2": looked.r2, "shown": shown}
    return pd.DataFrame(table).sort_values("r2", ascending=False, kind="stable")


def _sheet(
    objects: int, panels: int, *, wide: bool = False, curve: bool = False
) -> tuple[Figure, np.ndarray[Any, np.dtype[np.object_]]]:
    """A figure with a row for every object, or with all of them in one row if ``wide``; with room for a ``curve`` below."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    rows, columns = (1, objects) if wide else (objects, panels)
    size = (max(SIDE * 1.35 * columns, 5.5), SIDE * (rows + curve) + 0.4)
    figure = Figure(figsize=size, layout="constrained")
    FigureCanvasAgg(figure)
    grid = figure.add_gridspec(rows + curve, columns)
    axes = np.empty((rows, columns), dtype=object)
    for row, column in np.ndindex(rows, columns):
        axes[row, column] = figure.add_subplot(grid[row, column])
    return figure, axes


def _bar(figure: Figure, axes: np.ndarray[Any, np.dtype[np.object_]], map_: Any, most: float) -> None:
    """A colour bar from 0 to ``most``."""
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import Normalize

    all_axes: list[Axes] = list(axes.ravel())
    figure.colorbar(ScalarMappable(Normalize(0, most), map_), ax=all_axes, shrink=0.7, extend="max")


def _colour_map(name: str) -> Any:
    import matplotlib

    return matplotlib.colormaps[name]


def _device(encoder: Encoder) -> torch.device:
    return next(encoder.parameters()).device
