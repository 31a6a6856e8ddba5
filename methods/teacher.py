"""No compression: the teacher itself, the row that every other row is measured against."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from foundry_bench.encoder import Encoder
from foundry_bench.method import OFF_THE_SHELF, Method
from foundry_bench.variants import Family

if TYPE_CHECKING:
    from foundry_bench.context import Context
    from foundry_bench.datasets import PointCloudDataset


@dataclass(frozen=True)
class NoCompression(Method):
    """The uncompressed baseline."""

    name: ClassVar[str] = "teacher"
    family: ClassVar[Family] = "reference"
    abstract: ClassVar[str] = "no compression"
    variants: ClassVar[tuple[str, ...]] = (OFF_THE_SHELF,)

    def compress(self, teacher: Encoder, data: PointCloudDataset, ctx: Context) -> Encoder:
        return copy.deepcopy(teacher)
