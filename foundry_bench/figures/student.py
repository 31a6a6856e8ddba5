"""The figures of one student on real clouds: what of its teacher it kept, what it grouped, where it errs."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from foundry_bench.encoder import Encoder
from foundry_bench.figures.entropy import entropy
from foundry_bench.figures.files import PLAIN, Style, save_with, styled
from foundry_bench.figures.gate import gate
from foundry_bench.figures.looked import chosen, look
from foundry_bench.figures.seen import Made, Seen
from foundry_bench.figures.tokens import errors, groups, pca

if TYPE_CHECKING:
    from foundry_bench.context import Context
    from foundry_bench.datasets import PointCloudDataset

FIGURES: dict[str, Callable[[Seen], Made | None]] = {
    "pca": pca,
    "groups": groups,
    "gate": gate,
    "errors": errors,
    "entropy": entropy,
}
"""Name of the file -> figure; one that has nothing to show is left out."""


def visualize(
    student: Encoder,
    teacher: Encoder,
    data: PointCloudDataset,
    folder: Path,
    ctx: Context,
    *,
    objects: int = 3,
    style: Style = PLAIN,
) -> list[Path]:
    """Write the figures in which ``student`` has anything to show as PNG and SVG, their numbers as CSV, and return the files.

    ``objects`` clouds of ``data`` are shown, from the one whose tokens the student keeps best to the one it keeps worst. Raises
    UserError for a student and a teacher that do not belong together.
    """
    looked = look(student, teacher, data, ctx)
    found = Seen(looked, chosen(looked.r2, objects), student, teacher)
    files: list[Path] = []
    with styled(style):
        for done, (name, drawn) in enumerate(FIGURES.items()):
            ctx.progress("drawing", done, len(FIGURES))
            made = drawn(found)
            if made is not None:
                figure, numbers = made
                width, height = figure.get_size_inches()
                figure.set_size_inches(style.inches(width, height))
                files += save_with(numbers, figure, folder / name, pdf=style.pdf, dpi=100, inside=200)
    ctx.progress("drawing", len(FIGURES), len(FIGURES))
    return files
