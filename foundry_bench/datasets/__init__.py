"""Embedded and prepared point-cloud data sets. Importing this package reads no data and no heavy library."""

from __future__ import annotations

from foundry_bench.datasets.dataset import CloudArray, Episode, PointCloudDataset
from foundry_bench.datasets.embedded_reader import (
    EMBEDDED,
    load_bricks,
    load_bricks_unlabelled,
    load_embedded,
    load_furniture,
    load_kicad,
    load_prepared,
    load_pretrain,
)

__all__ = [
    "EMBEDDED",
    "CloudArray",
    "Episode",
    "PointCloudDataset",
    "load_bricks",
    "load_bricks_unlabelled",
    "load_embedded",
    "load_furniture",
    "load_kicad",
    "load_prepared",
    "load_pretrain",
]
