"""Expert distillation: the small transformer of ``kd``, trained for one task on its labels and the logits that the teacher's
linear head gives (Hinton et al., arXiv 1503.02531). Foundry's "expert" rows: good at its own task, and how good at others?
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

from torch import Tensor

from foundry_bench.authoring import (
    EXPERT,
    Bounds,
    Context,
    Encoder,
    Expert,
    Family,
    Paper,
    PointCloudDataset,
    hinton_loss,
    require_transformer,
)
from foundry_bench.methods.kd import small_transformer


@dataclass(frozen=True)
class ExpertKD(Expert):
    """``task`` and ``dataset``: where the labels come from; the leaderboard evaluates the expert on every task. ``tau``:
    temperature. ``alpha``: weight of the teacher's logits against the labels. ``depth`` and ``width`` as in ``kd``."""

    name: ClassVar[str] = "kd-expert"
    family: ClassVar[Family] = "distil"
    paper: ClassVar[Paper] = Paper("Distilling the Knowledge in a Neural Network", "1503.02531")
    abstract: ClassVar[str] = (
        "the transformer of kd, trained for one task by its labels and the teacher's logits"
    )
    variants: ClassVar[tuple[str, ...]] = (EXPERT,)
    grid: ClassVar[dict[str, tuple[Any, ...]]] = {"depth": (2,)}

    tau: Annotated[float, Bounds(at_least=1e-3, at_most=1e3)] = 4.0
    alpha: Annotated[float, Bounds(at_least=0, at_most=1)] = 0.9
    depth: Annotated[int, Bounds(at_least=1, at_most=64)] = 2
    width: Annotated[float, Bounds(above=0, at_most=1)] = 1.0

    def compress(self, teacher: Encoder, data: PointCloudDataset, ctx: Context) -> Encoder:
        return small_transformer(require_transformer(teacher, self.name), self.depth, self.width)

    def expert_loss(self, student: Tensor, teacher: Tensor, labels: Tensor) -> Tensor:
        return hinton_loss(student, teacher, labels, self.tau, self.alpha)
