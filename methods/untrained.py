"""The teacher's architecture with random weights: the floor.

What a task scores here is owed to the task and to the geometry that any encoder passes on, not to what the teacher learned.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from foundry_bench.authoring import (
    OFF_THE_SHELF,
    Context,
    Encoder,
    Family,
    Method,
    PointCloudDataset,
    PointTransformer,
    require_transformer,
)


@dataclass(frozen=True)
class Untrained(Method):
    """An encoder of the teacher's sizes as it is before pre-training; other seeds give other weights."""

    name: ClassVar[str] = "untrained"
    family: ClassVar[Family] = "reference"
    abstract: ClassVar[str] = "the teacher's architecture with random weights: the floor"
    variants: ClassVar[tuple[str, ...]] = (OFF_THE_SHELF,)

    def compress(self, teacher: Encoder, data: PointCloudDataset, ctx: Context) -> Encoder:
        return PointTransformer(require_transformer(teacher, self.name).config)
