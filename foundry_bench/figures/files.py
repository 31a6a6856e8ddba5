"""Writing figures: PNG and SVG, the same for the same content."""

from __future__ import annotations

import io
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING

from foundry_bench.storage import write_atomic

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def styled() -> AbstractContextManager[None]:
    """The settings that figures are drawn and saved in: no random names in SVG, and its text is text."""
    import matplotlib

    return matplotlib.rc_context({"svg.hashsalt": "foundry-bench", "svg.fonttype": "none", "font.size": 9})


def save(figure: Figure, stem: Path, dpi: int = 150) -> list[Path]:
    """Write ``stem.png`` and ``stem.svg`` without a date and return their paths."""
    paths = []
    for ending, metadata in (("png", {"Software": None}), ("svg", {"Date": None})):
        buffer = io.BytesIO()
        figure.savefig(buffer, format=ending, dpi=dpi, metadata=metadata)
        path = stem.with_suffix(f".{ending}")
        write_atomic(path, buffer.getvalue())
        paths.append(path)
    return paths
