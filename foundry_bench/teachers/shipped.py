"""Weights that come with the package."""

from __future__ import annotations

from pathlib import Path


def small() -> Path:
    """Folder of the small teacher, pre-trained by ``foundry-bench pretrain`` on the embedded unlabelled set."""
    return Path(__file__).parent / "weights" / "small"
