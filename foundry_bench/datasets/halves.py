"""Two halves of a data set's objects, ``kicad[tested=search]`` and ``kicad[tested=confirm]``: what is chosen by the scores of
one is confirmed by those of the other.

Whole clusters of class and series go to one half, so that no near-twin of an object is scored in the other one. The clusters of
a class are put in the order of their names' hashes and dealt out in turn, so that both halves have the classes alike.

``tested``: the test sides of all splits lose the objects of the other half. Training sides stay whole and are shared: a probe
of either half may learn from objects that are scored in the other, and none is scored in both. ``labelled``: the objects of
the other half lose their labels and sides, for tasks that go by labels alone.
"""

from __future__ import annotations

import hashlib
import re
from collections import defaultdict
from dataclasses import dataclass, replace
from typing import Literal, cast

import numpy as np

from foundry_bench.datasets.dataset import PointCloudDataset
from foundry_bench.errors import UserError

Form = Literal["tested", "labelled"]
Name = Literal["search", "confirm"]
_WRITTEN = re.compile(r"(.+)\[(tested|labelled)=(search|confirm)\]")


@dataclass(frozen=True)
class Half:
    """One half of the data set ``base``, a name or a folder."""

    base: str
    form: Form
    name: Name

    @property
    def selector(self) -> str:
        """The name by which it is asked for."""
        return f"{self.base}[{self.form}={self.name}]"

    def sha256(self, whole: str) -> str:
        """Its hash, from that of the ``whole`` data set."""
        return hashlib.sha256(f"{self.form}={self.name} of {whole}".encode()).hexdigest()

    def of(self, data: PointCloudDataset) -> PointCloudDataset:
        """This half of ``data``, with the same rows. Raises UserError where there is nothing to halve."""
        if data.episodes:
            raise UserError(f"data set {self.base!r} prescribes its episodes, which cannot be halved")
        if self.form == "tested" and not data.splits:
            raise UserError(f"data set {self.base!r} has no splits; write {self.base}[labelled={self.name}]")
        mine = halves(data) == self.name
        named = replace(data, name=self.selector, sha256=self.sha256(data.sha256))
        if self.form == "tested":
            sides = {k: np.where(~mine & (np.asarray(v) == "test"), "", v) for k, v in data.splits.items()}
            return replace(named, splits=sides)
        sides = {k: np.where(mine, v, "") for k, v in data.splits.items()}
        return replace(named, labels=np.where(mine, data.labels, -1), splits=sides)


def read_half(name: str) -> Half | None:
    """The half that ``name`` asks for; None for any other name."""
    found = _WRITTEN.fullmatch(name)
    return None if found is None else Half(found[1], cast(Form, found[2]), cast(Name, found[3]))


def halves(data: PointCloudDataset) -> np.ndarray:
    """The half (N,) str of each object, ``search`` or ``confirm``; an object without a series is a series of its own."""
    objects = zip(np.asarray(data.series).tolist(), np.asarray(data.paths).tolist(), strict=True)
    series = [f"series {name}" if name else f"only {path}" for name, path in objects]
    members = defaultdict(set)
    for label, name in zip(np.asarray(data.labels).tolist(), series, strict=True):
        members[label].add(name)
    half: dict[tuple[int, str], str] = {}
    for label, names in members.items():
        dealt = sorted(names, key=lambda name: (_hash(label, name), name))
        first = _hash(label, "") % 2
        half |= {(label, name): ("search", "confirm")[(first + i) % 2] for i, name in enumerate(dealt)}
    return np.array([half[key] for key in zip(np.asarray(data.labels).tolist(), series, strict=True)])


def _hash(label: int, name: str) -> int:
    return int.from_bytes(hashlib.sha256(f"{label}\x1f{name}".encode()).digest()[:8], "big")
