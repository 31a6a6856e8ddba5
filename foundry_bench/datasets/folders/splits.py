"""A split for clouds that come without one: by class, whole series on one side, drawn from hashes of the paths.

It depends on no random generator and on no seed. A cloud that is added moves few others.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Sequence

import numpy as np

from foundry_bench.datasets.folders.layout import TEST, TRAIN

GIVEN, DRAWN = "given", "drawn"
"""Names of the split that a folder comes with, and of one that is drawn."""
TESTED = 0.3
"""Share of a class's clouds that a drawn split puts on the test side."""


def draw_split(paths: Sequence[str], labels: np.ndarray, groups: Sequence[str]) -> np.ndarray | None:
    """The side (N,) of each cloud, ``train`` or ``test``, empty for the unlabelled; None where no class can be split.

    Clouds of one class and group stay together. ``TESTED`` of each class is tested, rounded, at least one group where it has
    two; a class of one group is on the training side.
    """
    members: dict[int, dict[str, list[int]]] = defaultdict(lambda: defaultdict(list))
    for row, label in enumerate(labels.tolist()):
        if label >= 0:
            members[label][groups[row]].append(row)
    sides = np.full(len(paths), "", "<U5")
    for own in members.values():
        sides[[row for rows in own.values() for row in rows]] = TRAIN
        for rows in _tested([[int(row) for row in rows] for rows in own.values()], paths):
            sides[rows] = TEST
    return sides if (sides == TEST).any() else None


def _tested(groups: list[list[int]], paths: Sequence[str]) -> list[list[int]]:
    """The groups of one class that are tested: in the order of their hashes, as many as fit; the smallest where none fits."""
    if len(groups) < 2:
        return []
    ordered = sorted(groups, key=lambda rows: _hash(min(paths[row] for row in rows)))
    room = max(1, round(TESTED * sum(map(len, groups))))
    chosen: list[list[int]] = []
    for rows in ordered:
        if len(rows) <= room and len(chosen) < len(groups) - 1:
            chosen.append(rows)
            room -= len(rows)
    return chosen or [min(ordered, key=len)]


def groups_of_copies(series: Sequence[str], contents: Sequence[str]) -> list[str]:
    """A name (N,) of what must stay on one side: the series, else the cloud; copies of one content are joined with what each
    belongs to."""
    owner: dict[str, str] = {}

    def root(name: str) -> str:
        while owner.get(name, name) != name:
            name = owner[name]
        return name

    own = [
        f"series {name}" if name else f"content {content}"
        for name, content in zip(series, contents, strict=True)
    ]
    for name, content in zip(own, contents, strict=True):
        first, second = root(name), root(f"content {content}")
        if first != second:
            owner[max(first, second)] = min(first, second)
    return [root(name) for name in own]


def _hash(path: str) -> bytes:
    return hashlib.sha256(f"split {path}".encode("utf-8", "surrogateescape")).digest()
