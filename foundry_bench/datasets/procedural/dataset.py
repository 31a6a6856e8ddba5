"""The data set ``procedural``: as many unlabelled random shapes as are asked for, stored nowhere."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Annotated, ClassVar, Literal

import numpy as np

from foundry_bench.datasets.dataset import PointCloudDataset
from foundry_bench.datasets.generated import GeneratedDataset
from foundry_bench.datasets.lazy import LazyArray, LazyClouds
from foundry_bench.datasets.procedural.arithmetic import Stream
from foundry_bench.datasets.procedural.families import shape
from foundry_bench.datasets.procedural.sampling import sample
from foundry_bench.parameters.types import Bounds

VERSION = 1
"""Part of every cloud's random numbers: increase it when a seed and a number give another cloud."""
_REMEMBERED = 256
"""Clouds kept in a process, so that the parts of those just made cost nothing."""


@dataclass(frozen=True)
class Procedural(GeneratedDataset):
    """Unlabelled random shapes of up to nine parts, made as they are asked for: no file, the same on every machine.

    Unions of superquadrics and other solids as in Point-MAE-Zero (arXiv 2411.17467), and shapes built as things are: turned,
    legged, hollow, carved, in grids and frames, of bent wire, with wheels and wings. A cloud is a function of ``seed`` and its
    number alone, so a larger set begins with the smaller one; that of 1,024 points is the first half of the one of 2,048,
    normalised by itself.
    """

    name: ClassVar[str] = "procedural"
    version: ClassVar[str] = str(VERSION)

    clouds: Annotated[int, Bounds(at_least=100, at_most=1_000_000)] = 150_000
    seed: Annotated[int, Bounds(at_least=0)] = 0
    points: Literal[2048, 1024] = 2048

    def load(self) -> PointCloudDataset:
        """The data set; ``parts`` number the parts of each shape, those of a hole's wall and of equal copies included."""
        paths = np.array([f"procedural/{self.seed}/{number}" for number in range(self.clouds)])
        rule = Rule(self.clouds, self.points, self.seed)
        return PointCloudDataset(
            name=self.selector,
            version=self.version,
            sha256=self.sha256,
            classes=(),
            points=LazyClouds(rule, paths.tolist()),
            labels=np.full(self.clouds, -1, np.int64),
            series=paths,
            paths=paths,
            splits={},
            parts=LazyParts(rule),
            part_names={},
            novel_classes=(),
            licence="CC0-1.0",
        )


@dataclass(frozen=True)
class Rule:
    """The source of ``count`` random shapes, and of their parts. It holds numbers only, so any process can have it."""

    count: int
    points: int
    seed: int

    def read(self, rows: np.ndarray) -> np.ndarray:
        """Clouds (n, points, 3) of the numbers ``rows`` (n,), not yet normalised."""
        return np.stack([made(self.seed, int(row), self.points)[0] for row in rows])

    def parts(self, rows: np.ndarray) -> np.ndarray:
        """The part (n, points) int8 of each of their points."""
        return np.stack([made(self.seed, int(row), self.points)[1] for row in rows])

    def where(self, row: int) -> str:
        return f"procedural cloud {row} of seed {self.seed}"


class LazyParts(LazyArray):
    """Parts (N, P) int8 of the points that a rule makes."""

    dtype = np.dtype(np.int8)

    def __init__(self, rule: Rule) -> None:
        self.rule = rule

    @property
    def shape(self) -> tuple[int, int]:
        """(N, P)."""
        return self.rule.count, self.rule.points

    def _made(self, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
        if len(rows) == 0:
            return np.empty((0, *columns.shape), self.dtype)
        return self.rule.parts(rows)[:, columns]


@lru_cache(maxsize=_REMEMBERED)
def made(seed: int, number: int, points: int) -> tuple[np.ndarray, np.ndarray]:
    """One shape: points (points, 3) on its outside, in random order, and their parts (points,) int8. Not to be written to."""
    stream = Stream((seed << 32 | VERSION, number))
    cloud, parts = sample(shape(stream)[1], points, stream)
    cloud.flags.writeable = parts.flags.writeable = False
    return cloud, parts
