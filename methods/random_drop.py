"""Random token dropping: the control that every token sampler has to beat (PatchDropout, arXiv 2208.07220)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import Tensor

from foundry_bench.encoder import Encoder
from foundry_bench.method import Method
from foundry_bench.methods.fps import SubsetStudent
from foundry_bench.students import require_transformer
from foundry_bench.tokens import content_order

if TYPE_CHECKING:
    from foundry_bench.context import Context
    from foundry_bench.datasets import PointCloudDataset


class RandomDropStudent(SubsetStudent):
    """Keeps ``count`` tokens uniformly at random: anew at every training step, fixed per cloud at inference."""

    def choose(self, centers: Tensor) -> Tensor:
        if self.training:
            order = torch.rand(centers.shape[:2], device=centers.device).argsort(dim=1)
        else:
            order = content_order(centers)
        return order[:, : self.count]


@dataclass(frozen=True)
class RandomDrop(Method):
    """``keep``: share of the tokens that the blocks see. Kept values are not rescaled."""

    name: ClassVar[str] = "random-drop"
    grid: ClassVar[dict[str, tuple[Any, ...]]] = {"keep": (0.25,)}

    keep: float = 0.25

    def __post_init__(self) -> None:
        if not 0 < self.keep <= 1:
            raise ValueError(f"keep must be in (0, 1], got {self.keep}")

    def compress(self, teacher: Encoder, data: PointCloudDataset, ctx: Context) -> Encoder:
        source = require_transformer(teacher, self.name)
        return RandomDropStudent(source, max(1, round(self.keep * source.config.groups)))
