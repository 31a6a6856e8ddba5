"""Small pieces of data sets, for the rehearsal before a sweep."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from foundry_bench.datasets.dataset import PointCloudDataset


def take(data: PointCloudDataset, rows: np.ndarray) -> PointCloudDataset:
    """The objects ``rows`` (n,) of a data set, without the episodes that it prescribes; a hash of its own."""
    picked = {name: getattr(data, name)[rows] for name in ("points", "labels", "series", "paths")}
    return replace(
        data,
        **picked,
        sha256=f"{len(rows)} objects of {data.sha256}",
        splits={name: sides[rows] for name, sides in data.splits.items()},
        parts=None if data.parts is None else data.parts[rows],
        episodes={},
    )


def spread(data: PointCloudDataset, count: int) -> PointCloudDataset:
    """At most ``count`` objects, evenly spaced over the data set."""
    rows = np.unique(np.linspace(0, len(data.points) - 1, count).round().astype(int))
    return take(data, rows)


def few_of_each_side(
    data: PointCloudDataset, of: np.ndarray, classes: int = 5, objects: int = 6
) -> PointCloudDataset:
    """The first split only, and of its ``classes`` largest classes some ``objects`` for each side, spread over series.

    ``of`` (N,) marks the objects to choose from. For tasks that train on one side of a split, ``val`` included, and test on
    the other. Classes without objects on both are left out; where there are no others, all objects are kept.
    """
    name = next(iter(data.splits))
    sides = np.asarray(data.splits[name])
    masks = np.isin(sides, ("train", "val")), sides == "test"
    labels = np.where(of, data.labels, -1)
    smaller = {
        int(label): min(np.sum((labels == label) & mask) for mask in masks)
        for label in np.unique(labels[labels >= 0])
    }
    both = [label for label, count in smaller.items() if count > 0]
    largest = sorted(both, key=lambda label: (-smaller[label], label))[:classes]
    rows = []
    for label in largest:
        for mask in masks:
            found = np.flatnonzero((labels == label) & mask)
            rows.append(found[np.unique(np.linspace(0, len(found) - 1, objects).round().astype(int))])
    piece = take(data, np.sort(np.concatenate(rows))) if rows else data
    return replace(piece, splits={name: piece.splits[name]})
