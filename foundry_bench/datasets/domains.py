"""``domains``: the novel classes of the embedded data sets side by side, for few-shot recognition across domains.

It has no bytes of its own: it is put together from its members when it is loaded.
"""

from __future__ import annotations

import hashlib
from functools import cache

import numpy as np

from foundry_bench.datasets.dataset import PointCloudDataset
from foundry_bench.datasets.embedded_reader import EMBEDDED, load_embedded

MEMBERS = tuple(name for name in ("kicad", "furniture", "bricks") if name in EMBEDDED)
"""Labelled embedded data sets with classes that pre-training never saw."""


def load_domains() -> PointCloudDataset:
    """Classes that pre-training never saw, from all embedded data sets; few-shot episodes draw across them.

    An episode may hold a relay, a chair and a gear. It asks whether one frozen feature space serves objects of unlike origin
    at once: the support set of another domain sets the scale of the features, and what tells resistors apart must not drown in
    what tells resistors from chairs. Each class is named after its data set, such as ``kicad/relay``; objects keep their paths,
    and with them the pose that they have at home.
    """
    return composed("domains", MEMBERS)


@cache
def composed(name: str, members: tuple[str, ...]) -> PointCloudDataset:
    """The novel classes of some embedded data sets, or all classes of one that names none, as one data set.

    Clouds have as many points as those of the member with the fewest. Parts and splits are left out. The hash is that of the
    members' hashes, the licence holds all of theirs. Raises UserError for an unknown or damaged member.
    """
    parts = [load_embedded(member) for member in members]
    kept = [_novel(part) for part in parts]
    rows = [np.flatnonzero(np.isin(part.labels, labels)) for part, labels in zip(parts, kept, strict=True)]
    classes = [
        f"{p.name}/{p.classes[label]}" for p, labels in zip(parts, kept, strict=True) for label in labels
    ]
    number = {class_: index for index, class_ in enumerate(classes)}
    named = [
        f"{p.name}/{p.classes[p.labels[row]]}"
        for p, chosen in zip(parts, rows, strict=True)
        for row in chosen
    ]
    fewest = min(part.points.shape[1] for part in parts)
    chosen = list(zip(parts, rows, strict=True))
    return PointCloudDataset(
        name=name,
        version="1",
        sha256=hashlib.sha256("\n".join(f"{p.name} {p.sha256}" for p in parts).encode()).hexdigest(),
        classes=tuple(classes),
        points=np.concatenate([part.points[picked, :fewest] for part, picked in chosen]),
        labels=np.array([number[class_] for class_ in named], dtype=np.int64),
        series=np.concatenate([part.series[picked] for part, picked in chosen]),
        paths=np.concatenate([part.paths[picked] for part, picked in chosen]),
        splits={},
        parts=None,
        part_names={},
        novel_classes=tuple(classes),
        licence=" AND ".join(dict.fromkeys(term for p in parts for term in p.licence.split(" AND "))),
    )


def _novel(data: PointCloudDataset) -> list[int]:
    """Labels of the novel classes, or of all if the data set names none."""
    return [data.classes.index(name) for name in data.novel_classes or data.classes]
