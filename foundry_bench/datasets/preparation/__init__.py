"""From the Debian packages to the point clouds that foundry-bench ships; needs ``foundry-bench[prepare]``."""

from __future__ import annotations

from foundry_bench.datasets.preparation.prepare import (
    prepare_bricks,
    prepare_bricks_unlabelled,
    prepare_furniture,
    prepare_kicad,
    prepare_pretrain,
)

__all__ = [
    "prepare_bricks",
    "prepare_bricks_unlabelled",
    "prepare_furniture",
    "prepare_kicad",
    "prepare_pretrain",
]
