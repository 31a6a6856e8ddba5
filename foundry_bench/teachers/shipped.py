"""Weights that come with the package."""

from __future__ import annotations

from pathlib import Path

WEIGHTS = Path(__file__).parent / "weights"


def small() -> Path:
    """Folder of the small teacher, pre-trained by ``foundry-bench pretrain`` so that its attention depends on the query."""
    return WEIGHTS / "small"


def small_v1() -> Path:
    """Folder of the small teacher shipped before, whose attention broadcasts one vector. Older results were made with it."""
    return WEIGHTS / "small-v1"
