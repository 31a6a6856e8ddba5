"""Writing figures: how they look, and PNG, SVG and PDF that are the same for the same content."""

from __future__ import annotations

import io
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from foundry_bench.errors import UserError, unknown
from foundry_bench.storage import write_atomic

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

NARROW = 6.5
"""Inches below which legends stand under the axes and markers are small."""
SIZES = (1.5, 40.0)
"""Least and most inches of a figure's side."""
SETTINGS: dict[str, Any] = {
    "svg.hashsalt": "foundry-bench",
    "svg.fonttype": "none",
    "pdf.fonttype": 42,
    "text.parse_math": False,
}
"""No random names in SVG, text in it and in PDF is text, and a dollar in a name is a dollar."""


@dataclass(frozen=True)
class Style:
    """How figures look. ``size``: width and height in inches, None for each figure's own; ``font``: a family that is installed,
    None for Matplotlib's own; ``points``: size of the text; ``pdf``: write PDF too. Raises UserError for what cannot be."""

    size: tuple[float, float] | None = None
    font: str | None = None
    points: float = 9.0
    pdf: bool = False

    def __post_init__(self) -> None:
        if self.size is not None and not all(SIZES[0] <= side <= SIZES[1] for side in self.size):
            raise UserError(f"a figure's sides must be from {SIZES[0]:g} to {SIZES[1]:g} inches")
        if not 3 <= self.points <= 40:
            raise UserError(f"the size of a figure's text must be from 3 to 40 points, got {self.points:g}")
        if self.font is not None:
            from matplotlib.font_manager import get_font_names

            if self.font not in (names := get_font_names()):
                raise unknown("font", self.font, sorted(names))

    def inches(self, width: float, height: float) -> tuple[float, float]:
        """The size of a figure whose own is ``width`` by ``height``."""
        return self.size or (width, height)

    @property
    def narrow(self) -> bool:
        """Whether it is for one column of a paper."""
        return self.size is not None and self.size[0] < NARROW


PLAIN = Style()


def read_size(text: str) -> tuple[float, float]:
    """Width and height of ``3.3x2.5``, in inches. Raises UserError."""
    parts = text.lower().split("x")
    try:
        width, height = (float(part) for part in parts)
    except ValueError:
        raise UserError(f"a figure's size is written as 3.3x2.5, in inches, not {text!r}") from None
    return width, height


def styled(style: Style = PLAIN) -> AbstractContextManager[None]:
    """The settings that figures are drawn and saved in."""
    import matplotlib

    settings: Any = {**SETTINGS, "font.size": style.points}
    if style.font is not None:
        settings["font.family"] = [style.font]
    return matplotlib.rc_context(settings)


def small() -> float:
    """Points of the text of labels and legends, a little less than that of axes."""
    import matplotlib

    return 0.89 * float(matplotlib.rcParams["font.size"])


def blank(size: tuple[float, float]) -> Figure:
    """A figure of so many inches that needs no display, and lays itself out."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=size, layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def few_colours(png: bytes) -> bytes:
    """A PNG with the 256 colours that it needs most: a picture of thousands of small points is a third as large."""
    from PIL import Image

    buffer = io.BytesIO()
    Image.open(io.BytesIO(png)).convert("RGB").quantize(256, dither=Image.Dither.NONE).save(
        buffer, "png", optimize=True
    )
    return buffer.getvalue()


def save(figure: Figure, stem: Path, *, pdf: bool = False, dpi: int = 150, inside: int = 150) -> list[Path]:
    """Write ``stem.png`` and ``stem.svg``, and with ``pdf`` ``stem.pdf``, without a date, and return their paths. ``dpi``: of
    PNG, ``inside``: of images within vector graphics."""
    kinds: list[tuple[str, int, dict[str, None]]] = [
        ("png", dpi, {"Software": None}),
        ("svg", inside, {"Date": None}),
        ("pdf", inside, {"CreationDate": None}),
    ]
    paths = []
    for ending, dots, metadata in kinds if pdf else kinds[:2]:
        buffer = io.BytesIO()
        figure.savefig(buffer, format=ending, dpi=dots, metadata=metadata)
        path = stem.with_name(f"{stem.name}.{ending}")
        content = buffer.getvalue()
        write_atomic(path, few_colours(content) if ending == "png" else content)
        paths.append(path)
    return paths


def save_with(
    numbers: pd.DataFrame, figure: Figure, stem: Path, *, pdf: bool = False, dpi: int = 150, inside: int = 150
) -> list[Path]:
    """As :func:`save`, with the ``numbers`` that are drawn as CSV beside it."""
    paths = save(figure, stem, pdf=pdf, dpi=dpi, inside=inside)
    table = stem.with_name(f"{stem.name}.csv")
    write_atomic(table, numbers.to_csv(index=False).encode())
    return [*paths, table]
