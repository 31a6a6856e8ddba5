"""``domains``: the novel classes of the embedded data sets side by side, for few-shot recognition across domains.

It has no bytes of its own: it is put together from its members when it is loaded.
"""

from __future__ import annotations

import hashlib
from functools import cache

import numpy as np

from foundry_bench.datasets.dataset import PointCloudDataset
from foundry_bench.datasets.embedded_reader import EMBEDDED, load_embedded
from foundry_bench.datasets.few import take

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
    whole = [load_embedded(member) for member in members]
    kept = [_novel(data) for data in whole]
    classes = [f"{data.name}/{class_}" for data in whole for class_ in data.novel_classes or data.classes]
    named = [f"{data.name}/{data.classes[label]}" for data in kept for label in data.labels]
    fewest = min(data.points.shape[1] for data in whole)
    return PointCloudDataset(
        name=name,
        version="1",
        sha256=hashlib.sha256("\n".join(f"{d.name} {d.sha256}" for d in whole).encode()).hexdigest(),
        classes=tuple(classes),
        points=np.concatenate([data.points[:, :fewest] for data in kept]),
        labels=np.array([classes.index(class_) for class_ in named], dtype=np.int64),
        series=np.concatenate([data.series for data in kept]),
        paths=np.concatenate([data.paths for data in kept]),
        splits={},
        parts=None,
        part_names={},
        novel_classes=tuple(classes),
        licence=" AND ".join(dict.fromkeys(term for d in whole for term in d.licence.split(" AND "))),
    )


def _novel(data: PointCloudDataset) -> PointCloudDataset:
    """The objects of the novel classes, or of all classes if the data set names none."""
    labels = [data.classes.index(name) for name in data.novel_classes or data.classes]
    return take(data, np.flatnonzero(np.isin(data.labels, labels)))
